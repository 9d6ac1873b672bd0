-- Everything was read.
RELEASE SAVEPOINT reading
