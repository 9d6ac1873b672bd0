//! `anchor-verify checkpoints` through its binary.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use checkpoints::checkpoint::Continues;
use checkpoints::epoch::{EpochGeneration, EpochStream, RecoveryEpoch};
use checkpoints::file::Entry;
use checkpoints::note::SignatureLine;
use ed25519_dalek::SigningKey;
use fixtures::{World, WorldSpec};
use serde_json::Value;
use ves::{Hash32, StreamKey, Timestamp};

use crate::common;
use crate::common::checkpointer::{Tree, cosigned, key, leaves, operator, tree, vkey, witness_vkey, write};

struct Case {
    world: World,
    folder: tempfile::TempDir,
    streams: Vec<StreamKey>,
}

impl Case {
    fn new() -> Self {
        let world = World::generate(&WorldSpec {
            events_per_stream: 45,
            batch_size: 11,
            ..WorldSpec::honest(3)
        });
        let folder = tempfile::tempdir().unwrap();
        world.write_log(&folder.path().join("log.db")).unwrap();
        let streams = world.log().streams.keys().copied().collect();
        Self {
            world,
            folder,
            streams,
        }
    }

    fn tree(&self, n: usize) -> Tree {
        let stream = self.streams[n];
        Tree::new(stream, leaves(&self.world.log().streams[&stream], &stream))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, entries: &[Entry]) {
        write(self.folder.path(), name, entries);
    }

    /// Runs `checkpoints` with the deployment's key: exit status, and the report.
    fn run(&self, arguments: &[&str]) -> (i32, Value) {
        run(
            self.folder.path(),
            &[arguments, &["--checkpoint-key", &vkey()]].concat(),
        )
    }
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = Command::cargo_bin("anchor-verify")
        .unwrap()
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .arg("checkpoints")
        .args(arguments)
        .args(["--format", "json"])
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    if report.is_null() {
        return (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap().into(),
        );
    }
    (output.status.code().unwrap(), report)
}

/// The codes of what was found, the worst first.
fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"]
        .as_array()
        .unwrap_or_else(|| panic!("{report}"));
    findings.iter().map(|f| f["code"].as_str().unwrap()).collect()
}

fn not_checked(report: &Value, part: &str) -> bool {
    let all = report["not_checked"].as_array().unwrap();
    all.iter().any(|what| what.as_str().unwrap().contains(part))
}

