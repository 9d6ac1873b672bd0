//! Proofs under checkpoints: made from a log or from the kept leaves, checked offline; none can be bent.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use checkpoints::proof::TlogProof;
use ed25519_dalek::SigningKey;
use fixtures::{World, WorldSpec};
use serde_json::Value;
use ves::{Hash32, StreamKey};

use crate::common;
use crate::common::checkpointer::{Tree, cosigned, leaves, vkey, witness_vkey, write};

fn run(folder: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::cargo_bin("anchor-verify")
        .unwrap()
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .args(arguments)
        .args(["--format", "json"])
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let told = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), report, told)
}

struct Case {
    world: World,
    folder: tempfile::TempDir,
    stream: StreamKey,
}

impl Case {
    fn new() -> Self {
        let world = World::generate(&WorldSpec {
            events_per_stream: 45,
            batch_size: 11,
            ..WorldSpec::honest(2)
        });
        let folder = tempfile::tempdir().unwrap();
        world.write_log(&folder.path().join("log.db")).unwrap();
        let stream = *world.log().streams.keys().next().unwrap();
        let case = Self {
            world,
            folder,
            stream,
        };
        let tree = case.tree();
        let entries = [
            cosigned(tree.entry(10, Some(1))),
            tree.entry(20, Some(11)),
            cosigned(tree.entry(33, Some(21))),
            tree.entry(40, None),
        ];
        write(case.folder.path(), "c.checkpoints", &entries);
        case
    }

    fn tree(&self) -> Tree {
        Tree::new(
            self.stream,
            leaves(&self.world.log().streams[&self.stream], &self.stream),
        )
    }

    fn prove(&self, arguments: &[&str]) -> (i32, Value, String) {
        let given = [
            "prove",
            "--checkpoints",
            "c.checkpoints",
            "--checkpoint-key",
            &vkey(),
            "--force",
        ];
        run(self.folder.path(), &[&given, arguments].concat())
    }

    fn check(&self, file: &str, arguments: &[&str]) -> (i32, Value, String) {
        let given = ["check", file, "--checkpoint-key", &vkey()];
        run(self.folder.path(), &[&given, arguments].concat())
    }

    fn agent_key(&self, number: u64) -> String {
        let event = &self.world.log().streams[&self.stream].events[&number].event;
        let mut keys = self.world.log().keys.iter().map(|row| &row.key);
        let key = keys.find(|k| (k.agent_id, k.key_id) == (event.source_agent_id, event.agent_key_id));
        Hash32(key.unwrap().public_key.0).to_string()
    }
}

#[test]
fn an_event_is_proved_by_the_smallest_checkpoint_that_covers_it() {
    let case = Case::new();
    for (number, size) in [
        (1, 10),
        (10, 10),
        (11, 20),
        (27, 33),
        (33, 33),
        (34, 40),
        (40, 40),
    ] {
        let event = case.world.log().streams[&case.stream].events[&number]
            .event
            .event_id
            .to_string();
        let arguments = [
            "--event",
            &event,
            "--db",
            "log.db",
            "--with-payload",
            "--out",
            "p.tlog-proof",
        ];
        let (code, report, told) = case.prove(&arguments);
        assert_eq!((code, &report["size"]), (0, &size.into()), "{report} {told}");
        assert_eq!(report["schema"], "checkpoint-prove-report/1");
        let (code, check, told) =
            case.check("p.tlog-proof", &["--agent-public-key", &case.agent_key(number)]);
        assert_eq!(
            (code, &check["verdict"]),
            (0, &"CHECKPOINTED".into()),
            "{check} {told}"
        );
        assert_eq!(
            (&check["event_id"], &check["sequence_number"]),
            (&event.into(), &number.into())
        );
        assert!(check["word"].as_str().unwrap().ends_with("alone"));
        // It is what the specification says, whatever else is in it.
        let text = fs::read_to_string(case.folder.path().join("p.tlog-proof")).unwrap();
        let proof: TlogProof = text.parse().unwrap();
        assert_eq!(proof.index, number - 1);
    }
    // Behind the last checkpoint nobody signed anything.
    let stream = case.stream.to_string();
    let place = |number: &'static str| ["--stream", &stream, "--sequence", number, "--out", "p.tlog-proof"];
    for (number, words) in [("41", "lies behind its last checkpoint, of 40 events"), ("0", "")] {
        let (code, _, told) = case.prove(&[&place(number)[..], &["--db", "log.db"]].concat());
        assert!(code == 4 && told.contains(words), "{code} {told}");
    }
    // A log that is not what was signed proves nothing.
    case.world
        .write_recovered(&case.folder.path().join("recovered.db"))
        .unwrap();
    let (code, _, told) = case.prove(&[&place("30")[..], &["--db", "recovered.db"]].concat());
    assert!(code == 4 && told.contains("checkpoint.behind"), "{code} {told}");
    // What is less than an anchor is not taken for one.
    assert_eq!(case.check("p.tlog-proof", &["--require", "PROVEN"]).0, 4);
    assert_eq!(
        case.check("p.tlog-proof", &["--require", "MATCHES-DATABASE"]).0,
        0
    );
    // A proof takes the key, and the witnesses that are asked for.
    assert_eq!(run(case.folder.path(), &["check", "p.tlog-proof"]).0, 16);
    let (code, check, _) = case.check("p.tlog-proof", &["--witness-key", &witness_vkey()]);
    assert_eq!(
        (code, &check["failures"][0]["code"]),
        (4, &"checkpoint.refused".into())
    );
}

