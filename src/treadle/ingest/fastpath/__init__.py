"""A second, shorter way for requests like those before them on the same connection."""
