#![allow(
    clippy::redundant_closure,
    reason = "a function alone is not general enough over the lifetime of what it writes to"
)]

use cli_common::Next;
use outbox_sync::push::{GroupCount, Noted, Pushed};

use super::super::tests::{COUNTS, agent, event, is_bad, path, place, provenance, stream, texts};
use super::report::print_table;
use super::*;

fn document(count: usize) -> Document {
    let group = |n: usize| GroupCount {
        agent_id: agent(n),
        stream: stream(n),
        events: 40 + n as u64 % 9,
        bytes: 30_000,
        requests: 1,
    };
    let groups: Vec<_> = (0..count).map(group).collect();
    let bad: Vec<usize> = (0..count).filter(|n| is_bad(*n)).collect();
    let rejections = bad.iter().map(|&n| Noted {
        event_id: event(n),
        place: format!("{} _ves_outbox row {n}", path(n)),
        what: "invalid_signature: the signature does not verify".into(),
    });
    Document {
        schema: SCHEMA,
        provenance: Some(provenance(count)),
        place: Some(place()),
        url: "https://sequencer.example/api/v1/ves/events/ingest".into(),
        dry_run: false,
        pushed: Pushed {
            accepted: groups.iter().map(|group| group.events).sum::<u64>() - bad.len() as u64,
            rejected: [("invalid_signature".to_owned(), bad.len() as u64)].into(),
            rejections: rejections.collect(),
            requests: count as u64,
            groups,
            ..Pushed::default()
        },
        advice: vec![Advice {
            reason: "invalid_signature".into(),
            events: bad.len() as u64,
            advice: advice("invalid_signature"),
        }],
        left_out: 0,
        left_out_first: Vec::new(),
        not_read: Vec::new(),
        not_checked: Vec::new(),
        next: Next::nothing("this is a test"),
    }
}

#[test]
fn what_is_said_of_a_push_is_short() {
    for (count, text) in texts(&COUNTS, document, |out, document| print_table(out, document)) {
        insta::assert_snapshot!(format!("push_{count}"), text);
    }
    let dry = Document {
        dry_run: true,
        pushed: Pushed {
            groups: document(4).pushed.groups,
            ..Pushed::default()
        },
        advice: Vec::new(),
        ..document(4)
    };
    insta::assert_snapshot!(
        "push_dry_run",
        super::super::tests::text(|out| print_table(out, &dry))
    );
}

#[test]
fn keys_go_in_the_open_to_this_machine_alone() {
    for url in [
        "https://h/",
        "http://localhost:8080",
        "http://127.0.0.1",
        "http://[::1]:80/x",
    ] {
        assert!(!sends_in_the_open(url), "{url}");
    }
    for url in [
        "http://h/",
        "http://10.0.0.1:80",
        "http://localhost@evil/",
        "http://127.0.0.1.evil",
        "http://",
    ] {
        assert!(sends_in_the_open(url), "{url}");
    }
}
