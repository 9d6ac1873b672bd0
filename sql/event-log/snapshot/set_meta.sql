-- One fact about the file.
INSERT INTO snapshot_meta (key, value) VALUES ($1, $2)
