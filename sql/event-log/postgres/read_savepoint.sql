-- What cannot be read from here on does not end the transaction.
SAVEPOINT reading
