-- Which process of the server does our work, to be asked about and cancelled from another connection.
SELECT pg_backend_pid() AS pid
