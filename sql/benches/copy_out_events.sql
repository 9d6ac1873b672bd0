-- What a reading of the log is measured beside: its events as the server gives them out at its fastest.
COPY ves_events TO STDOUT (FORMAT binary)
