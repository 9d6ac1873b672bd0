//! The guard: no sequencer starts on a log that is behind what was promised, however that came about, and a sanctioned repair
//! passes.
#![cfg(unix)]

use std::fs;

use checkpoints::{Checkpoint, Origin};
use ed25519_dalek::SigningKey;
use fixtures::WorldSpec;
use serde_json::Value;
use test_support::ScratchPostgres;
use ves::Hash32;

use crate::checkpoint::{NAME, Signed, history, vkey};
use crate::common::{Db, Ran, args, run, text, unwrapped};

fn guard(db: &str, more: &[&str]) -> Ran {
    let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
    run(args(["guard", "--format", "json", "--db", db], &more))
}

#[track_caller]
fn codes(ran: &Ran) -> Vec<String> {
    let report = ran.json();
    let findings = report["findings"].as_array().unwrap().iter();
    let mut codes: Vec<String> = findings.map(|f| f["code"].as_str().unwrap().to_owned()).collect();
    codes.dedup();
    codes
}

fn operator(signed: &Signed, name: &str, n: u8) -> (String, String) {
    let (seed, public) = (
        signed.path(&format!("{name}.seed")),
        signed.path(&format!("{name}.pub")),
    );
    fs::write(&seed, format!("{n:02x}").repeat(32)).unwrap();
    let key = SigningKey::from_bytes(&[n; 32]).verifying_key();
    fs::write(&public, Hash32(key.to_bytes()).to_string()).unwrap();
    (text(&seed), text(&public))
}

#[test]
fn a_log_behind_a_checkpoint_an_anchor_or_a_note_does_not_pass() {
    let signed = Signed::new(&WorldSpec::default());
    let (log, out, notes, key) = (
        signed.arg("log.db"),
        signed.arg("out/"),
        signed.arg("notes.json"),
        vkey().to_string(),
    );
    signed.world.write_anchors(&signed.path("anchors.json")).unwrap();
    let anchors = signed.arg("anchors.json");
    let checkpoints = ["--checkpoints", &out, "--checkpoint-key", &key];
    let state = ["--state", notes.as_str()];

    signed.grow_to(60);
    run(["guard", "--db", &log]).expect(16);
    // The first look has nothing to compare with, and says so.
    let first = guard(&log, &state).expect(0).json();
    assert_eq!(
        (&first["passed"], &first["learned"]),
        (&true.into(), &true.into())
    );
    assert_eq!(first["rows"], 0, "{first}");
    run(["guard", "--db", &log, "--state", &signed.arg("other.json")])
        .expect(0)
        .shows(&["LEARNED: 4 stream(s)"]);
    signed.sign("out/", &[]).expect(0);
    signed.grow_to(100);
    signed.sign("out/", &[]).expect(0);
    let all = [&checkpoints[..], &state, &["--anchors", &anchors]].concat();
    let report = guard(&log, &all).expect(0).json();
    assert_eq!(
        (&report["rows"], &report["learned"]),
        (&404.into(), &false.into())
    );
    assert!(
        report["streams"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["compared"] == 2),
        "{report}"
    );
    // What was compared before is not read again, as long as its last event stands.
    assert_eq!(guard(&log, &all).expect(0).json()["rows"], 8);
    assert_eq!(
        guard(&log, &["--quick", "--anchors", &anchors]).expect(0).json()["rows"],
        0
    );

    // Rewound: each of them alone knows it.
    let kept = fs::read(&notes).unwrap();
    signed.grow_to(60);
    for (with, code) in [
        (&checkpoints[..], "checkpoint.behind"),
        (&state[..], "guard.behind"),
        (&["--anchors", &anchors], "gap.tail"),
    ] {
        for more in [&[][..], &["--quick"]] {
            let ran = guard(&log, &[with, more].concat()).expect(4);
            let found = codes(&ran);
            assert!(
                found.contains(&code.to_owned()) && found.contains(&"counter.behind".to_owned()),
                "{found:?}"
            );
            assert!(
                ran.json()["next"]["command"]
                    .as_str()
                    .unwrap()
                    .contains(" audit --db ")
            );
        }
    }
    assert_eq!(
        fs::read(&notes).unwrap(),
        kept,
        "notes are raised by who passes alone"
    );
    let told = run(args(["guard", "--db", &log], &all.map_owned())).expect(4);
    for word in [
        "REFUSED: the sequencer must not start; 4 of 4",
        "NEXT: do NOT start the sequencer",
    ] {
        assert!(unwrapped(&told.stdout).contains(word), "{word}: {}", told.stdout);
    }
    // Its counters alone: the rows are there.
    let db = signed.grow_to(100);
    db.execute("UPDATE ves_sequence_counters SET current_sequence = 99");
    let ran = guard(&log, &checkpoints).expect(4);
    assert_eq!(codes(&ran), ["counter.behind"]);
    assert!(
        ran.json()["next"]["command"]
            .as_str()
            .unwrap()
            .contains(" counters --db ")
    );
    db.execute("DELETE FROM ves_sequence_counters");
    assert_eq!(codes(&guard(&log, &checkpoints).expect(4)), ["counter.missing"]);

    // Rewound, and run on over the promised numbers: the end is where it was, and the events are others.
    let db = signed.grow_to(100);
    db.execute("UPDATE ves_events SET agent_signature = zeroblob(64) WHERE sequence_number > 60");
    assert_eq!(codes(&guard(&log, &state).expect(4)), ["guard.changed"]);
    assert_eq!(
        codes(&guard(&log, &checkpoints).expect(4)),
        ["checkpoint.mismatch"]
    );
    guard(&log, &[&checkpoints[..], &["--quick"]].concat()).expect(0);
    // A hole below the checkpoint.
    let db = signed.grow_to(100);
    db.execute("DELETE FROM ves_events WHERE sequence_number = 30");
    assert_eq!(codes(&guard(&log, &checkpoints).expect(4)), ["checkpoint.behind"]);
    // A stream that only they know.
    let db = signed.grow_to(100);
    let store = signed.streams()[0].store_id;
    db.execute(&format!(
        "DELETE FROM ves_events WHERE store_id = '{store}'; DELETE FROM ves_sequence_counters WHERE store_id = '{store}'"
    ));
    let refused = guard(&log, &checkpoints).expect(4).json();
    let passes = refused["streams"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["passes"] == true)
        .count();
    assert_eq!(passes, 3);
    assert_eq!(
        codes(&guard(&log, &state).expect(4)),
        ["counter.missing", "guard.behind"]
    );
}

