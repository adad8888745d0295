#!/bin/sh
# Run once by the image of PostgreSQL: makes a database and a role for store and log, and others for rows.
set -eu
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv treadle STORE_PASSWORD
\getenv loader LOADER_PASSWORD
CREATE ROLE treadle LOGIN PASSWORD :'treadle' IN ROLE pg_monitor;
CREATE DATABASE treadle OWNER treadle;
CREATE ROLE loader LOGIN PASSWORD :'loader';
CREATE DATABASE warehouse OWNER loader;
SQL
