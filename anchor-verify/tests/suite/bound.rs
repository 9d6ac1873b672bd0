//! Every field of a bundle, a proof and an anchors file is bound, or it is said that it is not: each is altered, and
//! what is still PROVEN must have been named.

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use anchor_verify::agent::AgentKey;
use anchor_verify::bundle::{Bundle, Contents, MAX_UNPACKED, write_bundle};
use anchor_verify::chain::examine;
use anchor_verify::chain::parts::{RefusedAnchor, Scan};
use anchor_verify::proof::{Detail, ProofFile, Proved, Wanted, prove};
use anchor_verify::verify::{DbSource, ExportSource};
use anchor_verify::{AnchorsFile, Existing, Importer, Verdict};
use cli_common::{Cancel, NoProgress};
use common::{Check, Lines, Real, export};
use event_log::Scope;
use serde_json::Value;
use ves::{Hash32, StreamKey};

/// A real log with all that proves it.
struct Site {
    real: Real,
    anchors: AnchorsFile,
    head: Hash32,
    stream: StreamKey,
}

impl Site {
    fn load() -> Option<Self> {
        let real = Real::load("golden", "log.copy.sql")?;
        let dir = test_support::shared_data().join("data/golden/anchors");
        let mut importer = Importer::new(None, Vec::new());
        for file in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "json") {
                importer.add_file(&file).unwrap();
            }
        }
        let anchors = importer.finish(&[]).file;
        let head = anchors.chain.checkpoint.unwrap().hash;
        // The stream whose first batches are the smallest.
        let first = |a: &&anchor_verify::Anchor| a.sequence_start == 1 && a.stream.is_some();
        let small = anchors
            .anchors
            .iter()
            .filter(first)
            .min_by_key(|a| a.sequence_end);
        let stream = small.unwrap().stream.unwrap();
        Some(Self {
            real,
            anchors,
            head,
            stream,
        })
    }

    fn scope(&self) -> Scope {
        Scope {
            streams: vec![self.stream],
            range: Some(1..=6),
        }
    }

    fn source(&self) -> DbSource {
        DbSource::open(&self.real.target(), self.scope()).unwrap()
    }

    fn bundle(&self) -> Vec<u8> {
        let path = self.real.path().join("small.vesbundle");
        let mut source = self.source();
        let scope = self.scope();
        let contents = Contents {
            scope: &scope,
            anchors: &self.anchors,
            partial: &[],
            redact: false,
        };
        write_bundle(&mut source, &contents, &path, Existing::Replace, &NoProgress).unwrap();
        fs::read(path).unwrap()
    }
}

/// A way to a value in JSON.
type Way = Vec<Step>;

#[derive(Debug, Clone)]
enum Step {
    Member(String),
    Item(usize),
}

fn name(way: &[Step]) -> String {
    let steps = way.iter().map(|step| match step {
        Step::Member(name) => name.as_str(),
        Step::Item(_) => "[]",
    });
    steps.collect::<Vec<_>>().join(".")
}

/// The ways to all values that hold no others.
fn leaves(value: &Value, way: &mut Way, found: &mut BTreeMap<String, Vec<Way>>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, inner) in members {
                way.push(Step::Member(name.clone()));
                leaves(inner, way, found);
                way.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, inner) in items.iter().enumerate() {
                way.push(Step::Item(at));
                leaves(inner, way, found);
                way.pop();
            }
        }
        _ => found.entry(name(way)).or_default().push(way.clone()),
    }
}

fn at<'a>(value: &'a mut Value, way: &[Step]) -> &'a mut Value {
    way.iter().fold(value, |value, step| match step {
        Step::Member(name) => &mut value[name.as_str()],
        Step::Item(at) => &mut value[*at],
    })
}

