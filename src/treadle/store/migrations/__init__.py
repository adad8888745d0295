"""Migrations of the store, run by `treadle.store.migration`."""
