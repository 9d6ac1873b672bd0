-- Settings of a connection that reads each page of a table once. Few pages are kept (128 KiB): what is used again is the way
-- down to them, and memory that is used again soon is still in the processor's cache.
PRAGMA cache_size = -128;
