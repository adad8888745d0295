"""Plans a load: prepared records against the state of their table."""
