"""Measures treadle beside other loaders and beside what the machine can do; `make bench`."""
