//! Log exports: written from a log, read back as the same, and hostile ones refused or survived.

use std::ops::ControlFlow;
use std::path::Path;

use cli_common::{DbTarget, NoProgress};
use event_log::{
    EntryCheck, ExportError, ExportReader, ExportedEntry, Log, LogEntry, Outline, ReceiptCheck, RowError,
    Scope, View, write_export,
};
use fixtures::{World, WorldSpec};
use serde_json::Value;
use ves::{EventCheck, KeyRegistry, StreamKey};

fn world() -> World {
    World::generate(&WorldSpec {
        events_per_stream: 40,
        ..WorldSpec::default()
    })
}

async fn view(world: &World, folder: &Path) -> View {
    let path = folder.join("log.db");
    world.write_log(&path).unwrap();
    Log::open(&DbTarget::Snapshot(path))
        .await
        .unwrap()
        .view()
        .await
        .unwrap()
}

async fn export(view: &mut View, scope: &Scope, redact: bool) -> String {
    let mut out = Vec::new();
    write_export(view, scope, redact, &mut out, &NoProgress)
        .await
        .unwrap();
    String::from_utf8(out).unwrap()
}

type Entries = Vec<Result<ExportedEntry, RowError>>;

fn read(text: &str) -> Result<(Outline, Entries), ExportError> {
    let mut reader = ExportReader::new(text.as_bytes())?;
    let outline = reader.outline().clone();
    let mut entries = Vec::new();
    reader.for_each_entry(&mut |chunk| {
        entries.extend(chunk);
        ControlFlow::Continue(())
    })?;
    Ok((outline, entries))
}

async fn entries(view: &mut View, outline: &Outline) -> Vec<LogEntry> {
    let mut all = Vec::new();
    for stream in &outline.streams {
        all.extend(
            view.entries(&stream.stream, 0..=u64::MAX)
                .await
                .unwrap()
                .all()
                .unwrap(),
        );
    }
    all
}

#[tokio::test]
async fn what_is_read_back_is_what_the_log_has() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let mut view = view(&world, folder.path()).await;
    let text = export(&mut view, &Scope::default(), false).await;
    assert_eq!(
        text,
        export(&mut view, &Scope::default(), false).await,
        "the same bytes"
    );
    let (outline, found) = read(&text).unwrap();
    assert_eq!(
        outline,
        Outline::of_view(&mut view, &Scope::default()).await.unwrap()
    );
    assert!(outline.whole && outline.streams.iter().all(|s| !s.commitments.is_empty()));
    let found: Vec<LogEntry> = found.into_iter().map(|e| e.unwrap().entry).collect();
    assert_eq!(found, entries(&mut view, &outline).await);
    // And all of it holds.
    let keys = KeyRegistry::new(outline.keys.clone());
    let sequencer_keys = world.sequencer_public_key().into();
    for entry in &found {
        let check = EntryCheck::of(entry, &keys, &sequencer_keys);
        assert!(check.signing_hash_matches && check.payload.is_match() && check.signature.is_valid());
        assert!(matches!(check.receipt, ReceiptCheck::Matches(s) if s.is_valid()));
    }
}

#[tokio::test]
async fn a_part_says_that_it_is_one_and_payloads_may_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let mut view = view(&world, folder.path()).await;
    let stream = *world.log().streams.keys().nth(1).unwrap();
    let scope = Scope {
        streams: vec![stream],
        range: Some(5..=20),
    };
    let (outline, found) = read(&export(&mut view, &scope, true).await).unwrap();
    assert!(!outline.whole);
    let only = &outline.streams[..];
    assert_eq!(only.len(), 1);
    assert_eq!((only[0].range.clone(), only[0].events), (Some(5..=20), 16));
    assert_eq!((only[0].first, only[0].last), (Some(5), Some(20)));
    assert!(outline.keys.iter().all(|key| key.tenant_id == stream.tenant_id));
    assert!(
        only[0]
            .commitments
            .iter()
            .all(|c| c.sequence_start <= 20 && c.sequence_end >= 5)
    );
    assert_eq!(found.len(), 16);
    for entry in found {
        let ExportedEntry { entry, redacted } = entry.unwrap();
        assert!(redacted && entry.event.payload.json().is_empty());
        // Who forgets to ask is told that it is wrong, never that it is right.
        assert!(matches!(entry.event.check_payload(), EventCheck::Mismatch(_)));
        assert_eq!(entry.event.signing_hash(), entry.event_signing_hash);
    }
    let scope = Scope {
        streams: vec![StreamKey::new(stream.tenant_id, uuid::Uuid::nil().into())],
        range: None,
    };
    let error = write_export(&mut view, &scope, false, &mut Vec::new(), &NoProgress)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is not in it"), "{error}");
}