/// Other values that could stand there.
fn others(value: &Value) -> Vec<Value> {
    let filled = || -> Vec<Value> {
        vec![
            7.into(),
            true.into(),
            "2020-01-01T00:00:00.000000Z".into(),
            "2031-01-01T00:00:00.000000Z".into(),
            "ab".repeat(32).into(),
            "ab".repeat(64).into(),
            "0b7d1c4e-5a27-4a0e-9a3b-1f2e3d4c5b6a".into(),
        ]
    };
    match value {
        Value::Null => filled(),
        Value::Bool(is) => vec![(!is).into(), Value::Null],
        Value::Number(number) => vec![(number.as_i64().unwrap() + 1).into(), Value::Null],
        Value::String(text) => {
            let mut all = vec![Value::Null, format!("{text}x").into()];
            let turned = |at: usize| {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = match bytes[at] {
                    b'0' => b'1',
                    b'2' => b'3',
                    b'a' => b'b',
                    digit if digit.is_ascii_digit() => digit - 1,
                    _ => b'0',
                };
                Value::from(String::from_utf8_lossy(&bytes).into_owned())
            };
            let digits = usize::from(text.starts_with("0x")) * 2;
            for at in [digits, text.len().saturating_sub(1)] {
                if (digits..text.len()).contains(&at) {
                    all.push(turned(at));
                }
            }
            all
        }
        _ => filled(),
    }
}

/// What a verdict came to.
struct Outcome {
    proven: bool,
    told: Vec<String>,
}

/// Whether the one line about fields that nothing binds names this one, in the group of its kind.
fn named(told: &[String], group: &str, field: &str) -> bool {
    let by_storage = told.iter().any(|line| line.ends_with("proved by storage alone"));
    if by_storage && ["block_number", "block_hash", "log_index"].contains(&field) {
        return true;
    }
    let lines = told
        .iter()
        .filter_map(|line| line.strip_prefix("fields that nothing binds: "));
    lines.flat_map(|line| line.split("; ")).any(|part| {
        part.strip_prefix(&format!("of {group}: ")).is_some_and(|fields| {
            fields
                .split([' ', ',', '('])
                .any(|word| word == field || (word == "all" && group == "agents' keys"))
        })
    })
}

/// Alters every field of a document; `judge` says what comes of it, or `None` if it is refused.
fn walk(
    document: &Value,
    group: impl Fn(&str) -> (&'static str, String),
    judge: impl Fn(&Value) -> Option<Outcome>,
) -> usize {
    let sound = judge(document).unwrap();
    assert!(sound.proven, "{:?}", sound.told);
    assert_eq!(
        sound
            .told
            .iter()
            .filter(|line| line.starts_with("fields that nothing binds"))
            .count(),
        1
    );
    let mut found = BTreeMap::new();
    leaves(document, &mut Vec::new(), &mut found);
    let mut tried = 0;
    for (path, ways) in found {
        let (of, field) = group(&path);
        // The first and the last of many alike.
        let ends: Vec<&Way> = ways
            .first()
            .into_iter()
            .chain(ways.last().filter(|_| ways.len() > 1))
            .collect();
        for way in ends {
            let mut document = document.clone();
            let was = at(&mut document, way).clone();
            for other in others(&was) {
                if other == was {
                    continue;
                }
                *at(&mut document, way) = other.clone();
                tried += 1;
                let Some(outcome) = judge(&document) else {
                    continue;
                };
                // The time of a block follows from its header, whether the anchor names it or not.
                if field == "block_timestamp" && other.is_null() {
                    continue;
                }
                let told_more = outcome.told.iter().any(|line| !sound.told.contains(line));
                assert!(
                    !outcome.proven || told_more || named(&outcome.told, of, &field),
                    "{path} ({of}: {field}) was {was}, is {other}, and it is PROVEN: {:#?}",
                    outcome.told
                );
            }
        }
    }
    tried
}

fn last(path: &str) -> String {
    let members = path.rsplit('.').find(|step| *step != "[]");
    members.unwrap_or(path).to_owned()
}

/// Which group of the line a field of an anchors file is of.
fn of_anchors(path: &str) -> (&'static str, String) {
    let first = path.split('.').next().unwrap();
    match first {
        "checkpoint" | "searched_from" | "scanned" | "refused" => ("the anchors file", first.to_owned()),
        _ => ("the anchors file", last(path)),
    }
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut text)
        .unwrap();
    text
}