#[test]
fn kept_leaves_alone_prove_a_leaf_and_whoever_has_the_event_knows_it() {
    let case = Case::new();
    let stream = case.stream.to_string();
    let place = |number: &'static str| ["--stream", &stream, "--sequence", number, "--out", "p.tlog-proof"];
    let (code, report, told) = case.prove(&place("27"));
    assert_eq!((code, &report["size"]), (0, &33.into()), "{told}");
    let (code, check, _) = case.check("p.tlog-proof", &[]);
    assert_eq!((code, &check["event_signing_hash"]), (0, &Value::Null), "{check}");
    assert!(
        check["not_checked"]
            .to_string()
            .contains("the proof knows its leaf alone")
    );
    // With the witness's word, since the checkpoint has it.
    let (code, check, _) = case.check("p.tlog-proof", &["--witness-key", &witness_vkey()]);
    assert!(
        code == 0
            && check["word"]
                .as_str()
                .unwrap()
                .contains("cosigned by witness.example/1"),
        "{check}"
    );
    let export = common::export_of(&case.world);
    let line = |number: u64| {
        let is_it = |line: &&str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["type"] == "event"
                && line["sequence_number"] == number
                && line["store_id"] == case.stream.store_id.to_string()
                && line["tenant_id"] == case.stream.tenant_id.to_string()
        };
        export.lines().find(is_it).unwrap().to_owned()
    };
    fs::write(case.folder.path().join("event"), line(27)).unwrap();
    let (code, check, told) = case.check(
        "p.tlog-proof",
        &["--event", "event", "--agent-public-key", &case.agent_key(27)],
    );
    assert_eq!(code, 0, "{check} {told}");
    assert!(check["event_id"].is_string(), "{check}");
    // Another event, or this one with another payload, is not it.
    fs::write(case.folder.path().join("event"), line(26)).unwrap();
    assert_eq!(case.check("p.tlog-proof", &["--event", "event"]).0, 4);
    let mut altered: Value = serde_json::from_str(&line(27)).unwrap();
    altered["entity_id"] = "forged".into();
    fs::write(case.folder.path().join("event"), altered.to_string()).unwrap();
    let (code, check, _) = case.check("p.tlog-proof", &["--event", "event"]);
    assert_eq!(
        (code, &check["failures"][0]["code"]),
        (4, &"event.signing_hash".into()),
        "{check}"
    );
    // Of a checkpoint that came without leaves nothing is made, and nothing of what an event is.
    let (code, _, told) = case.prove(&place("38"));
    assert!(
        code == 4 && told.contains("not the leaves up to one of them"),
        "{told}"
    );
    assert_eq!(case.prove(&[&place("27")[..], &["--with-event"]].concat()).0, 16);
}

