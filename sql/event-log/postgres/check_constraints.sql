-- What would be checked at the commit is checked now.
SET CONSTRAINTS ALL IMMEDIATE
