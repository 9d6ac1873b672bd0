-- Back to here if a row of the group is refused, to find out which.
SAVEPOINT before_group
