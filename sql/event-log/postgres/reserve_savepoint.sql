-- Back to here if a command is about to be accepted by another transaction.
SAVEPOINT before_commands