/// The lines with one of them changed.
fn with_line(text: &str, wanted: &str, change: impl Fn(&mut Value)) -> String {
    let mut done = false;
    let lines = text.lines().map(|line| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        if value["type"] == wanted && !done {
            change(&mut value);
            done = true;
        }
        format!("{value}\n")
    });
    lines.collect()
}

fn errors(text: &str) -> Vec<RowError> {
    read(text)
        .unwrap()
        .1
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

#[tokio::test]
async fn bad_events_are_named_and_do_not_stop_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let mut view = view(&world(), folder.path()).await;
    let text = export(&mut view, &Scope::default(), false).await;
    let whole = read(&text).unwrap().1.len();
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 8] = [
        (|event| event["payload"] = Value::Null, "payload_kind"),
        (|event| event["payload_kind"] = 7.into(), "payload_kind is 7"),
        (|event| event["event_signing_hash"] = "00".into(), "32 bytes"),
        (|event| event["sequence_number"] = (-1).into(), "invalid value"),
        (|event| event["surprise"] = 1.into(), "unknown field"),
        (
            |event| event["sequence_number"] = 99_999.into(),
            "not among those that were announced",
        ),
        (
            |event| event["tenant_id"] = uuid::Uuid::nil().to_string().into(),
            "not announced",
        ),
        (
            |event| *event = Value::from(serde_json::Map::from_iter([("type".to_owned(), "event".into())])),
            "missing field",
        ),
    ];
    for (change, what) in cases {
        let bad = with_line(&text, "event", change);
        let found = errors(&bad);
        assert_eq!((found.len(), read(&bad).unwrap().1.len()), (1, whole), "{what}");
        assert!(found[0].to_string().contains(what), "{}", found[0]);
    }
    // Lines that are no JSON, swapped, repeated, or gone.
    let lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|l| l.starts_with("{\"type\":\"event\""))
        .unwrap();
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    let mut broken = lines.clone();
    broken[at + 3] = "{";
    assert_eq!(errors(&joined(&broken)).len(), 1);
    let mut swapped = lines.clone();
    swapped.swap(at + 3, at + 4);
    let found = errors(&joined(&swapped));
    assert!(
        found[0].to_string().contains("event 4 stands behind event 5"),
        "{}",
        found[0]
    );
    let mut repeated = lines.clone();
    repeated.insert(at, lines[at]);
    assert_eq!(errors(&joined(&repeated)).len(), 2, "the event, and the counts");
    let mut gone = lines.clone();
    gone.remove(at);
    assert!(errors(&joined(&gone))[0].to_string().contains("the end counts"));
    // A stream that is said to have more events than it has.
    let more = with_line(&text, "stream", |line| line["events"] = 41.into());
    let found = errors(&more);
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .to_string()
            .contains("41 events were announced, 40 are there"),
        "{}",
        found[0]
    );
}

#[tokio::test]
async fn what_leaves_the_rest_open_ends_the_reading() {
    let folder = tempfile::tempdir().unwrap();
    let mut view = view(&world(), folder.path()).await;
    let text = export(&mut view, &Scope::default(), false).await;
    let message = |text: &str| read(text).unwrap_err().to_string();
    assert!(message("").contains("empty"));
    assert!(message("x\n").contains("not a log export"));
    assert!(message(&text.replacen("log-export/1", "log-export/2", 1)).contains("log-export/2"));
    let cut = &text[..text.trim_end().rfind('\n').unwrap() + 1];
    assert!(message(cut).contains("cut off after line"));
    assert!(message(&text[..text.len() - 5]).contains("cut off after line"));
    assert!(message(text.lines().next().unwrap()).contains("cut off"));
    assert!(message(&format!("{text}{{}}\n")).contains("more behind the end"));
    for (kind, field, value) in [
        ("key", "surprise", Value::from(1)),
        ("stream", "first", 0.into()),
        ("stream", "last", Value::Null),
        ("stream", "range", serde_json::json!([7, 8])),
        ("commitment", "merkle_root", "x".into()),
        ("commitment", "store_id", uuid::Uuid::nil().to_string().into()),
        ("end", "counts", 1.into()),
        ("commitment", "type", "nonsense".into()),
    ] {
        let bad = with_line(&text, kind, |line| line[field] = value.clone());
        assert!(
            matches!(read(&bad), Err(ExportError::Line { .. })),
            "{kind}.{field}"
        );
    }
    for kind in ["key", "stream", "commitment"] {
        let line = text
            .lines()
            .find(|l| l.starts_with(&format!("{{\"type\":\"{kind}\"")))
            .unwrap();
        let twice = text.replacen(line, &format!("{line}\n{line}"), 1);
        assert!(message(&twice).contains("twice"), "{kind}");
    }
    let long = format!("{}\n", "x".repeat(33 << 20));
    let header = text.lines().next().unwrap();
    assert!(message(&format!("{header}\n{long}")).contains("longer than"));
}

