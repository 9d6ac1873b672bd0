//! Worlds and real logs against their anchors: what is honest matches, what was altered fails where it was altered.

use crate::common;

use std::sync::LazyLock;

use anchor_verify::verify::{DbSource, ExportSource, InputKind, VerifyError, VerifyInput, code, verify};
use anchor_verify::{AnchorStanding, AnchorsFile, Shard, UnitKind, UnitReport, Verdict, VerifyReport};
use cli_common::{Cancel, DbTarget, ExitStatus, NoProgress};
use common::{Change, Check, Lines, Real, counts, export_of, flip, standing, trust, trusted, untied};
use event_log::Scope;
use fixtures::{World, WorldSpec};
use proptest::prelude::*;
use serde_json::Value;

fn honest(seed: u64) -> World {
    World::generate(&WorldSpec {
        events_per_stream: 60,
        batch_size: 13,
        ..WorldSpec::honest(seed)
    })
}

/// A world, its export and its anchors.
static HONEST: LazyLock<(World, Lines, AnchorsFile)> = LazyLock::new(|| {
    let world = honest(5);
    let lines = Lines::of(&export_of(&world));
    let anchors = world.anchors_file();
    (world, lines, anchors)
});

fn report(lines: &Lines) -> VerifyReport {
    let (world, _, anchors) = &*HONEST;
    Check {
        anchors: Some((anchors, &untied(anchors))),
        sequencer_keys: world.sequencer_public_key().into(),
        shard: None,
    }
    .text(&lines.text())
}

#[test]
fn honest_worlds_match_and_are_proven_once_the_block_is_trusted() {
    for seed in 1..=6 {
        let world = World::generate(&WorldSpec {
            seed,
            ..WorldSpec::default()
        });
        let (text, anchors) = (export_of(&world), world.anchors_file());
        let key = world.sequencer_public_key();
        let run = |chain| {
            Check {
                anchors: chain,
                sequencer_keys: key.into(),
                shard: None,
            }
            .text(&text)
        };
        let (untied, trusted) = (untied(&anchors), trusted(&anchors));
        let anchored = world.anchors().len() as u64;
        let committed = world.log().commitments().count() as u64;
        for (report, verdict) in [
            (run(Some((&anchors, &untied))), Verdict::MatchesAnchors),
            (run(Some((&anchors, &trusted))), Verdict::Proven),
        ] {
            assert_eq!(report.problems, []);
            assert_eq!(counts(&report, verdict), anchored, "seed {seed}");
            assert_eq!(counts(&report, Verdict::MatchesDatabase), committed - anchored);
            assert_eq!(
                (report.totals.batches.failed, report.totals.batches.not_checked),
                (0, 0)
            );
            assert_eq!(report.totals.events, world.log().event_count() as u64);
            assert_eq!(report.exit_status(), ExitStatus::OK);
            let weakest = if anchored < committed {
                Verdict::MatchesDatabase
            } else {
                verdict
            };
            assert_eq!(report.verdict, weakest);
            for stream in &report.streams {
                let log = &world.log().streams[&stream.stream];
                assert_eq!(stream.events_after_last_batch, log.head() - log.committed_to());
                let said = format!("{} event(s) after the last batch", stream.events_after_last_batch);
                assert!(
                    report.not_checked.iter().any(|w| w.contains(&said)),
                    "{:?}",
                    report.not_checked
                );
            }
        }
        let alone = run(None);
        assert_eq!(counts(&alone, Verdict::MatchesDatabase), committed);
        assert!(
            alone
                .not_checked
                .iter()
                .any(|w| w.contains("no anchors were given"))
        );
    }
}

/// The unit that holds this event.
fn unit_of<'a>(report: &'a VerifyReport, event: &Value) -> &'a UnitReport {
    let sequence = event["sequence_number"].as_u64().unwrap();
    let holds = |unit: &&UnitReport| {
        unit.stream.tenant_id.to_string() == event["tenant_id"]
            && unit.stream.store_id.to_string() == event["store_id"]
            && (unit.sequence_start..=unit.sequence_end).contains(&sequence)
    };
    report.units.iter().find(holds).unwrap()
}

fn names(unit: &UnitReport, code: &str, sequence: u64) -> bool {
    unit.failures
        .iter()
        .any(|f| f.code == code && f.sequence == Some(sequence))
}

