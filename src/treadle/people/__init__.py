"""The people of the console: who may sign in, and what passwords and roles are held to."""
