//! Inclusion proofs: every event of a world has one, and none can be bent to say something else.

use crate::common;

use std::path::Path;

use anchor_verify::agent::AgentKey;
use anchor_verify::proof::{Detail, ProofCheck, ProofFile, Proved, Wanted, prove};
use anchor_verify::verify::{DbSource, code};
use anchor_verify::{AnchorStanding, AnchorsFile, Verdict};
use cli_common::{Cancel, DbTarget, NoProgress};
use common::{Real, standing, trust, trusted, untied};
use event_log::Scope;
use fixtures::{World, WorldSpec};
use proptest::prelude::*;
use test_support::query;
use ves::merkle;
use ves::{EventId, Hash32, StreamKey};

fn world() -> World {
    World::generate(&WorldSpec {
        events_per_stream: 45,
        batch_size: 11,
        ..WorldSpec::honest(3)
    })
}

fn open(world: &World, folder: &Path) -> DbSource {
    let path = folder.join("log.db");
    world.write_log(&path).unwrap();
    DbSource::open(&DbTarget::Snapshot(path), Scope::default()).unwrap()
}

fn proved(source: &mut DbSource, wanted: Wanted, detail: Detail, anchors: &AnchorsFile) -> Proved {
    prove(source, wanted, detail, anchors, &NoProgress, &Cancel::new()).unwrap()
}

fn proof(source: &mut DbSource, wanted: Wanted, detail: Detail, anchors: &AnchorsFile) -> ProofFile {
    match proved(source, wanted, detail, anchors) {
        Proved::Yes(file) => {
            // What is written reads back as the same.
            let text = serde_json::to_vec_pretty(&file).unwrap();
            ProofFile::from_json(&text).unwrap()
        }
        Proved::No(failures) => panic!("{failures:?}"),
    }
}

fn check(file: &ProofFile) -> ProofCheck {
    let anchors = file.anchors().unwrap();
    file.check(&anchors, &untied(&anchors), &AgentKey::default())
}

fn with_anchors(file: &ProofFile, change: impl FnOnce(&mut AnchorsFile)) -> ProofFile {
    let mut anchors = file.anchors().unwrap();
    change(&mut anchors);
    let mut text = Vec::new();
    anchors.write_json(&mut text).unwrap();
    ProofFile {
        anchors: serde_json::from_slice(&text).unwrap(),
        ..file.clone()
    }
}

#[test]
fn an_event_whose_row_names_no_stream_is_not_called_absent() {
    let Some(real) = Real::load("scenario-1", "truth.copy.sql") else {
        return;
    };
    let ids = query(
        &real.url,
        "SELECT event_id FROM ves_events WHERE sequence_number IN (3, 40) AND store_id = '5126e8c5-c2d2-4f92-8b21-0080eeab9c5e' \
         ORDER BY sequence_number",
    );
    let ids: Vec<EventId> = ids.lines().map(|id| id.trim().parse().unwrap()).collect();
    let _ = query(
        &real.url,
        &format!(
            "ALTER TABLE ves_events ALTER tenant_id DROP NOT NULL;
             UPDATE ves_events SET tenant_id = NULL WHERE event_id = '{}'",
            ids[0]
        ),
    );
    let target = DbTarget::parse(real.url.as_ref()).unwrap();
    let mut source = DbSource::open(&target, Scope::default()).unwrap();
    let wanted = Wanted::Event(ids[0]);
    let (progress, cancel) = (NoProgress, Cancel::new());
    let refused = prove(
        &mut source,
        wanted,
        Detail::Leaf,
        &real.anchors,
        &progress,
        &cancel,
    )
    .unwrap_err();
    let said = refused.to_string();
    let words = [
        "is in the log",
        "cannot be read",
        "tenant_id is NULL",
        &ids[0].to_string(),
    ];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    let _ = proof(&mut source, Wanted::Event(ids[1]), Detail::Leaf, &real.anchors);
}

