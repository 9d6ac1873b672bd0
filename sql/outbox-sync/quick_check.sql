-- Is the file sound? One row "ok", or up to 20 rows that say what is wrong.
PRAGMA quick_check(20);
