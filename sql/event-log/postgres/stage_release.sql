-- The group has arrived.
RELEASE SAVEPOINT before_group