#[test]
fn every_anchored_event_is_proved_and_every_other_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let anchors = world.anchors_file();
    let mut source = open(&world, folder.path());
    for (stream, log) in &world.log().streams {
        for (number, logged) in &log.events {
            let wanted = Wanted::Event(logged.event.event_id);
            if *number > log.committed_to() {
                let Proved::No(failures) = proved(&mut source, wanted, Detail::Leaf, &anchors) else {
                    panic!("{number} is in no batch");
                };
                assert_eq!(
                    (failures[0].code.as_str(), failures[0].sequence),
                    ("commitment.unanchored", Some(*number))
                );
                continue;
            }
            let by_id = proof(&mut source, wanted, Detail::Leaf, &anchors);
            let found = check(&by_id);
            assert_eq!(
                (found.verdict, found.failures.len()),
                (Verdict::MatchesAnchors, 0)
            );
            assert_eq!((found.stream, found.sequence_number), (*stream, *number));
            assert!(found.not_checked.iter().any(|w| w.contains("the event's fields")));
            let own = by_id.anchors().unwrap();
            assert_eq!(
                by_id.check(&own, &trusted(&own), &AgentKey::default()).verdict,
                Verdict::Proven
            );
            assert_eq!(own.anchors.len(), 2, "those of its batch and no others");
        }
    }
    // By its place, with all that is signed, and by the agent's key.
    let stream = *world.log().streams.keys().next().unwrap();
    let logged = &world.log().streams[&stream].events[&7];
    let keys = world.log().keys.iter();
    let key = keys
        .map(|row| &row.key)
        .find(|k| (k.agent_id, k.key_id) == (logged.event.source_agent_id, logged.event.agent_key_id));
    let key = AgentKey::of(&[key.unwrap().public_key.0.to_vec()]).unwrap();
    for (detail, skipped) in [(Detail::Event, 2), (Detail::Payload, 1)] {
        let file = proof(&mut source, Wanted::Place(stream, 7), detail, &anchors);
        let own = file.anchors().unwrap();
        let found = file.check(&own, &trusted(&own), &key);
        assert_eq!(
            (found.verdict, found.event_id),
            (Verdict::Proven, Some(logged.event.event_id))
        );
        assert_eq!(found.not_checked.len(), skipped, "{:?}", found.not_checked);
        let other = AgentKey::of(&[world.sequencer_public_key().to_bytes().to_vec()]).unwrap();
        assert_eq!(
            file.check(&own, &trusted(&own), &other).failures[0].code,
            code::SIGNATURE
        );
    }
}

