DELETE FROM ves_sequence_counters WHERE ?1 > 0;
