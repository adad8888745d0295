"""Amazon Redshift as a destination: a dialect of `destinations.sql`, and COPY from files."""

from treadle.destinations.redshift.destination import RedshiftDestination

__all__ = ["RedshiftDestination"]
