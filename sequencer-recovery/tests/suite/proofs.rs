//! Proofs about what the log has lost, and proofs that only another copy has.

use crate::common;

use common::{Data, Db, Ran, Server, run};
use serde_json::Value;

/// A proof about each of two batches or events: one that is there and one that is not.
const ORPHANS: &str = "
    ALTER TABLE ves_validity_proofs DROP CONSTRAINT ves_validity_proofs_batch_id_fkey;
    ALTER TABLE ves_compliance_proofs DROP CONSTRAINT ves_compliance_proofs_event_id_fkey;
    INSERT INTO ves_validity_proofs (proof_id, batch_id, tenant_id, store_id, proof_type, proof_version, proof, proof_hash)
        SELECT '00000000-0000-4000-8000-0000000000a1', batch_id, tenant_id, store_id, 'stark', 1, '\\x00',
            decode(repeat('00', 32), 'hex')
        FROM ves_commitments ORDER BY batch_id LIMIT 1;
    INSERT INTO ves_validity_proofs (proof_id, batch_id, tenant_id, store_id, proof_type, proof_version, proof, proof_hash)
        SELECT ('00000000-0000-4000-8000-0000000000b' || n)::uuid, '00000000-0000-4000-8000-00000000dead', tenant_id,
            store_id, 'stark', n, '\\x00', decode(repeat('00', 32), 'hex')
        FROM generate_series(1, 5) n,
            (SELECT tenant_id, store_id FROM ves_sequence_counters ORDER BY store_id LIMIT 1) AS s;
    INSERT INTO ves_compliance_proofs (
        proof_id, event_id, tenant_id, store_id, proof_type, proof_version, policy_id, policy_hash, proof, proof_hash)
        SELECT '00000000-0000-4000-8000-0000000000c1', event_id, tenant_id, store_id, 'stark', 1, 'p',
            decode(repeat('00', 32), 'hex'), '\\x00', decode(repeat('00', 32), 'hex')
        FROM ves_events ORDER BY event_id LIMIT 1;
    INSERT INTO ves_compliance_proofs (
        proof_id, event_id, tenant_id, store_id, proof_type, proof_version, policy_id, policy_hash, proof, proof_hash)
        SELECT '00000000-0000-4000-8000-0000000000c2', '00000000-0000-4000-8000-00000000beef', tenant_id, store_id,
            'stark', 1, 'p', decode(repeat('00', 32), 'hex'), '\\x00', decode(repeat('00', 32), 'hex')
        FROM ves_sequence_counters ORDER BY store_id LIMIT 1;";

fn audit(db: &Db, more: &[&str]) -> Ran {
    let db = db.arg();
    let mut args = vec!["audit", "--format", "json", "--db", &db];
    args.extend(more);
    run(args)
}

fn findings(ran: &Ran, code: &str) -> Vec<Value> {
    let report = ran.json();
    let all = report["findings"].as_array().unwrap().iter();
    all.filter(|f| f["code"] == code).cloned().collect()
}

#[test]
fn proofs_about_what_the_log_has_lost_are_named() {
    let data = Data::golden();
    let Some(server) = Server::start() else { return };
    let whole = server.load("golden", &data.dir.join("log.copy.sql"));
    let ran = audit(&whole, &[]);
    assert_eq!(findings(&ran, "proof.orphan"), [] as [Value; 0]);
    let orphaned = server.copy("orphaned", &whole);
    // The sequencer's own triggers refuse such proofs.
    for table in ["ves_validity_proofs", "ves_compliance_proofs"] {
        orphaned.execute(&format!("ALTER TABLE {table} DISABLE TRIGGER USER"));
    }
    orphaned.execute(ORPHANS);
    let file = orphaned.snapshot(data.path("orphaned.db"));
    let mut reports = Vec::new();
    for db in [&orphaned, &file] {
        let found = findings(&audit(db, &[]).expect(4), "proof.orphan");
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((&found[0]["count"], &found[1]["count"]), (&5.into(), &1.into()));
        let text = found[0]["message"].as_str().unwrap();
        for word in [
            "5 row(s) of ves_validity_proofs",
            "0000000000b1 about batch",
            "00000000dead",
            "and 2 more",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let text = found[1]["message"].as_str().unwrap();
        assert!(
            text.contains("0000000000c2 about event") && text.contains("00000000beef"),
            "{text}"
        );
        reports.push(found);
        // Of another tenant nothing is told.
        let other = audit(db, &["--tenant", "00000000-0000-4000-8000-000000000001"]);
        assert_eq!(findings(&other, "proof.orphan"), [] as [Value; 0]);
    }
    assert_eq!(reports[0], reports[1]);

    // What the other copy has and this one does not.
    let before = whole.snapshot(data.path("whole.db"));
    for (db, witness) in [(&whole, &orphaned), (&before, &file)] {
        let ran = audit(db, &["--witness", &witness.arg()]).expect(4);
        let found = findings(&ran, "proof.missing");
        let count: u64 = found.iter().map(|f| f["count"].as_u64().unwrap()).sum();
        assert_eq!(count, 8, "{found:?}");
        let ran = audit(witness, &["--witness", &db.arg()]);
        assert_eq!(findings(&ran, "proof.missing"), [] as [Value; 0]);
    }
}
