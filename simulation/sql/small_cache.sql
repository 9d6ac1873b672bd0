PRAGMA cache_size = 2;
PRAGMA cache_spill = 1;
