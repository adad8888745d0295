"""The command line: thin commands over the rooms, one module for each group of commands."""
