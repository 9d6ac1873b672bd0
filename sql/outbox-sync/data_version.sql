-- A number that is another one once somebody else has committed.
PRAGMA data_version;
