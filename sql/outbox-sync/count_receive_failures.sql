SELECT count(*) FROM _ves_receive_failures;
