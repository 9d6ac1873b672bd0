-- The only writer from here on.
BEGIN IMMEDIATE
