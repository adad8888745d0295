#!/bin/sh
# Run once by the image of PostgreSQL: makes the role that treadle loads with. It can make schemas, and nothing else.
set -eu
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password LOADER_PASSWORD
\getenv database POSTGRES_DB
CREATE ROLE loader LOGIN PASSWORD :'password';
GRANT CONNECT, CREATE ON DATABASE :"database" TO loader;
SQL
