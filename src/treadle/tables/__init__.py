"""What a destination holds and how a load changes it."""