#[test]
fn what_holds_is_told_with_whose_word_it_is_and_what_was_not_checked() {
    let case = Case::new();
    for n in 0..3 {
        let name = format!("{n}.checkpoints");
        case.write(&name, &case.tree(n).entries(&[10, 20, 30, 40]));
    }
    // The copy of another party, without leaves.
    case.write(
        "theirs",
        &[case.tree(0).entry(17, None), case.tree(0).entry(40, None)],
    );
    let (code, report) = case.run(&[".", "theirs"]);
    assert_eq!((code, codes(&report).len()), (0, 0), "{report}");
    assert_eq!(report["schema"], "checkpoints-report/1");
    assert_eq!(
        (report["entries"].as_u64(), report["problems"].as_u64()),
        (Some(14), Some(0))
    );
    let streams = report["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 3);
    assert_eq!(streams[0]["latest"]["size"], 40);
    assert_eq!(
        (&streams[0]["checkpoints"], &streams[0]["leaves"]),
        (&5.into(), &40.into())
    );
    let generation = &streams[0]["generations"][0];
    assert_eq!(
        (&generation["steps"], &generation["steps_proven"]),
        (&4.into(), &4.into())
    );
    assert!(not_checked(
        &report,
        "signed no other history: no witness is asked"
    ));
    assert!(not_checked(&report, "no log was given") && not_checked(&report, "no anchors were given"));
    // Against the log, an export of it, a bundle, and the anchors.
    fs::write(case.path("log.ndjson"), common::export_of(&case.world)).unwrap();
    let mut anchors = Vec::new();
    case.world.anchors_file().write_json(&mut anchors).unwrap();
    fs::write(case.path("anchors.json"), anchors).unwrap();
    Command::cargo_bin("anchor-verify")
        .unwrap()
        .current_dir(case.folder.path())
        .args([
            "bundle",
            "--db",
            "log.db",
            "--anchors",
            "anchors.json",
            "--out",
            "log.bundle",
        ])
        .assert()
        .success();
    for log in [
        ["--db", "log.db"],
        ["--events", "log.ndjson"],
        ["--export", "log.bundle"],
    ] {
        let (code, report) = case.run(&[".", "theirs", "--anchors", "anchors.json", log[0], log[1]]);
        assert_eq!((code, codes(&report).len()), (0, 0), "{log:?}: {report}");
        let stream = &report["streams"][0];
        assert_eq!(
            (&stream["log"]["matches"], &stream["log"]["matching"]),
            (&40.into(), &5.into())
        );
        assert_eq!(stream["log"]["leaves_compared"], 40);
        assert_eq!(
            (
                &stream["anchors"]["matching"],
                &stream["anchors"]["contradicting"]
            ),
            (&3.into(), &0.into())
        );
        assert!(
            not_checked(&report, "5 number(s) after the last checkpoint (41 to 45)"),
            "{report}"
        );
        assert!(!not_checked(&report, "no log was given"));
    }
}

#[test]
fn a_part_of_a_log_is_compared_as_far_as_it_reaches() {
    let case = Case::new();
    case.write("0.checkpoints", &case.tree(0).entries(&[10, 20, 30, 40]));
    let stream = case.streams[0];
    let target = cli_common::DbTarget::Snapshot(case.path("log.db"));
    for (name, range, compared, matching) in [("head", 1..=24, 24, 2), ("tail", 15..=45, 26, 0)] {
        let scope = event_log::Scope {
            streams: vec![stream],
            range: Some(range),
        };
        fs::write(case.path(name), common::export(&target, &scope, true)).unwrap();
        let (code, report) = case.run(&["0.checkpoints", "--events", name]);
        assert_eq!((code, codes(&report).len()), (0, 0), "{name}: {report}");
        let log = &report["streams"][0]["log"];
        assert_eq!(
            (&log["leaves_compared"], &log["matching"]),
            (&compared.into(), &matching.into())
        );
        assert!(
            not_checked(&report, "reach beyond the part of the log"),
            "{report}"
        );
        // And a difference in the part is found.
        case.write(
            "other",
            &case.tree(0).parting_after(19).entries(&[10, 20, 30, 40]),
        );
        let (code, report) = case.run(&["other", "--events", name]);
        assert_eq!(
            (code, codes(&report)),
            (4, vec!["checkpoint.mismatch"]),
            "{name}: {report}"
        );
        assert_eq!(report["streams"][0]["log"]["first_difference"], 20);
    }
}

#[test]
fn a_log_that_was_rewound_or_altered_is_told_by_its_numbers() {
    let case = Case::new();
    case.world.write_recovered(&case.path("recovered.db")).unwrap();
    let head = |n: usize| case.world.recovered().streams[&case.streams[n]].head();
    let rewound = (0..3).find(|n| head(*n) < 40).unwrap();
    let head = head(rewound);
    case.write("rewound", &case.tree(rewound).entries(&[10, 20, 30, 40]));
    let (code, report) = case.run(&["rewound", "--db", "recovered.db"]);
    assert_eq!((code, codes(&report)), (4, vec!["checkpoint.behind"]), "{report}");
    assert_eq!(
        (&report["findings"][0]["from"], &report["findings"][0]["to"]),
        (&(head + 1).into(), &40.into())
    );
    assert!(
        report["next"]["command"]
            .as_str()
            .unwrap()
            .starts_with("sequencer-recovery audit")
    );
    // Other events than those that were signed, with the leaves and without.
    let other = case.tree(0).parting_after(16);
    case.write("leaves", &other.entries(&[10, 20, 30, 40]));
    case.write(
        "notes",
        &[
            other.entry(10, None),
            other.entry(20, None),
            other.entry(40, None),
        ],
    );
    for (name, from, first) in [("leaves", 17, Value::from(17)), ("notes", 11, Value::Null)] {
        let (code, report) = case.run(&[name, "--db", "log.db"]);
        assert_eq!(
            (code, codes(&report)),
            (4, vec!["checkpoint.mismatch"]),
            "{report}"
        );
        let log = &report["streams"][0]["log"];
        assert_eq!((&log["matches"], &log["first_difference"]), (&10.into(), &first));
        let finding = &report["findings"][0];
        assert_eq!((&finding["from"], &finding["to"]), (&from.into(), &20.into()));
    }
    // Anchors, too, contradict what was signed.
    let mut anchors = Vec::new();
    case.world.anchors_file().write_json(&mut anchors).unwrap();
    fs::write(case.path("anchors.json"), anchors).unwrap();
    let (code, report) = case.run(&["leaves", "--anchors", "anchors.json"]);
    assert_eq!(
        (code, codes(&report)),
        (4, vec!["checkpoint.anchor", "checkpoint.anchor"]),
        "{report}"
    );
    assert_eq!(
        (&report["findings"][0]["from"], &report["findings"][0]["to"]),
        (&12.into(), &22.into())
    );
}

#[test]
fn checkpoints_that_contradict_each_other_are_told() {
    let case = Case::new();
    let (one, two) = (case.tree(0), case.tree(0).parting_after(25));
    let mine = one.entries(&[10, 20, 30, 40]);
    let cases: [(&str, Vec<Entry>, &str); 5] = [
        (
            "two roots for one size",
            vec![two.entry(40, None)],
            "checkpoint.two_roots",
        ),
        (
            "another history, no size in common",
            vec![two.entry(33, None)],
            "checkpoint.fork",
        ),
        (
            "another history with its leaves",
            two.entries(&[15, 27, 45]),
            "checkpoint.fork",
        ),
        (
            "a smaller tree was signed later: the log was rewound",
            vec![one.entry_at(35, None, 99)],
            "checkpoint.time",
        ),
        (
            "a second generation that continues something else",
            vec![
                Tree {
                    generation: 2,
                    continues: Some(Continues {
                        size: 30,
                        root: tree(&two.leaves[..30]).root(),
                        epoch: Hash32::ZERO,
                        loss: None,
                    }),
                    ..two.clone()
                }
                .entry(40, None),
            ],
            "checkpoint.generation",
        ),
    ];
    case.write("mine", &mine);
    for (what, theirs, code) in cases {
        case.write("theirs", &theirs);
        for order in [["mine", "theirs"], ["theirs", "mine"]] {
            let (status, report) = case.run(&order);
            assert_eq!(status, 4, "{what}");
            assert!(codes(&report).contains(&code), "{what}: {report}");
            let places = report["findings"][0]["places"].to_string();
            assert!(places.contains("theirs"), "{what}: {places}");
            assert_eq!(report["streams"][0]["bad"], true);
        }
        // Each copy by itself is without a fault: only together do they tell.
        for alone in ["mine", "theirs"] {
            let (status, report) = case.run(&[alone]);
            assert_eq!(status, 0, "{what}: {alone}: {report}");
        }
    }
}

#[test]
fn what_does_not_count_is_named_and_counts_for_nothing() {
    let case = Case::new();
    let all = case.tree(0);
    let mut foreign = all.entry(30, None);
    foreign.note = foreign.checkpoint.sign(&SigningKey::from_bytes(&[99; 32]));
    let mut forged = all.entry(31, None);
    forged.note.signatures[0].bytes[7] ^= 1;
    let mut altered = all.entry(32, None);
    altered.note.text = altered.note.text.replace("\n32\n", "\n33\n");
    altered.checkpoint.size = 33;
    let mut leaves_wrong = all.entry(20, Some(11));
    leaves_wrong.leaves.as_mut().unwrap().hashes[3].0[0] ^= 1;
    leaves_wrong.peaks.clear();
    let good = all.entry(10, Some(1));
    for (name, entry, code, status) in [
        ("foreign", foreign, "checkpoint.refused", 0),
        ("forged", forged, "checkpoint.signature", 4),
        ("leaves", leaves_wrong, "checkpoint.leaves", 4),
    ] {
        case.write(name, &[good.clone(), entry]);
        let (found, report) = case.run(&[name]);
        assert_eq!((found, codes(&report)), (status, vec![code]), "{name}: {report}");
    }
    case.write(
        "altered",
        &[
            good.clone(),
            Entry {
                peaks: Vec::new(),
                ..altered
            },
        ],
    );
    let (status, report) = case.run(&["altered"]);
    assert_eq!(
        (status, codes(&report)),
        (4, vec!["checkpoint.signature"]),
        "{report}"
    );
    // Cut in the middle, as when its writer was killed; the entry before it counts.
    let text = good.to_text() + &all.entry(20, Some(11)).to_text()[..300];
    fs::write(case.path("cut"), text).unwrap();
    let (status, report) = case.run(&["cut"]);
    assert_eq!(
        (status, codes(&report)),
        (0, vec!["checkpoint.refused"]),
        "{report}"
    );
    assert_eq!(report["streams"][0]["latest"]["size"], 10);
    // Only by a key that nobody gave: nothing is left.
    let mut alien = all.entry(30, None);
    alien.note = alien.checkpoint.sign(&SigningKey::from_bytes(&[99; 32]));
    case.write("alien", &[alien]);
    let (status, report) = case.run(&["alien"]);
    assert_eq!(
        (status, codes(&report)),
        (4, vec!["checkpoint.none", "checkpoint.refused"]),
        "{report}"
    );
    fs::write(case.path("empty"), "").unwrap();
    assert_eq!(case.run(&["empty"]).0, 4);
}

#[test]
fn witnesses_are_asked_for_and_named() {
    let case = Case::new();
    let all = case.tree(0);
    case.write(
        "some",
        &[
            cosigned(all.entry(10, Some(1))),
            all.entry(20, Some(11)),
            cosigned(all.entry(30, Some(21))),
        ],
    );
    let witness = witness_vkey();
    let (status, report) = case.run(&["some", "--witness-key", &witness]);
    assert_eq!(
        (status, codes(&report)),
        (0, vec!["checkpoint.refused"]),
        "{report}"
    );
    let stream = &report["streams"][0];
    assert_eq!(
        (&stream["latest"]["size"], &stream["checkpoints"]),
        (&30.into(), &2.into())
    );
    assert_eq!(stream["latest"]["witnesses"][0]["time"], 1_700_000_000);
    // Leaves of an entry that does not count lead on to one that does.
    assert_eq!(stream["leaves"], 30);
    let (status, report) = case.run(&["some", "--witness-key", &witness, "--witnesses", "0"]);
    assert_eq!((status, &report["streams"][0]["checkpoints"]), (0, &3.into()));
    // A cosignature that does not hold is no smaller fault than the log's own.
    let mut bad = cosigned(all.entry(10, Some(1)));
    let line: &mut SignatureLine = bad.note.signatures.last_mut().unwrap();
    line.bytes[12] ^= 1;
    case.write("bad", &[bad]);
    let (status, report) = case.run(&["bad", "--witness-key", &witness]);
    assert_eq!(
        (status, codes(&report)),
        (4, vec!["checkpoint.signature", "checkpoint.none"]),
        "{report}"
    );
    assert_eq!(
        case.run(&["some", "--witness-key", &witness, "--witnesses", "2"])
            .0,
        16
    );
}

#[test]
fn a_generation_is_explained_by_the_signed_epoch_that_it_names() {
    let case = Case::new();
    let one = case.tree(0);
    let two = one.parting_after(30);
    let epoch = |head: u64| {
        let stream = EpochStream {
            stream: case.streams[0],
            recovered_head: 30,
            head,
            counter: 45,
            restored: Vec::new(),
            generation: Some(EpochGeneration {
                number: 2,
                common_size: 30,
                common_root: tree(&one.leaves[..30]).root(),
                loss: None,
            }),
        };
        let mut epoch = RecoveryEpoch::new(uuid::Uuid::nil(), Timestamp(7), vec![stream]).unwrap();
        epoch.sign(&operator()).unwrap();
        epoch
    };
    epoch(45).write(&case.path("epoch.json")).unwrap();
    epoch(44).write(&case.path("other.json")).unwrap();
    let second = Tree {
        generation: 2,
        continues: Some(Continues {
            size: 30,
            root: tree(&one.leaves[..30]).root(),
            epoch: epoch(45).hash().unwrap(),
            loss: None,
        }),
        ..two
    };
    case.write(
        "all",
        &[one.entries(&[20, 30, 40]), second.entries(&[35, 45])].concat(),
    );
    let public = Hash32(operator().verifying_key().to_bytes()).to_string();
    let wrong = Hash32(key().verifying_key().to_bytes()).to_string();
    let explained = |arguments: &[&str]| {
        let (status, report) = case.run(&[&["all"], arguments].concat());
        (
            status,
            report["streams"][0]["generations"][1]["explained"]["by"].clone(),
            report,
        )
    };
    let (status, by, report) = explained(&[]);
    assert_eq!((status, by), (0, "not_checked".into()), "{report}");
    assert!(
        not_checked(
            &report,
            "generation 2: what explains it: no recovery epoch was given"
        ),
        "{report}"
    );
    let (status, by, report) = explained(&[
        "--epoch",
        "other.json",
        "--epoch",
        "epoch.json",
        "--epoch-public-key",
        &public,
    ]);
    assert_eq!((status, by), (0, "epoch".into()), "{report}");
    assert_eq!(
        (
            &report["streams"][0]["generation"],
            &report["streams"][0]["leaves"]
        ),
        (&2.into(), &45.into())
    );
    let (status, by, _) = explained(&["--epoch", "epoch.json"]);
    assert_eq!(
        (status, by),
        (0, "not_checked".into()),
        "a signature that was not checked explains nothing"
    );
    for arguments in [
        ["--epoch", "epoch.json", "--epoch-public-key", &wrong],
        ["--epoch", "other.json", "--epoch-public-key", &public],
    ] {
        let (status, by, report) = explained(&arguments);
        assert_eq!(
            (status, by, codes(&report)),
            (4, "nothing".into(), vec!["checkpoint.generation"]),
            "{report}"
        );
    }
    // A log that continues the second generation matches it, and the first as far as both have in common.
    let (status, report) = case.run(&["all", "--db", "log.db"]);
    assert_eq!(
        (status, codes(&report)),
        (4, vec!["checkpoint.mismatch"]),
        "{report}"
    );
    assert_eq!(report["streams"][0]["log"]["first_difference"], 31);
    assert_eq!(report["streams"][0]["log"]["matches"], 30);
}

#[test]
fn what_cannot_be_read_or_asked_is_told_with_a_hint() {
    let case = Case::new();
    case.write("one", &case.tree(0).entries(&[10]));
    fs::create_dir(case.path("none")).unwrap();
    for (arguments, status, words) in [
        (&["missing", "--checkpoint-key", &vkey()][..], 8, "missing"),
        (
            &["none", "--checkpoint-key", &vkey()],
            8,
            "holds no file of checkpoints",
        ),
        (&["one"], 16, "No key was given"),
        (&["one", "--checkpoint-key", "nobody"], 8, "nobody"),
        (
            &["one", "--checkpoint-key", &vkey(), "--db", "missing.db"],
            8,
            "missing.db",
        ),
        (&["one", "--checkpoint-key", &vkey(), "--events", "one"], 8, "one"),
        (
            &["one", "--checkpoint-key", &vkey(), "--epoch", "one"],
            8,
            "recovery epoch",
        ),
        (
            &["one", "--checkpoint-key", &vkey(), "--anchors", "one"],
            8,
            "one",
        ),
    ] {
        let (found, told) = run(case.folder.path(), arguments);
        assert_eq!(found, status, "{arguments:?}: {told}");
        assert!(told.as_str().unwrap().contains(words), "{arguments:?}: {told}");
    }
    // A name that would draw on the terminal is shown as text.
    let name = "evil\u{1b}[31m.checkpoints";
    case.write(
        name,
        &[
            case.tree(0).entry(10, None),
            case.tree(0).parting_after(3).entry(10, None),
        ],
    );
    let output = Command::cargo_bin("anchor-verify")
        .unwrap()
        .current_dir(case.folder.path())
        .args([
            "checkpoints",
            name,
            "--checkpoint-key",
            &vkey(),
            "--all",
            "--wide",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("checkpoint.two_roots") && !text.contains('\u{1b}'),
        "{text}"
    );
}

/// Runs `verify` with checkpoints: exit status, and the report as it reads back.
fn verify(folder: &Path, log: &[&str], checkpoints: &[&str]) -> (i32, anchor_verify::VerifyReport, Value) {
    let vkey = vkey();
    let mut arguments = vec!["verify", "--format", "json", "--checkpoint-key", &vkey];
    arguments.extend(log);
    checkpoints
        .iter()
        .for_each(|path| arguments.extend(["--checkpoints", path]));
    let output = Command::cargo_bin("anchor-verify")
        .unwrap()
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .args(arguments)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let report =
        anchor_verify::VerifyReport::from_json(&output.stdout).unwrap_or_else(|e| panic!("{e} {told}"));
    let value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), report, value)
}