/// A real hybrid event and a real one of ML-DSA-65 alone, by the tool, with each part of their keys.
#[test]
fn a_proof_carries_the_post_quantum_signature() {
    let Some(real) = Real::load("golden", "log.copy.sql") else {
        return;
    };
    let folder = real.path();
    let saved = test_support::shared_data().join("data/golden/anchors");
    let mut importer = anchor_verify::Importer::new(None, Vec::new());
    for file in std::fs::read_dir(&saved)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if file.extension().is_some_and(|extension| extension == "json") {
            importer.add_file(&file).unwrap();
        }
    }
    let anchors = importer.finish(&[]).file;
    let head = anchors.chain.checkpoint.unwrap().hash.to_string();
    let anchors_file = folder.join("anchors.json");
    let mut text = Vec::new();
    anchors.write_json(&mut text).unwrap();
    std::fs::write(&anchors_file, text).unwrap();
    let tool = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_anchor-verify"))
            .args(arguments)
            .current_dir(folder)
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null);
        (output.status.code(), report, told)
    };
    for (event, ed25519, told) in [
        ("713a0c88-a599-50c7-992b-13e6c9c409b7", true, "ML-DSA-65 half"),
        ("bf23b018-23ce-524f-a35a-1a40be9607ae", false, "ML-DSA-65 half"),
    ] {
        let out = format!("{event}.json");
        let prove = [
            "prove",
            "--event",
            event,
            "--db",
            &real.url,
            "--anchors",
            "anchors.json",
            "--out",
            &out,
        ];
        let (status, _, error) = tool(&prove);
        assert_eq!(status, Some(0), "{error}");
        let keys = query(
            &real.url,
            &format!(
                "SELECT convert_from(k.public_key_bundle, 'UTF8') FROM ves_events e JOIN agent_signing_keys k \
                 ON (k.tenant_id, k.agent_id, k.key_id) = (e.tenant_id, e.source_agent_id, e.agent_key_id) \
                 WHERE e.event_id = '{event}'"
            ),
        );
        let keys = ves::post_quantum::PublicKeyBundle::read(keys.trim().as_bytes()).unwrap();
        let ml_dsa: String = keys
            .ml_dsa_65()
            .unwrap()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        std::fs::write(folder.join("ml-dsa.key"), format!("{ml_dsa}\n")).unwrap();
        let mut whole = vec!["--agent-public-key", "ml-dsa.key"];
        let ed25519_key = keys.ed25519().map(|key| key.to_string()).unwrap_or_default();
        let short = ["--agent-public-key", &ed25519_key];
        if ed25519 {
            whole.extend(short);
        }
        let check = |file: &str, keys: &[&str]| {
            let given = ["check", file, "--trusted-block", &head, "--format", "json"];
            let (status, report, error) = tool(&[&given, keys].concat());
            assert!(report.is_object(), "{error}");
            let unchecked = report["not_checked"].to_string();
            (status, report["verdict"].as_str().unwrap().to_owned(), unchecked)
        };
        // By its whole key nothing of its signature is left, by none all of it, and by one part the other.
        let (status, verdict, unchecked) = check(&out, &whole);
        assert_eq!((status, verdict.as_str()), (Some(0), "PROVEN"), "{unchecked}");
        assert!(
            !unchecked.contains("agent signature") && !unchecked.contains("binds: agent"),
            "{unchecked}"
        );
        let (_, verdict, unchecked) = check(&out, &[]);
        assert!(
            verdict == "PROVEN" && unchecked.contains("was not given"),
            "{unchecked}"
        );
        assert!(unchecked.contains("agent_signature_bundle"), "{unchecked}");
        if ed25519 {
            let (_, verdict, unchecked) = check(&out, &short);
            assert!(verdict == "PROVEN" && unchecked.contains(told), "{unchecked}");
        }
        // One digit of it changed, and an earlier release's proof, which has none.
        let mut altered: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join(&out)).unwrap()).unwrap();
        let signature = altered["agent_signature_bundle"]["ml_dsa_65_signature"]
            .as_str()
            .unwrap();
        let digit = if &signature[77..78] == "0" { "1" } else { "0" };
        let other = format!("{}{digit}{}", &signature[..77], &signature[78..]);
        altered["agent_signature_bundle"]["ml_dsa_65_signature"] = other.into();
        std::fs::write(folder.join("altered.json"), altered.to_string()).unwrap();
        let (status, verdict, _) = check("altered.json", &whole);
        assert_eq!((status, verdict.as_str()), (Some(4), "FAILED"));
        altered.as_object_mut().unwrap().remove("agent_signature_bundle");
        std::fs::write(folder.join("earlier.json"), altered.to_string()).unwrap();
        let (status, _, unchecked) = check("earlier.json", &whole);
        assert_eq!(status, Some(0));
        assert!(unchecked.contains("carries none by ML-DSA-65"), "{unchecked}");
    }
}