/// For lists of words.
trait Owned {
    fn map_owned(&self) -> Vec<String>;
}

impl Owned for Vec<&str> {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|word| (*word).to_owned()).collect()
    }
}

#[test]
fn what_cannot_be_looked_at_is_no_pass_and_what_is_forged_counts_for_nothing() {
    let signed = Signed::new(&WorldSpec::default());
    let (log, out, key) = (
        signed.arg("log.db"),
        signed.arg("out.checkpoints"),
        vkey().to_string(),
    );
    signed.grow_to(60);
    signed.sign("out.checkpoints", &[]).expect(0);
    let with = |path: &str| guard(&log, &["--checkpoints", path, "--checkpoint-key", &key]);
    with(&out).expect(0);
    with(&signed.arg("none.checkpoints")).expect(8);
    fs::write(signed.path("bad.json"), "{").unwrap();
    guard(&log, &["--state", &signed.arg("bad.json")]).expect(8);
    guard(&log, &["--state", &signed.arg("state.json")])
        .expect(8)
        .says(&["checkpoint-state/1"]);
    guard(&signed.arg("nowhere.db"), &["--state", &signed.arg("n.json")]).expect(8);
    fs::write(signed.path("empty.checkpoints"), "").unwrap();
    assert_eq!(
        codes(&with(&signed.arg("empty.checkpoints")).expect(4)),
        ["checkpoint.none"]
    );
    // Cut short in its last entry, as a checkpointer that was killed leaves it: the rest counts, and that is told.
    let whole = fs::read_to_string(&out).unwrap();
    fs::write(signed.path("cut.checkpoints"), &whole[..whole.len() - 100]).unwrap();
    let cut = with(&signed.arg("cut.checkpoints")).expect(0).json();
    assert!(
        cut["not_checked"].to_string().contains("cut.checkpoints"),
        "{cut}"
    );

    // Signed by somebody else, or altered.
    let origin = Origin {
        deployment: NAME.into(),
        stream: signed.streams()[0],
        generation: 1,
    };
    let text_of = |size, n: u8, signer: u8| {
        let root = Hash32([n; 32]);
        let checkpoint = Checkpoint {
            origin: origin.clone(),
            size,
            root,
            time: None,
            continues: None,
        };
        checkpoint
            .sign(&SigningKey::from_bytes(&[signer; 32]))
            .to_string()
    };
    let forged = signed.path("forged.checkpoints");
    fs::write(&forged, text_of(500, 1, 8)).unwrap();
    assert_eq!(codes(&with(&text(&forged)).expect(4)), ["checkpoint.none"]);
    fs::write(&forged, format!("{whole}{}", text_of(500, 1, 8))).unwrap();
    with(&text(&forged)).expect(0);
    fs::write(
        &forged,
        format!("{whole}{}", text_of(59, 1, 7).replace("\n59\n", "\n58\n")),
    )
    .unwrap();
    assert_eq!(codes(&with(&text(&forged)).expect(4)), ["checkpoint.signature"]);
    // Two roots for one size, by the key itself: whoever did that, nothing starts.
    fs::write(&forged, format!("{whole}{}", text_of(60, 1, 7))).unwrap();
    assert!(codes(&with(&text(&forged)).expect(4)).contains(&"checkpoint.two_roots".to_owned()));
    // A generation that nobody sanctioned, on a log that was rewound: only a key of the deployment's can sign one.
    signed.grow_to(40);
    let g2 = Origin {
        generation: 2,
        ..origin.clone()
    };
    let continues = Some(checkpoints::Continues {
        size: 0,
        root: ves::log_tree::empty_root(),
        epoch: Hash32::ZERO,
        loss: None,
    });
    let opened = Checkpoint {
        origin: g2,
        size: 40,
        root: Hash32::ZERO,
        time: None,
        continues,
    };
    for (signer, code) in [(8, "checkpoint.behind"), (7, "checkpoint.mismatch")] {
        let note = opened.sign(&SigningKey::from_bytes(&[signer; 32]));
        fs::write(&forged, format!("{whole}{note}")).unwrap();
        assert!(codes(&with(&text(&forged)).expect(4)).contains(&code.to_owned()));
    }
}

