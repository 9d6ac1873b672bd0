-- Keys of other agents that this one fetched from the sequencer, by column name.
SELECT * FROM _ves_peer_keys ORDER BY agent_id, key_id LIMIT ?1;
