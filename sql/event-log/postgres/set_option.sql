-- One of the settings that the URL asks for, in this transaction alone.
SELECT set_config($1, $2, true)
