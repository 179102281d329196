-- The lab's roles and limits; run once, on the first start of the server.
\getenv app_password APP_DB_PASSWORD
\getenv monitor_password MONITOR_DB_PASSWORD
\getenv runbooks_password RUNBOOKS_DB_PASSWORD
\getenv keycloak_password KEYCLOAK_DB_PASSWORD

ALTER SYSTEM SET max_connections = 60;
ALTER SYSTEM SET superuser_reserved_connections = 3;
ALTER SYSTEM SET reserved_connections = 3;
ALTER SYSTEM SET shared_buffers = '64MB';

-- The application; gets 60 - 3 - 3 = 54 slots at most.
CREATE ROLE app LOGIN PASSWORD :'app_password';
CREATE DATABASE app OWNER app;

-- The exporter and the modules get in when the application's slots are all taken.
CREATE ROLE monitor LOGIN PASSWORD :'monitor_password' IN ROLE pg_monitor, pg_use_reserved_connections;
-- An exporter that waits for a lock would take one reserved slot after the other, and nobody could get in to help.
ALTER ROLE monitor CONNECTION LIMIT 2;
ALTER ROLE monitor SET lock_timeout = '1s';
CREATE ROLE runbooks LOGIN PASSWORD :'runbooks_password'
    IN ROLE pg_monitor, pg_signal_backend, pg_use_reserved_connections;

-- Keycloak opens its whole pool at the start and keeps it (lab/compose.yml); the rest is for a look at its tables.
CREATE ROLE keycloak LOGIN PASSWORD :'keycloak_password';
CREATE DATABASE keycloak OWNER keycloak;
-- Option E of db-connections; PostgreSQL 15 and later can grant this one setting. Functions belong to a database.
GRANT ALTER SYSTEM ON PARAMETER max_connections TO runbooks;
\connect app
GRANT EXECUTE ON FUNCTION pg_reload_conf() TO runbooks;
