//! `gaps`: the first look says what the audit says about gaps, without witnesses.

use crate::common;

use common::{Data, Db, ECHO_STORE, Server, run};
use serde_json::Value;

fn json(db: &Db, command: &str, more: &[&str], code: i32) -> Value {
    let db = db.arg();
    let mut args = vec![command, "--format", "json", "--db", &db];
    args.extend(more);
    run(args).expect(code).json()
}

#[test]
fn gaps_says_what_the_audit_says_of_gaps() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    recovered.execute(
        "ALTER TABLE ves_sequencer_receipts DROP CONSTRAINT ves_sequencer_receipts_event_id_fkey;
         DELETE FROM ves_events WHERE sequence_number IN (1, 2, 7, 9, 10, 11);
         DELETE FROM ves_sequencer_receipts r WHERE NOT EXISTS (SELECT FROM ves_events e WHERE e.event_id = r.event_id);
         UPDATE ves_sequence_counters SET current_sequence = current_sequence + 5",
    );
    let file = recovered.snapshot(data.path("recovered.db"));
    for db in [&recovered, &file] {
        let gaps = json(db, "gaps", &[], 4);
        let audit = json(db, "audit", &[], 4);
        let of = |report: &Value| -> Vec<Value> {
            let streams = report["streams"].as_array().unwrap().iter();
            streams
                .map(|s| serde_json::json!([s["store_id"], s["missing"], s["gaps"], s["counter"], s["head"]]))
                .collect()
        };
        assert_eq!(of(&gaps), of(&audit));
        assert!(gaps["not_checked"].as_array().unwrap().len() >= 2);
        let one = json(db, "gaps", &["--store", ECHO_STORE], 4);
        assert_eq!(one["streams"].as_array().unwrap().len(), 1);
        let shown = run(["gaps", "--db", &db.arg()]).expect(4).stdout;
        for word in [
            "leading  1-2 (2)",
            "interior 7-7 (1)",
            "interior 9-11 (3)",
            "NOT CHECKED",
        ] {
            assert!(shown.contains(word), "{word}: {shown}");
        }
    }
    let golden = Data::golden();
    let whole = server.load("golden", &golden.dir.join("log.copy.sql"));
    let report = json(&whole, "gaps", &[], 0);
    assert!(
        report["streams"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["missing"] == 0)
    );
}
