-- One view of the file for as long as it lasts. In rollback mode its first reader's lock keeps writers from changing it.
BEGIN;