#[test]
fn losses_that_the_operator_signed_for_pass_with_a_new_generation_and_nothing_else_does() {
    let signed = Signed::new(&WorldSpec {
        lost_outboxes: 2,
        ..WorldSpec::default()
    });
    let (log, out, notes, key) = (
        signed.arg("log.db"),
        signed.arg("out/"),
        signed.arg("notes.json"),
        vkey().to_string(),
    );
    let (seed, public) = operator(&signed, "operator", 5);
    let (other_seed, other_public) = operator(&signed, "other", 6);
    signed.world.write_anchors(&signed.path("anchors.json")).unwrap();
    fs::create_dir(signed.path("outboxes")).unwrap();
    signed.world.write_outboxes(&signed.path("outboxes")).unwrap();
    let checkpoints = ["--checkpoints", &out, "--checkpoint-key", &key];
    let base = [&checkpoints[..], &["--state", &notes, "--anchors"]].concat();
    let anchors = signed.arg("anchors.json");
    let base = [&base[..], &[&anchors]].concat();
    for number in [50, 80, 100] {
        signed.grow_to(number);
        signed.sign("out/", &[]).expect(0);
    }
    guard(&log, &base).expect(0);

    // The disaster, and a repair that cannot bring everything back.
    fs::remove_file(signed.path("log.db")).unwrap();
    signed.world.write_recovered(&signed.path("log.db")).unwrap();
    guard(&log, &base).expect(4);
    let plan = signed.arg("plan.ndjson");
    let outboxes = signed.arg("outboxes");
    run([
        "plan",
        "--db",
        &log,
        "--outbox",
        &outboxes,
        "--anchors",
        &anchors,
        "--out",
        &plan,
        "--accept",
        "claimed",
        "--fill-losses",
        "tombstone",
        "--fill-undecided",
        "--root-will-not-match",
        "--recovery-agent",
        "00000000-0000-4000-8000-00000000aaaa",
        "--register-recovery-key",
        "--recovery-key",
        &seed,
        "--checkpoints",
        &out,
        "--checkpoint-key",
        &key,
    ]);
    let applied = run(["apply", &plan, "--db", &log]);
    assert_eq!(applied.code & !4, 1, "{}", applied.stderr);
    let losses = signed.arg("losses.json");
    run(["certify", &plan, "--out", &losses, "--key", &seed]);
    assert!(signed.path("losses.json").exists());
    // The log is whole again, and is not what was signed.
    guard(&log, &base).expect(4);
    let epoch = |out: &str, key: &str| {
        let out = signed.arg(out);
        run([
            "epoch",
            "--db",
            &log,
            "--plan",
            &plan,
            "--out",
            &out,
            "--epoch-key",
            key,
            "--checkpoints",
            &signed.arg("out/"),
            "--checkpoint-key",
            &vkey().to_string(),
            "--loss-certificate",
            &losses,
            "--format",
            "json",
        ])
        .expect(0)
        .json()
    };
    let drawn = epoch("epoch.json", &seed);
    assert!(!drawn["generations"].as_array().unwrap().is_empty(), "{drawn}");
    let written: Value = serde_json::from_slice(&fs::read(signed.path("epoch.json")).unwrap()).unwrap();
    let opened: Vec<&Value> = written["streams"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| !s["generation"].is_null())
        .collect();
    assert!(
        opened
            .iter()
            .all(|s| s["generation"]["number"] == 2 && s["generation"]["loss"].is_string())
    );
    assert!(
        opened.iter().any(|s| s["generation"]["common_size"] == 50),
        "{opened:?}"
    );

    // Forged, altered, of another operator: no word of it counts.
    epoch("forged.json", &other_seed);
    let altered = fs::read_to_string(signed.path("epoch.json"))
        .unwrap()
        .replace("\"common_size\": 50", "\"common_size\": 0");
    fs::write(signed.path("altered.json"), altered).unwrap();
    let good = signed.arg("epoch.json");
    for (file, public) in [
        ("forged.json", &public),
        ("altered.json", &public),
        ("epoch.json", &other_public),
    ] {
        let file = signed.arg(file);
        let with = ["--epoch", &file, "--epoch-public-key", public];
        guard(&log, &[&base[..], &with].concat())
            .expect(8)
            .says(&["signature does not hold"]);
        signed.sign("out/", &with).expect(8);
    }
    let with = ["--epoch", good.as_str(), "--epoch-public-key", &public];
    signed.sign("out/", &[]).expect(4);
    let sanctioned = [&base[..], &with].concat();
    let passed = guard(&log, &sanctioned).expect(0).json();
    assert!(
        passed["streams"]
            .as_array()
            .unwrap()
            .iter()
            .any(|s| s["generation"] == 2 && s["passes"] == true)
    );

    // The checkpointer opens the generation, and from then on the checkpoints say so themselves.
    let report = signed.sign("out/", &with).expect(0).json();
    let second = report["streams"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["opened"] == true)
        .count();
    assert_eq!(second, opened.len());
    assert_eq!(signed.sign("out/", &with).expect(0).json()["cost"]["rows"], 4);
    signed.sign("out/", &[]).expect(0);
    let read = history(&[signed.path("out")]);
    assert_eq!(read.conflicts, []);
    let hash = outbox_sync::epoch::RecoveryEpoch::read(good.as_ref())
        .unwrap()
        .hash()
        .unwrap();
    for stream in read.streams.iter().filter(|s| s.generations.len() == 2) {
        assert_eq!(stream.generations[1].continues().unwrap().epoch, hash);
    }
    guard(&log, &base).expect(0);
    // A party that never had notes is told the same.
    guard(&log, &checkpoints).expect(0);

    // The same epoch explains no second disaster.
    let db = Db::Snapshot(signed.path("log.db"));
    db.execute("DELETE FROM ves_sequencer_receipts WHERE sequence_number > 90; DELETE FROM ves_events WHERE sequence_number > 90");
    for with in [&base, &sanctioned] {
        let found = codes(&guard(&log, with).expect(4));
        assert!(found.contains(&"checkpoint.behind".to_owned()), "{found:?}");
    }
    let alone = ["--state", &notes, "--epoch", &good, "--epoch-public-key", &public];
    assert_eq!(codes(&guard(&log, &alone).expect(4)), ["guard.behind"]);
}

