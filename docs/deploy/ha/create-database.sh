#!/bin/sh
# Patroni runs this once on the first primary, with the address of the superuser as its argument.
set -eu
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=password="$(cat /run/credentials/password)" "$1" <<'SQL'
CREATE ROLE taskflow LOGIN PASSWORD :'password';
-- `taskflow doctor` shows the names of the standbys.
GRANT pg_monitor TO taskflow;
CREATE DATABASE taskflow OWNER taskflow TEMPLATE template0 ENCODING UTF8;
SQL
