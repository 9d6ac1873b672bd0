-- One of the agent's own rows that is to be changed.
INSERT INTO temp.planned_own VALUES (?1, ?2, ?3, ?4, ?5, ?6);
