"""Transit."""
