"""What was accepted and is not yet loaded."""
