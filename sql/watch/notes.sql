-- What is noted of the log as a whole.
SELECT name, value FROM notes