fn pack(text: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

/// A bundle as one JSON document: its first line, its anchors, and the lines of its log by type.
fn document_of(packed: &[u8]) -> Value {
    let text = unpack(packed);
    let line = text.iter().position(|byte| *byte == b'\n').unwrap();
    let mut first: Value = serde_json::from_slice(&text[..line]).unwrap();
    // It is made again of what is there.
    let length = first.as_object_mut().unwrap().remove("anchors_bytes").unwrap();
    let length = length.as_u64().unwrap() as usize;
    let anchors: Value = serde_json::from_slice(&text[line + 1..=line + length]).unwrap();
    let log = Lines::of(std::str::from_utf8(&text[line + 1 + length..]).unwrap());
    let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for mut line in log.0 {
        // Payloads are texts; what is in them is altered one by one too.
        for payload in ["payload", "payload_encrypted"] {
            if let Some(text) = line[payload].as_str() {
                line[payload] = serde_json::from_str(text).unwrap();
            }
        }
        let kind = line["type"].as_str().unwrap().to_owned();
        kinds.entry(kind).or_default().push(line);
    }
    serde_json::json!({ "first": first, "anchors": anchors, "log": kinds })
}

fn bundle_of(document: &Value) -> Vec<u8> {
    let anchors = document["anchors"].to_string();
    let mut first = document["first"].clone();
    first["anchors_bytes"] = anchors.len().into();
    let mut text = format!("{first}\n{anchors}");
    for kind in ["header", "key", "stream", "commitment", "event", "end"] {
        for line in document["log"][kind].as_array().unwrap() {
            let mut line = line.clone();
            for payload in ["payload", "payload_encrypted"] {
                if line.get(payload).is_some_and(|inner| !inner.is_null()) {
                    line[payload] = line[payload].to_string().into();
                }
            }
            text += &format!("{line}\n");
        }
    }
    pack(text.as_bytes())
}

fn verified(site: &Site, packed: &[u8]) -> Option<Outcome> {
    let Bundle { anchors, mut log } = Bundle::read("bundle", packed, MAX_UNPACKED).ok()?;
    let report = Check {
        anchors: Some((&anchors, &examine(&anchors, Some(site.head)))),
        sequencer_keys: site.real.sequencer_key.into(),
        shard: None,
    }
    .source(&mut log)
    .ok()?;
    Some(Outcome {
        proven: report.verdict == Verdict::Proven,
        told: report.not_checked,
    })
}

fn bundle_fields(site: &Site) {
    let document = document_of(&site.bundle());
    let group = |path: &str| -> (&'static str, String) {
        let mut steps = path.split('.');
        match (steps.next().unwrap(), steps.next().unwrap_or_default()) {
            ("anchors", _) => of_anchors(path.split_once('.').unwrap().1),
            (_, "header") => ("the export", last(path)),
            (_, "key") => ("agents' keys", last(path)),
            (_, "stream") => ("streams", last(path)),
            (_, "commitment") => ("commitments", last(path)),
            (_, "event") if path.contains(".payload_encrypted.") => {
                let inner = path.split_once(".payload_encrypted.").unwrap().1;
                ("encrypted payloads", inner.split('.').next().unwrap().to_owned())
            }
            (_, "event") if path.contains(".receipt.") => ("receipts", last(path)),
            (_, "event") => ("events", last(path)),
            _ => ("nothing", last(path)),
        }
    };
    let tried = walk(&document, group, |document| verified(site, &bundle_of(document)));
    let text = String::from_utf8(unpack(&bundle_of(&document))).unwrap();
    let length = document["anchors"].to_string().len();
    for other in [length - 1, length + 1, 0] {
        let text = text.replacen(&length.to_string(), &other.to_string(), 1);
        assert!(verified(site, &pack(text.as_bytes())).is_none(), "{other}");
    }
    assert!(tried > 500, "{tried}");
}

fn anchors_fields(site: &Site) {
    let text = export(&site.real.target(), &site.scope(), false);
    let key = anchor_verify::tenant_store_key(&site.stream);
    let mut file = site
        .anchors
        .only(|a| a.tenant_store_key == key && a.sequence_end <= 6);
    // Both ways, with all headers between; and something of each kind that a file may hold beside.
    let blocks: Vec<Hash32> = file.anchors.iter().map(|a| a.block_hash).collect();
    let lowest = file.anchors.iter().map(|a| a.block_number).min().unwrap();
    let from = site
        .anchors
        .chain
        .headers
        .iter()
        .position(|h| h.hash == blocks[0])
        .unwrap();
    file.chain.headers = site.anchors.chain.headers[from..].to_vec();
    file.chain.receipts = site.anchors.chain.receipts.clone();
    file.chain.receipts.retain(|of| blocks.contains(&of.block_hash));
    file.chain.scanned.push(Scan {
        contract: file.anchors[0].contract,
        from: 0,
        to: lowest,
    });
    file.chain.refused.push(RefusedAnchor {
        block_number: lowest,
        log_index: 9,
        block_hash: blocks[0],
        transaction_hash: Hash32([7; 32]),
        contract: file.anchors[0].contract,
        batch_id: None,
        tenant_store_key: Some(key),
        why: "its count is wrong".into(),
    });
    let mut written = Vec::new();
    file.write_json(&mut written).unwrap();
    let document: Value = serde_json::from_slice(&written).unwrap();
    let tried = walk(&document, of_anchors, |document| {
        let file = AnchorsFile::from_json(document.to_string().as_bytes()).ok()?;
        let mut log = ExportSource::new("test", text.as_bytes()).unwrap();
        let report = Check {
            anchors: Some((&file, &examine(&file, Some(site.head)))),
            sequencer_keys: Default::default(),
            shard: None,
        }
        .source(&mut log)
        .ok()?;
        Some(Outcome {
            proven: report.verdict == Verdict::Proven,
            told: report.not_checked,
        })
    });
    assert!(tried > 150, "{tried}");
}

fn proof_fields(site: &Site) {
    let mut source = site.source();
    let mut tried = 0;
    for (sequence, detail) in [(6, Detail::Payload), (5, Detail::Leaf)] {
        let wanted = Wanted::Place(site.stream, sequence);
        let proved = prove(
            &mut source,
            wanted,
            detail,
            &site.anchors,
            &NoProgress,
            &Cancel::new(),
        );
        let Proved::Yes(proof) = proved.unwrap() else {
            panic!("it is in an anchored batch")
        };
        let document = serde_json::to_value(&*proof).unwrap();
        let signed: Vec<&str> = document["event"]
            .as_object()
            .map_or_else(Vec::new, |event| event.keys().map(String::as_str).collect());
        for unbound in ["command_id", "base_version", "agent_signature_scheme"] {
            assert!(!signed.contains(&unbound), "{unbound} stands among the signed");
        }
        let group = |path: &str| match path.strip_prefix("anchors.") {
            Some(inner) => of_anchors(inner),
            None => ("nothing", last(path)),
        };
        tried += walk(&document, group, |document| {
            let proof = ProofFile::from_json(document.to_string().as_bytes()).ok()?;
            let anchors = proof.anchors().ok()?;
            let check = proof.check(
                &anchors,
                &examine(&anchors, Some(site.head)),
                &AgentKey::default(),
            );
            Some(Outcome {
                proven: check.verdict == Verdict::Proven,
                told: check.not_checked,
            })
        });
        // A field that nobody signed is not taken in among them.
        for (field, value) in [
            ("command_id", Value::from("0b7d1c4e-5a27-4a0e-9a3b-1f2e3d4c5b6a")),
            ("base_version", 3.into()),
            ("agent_signature_bundle", vec![1].into()),
            ("note", "true".into()),
        ] {
            let mut with = document.clone();
            if with["event"].is_object() {
                with["event"][field] = value;
                assert!(
                    ProofFile::from_json(with.to_string().as_bytes()).is_err(),
                    "{field}"
                );
            }
        }
        // Proofs of earlier releases have them, and null.
        let mut earlier = document.clone();
        if earlier["event"].is_object() {
            earlier["event"]["command_id"] = Value::Null;
            earlier["event"]["base_version"] = Value::Null;
            earlier["event"]["agent_signature_scheme"] = 0.into();
            let proof = ProofFile::from_json(earlier.to_string().as_bytes()).unwrap();
            let anchors = proof.anchors().unwrap();
            let check = proof.check(
                &anchors,
                &examine(&anchors, Some(site.head)),
                &AgentKey::default(),
            );
            assert_eq!(check.verdict, Verdict::Proven);
            assert!(
                check
                    .not_checked
                    .iter()
                    .any(|w| w.contains("agent_signature_scheme"))
            );
        }
    }
    assert!(tried > 150, "{tried}");
}

fn tool(folder: &Path, arguments: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_anchor-verify"))
        .args(arguments.split_whitespace())
        .args(["--wide", "--all"])
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

/// Through the compiled tool: what is derived or bounded fails, and the rest is named in one line.
fn altered_fields(site: &Site) {
    let sound = document_of(&site.bundle());
    let folder = tempfile::tempdir().unwrap();
    let key = Hash32(site.real.sequencer_key.to_bytes());
    let verify = format!(
        "verify b.vesbundle --trusted-block {} --sequencer-public-key {key}",
        site.head
    );
    let run = |change: &dyn Fn(&mut Value)| {
        let mut document = sound.clone();
        change(&mut document["log"]);
        fs::write(folder.path().join("b.vesbundle"), bundle_of(&document)).unwrap();
        tool(folder.path(), &verify)
    };
    let (code, said) = run(&|_| {});
    assert_eq!((code, said.contains("3 PROVEN")), (0, true), "{said}");
    assert_eq!(said.matches("fields that nothing binds").count(), 1, "{said}");
    assert!(
        said.contains("the bundle's own word (--keys FILE pins them)"),
        "{said}"
    );

    let anchor = site
        .anchors
        .anchors
        .iter()
        .find(|a| a.sequence_start == 1)
        .unwrap();
    type Change<'a> = &'a dyn Fn(&mut Value);
    let fails: [(&str, Change<'_>); 6] = [
        ("event.created_at", &|log| {
            log["event"][4]["created_at"] = "2025-01-01T00:00:00.000000Z".into();
        }),
        ("event.sequenced_at", &|log| {
            // Half a year after the block, with the receipt's.
            log["event"][4]["sequenced_at"] = "2027-05-20T00:00:00.000000Z".into();
            log["event"][4]["receipt"]["sequenced_at"] = "2027-05-20T00:00:00.000000Z".into();
        }),
        ("commitment.time", &|log| {
            log["commitment"][1]["committed_at"] = "2027-05-20T00:00:00.000000Z".into();
        }),
        ("commitment.chain", &|log| {
            log["commitment"][0]["chain_id"] = 1.into();
        }),
        ("commitment.chain", &|log| {
            log["commitment"][0]["chain_tx_hash"] = "ab".repeat(32).into();
        }),
        ("commitment.chain", &|log| {
            log["commitment"][0]["chain_block_number"] = 9999.into();
        }),
    ];
    for (code, change) in fails {
        let (status, said) = run(change);
        assert_eq!((status, said.contains(code)), (4, true), "{code}: {said}");
    }
    // Those that are right are right.
    let (status, said) = run(&|log| {
        let of = &site.anchors.anchors;
        let first = of
            .iter()
            .find(|a| Some(a.batch_id.to_string().as_str()) == log["commitment"][0]["batch_id"].as_str());
        let first = first.unwrap_or(anchor);
        log["commitment"][0]["chain_id"] = 84_532_001.into();
        log["commitment"][0]["chain_tx_hash"] = first.transaction_hash.to_string().into();
        log["commitment"][0]["chain_block_number"] = first.block_number.into();
    });
    assert_eq!(status, 0, "{said}");
    // The time order of numbers is told.
    let (status, said) = run(&|log| {
        log["event"][4]["sequenced_at"] = "2025-05-20T00:00:00.000000Z".into();
        log["event"][4]["receipt"]["sequenced_at"] = "2025-05-20T00:00:00.000000Z".into();
    });
    assert!(
        said.contains("sequenced before the number before it"),
        "{status} {said}"
    );
    // What `bundle` and `check` write says it too.
    let (db, anchors) = (&site.real.snapshot, folder.path().join("a.json"));
    site.anchors.write(&anchors).unwrap();
    let (status, said) = tool(
        folder.path(),
        &format!(
            "bundle --db {} --stream {} --anchors a.json --out c.vesbundle",
            db.display(),
            site.stream
        ),
    );
    assert_eq!(
        (status, said.matches("fields that nothing binds").count()),
        (0, 1),
        "{said}"
    );
    let place = format!("--stream {} --sequence 9", site.stream);
    let (status, said) = tool(
        folder.path(),
        &format!(
            "prove --db {} {place} --with-event --anchors a.json --out p.json",
            db.display()
        ),
    );
    assert_eq!(status, 0, "{said}");
    let (status, said) = tool(
        folder.path(),
        &format!("check p.json --trusted-block {}", site.head),
    );
    assert_eq!(
        (status, said.matches("fields that nothing binds").count()),
        (0, 1),
        "{said}"
    );
}

#[test]
fn every_field_is_bound_or_named() {
    // One server and one log for all of it.
    let Some(site) = Site::load() else { return };
    bundle_fields(&site);
    anchors_fields(&site);
    proof_fields(&site);
    altered_fields(&site);
}
