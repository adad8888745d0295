"""What databases share that are spoken to by libpq and psycopg 3: PostgreSQL and Redshift."""
