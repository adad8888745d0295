"""BigQuery as a destination: a dialect of `destinations.sql`, load jobs, and one script a load."""

from treadle.destinations.bigquery.destination import BigqueryDestination

__all__ = ["BigqueryDestination"]