#[test]
fn a_bent_proof_fails() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let anchors = world.anchors_file();
    let mut source = open(&world, folder.path());
    let mut streams = world.log().streams.keys();
    let (stream, other_stream) = (*streams.next().unwrap(), *streams.next().unwrap());
    let honest = proof(&mut source, Wanted::Place(stream, 15), Detail::Payload, &anchors);
    assert_eq!(check(&honest).verdict, Verdict::MatchesAnchors);
    let next_batch = proof(&mut source, Wanted::Place(stream, 26), Detail::Payload, &anchors);
    let elsewhere = proof(
        &mut source,
        Wanted::Place(other_stream, 15),
        Detail::Payload,
        &anchors,
    );

    type Bend<'a> = (&'a str, &'a str, &'a dyn Fn(&mut ProofFile));
    let bends: [Bend<'_>; 20] = [
        ("path altered", code::ANCHOR_ROOT, &|p| {
            p.batch.proof_path[1].0[0] ^= 1;
        }),
        ("path shorter", code::ANCHOR_ROOT, &|p| {
            p.batch.proof_path.truncate(3);
        }),
        ("path longer", code::ANCHOR_ROOT, &|p| {
            p.batch.proof_path.push(Hash32::ZERO);
        }),
        ("path far too long", code::ANCHOR_ROOT, &|p| {
            p.batch.proof_path = vec![Hash32::ZERO; 100];
        }),
        ("no path", code::ANCHOR_ROOT, &|p| p.batch.proof_path.clear()),
        ("steps swapped", code::ANCHOR_ROOT, &|p| {
            p.batch.proof_path.swap(0, 1);
        }),
        ("another index", code::ANCHOR_ROOT, &|p| p.batch.leaf_index = 4),
        ("an index beyond the tree", code::ANCHOR_ROOT, &|p| {
            p.batch.leaf_index += 16;
        }),
        ("another number", code::ANCHOR_ROOT, &|p| p.sequence_number = 16),
        ("another number and index", code::ANCHOR_ROOT, &|p| {
            p.sequence_number = 16;
            p.batch.leaf_index += 1;
        }),
        ("a number outside of the batch", code::ANCHOR_ROOT, &|p| {
            p.sequence_number = 3;
        }),
        ("another signing hash", code::ANCHOR_ROOT, &|p| {
            p.event_signing_hash.0[5] ^= 1;
        }),
        ("another signature", code::ANCHOR_ROOT, &|p| {
            p.agent_signature.0[5] ^= 1;
        }),
        ("another stream", code::ANCHOR_ROOT, &|p| p.stream = other_stream),
        ("the next batch", code::ANCHOR_ROOT, &|p| {
            p.batch = next_batch.batch.clone();
        }),
        ("the batch of another stream", code::ANCHOR_ROOT, &|p| {
            p.batch = elsewhere.batch.clone();
        }),
        ("a range turned around", code::ANCHOR_ROOT, &|p| {
            std::mem::swap(&mut p.batch.sequence_start, &mut p.batch.sequence_end);
        }),
        ("all numbers there are", code::ANCHOR_ROOT, &|p| {
            (p.batch.sequence_start, p.batch.sequence_end) = (0, u64::MAX);
        }),
        ("another event's fields", code::SIGNING_HASH, &|p| {
            p.event = next_batch.event.clone();
        }),
        ("another payload", code::PAYLOAD_HASH, &|p| {
            let event = p.event.as_mut().unwrap();
            event.payload = match event.payload {
                ves::Payload::Plain(_) => ves::Payload::Plain("{\"forged\":1}".into()),
                ves::Payload::Encrypted(_) => ves::Payload::Encrypted("{\"forged\":1}".into()),
            };
        }),
    ];
    for (what, code, bend) in bends {
        let mut bent = honest.clone();
        bend(&mut bent);
        let found = check(&bent);
        assert_eq!(found.verdict, Verdict::Failed, "{what}");
        assert!(
            found.failures.iter().any(|f| f.code == code),
            "{what}: {:?}",
            found.failures
        );
        // Trust in the block does not help it.
        let own = bent.anchors().unwrap();
        assert_eq!(
            bent.check(&own, &trusted(&own), &AgentKey::default()).verdict,
            Verdict::Failed,
            "{what}"
        );
    }
}

