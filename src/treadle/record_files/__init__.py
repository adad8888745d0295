"""Records out of files: JSON, CSV and Parquet, compressed or not, as requests take them."""
