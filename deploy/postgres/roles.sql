-- Run once, by the superuser, on an empty server: the users of the processes, and the database.
-- The group roles are those of `tidings migrate`, which gives them their rights; here they get no more than a name.
\set ON_ERROR_STOP on
\set owner `cat /run/secrets/postgres_owner`
\set operator `cat /run/secrets/postgres_operator`
\set worker `cat /run/secrets/postgres_worker`
\set deliverer `cat /run/secrets/postgres_deliverer`
\set gateway `cat /run/secrets/postgres_gateway`

CREATE ROLE tidings_worker NOLOGIN;
CREATE ROLE tidings_deliverer NOLOGIN;
CREATE ROLE tidings_gateway NOLOGIN;
CREATE ROLE tidings_reader NOLOGIN;
CREATE ROLE tidings_verifier NOLOGIN;
CREATE ROLE tidings_operator NOLOGIN;

CREATE ROLE owner LOGIN PASSWORD :'owner';
CREATE ROLE operator LOGIN PASSWORD :'operator' IN ROLE tidings_operator;
CREATE ROLE worker LOGIN PASSWORD :'worker' IN ROLE tidings_worker;
CREATE ROLE deliverer LOGIN PASSWORD :'deliverer' IN ROLE tidings_deliverer;
CREATE ROLE gateway LOGIN PASSWORD :'gateway' IN ROLE tidings_gateway;

CREATE DATABASE tidings OWNER owner;
REVOKE ALL ON DATABASE tidings FROM PUBLIC;
GRANT CONNECT ON DATABASE tidings TO tidings_worker, tidings_deliverer, tidings_gateway, tidings_reader, tidings_verifier, tidings_operator;
