-- Back to before a row that could not be read, or before settings for one question; the view stays the same.
ROLLBACK TO SAVEPOINT reading;
RELEASE SAVEPOINT reading;
