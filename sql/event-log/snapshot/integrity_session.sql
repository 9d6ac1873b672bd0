-- A snapshot is a copy of what was there, even where that breaks a check: not what is looked for.
PRAGMA ignore_check_constraints = ON
