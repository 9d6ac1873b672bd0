-- Is the file sound to the last index? One row "ok", or up to 20 rows that say what is wrong.
PRAGMA integrity_check(20);
