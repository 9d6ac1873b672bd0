-- What the file says it is.
SELECT key, value FROM snapshot_meta