#[test]
fn forged_anchors_do_not_help() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let anchors = world.anchors_file();
    let mut source = open(&world, folder.path());
    let stream = *world.log().streams.keys().next().unwrap();
    let honest = proof(&mut source, Wanted::Place(stream, 15), Detail::Event, &anchors);
    let elsewhere = StreamKey::new(stream.tenant_id, uuid::Uuid::nil().into());

    // A whole history of one's own, and the real anchors: the root is none of theirs.
    let mut own_root = honest.clone();
    own_root.agent_signature.0[0] ^= 1;
    own_root.event = None;
    let leaf = merkle::leaf_hash(
        &stream,
        15,
        &own_root.event_signing_hash,
        &own_root.agent_signature,
    );
    let path = merkle::InclusionProof {
        leaf_index: own_root.batch.leaf_index,
        proof_path: own_root.batch.proof_path.clone(),
    };
    own_root.batch.events_root = path.root(&leaf).unwrap();
    let found = check(&own_root);
    assert!(
        found.verdict == Verdict::Failed && found.failures[0].what.contains("no anchor in the proof names"),
        "{found:?}"
    );

    // And anchors that fit it: they match as long as nobody asks for the block, never more.
    let forged = with_anchors(&own_root, |file| {
        file.anchors
            .iter_mut()
            .for_each(|a| a.events_root = own_root.batch.events_root);
    });
    assert_eq!(check(&forged).verdict, Verdict::MatchesAnchors);
    let own = forged.anchors().unwrap();
    let failed = || AnchorStanding::Failed {
        why: "the receipt's root is another".into(),
    };
    let found = forged.check(&own, &standing(&own, |_| failed()), &AgentKey::default());
    assert_eq!(
        (found.verdict, found.failures[0].code.as_str()),
        (Verdict::Failed, code::ANCHOR_PROOF)
    );
    // The forged beside the real one: neither, unless the chain proves one.
    let both = with_anchors(&own_root, |file| {
        let mut forged = file.anchors[0];
        forged.events_root = own_root.batch.events_root;
        *file = AnchorsFile::new(file.chain_id, [file.anchors.clone(), vec![forged]].concat());
    });
    assert_eq!(check(&both).failures[0].code, code::ANCHOR_CONFLICT);
    let own = both.anchors().unwrap();
    let real_is_trusted = standing(&own, |a| {
        if a.events_root == own_root.batch.events_root {
            AnchorStanding::Untied {
                why: "no proof".into(),
            }
        } else {
            trust()
        }
    });
    assert_eq!(
        both.check(&own, &real_is_trusted, &AgentKey::default()).verdict,
        Verdict::Failed
    );
    let honest_beside_forged = ProofFile {
        anchors: both.anchors.clone(),
        ..honest.clone()
    };
    assert_eq!(
        honest_beside_forged
            .check(&own, &real_is_trusted, &AgentKey::default())
            .verdict,
        Verdict::Proven
    );
    assert_eq!(check(&honest_beside_forged).verdict, Verdict::Failed);

    // Anchors of another batch, stream or range; none; standings that are not theirs.
    type Bend<'a> = &'a dyn Fn(&mut AnchorsFile);
    let bends: [Bend<'_>; 4] = [
        &|file| {
            file.anchors
                .iter_mut()
                .for_each(|a| a.batch_id = uuid::Uuid::nil().into());
        },
        &|file| {
            for a in &mut file.anchors {
                (a.stream, a.tenant_store_key) =
                    (Some(elsewhere), anchor_verify::tenant_store_key(&elsewhere));
            }
        },
        &|file| {
            for a in &mut file.anchors {
                (a.sequence_end, a.event_count) = (a.sequence_end - 1, a.event_count - 1);
            }
        },
        &|file| file.anchors.clear(),
    ];
    for bend in bends {
        let bent = with_anchors(&honest, bend);
        assert_eq!(check(&bent).verdict, Verdict::Failed);
    }
    let own = honest.anchors().unwrap();
    let mut short = trusted(&own);
    short.standings.pop();
    assert_eq!(
        honest.check(&own, &short, &AgentKey::default()).verdict,
        Verdict::Failed
    );
}

