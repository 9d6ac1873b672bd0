-- One pulled row that is to be set aside.
INSERT INTO temp.planned_aside VALUES (?1, ?2, ?3, ?4);
