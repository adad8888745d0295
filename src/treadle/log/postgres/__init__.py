"""The log on PostgreSQL: several gates on several machines append to it."""
