-- Forgets which alarms were open, before those that are open now are kept.
DELETE FROM alarms
