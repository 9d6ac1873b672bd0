-- How many proofs there are about an event, by whatever stream they say they are of.
SELECT COUNT(*) FROM ves_compliance_proofs WHERE event_id = $1
