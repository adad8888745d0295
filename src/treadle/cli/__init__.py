"""The command line. A command is thin: it reads its arguments, calls a room and prints."""
