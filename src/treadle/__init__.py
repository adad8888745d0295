"""treadle: takes JSON records over HTTP and loads them into database tables."""

__version__ = "0.1.0"
