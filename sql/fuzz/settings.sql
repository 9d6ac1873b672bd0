-- A scratch database that nobody will miss.
PRAGMA synchronous = OFF;
PRAGMA journal_mode = OFF;