#[test]
fn a_bent_proof_fails() {
    let case = Case::new();
    let stream = case.stream.to_string();
    let arguments = [
        "--stream",
        &stream,
        "--sequence",
        "27",
        "--db",
        "log.db",
        "--with-payload",
        "--out",
        "p.tlog-proof",
    ];
    assert_eq!(case.prove(&arguments).0, 0);
    let path = case.folder.path().join("p.tlog-proof");
    let honest: TlogProof = fs::read_to_string(&path).unwrap().parse().unwrap();
    let other_stream = case.world.log().streams.keys().nth(1).unwrap().to_string();
    let event = |proof: &mut TlogProof, change: &dyn Fn(&mut Value)| {
        let mut event: Value = serde_json::from_slice(proof.extra.as_ref().unwrap()).unwrap();
        change(&mut event);
        proof.extra = Some(serde_json::to_vec(&event).unwrap());
    };
    type Bend<'a> = (&'a str, &'a dyn Fn(&mut TlogProof));
    let bends: [Bend<'_>; 17] = [
        ("another index", &|p| p.index += 1),
        ("an index beyond the tree", &|p| p.index += 64),
        ("a hash of the path", &|p| p.path[2].0[0] ^= 1),
        ("a shorter path", &|p| {
            p.path.pop();
        }),
        ("a longer path", &|p| p.path.push(Hash32::ZERO)),
        ("no path", &|p| p.path.clear()),
        ("another size", &|p| {
            p.note.text = p.note.text.replace("\n33\n", "\n34\n");
        }),
        ("another root", &|p| {
            let root = p.note.text.lines().nth(2).unwrap().to_owned();
            p.note.text = p.note.text.replace(&root, &case.tree_root(40));
        }),
        ("another stream in the note", &|p| {
            p.note.text = p.note.text.replace(&stream, &other_stream);
        }),
        ("another time", &|p| {
            p.note.text = p.note.text.replace("time 1970", "time 1971");
        }),
        ("another signature", &|p| p.note.signatures[0].bytes[5] ^= 1),
        ("signed by somebody else", &|p| {
            let checkpoint = checkpoints::Checkpoint::read(&p.note.text).unwrap();
            p.note = checkpoint.sign(&SigningKey::from_bytes(&[66; 32]));
        }),
        ("another number in the event", &|p| {
            event(p, &|e| e["sequence_number"] = 26.into());
        }),
        ("another signing hash", &|p| {
            event(p, &|e| common::flip(&mut e["event_signing_hash"]));
        }),
        ("another agent's signature", &|p| {
            event(p, &|e| common::flip(&mut e["agent_signature"]));
        }),
        ("another field of the event", &|p| {
            event(p, &|e| e["event"]["entity_id"] = "forged".into());
        }),
        ("no event", &|p| p.extra = None),
    ];
    for (what, bend) in bends {
        let mut bent = honest.clone();
        bend(&mut bent);
        assert_ne!(bent, honest, "{what}");
        fs::write(&path, bent.to_string()).unwrap();
        let (code, check, told) = case.check("p.tlog-proof", &[]);
        assert_eq!(
            (code, &check["verdict"]),
            (4, &"FAILED".into()),
            "{what}: {check} {told}"
        );
        assert!(!check["failures"].as_array().unwrap().is_empty(), "{what}");
    }
    // Another payload in it, of whichever kind.
    let mut bent = honest.clone();
    event(&mut bent, &|e| {
        let payload = e["event"]["payload"].to_string();
        assert!(payload.contains("{"), "{payload}");
        e["event"]["payload"] = serde_json::from_str(&payload.replacen("\\\"", "\\\"forged", 1)).unwrap();
    });
    fs::write(&path, bent.to_string()).unwrap();
    let (code, check, _) = case.check("p.tlog-proof", &[]);
    assert_eq!(
        (code, &check["failures"][0]["code"]),
        (4, &"event.payload_hash".into()),
        "{check}"
    );
    for no_proof in [
        "c2sp.org/tlog-proof@v1\n",
        "c2sp.org/tlog-proof@v2\nindex 1\n\nx\n",
    ] {
        fs::write(&path, no_proof).unwrap();
        assert_eq!(case.check("p.tlog-proof", &[]).0, 8);
    }
}

impl Case {
    fn tree_root(&self, size: usize) -> String {
        let entry = self.tree().entry(size as u64, None);
        entry.checkpoint.text().lines().nth(2).unwrap().to_owned()
    }
}
