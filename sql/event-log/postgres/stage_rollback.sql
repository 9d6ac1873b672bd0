-- As if the group had never arrived.
ROLLBACK TO SAVEPOINT before_group
