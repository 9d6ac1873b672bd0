-- The columns of one table; upgraded files have them in another order than new ones.
SELECT name FROM pragma_table_info(?1);
