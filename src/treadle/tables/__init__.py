"""Computes from records and a table's state what a load does; touches no file and no socket."""