#[test]
fn verify_tells_what_is_checkpointed_behind_the_last_batch() {
    let world = World::generate(&WorldSpec {
        events_per_stream: 45,
        batch_size: 20,
        ..WorldSpec::honest(1)
    });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    world.write_log(&path("log.db")).unwrap();
    let mut anchors = Vec::new();
    world.anchors_file().write_json(&mut anchors).unwrap();
    fs::write(path("anchors.json"), anchors).unwrap();
    fs::write(path("log.ndjson"), common::export_of(&world)).unwrap();
    let (stream, log) = world.log().streams.iter().next().unwrap();
    let last = (log.committed_to(), log.head());
    assert_eq!(last, (40, 45));
    let tree = Tree::new(*stream, leaves(log, stream));
    write(folder.path(), "c", &tree.entries(&[20, 43]));
    let with = |log: &str| {
        let input = if log.ends_with("db") { "--db" } else { "--events" };
        verify(folder.path(), &[input, log, "--anchors", "anchors.json"], &["c"])
    };
    for log in ["log.db", "log.ndjson"] {
        let (status, report, value) = with(log);
        assert_eq!((status, report.problems.len()), (0, 0), "{value}");
        let found = report.streams.iter().find(|s| s.stream == *stream).unwrap();
        assert_eq!(
            (found.checkpointed_tail(), found.uncovered_tail()),
            (Some((41, 43)), Some((44, 45)))
        );
        let held = found.checkpointed.as_ref().unwrap();
        assert_eq!((held.to, held.matching), (43, 2));
        assert!(held.word.ends_with("alone"), "{}", held.word);
        assert!(
            not_checked(&value, "41 to 43 are CHECKPOINTED, no root covers 44 to 45"),
            "{value}"
        );
    }
    // What does not hold makes it FAILED, whatever anchors say of the batches.
    let other = tree.parting_after(40);
    for (name, entries, code) in [
        (
            "altered",
            tree.parting_after(42).entries(&[20, 43]),
            "checkpoint.mismatch",
        ),
        (
            "two",
            vec![tree.entry(43, None), other.entry(43, None)],
            "checkpoint.two_roots",
        ),
        ("none", vec![], "checkpoint.none"),
    ] {
        write(folder.path(), name, &entries);
        let (status, report, value) = verify(
            folder.path(),
            &["--db", "log.db", "--anchors", "anchors.json"],
            &[name],
        );
        assert_eq!(
            (status, report.verdict),
            (4, anchor_verify::Verdict::Failed),
            "{name}"
        );
        assert!(
            report.problems.iter().any(|failure| failure.code == code),
            "{name}: {value}"
        );
        let batches = &report.totals.batches;
        assert!(batches.failed == 0 && batches.matches_anchors > 1, "{value}");
    }
    // A log that ends below a checkpoint is not whole, though all of its batches hold.
    let short = tree.entries(&[20, 43]);
    write(folder.path(), "c", &short);
    let target = cli_common::DbTarget::Snapshot(path("log.db"));
    let scope = event_log::Scope {
        streams: vec![*stream],
        range: Some(1..=41),
    };
    fs::write(path("part"), common::export(&target, &scope, false)).unwrap();
    let (_, report, value) = verify(folder.path(), &["--events", "part"], &["c"]);
    assert!(
        report.problems.is_empty(),
        "where a part ends nothing is missing: {value}"
    );
    assert_eq!(report.streams[0].checkpointed.as_ref().unwrap().to, 20);
    assert!(
        not_checked(
            &value,
            "1 checkpoint(s): not all events that they cover are in the input"
        ),
        "{value}"
    );
    let mut lines = common::Lines::of(&common::export_of(&world));
    lines
        .0
        .retain(|line| line["type"] != "event" || line["sequence_number"].as_u64() < Some(42));
    lines.recount();
    fs::write(path("cut"), lines.text()).unwrap();
    let (status, report, value) = verify(folder.path(), &["--events", "cut"], &["c"]);
    assert_eq!(status, 4);
    assert!(
        report
            .problems
            .iter()
            .any(|failure| failure.code == "checkpoint.behind"),
        "{value}"
    );
    // One shard does not see all events.
    Command::cargo_bin("anchor-verify")
        .unwrap()
        .current_dir(folder.path())
        .args([
            "verify",
            "--db",
            "log.db",
            "--shard",
            "1/2",
            "--checkpoints",
            "c",
            "--checkpoint-key",
            &vkey(),
        ])
        .assert()
        .code(16);
}