/// A real server, recovered to a point in time below its checkpoints; the sequencer is started through the guard.
#[test]
fn after_a_real_recovery_no_sequencer_starts_before_the_repair() {
    if !test_support::postgres_available() {
        return;
    }
    let signed = Signed::new(&WorldSpec::default());
    let mut server = ScratchPostgres::start_archiving();
    let mut url = server.create_database("log");
    signed.world.write_copy(&signed.path("log.sql")).unwrap();
    test_support::load_schema(&url);
    test_support::load_copy_file(&url, &signed.path("log.sql"));
    let (out, notes, key) = (signed.arg("out/"), signed.arg("notes.json"), vkey().to_string());
    let sign = |url: &str, more: &[&str]| {
        let key = signed.arg("key");
        let state = signed.arg("state.json");
        let given = [
            "checkpoint",
            "--db",
            url,
            "--state",
            &state,
            "--key",
            &key,
            "--name",
            NAME,
            "--out",
            &out,
        ];
        run(given.iter().chain(more))
    };
    let checkpoints = ["--checkpoints", out.as_str(), "--checkpoint-key", &key];
    let base = [&checkpoints[..], &["--state", &notes]].concat();
    // As it was before the last 40 events of each stream.
    for statement in [
        "CREATE SCHEMA later",
        "CREATE TABLE later.e AS SELECT * FROM public.ves_events WHERE sequence_number > 60",
        "CREATE TABLE later.r AS SELECT * FROM public.ves_sequencer_receipts WHERE sequence_number > 60",
        "DELETE FROM public.ves_sequencer_receipts WHERE sequence_number > 60",
        "DELETE FROM public.ves_events WHERE sequence_number > 60",
        "DELETE FROM public.ves_commitments WHERE sequence_end > 60",
        "UPDATE public.ves_sequence_counters SET current_sequence = 60",
    ] {
        let _ = test_support::query(&url, statement);
    }
    sign(&url, &[]).expect(0);
    server.base_backup().unwrap();
    let _ = test_support::query(&url, "SELECT pg_create_restore_point('before')");
    for statement in [
        "INSERT INTO public.ves_events SELECT * FROM later.e",
        "INSERT INTO public.ves_sequencer_receipts SELECT * FROM later.r",
        "UPDATE public.ves_sequence_counters SET current_sequence = 100",
    ] {
        let _ = test_support::query(&url, statement);
    }
    sign(&url, &[]).expect(0);
    guard(&url, &base).expect(0);

    server.recover_to("before");
    // It listens at another port.
    url = server.database_url("log");
    let start = |more: &str| {
        let started = signed.path("started");
        let _ = fs::remove_file(&started);
        let guard = base
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" ");
        let line = format!(
            "'{}' guard --db '{url}' {guard} {more} && touch '{}'",
            env!("CARGO_BIN_EXE_sequencer-recovery"),
            text(&started)
        );
        let _ = std::process::Command::new("sh")
            .args(["-c", &line])
            .output()
            .unwrap();
        started.exists()
    };
    assert!(!start("") && !start("--quick") && !start("--adopt"));
    for with in [&checkpoints[..], &["--state", &notes]] {
        guard(&url, with).expect(4);
    }
    // Nor does anything sign it, whatever is said of the timeline.
    sign(&url, &[])
        .expect(8)
        .says(&["on timeline 1 of this database, and this is timeline 2"]);
    sign(&url, &["--adopt"]).expect(4);
    // A counter that was raised by hand is not enough.
    let _ = test_support::query(
        &url,
        "UPDATE public.ves_sequence_counters SET current_sequence = 100",
    );
    assert!(!start(""));

    // Repaired from another copy: the log is what it was.
    let plan = signed.arg("plan.ndjson");
    run([
        "plan",
        "--db",
        &url,
        "--witness",
        &signed.arg("whole.db"),
        "--accept",
        "claimed",
        "--out",
        &plan,
    ]);
    let applied = run(["apply", &plan, "--db", &url]);
    assert_eq!(applied.code & !4, 1, "{}", applied.stderr);
    assert!(start(""));
    // It is on another timeline than its notes: they are compared, and raised when that is said.
    let kept = fs::read(&notes).unwrap();
    let ran = guard(&url, &base).expect(0).json();
    assert!(
        ran["notes"].as_str().unwrap().contains("say --adopt once"),
        "{ran}"
    );
    assert_eq!(fs::read(&notes).unwrap(), kept);
    guard(&url, &[&base[..], &["--adopt"]].concat()).expect(0);
    assert_ne!(fs::read(&notes).unwrap(), kept);
    sign(&url, &["--adopt"]).expect(0);
    sign(&url, &[]).expect(0);
    assert_eq!(history(&[signed.path("out")]).conflicts, []);
}