/// An export of one stream with so many events: the first one's line, numbered on.
async fn long(events: u64) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut view = view(&world(), folder.path()).await;
    let text = export(&mut view, &Scope::default(), false).await;
    let first = |kind: &str| -> Value {
        let begin = format!("{{\"type\":\"{kind}\"");
        serde_json::from_str(text.lines().find(|line| line.starts_with(&begin)).unwrap()).unwrap()
    };
    let (mut stream, mut event, mut end) = (first("stream"), first("event"), first("end"));
    (stream["events"], stream["first"], stream["last"]) = (events.into(), 1.into(), events.into());
    end["counts"] =
        serde_json::json!({ "keys": 0, "streams": 1, "commitments": 0, "events": events, "unreadable": 0 });
    let mut lines = vec![first("header").to_string(), stream.to_string()];
    for number in 1..=events {
        event["sequence_number"] = number.into();
        lines.push(event.to_string());
    }
    lines.push(end.to_string());
    lines
}

/// The numbers of what is given, 0 for a row that cannot be read, and how it ends. With `until`, it is broken off after the
/// chunk that has this number.
fn numbers(text: &str, threads: usize, until: u64) -> (Vec<u64>, Result<(), ExportError>) {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    let mut found = Vec::new();
    let ended = pool.install(|| {
        ExportReader::new(text.as_bytes())?.for_each_entry(&mut |chunk| {
            found.extend(
                chunk
                    .iter()
                    .map(|row| row.as_ref().map_or(0, |e| e.entry.sequence_number)),
            );
            if found.contains(&until) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    });
    (found, ended)
}

#[tokio::test]
async fn long_exports_come_in_order_on_any_number_of_threads() {
    const EVENTS: u64 = 9000;
    let lines = long(EVENTS).await;
    let text = |lines: &[String]| lines.join("\n") + "\n";
    // Event n stands on line n + 2.
    let at = |n: usize| n + 1;
    for threads in [1, 4] {
        let (found, ended) = numbers(&text(&lines), threads, u64::MAX);
        ended.unwrap();
        assert!(found.iter().copied().eq(1..=EVENTS), "{threads}");

        let mut faulty = lines.clone();
        faulty[at(4000)] = "{".into();
        faulty.swap(at(7000), at(7001));
        let (found, ended) = numbers(&text(&faulty), threads, u64::MAX);
        ended.unwrap();
        let expected = (1..=EVENTS).map(|n| match n {
            4000 => 0,
            7000 => 7001,
            // It stands behind a later one.
            7001 => 0,
            n => n,
        });
        assert!(found.iter().copied().eq(expected), "{threads}");

        // Whoever has enough is given nothing more.
        let (found, ended) = numbers(&text(&lines), threads, 2500);
        ended.unwrap();
        assert!((2500..6000).contains(&found.len()), "{threads}: {}", found.len());

        let mut unknown = lines.clone();
        unknown[at(6000)] = "{\"type\":\"nonsense\"}".into();
        let (found, ended) = numbers(&text(&unknown), threads, u64::MAX);
        let error = ended.unwrap_err();
        assert!(matches!(error, ExportError::Line { line: 6002, .. }), "{error}");
        assert!(found.len() < 6000 && found.iter().copied().eq(1..=found.len() as u64));

        let cut = text(&lines[..at(8000)]);
        let (found, ended) = numbers(&cut, threads, u64::MAX);
        assert!(matches!(ended, Err(ExportError::Truncated(8001))), "{ended:?}");
        assert!(found.iter().copied().eq(1..8000), "{threads}");

        let more = text(&lines) + &lines[at(5)] + "\n";
        let (_, ended) = numbers(&more, threads, u64::MAX);
        assert!(ended.unwrap_err().to_string().contains("more behind the end"));
    }
}