#[test]
fn a_batch_that_is_not_what_was_anchored_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let mut anchors = world.anchors_file();
    let mut source = open(&world, folder.path());
    let stream = *world.log().streams.keys().next().unwrap();
    anchors.anchors.iter_mut().for_each(|a| a.events_root.0[0] ^= 1);
    let Proved::No(failures) = proved(&mut source, Wanted::Place(stream, 3), Detail::Leaf, &anchors) else {
        panic!("the root is another");
    };
    assert_eq!(failures[0].code, code::ANCHOR_ROOT);
    let unknown = Wanted::Event(uuid::Uuid::nil().into());
    let error = prove(
        &mut source,
        unknown,
        Detail::Leaf,
        &anchors,
        &NoProgress,
        &Cancel::new(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("is not in the log"), "{error}");
    // In a log that lacks one of the batch's events.
    let path = folder.path().join("recovered.db");
    world.write_recovered(&path).unwrap();
    let mut source = DbSource::open(&DbTarget::Snapshot(path), Scope::default()).unwrap();
    let recovered = &world.recovered().streams[&stream];
    let committed = world.log().streams[&stream]
        .commitments
        .iter()
        .find(|c| c.sequence_end > recovered.head())
        .unwrap();
    let anchors = world.anchors_file();
    let wanted = Wanted::Place(stream, committed.sequence_start);
    let Proved::No(failures) = proved(&mut source, wanted, Detail::Leaf, &anchors) else {
        panic!("events are missing");
    };
    assert_eq!(
        failures[0].sequence,
        Some(recovered.head().max(committed.sequence_start - 1) + 1)
    );
}

#[test]
fn text_that_is_no_proof_is_refused() {
    for text in [
        "",
        "{}",
        "[]",
        r#"{"schema":"inclusion-proof/2"}"#,
        r#"{"schema":"inclusion-proof/1"}"#,
    ] {
        assert!(ProofFile::from_json(text.as_bytes()).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_digit_of_a_proof_can_be_changed(at in any::<prop::sample::Index>(), digit in 0..16u8) {
        static HONEST: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
            let folder = tempfile::tempdir().unwrap();
            let world = world();
            let stream = *world.log().streams.keys().next().unwrap();
            let mut source = open(&world, folder.path());
            let file = proof(&mut source, Wanted::Place(stream, 15), Detail::Leaf, &world.anchors_file());
            // Without the anchors, whose places on the chain nothing here can tell from others.
            let mut value = serde_json::to_value(&file).unwrap();
            value.as_object_mut().unwrap().remove("anchors");
            format!("{value}\u{0}{}", file.anchors.get())
        });
        let (text, anchors) = HONEST.split_once('\u{0}').unwrap();
        let hex: Vec<usize> = text.char_indices().filter(|(_, c)| c.is_ascii_hexdigit()).map(|(i, _)| i).collect();
        let place = hex[at.index(hex.len())];
        let with = char::from_digit(u32::from(digit), 16).unwrap();
        prop_assume!(!text[place..].starts_with(with));
        let mut bent = text.to_owned();
        bent.replace_range(place..=place, &with.to_string());
        let whole = format!("{},\"anchors\":{anchors}}}", bent.strip_suffix('}').unwrap());
        // A name that was bent is no proof any more; a value that was bent is a proof that fails.
        if let Ok(file) = ProofFile::from_json(whole.as_bytes()) {
            prop_assert_eq!(check(&file).verdict, Verdict::Failed);
        }
    }
}
