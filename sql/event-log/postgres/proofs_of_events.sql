-- How many proofs there are about the given events, by whatever stream they say they are of.
SELECT COUNT(*) FROM ves_compliance_proofs WHERE event_id = ANY ($1)
