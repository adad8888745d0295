"""Snowflake as a destination: a dialect of `destinations.sql`, and Parquet files by PUT and COPY.

Only `connection` and those that import it need the driver.
"""
