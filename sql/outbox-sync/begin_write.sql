-- One transaction for all changes. It keeps other writers out from its beginning on.
BEGIN IMMEDIATE;