/// Alterations of one event, and the code that names it.
fn alterations() -> Vec<(&'static str, Change<'static>)> {
    vec![
        (code::PAYLOAD_HASH, &|e| {
            let name = if e["payload_kind"] == 0 {
                "payload"
            } else {
                "payload_encrypted"
            };
            e[name] = "{\"forged\": true}".into();
        }),
        (code::PAYLOAD_HASH, &|e| {
            let name = if e["payload_kind"] == 0 {
                "payload_plain_hash"
            } else {
                "payload_cipher_hash"
            };
            flip(&mut e[name]);
        }),
        (code::SIGNING_HASH, &|e| flip(&mut e["event_signing_hash"])),
        (code::SIGNING_HASH, &|e| e["entity_id"] = "another".into()),
        (code::SIGNING_HASH, &|e| {
            e["event_type"] = "order.cancelled".into();
        }),
        (code::SIGNING_HASH, &|e| {
            e["created_at_str"] = "2026-01-01T00:00:00Z".into();
        }),
        (code::SIGNATURE, &|e| flip(&mut e["agent_signature"])),
        (code::RECEIPT, &|e| flip(&mut e["receipt"]["receipt_hash"])),
        (code::RECEIPT, &|e| e["receipt"]["sequence_number"] = 9999.into()),
        (code::RECEIPT, &|e| {
            e["receipt"]["sequenced_at"] = "2026-01-01T00:00:00Z".into();
        }),
        (code::RECEIPT, &|e| {
            e["receipt"]["event_id"] = uuid::Uuid::nil().to_string().into();
        }),
        (code::RECEIPT_SIGNATURE, &|e| {
            flip(&mut e["receipt"]["sequencer_signature"]);
        }),
        (code::UNREADABLE, &|e| e["payload_kind"] = 2.into()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn one_altered_event_fails_its_batch_alone_and_is_named(what in any::<prop::sample::Index>(), which in any::<prop::sample::Index>()) {
        let mut lines = HONEST.1.clone();
        let events = lines.places("event");
        let at = events[which.index(events.len())];
        let all = alterations();
        let (code, change) = all[what.index(all.len())];
        change(&mut lines.0[at]);
        let report = report(&lines);
        let event = &lines.0[at];
        let unit = unit_of(&report, event);
        let sequence = event["sequence_number"].as_u64().unwrap();
        prop_assert_eq!(unit.verdict, Verdict::Failed);
        prop_assert!(names(unit, code, sequence), "{}: {:?}", code, unit.failures);
        prop_assert!(report.failed().count() == 1 && report.problems.is_empty());
        prop_assert_eq!(report.verdict, Verdict::Failed);
        prop_assert_eq!(report.exit_status(), ExitStatus::PROBLEMS);
    }

    #[test]
    fn a_missing_event_is_named(which in any::<prop::sample::Index>()) {
        let mut lines = HONEST.1.clone();
        let events = lines.places("event");
        let event = lines.0.remove(events[which.index(events.len())]);
        lines.recount();
        let report = report(&lines);
        let unit = unit_of(&report, &event);
        let sequence = event["sequence_number"].as_u64().unwrap();
        let found = unit.failures.iter().any(|f| f.code.starts_with("gap.") && f.sequence == Some(sequence));
        prop_assert!(unit.verdict == Verdict::Failed && found && unit.missing == 1, "{:?}", unit);
        prop_assert_eq!(unit.root, None);
        prop_assert_eq!(report.failed().count(), 1);
    }

    #[test]
    fn two_events_that_changed_places_are_both_named(which in any::<prop::sample::Index>()) {
        let mut lines = HONEST.1.clone();
        let events = lines.places("event");
        let at = events[which.index(events.len() - 1)];
        let (mut a, mut b) = (lines.0[at].clone(), lines.0[at + 1].clone());
        prop_assume!(a["store_id"] == b["store_id"] && a["tenant_id"] == b["tenant_id"]);
        let (first, second) = (a["sequence_number"].clone(), b["sequence_number"].clone());
        // As a forger would: with receipts that fit the new places.
        for (event, number) in [(&mut a, &second), (&mut b, &first)] {
            event["sequence_number"] = number.clone();
            event["receipt"]["sequence_number"] = number.clone();
        }
        lines.0[at] = b;
        lines.0[at + 1] = a;
        let report = report(&lines);
        for number in [&first, &second] {
            let event = lines.0[if *number == first { at } else { at + 1 }].clone();
            let unit = unit_of(&report, &event);
            prop_assert!(names(unit, code::RECEIPT, number.as_u64().unwrap()), "{:?}", unit.failures);
            if unit.kind == UnitKind::Batch {
                prop_assert!(unit.failures.iter().any(|f| f.code == code::ANCHOR_ROOT));
                prop_assert!(unit.failures.iter().any(|f| f.code == code::COMMITMENT_ROOT));
            }
        }
    }

    #[test]
    fn an_altered_commitment_is_named(which in any::<prop::sample::Index>(), what in 0..7usize) {
        let mut lines = HONEST.1.clone();
        let all = lines.places("commitment");
        let at = all[which.index(all.len())];
        let c = &mut lines.0[at];
        let expected = match what {
            0 => { flip(&mut c["merkle_root"]); code::COMMITMENT_ROOT }
            1 => { flip(&mut c["new_state_root"]); code::STATE_ROOT }
            2 => { flip(&mut c["prev_state_root"]); code::STATE_ROOT }
            3 => { c["leaf_count"] = 12.into(); code::COMMITMENT_GAP }
            4 => { c["tree_depth"] = 3.into(); code::COMMITMENT_GAP }
            5 => { c["padded_leaf_count"] = 32.into(); code::COMMITMENT_GAP }
            _ => { c["sequence_end"] = (c["sequence_end"].as_u64().unwrap() - 1).into(); code::ANCHOR_CONFLICT }
        };
        let id = c["batch_id"].as_str().unwrap().to_owned();
        let report = report(&lines);
        let hit = report.failed().any(|unit| {
            unit.batch_ids.iter().any(|b| b.to_string() == id) && unit.failures.iter().any(|f| f.code == expected && f.what.contains(&id))
        });
        prop_assert!(hit, "{what}: {:?}", report.failed().collect::<Vec<_>>());
        // The next one goes on from it, so at most two of the log's and one of the chain's fail.
        prop_assert!((1..=3).contains(&report.failed().count()));
    }
}

#[test]
fn keys_that_are_gone_or_were_revoked_are_told() {
    let lines = &HONEST.1;
    let key_at = lines.places("key")[0];
    let key = lines.0[key_at].clone();
    let signed: Vec<&Value> = lines
        .0
        .iter()
        .filter(|l| l["source_agent_id"] == key["agent_id"] && l["agent_key_id"] == key["key_id"])
        .collect();
    assert!(!signed.is_empty());

    let mut gone = lines.clone();
    gone.0.remove(key_at);
    gone.recount();
    let without = report(&gone);
    let mut revoked = lines.clone();
    revoked.0[key_at]["status"] = "revoked".into();
    revoked.0[key_at]["revoked_at"] = signed[0]["sequenced_at"].clone();
    let after = report(&revoked);
    for event in &signed {
        let sequence = event["sequence_number"].as_u64().unwrap();
        let unit = unit_of(&without, event);
        assert_eq!(unit.verdict, Verdict::NotChecked);
        assert!(unit.root.is_some() || unit.kind == UnitKind::Unbatched);
        let named = unit
            .not_checked
            .iter()
            .find(|s| s.what.contains("is not among the keys"))
            .unwrap();
        assert!(named.sequences.contains(&sequence), "{named:?}");
        let unit = unit_of(&after, event);
        assert!(
            unit.verdict == Verdict::Failed && names(unit, code::KEY, sequence),
            "{unit:?}"
        );
    }
    // The others are untouched by it, and the whole does not pass.
    assert!(without.totals.batches.failed == 0 && without.totals.batches.matches_anchors > 0);
    assert_eq!(
        (without.verdict, without.exit_status()),
        (Verdict::NotChecked, ExitStatus::PROBLEMS)
    );
    assert_eq!(after.verdict, Verdict::Failed);
}

#[test]
fn without_the_sequencers_key_receipt_signatures_are_not_checked() {
    let (_, lines, anchors) = &*HONEST;
    let mut lines = lines.clone();
    let at = lines.places("event")[3];
    flip(&mut lines.0[at]["receipt"]["sequencer_signature"]);
    let report = Check {
        anchors: Some((anchors, &untied(anchors))),
        sequencer_keys: Default::default(),
        shard: None,
    }
    .text(&lines.text());
    assert_eq!(report.exit_status(), ExitStatus::OK);
    let said = format!(
        "{} × receipt signature: the sequencer's public key was not given",
        lines.places("event").len()
    );
    assert!(report.not_checked.contains(&said), "{:?}", report.not_checked);
    let mut lines = lines.clone();
    lines.0[at]["receipt"] = Value::Null;
    let report = self::report(&lines);
    let unit = unit_of(&report, &lines.0[at]);
    assert!(
        unit.not_checked
            .iter()
            .any(|s| s.what == "receipt: there is none" && s.sequences == [4])
    );
}

#[test]
fn what_anchors_are_worth_decides_the_verdict() {
    let (world, lines, anchors) = &*HONEST;
    let text = lines.text();
    let first = anchors.anchors[0];
    let run = |file: &AnchorsFile, of: &dyn Fn(&anchor_verify::Anchor) -> AnchorStanding| {
        Check {
            anchors: Some((file, &standing(file, of))),
            sequencer_keys: world.sequencer_public_key().into(),
            shard: None,
        }
        .text(&text)
    };
    let untied = || AnchorStanding::Untied {
        why: "no proof".into(),
    };
    let failed = || AnchorStanding::Failed {
        why: "the receipt's root is another".into(),
    };
    let unit = |report: &VerifyReport| -> UnitReport {
        let of_first = |u: &&UnitReport| u.batch_ids.contains(&first.batch_id);
        report.units.iter().find(of_first).unwrap().clone()
    };
    // One of its two anchors is enough to prove it; the other's failure is told all the same.
    let report = run(anchors, &|a| {
        if a.batch_id == first.batch_id && a.kind == first.kind {
            trust()
        } else {
            untied()
        }
    });
    assert_eq!(
        (unit(&report).verdict, report.totals.batches.proven),
        (Verdict::Proven, 1)
    );
    let report = run(anchors, &|a| match a.batch_id == first.batch_id {
        true if a.kind == first.kind => failed(),
        true => trust(),
        false => untied(),
    });
    assert_eq!(
        (unit(&report).verdict, report.verdict),
        (Verdict::Proven, Verdict::Failed)
    );
    assert!(report.problems.iter().any(|p| p.code == code::ANCHOR_PROOF));
    // A forged anchor beside one that nothing proves fails the batch.
    let report = run(anchors, &|a| if *a == first { failed() } else { untied() });
    assert_eq!(unit(&report).verdict, Verdict::Failed);
    assert_eq!(report.failed().count(), 1);

    // Somebody claims another root for the range: nothing is sure until one of them is proven.
    let mut forged = first;
    forged.batch_id = uuid::Uuid::from_u128(77).into();
    flip_hash(&mut forged.events_root);
    let mut two: Vec<_> = anchors.anchors.clone();
    two.push(forged);
    let two = AnchorsFile::new(anchors.chain_id, two);
    let report = run(&two, &|_| untied());
    assert_eq!(unit(&report).verdict, Verdict::Failed);
    assert!(
        unit(&report)
            .failures
            .iter()
            .any(|f| f.code == code::ANCHOR_CONFLICT)
    );
    let report = run(&two, &|a| if *a == forged { failed() } else { trust() });
    assert_eq!(unit(&report).verdict, Verdict::Proven);
    let report = run(&two, &|_| trust());
    assert_eq!(unit(&report).verdict, Verdict::Failed);

    // An anchored batch that the log has never heard of, and a stream that it has lost.
    let mut later = first;
    later.batch_id = uuid::Uuid::from_u128(78).into();
    (later.sequence_start, later.sequence_end, later.event_count) = (500, 501, 2);
    let mut lost = first;
    let stream = ves::StreamKey::new(uuid::Uuid::from_u128(1).into(), uuid::Uuid::from_u128(2).into());
    (lost.stream, lost.tenant_store_key) = (Some(stream), anchor_verify::tenant_store_key(&stream));
    lost.batch_id = uuid::Uuid::from_u128(79).into();
    let mut more = anchors.anchors.clone();
    more.extend([later, lost]);
    let more = AnchorsFile::new(anchors.chain_id, more);
    let report = run(&more, &|_| trust());
    for id in [later.batch_id, lost.batch_id] {
        let unit = report.units.iter().find(|u| u.batch_ids.contains(&id)).unwrap();
        assert_eq!(
            (unit.verdict, unit.missing),
            (
                Verdict::Failed,
                u64::from(if id == lost.batch_id { first.event_count } else { 2 })
            )
        );
    }
    assert_eq!(
        report.failed().count(),
        2,
        "{:?}",
        report.failed().collect::<Vec<_>>()
    );
}

fn flip_hash(hash: &mut ves::Hash32) {
    hash.0[7] ^= 1;
}

#[test]
fn a_log_without_its_commitments_is_judged_by_the_anchors_alone() {
    let (_, lines, anchors) = &*HONEST;
    let mut lines = lines.clone();
    lines.0.retain(|l| l["type"] != "commitment");
    lines.recount();
    let report = report(&lines);
    assert_eq!(
        report.totals.batches.matches_anchors as usize,
        anchors.anchors.len() / 2
    );
    assert_eq!(report.failed().count(), 0);
    // Then the anchored state roots are recomputed from each other.
    let mut forged = anchors.clone();
    for anchor in forged
        .anchors
        .iter_mut()
        .filter(|a| a.batch_id == anchors.anchors[0].batch_id)
    {
        flip_hash(&mut anchor.state_root);
    }
    let report = Check {
        anchors: Some((&forged, &untied(&forged))),
        sequencer_keys: Default::default(),
        shard: None,
    }
    .text(&lines.text());
    assert!(report.failed().any(
        |u| u.batch_ids.contains(&anchors.anchors[0].batch_id) && u.failures[0].code == code::STATE_ROOT
    ));
}

#[test]
fn shards_make_the_whole_and_nothing_less_does() {
    let (world, lines, anchors) = &*HONEST;
    let key = world.sequencer_public_key();
    let chain = untied(anchors);
    let run = |lines: &Lines, shard| {
        Check {
            anchors: Some((anchors, &chain)),
            sequencer_keys: key.into(),
            shard,
        }
        .text(&lines.text())
    };
    let mut altered = lines.clone();
    let at = altered.places("event")[50];
    flip(&mut altered.0[at]["agent_signature"]);
    altered.0[at + 40]["payload_kind"] = 9.into();
    for lines in [lines, &altered] {
        let whole = run(lines, None);
        for of in [1, 2, 3, 7, 100] {
            let shards: Vec<(String, VerifyReport)> = (1..=of)
                .map(|index| (format!("{index}.json"), run(lines, Some(Shard { index, of }))))
                .collect();
            if of == 3 {
                assert!(
                    shards.iter().all(|(_, r)| r.units.len() > 3),
                    "the work is shared"
                );
                assert!(
                    shards[0]
                        .1
                        .not_checked
                        .iter()
                        .any(|w| w.contains("what is not in shard 1/3"))
                );
            }
            let mut shuffled = shards.clone();
            shuffled.reverse();
            assert_eq!(VerifyReport::merge(shuffled).unwrap(), whole, "{of} shards");
        }
    }
    let shard =
        |lines: &Lines, index, of| (format!("{index} of {of}"), run(lines, Some(Shard { index, of })));
    let refused = |reports| VerifyReport::merge(reports).unwrap_err().to_string();
    let [one, two] = [shard(lines, 1, 2), shard(lines, 2, 2)];
    assert!(refused(vec![one.clone()]).contains("shard 2/2 is missing"));
    assert!(refused(vec![one.clone(), one.clone()]).contains("both shard 1/2"));
    assert!(refused(vec![one.clone(), shard(lines, 2, 3)]).contains("2/3"));
    assert!(refused(vec![("x".into(), run(lines, None))]).contains("not the report of a shard"));
    assert!(refused(vec![]).contains("no report"));
    // Another log: a commitment less.
    let mut other = lines.clone();
    let at = other.places("commitment")[2];
    other.0.remove(at);
    other.recount();
    assert!(refused(vec![one.clone(), shard(&other, 2, 2)]).contains("not of the same log"));
    // Relabelled shards, dropped and doubled units.
    let mut relabelled = one.clone();
    relabelled.1.shard = Some(Shard { index: 2, of: 2 });
    assert!(refused(vec![one.clone(), relabelled]).contains("there twice"));
    let mut less = two.clone();
    less.1.units.pop();
    assert!(refused(vec![one.clone(), less]).contains("units are there"));
    let mut less = two;
    less.1.units.remove(0);
    assert!(refused(vec![one, less]).contains("is missing"));
    for bad in ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", ""] {
        assert!(bad.parse::<Shard>().is_err(), "{bad}");
    }
}

#[test]
fn a_cancelled_verification_says_nothing() {
    let cancel = Cancel::new();
    cancel.cancel();
    let text = HONEST.1.text();
    let mut source = ExportSource::new("test", text.as_bytes()).unwrap();
    let input = VerifyInput {
        kind: InputKind::Export,
        name: "test",
        anchors: None,
        sequencer_keys: Default::default(),
        keys: None,
        shard: None,
    };
    let stopped = verify(&mut source, &input, &NoProgress, &cancel);
    assert!(matches!(stopped, Err(VerifyError::Cancelled(_))));
}

#[test]
fn an_edited_report_is_refused() {
    let report = report(&HONEST.1);
    let mut value = serde_json::to_value(&report).unwrap();
    value["totals"]["batches"]["failed"] = 1.into();
    assert!(
        VerifyReport::from_json(value.to_string().as_bytes())
            .unwrap_err()
            .contains("edited")
    );
    value["schema"] = "verify-report/9".into();
    assert!(
        VerifyReport::from_json(value.to_string().as_bytes())
            .unwrap_err()
            .contains("verify-report/9")
    );
    assert!(VerifyReport::from_json(b"{}").is_err());
}

#[test]
fn a_log_made_to_be_expensive_is_not() {
    // Hundreds of commitments over the same numbers, and one over all numbers there are.
    let mut lines = HONEST.1.clone();
    let at = lines.places("commitment")[0];
    let mut forged: Vec<Value> = (2..400)
        .map(|n| {
            let mut c = lines.0[at].clone();
            c["batch_id"] = uuid::Uuid::from_u128(n).to_string().into();
            c["sequence_end"] = (u64::MAX - 400 + n as u64).into();
            c
        })
        .collect();
    let mut zero = lines.0[at].clone();
    zero["sequence_start"] = 0.into();
    forged.insert(0, lines.0[at].clone());
    forged.insert(0, zero);
    lines.0.splice(at..=at, forged);
    lines.recount();
    let report = report(&lines);
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(
        report
            .units
            .iter()
            .any(|u| u.not_checked.iter().any(|s| s.what.contains("16 other batches")))
    );
    assert!(report.problems.iter().any(|p| p.code == code::COMMITMENT_GAP));
}

/// What a report says of the log, wherever that was.
fn without_place(report: VerifyReport) -> VerifyReport {
    VerifyReport {
        place: None,
        ..report
    }
}

/// A real log and what the worlds cannot have: post-quantum keys, mixed renderings, a sequencer of its own.
fn real(name: &str, copy: &str, batches: u64, anchored: u64) {
    let Some(real) = Real::load(name, copy) else {
        return;
    };
    let anchors = &real.anchors;
    for (chain, verdict) in [
        (untied(anchors), Verdict::MatchesAnchors),
        (trusted(anchors), Verdict::Proven),
    ] {
        let check = Check {
            anchors: Some((anchors, &chain)),
            sequencer_keys: real.sequencer_key.into(),
            shard: None,
        };
        let from_db = check
            .source(&mut DbSource::open(&real.target(), Scope::default()).unwrap())
            .unwrap();
        assert_eq!(from_db.problems, []);
        let failed: Vec<_> = from_db.failed().collect();
        assert!(failed.is_empty(), "{failed:?}");
        let skipped = format!("{:?}", from_db.units);
        assert!(!skipped.contains("agent signature"), "{skipped}");
        assert_eq!(counts(&from_db, verdict), anchored);
        assert_eq!(counts(&from_db, Verdict::MatchesDatabase), batches - anchored);
        assert_eq!(
            (from_db.totals.batches.not_checked, from_db.exit_status()),
            (0, ExitStatus::OK)
        );
        // The same from the server itself, and from an export.
        let target = DbTarget::parse(real.url.as_ref()).unwrap();
        let mut server = DbSource::open(&target, Scope::default()).unwrap();
        let from_server = check.source(&mut server).unwrap();
        assert!(from_server.place.as_ref().unwrap().server().is_some());
        assert_eq!(without_place(from_server), without_place(from_db.clone()));
        let text = common::export(&real.target(), &Scope::default(), false);
        assert_eq!(without_place(check.text(&text)), without_place(from_db.clone()));
        // And with one digit changed.
        let mut lines = Lines::of(&text);
        let at = lines.places("event")[100];
        flip(&mut lines.0[at]["event_signing_hash"]);
        let altered = check.text(&lines.text());
        let unit = unit_of(&altered, &lines.0[at]);
        let sequence = lines.0[at]["sequence_number"].as_u64().unwrap();
        assert!(unit.verdict == Verdict::Failed && names(unit, code::SIGNING_HASH, sequence));
        assert_eq!(altered.failed().count(), 1);
    }
}

#[test]
fn golden_matches_its_anchors() {
    real("golden", "log.copy.sql", 39, 39);
}

#[test]
fn scenario_1_matches_its_anchors_but_for_the_batch_that_has_none() {
    real("scenario-1", "truth.copy.sql", 18, 17);
}
