-- Lets go of the commands that were reserved.
ROLLBACK TO SAVEPOINT before_commands;
RELEASE SAVEPOINT before_commands
