//! The order of an agent's events: numbers rise in the agent's own order, whatever happens to requests and answers, and
//! however often a run is stopped and begun again.

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cli_common::{Cancel, NoProgress};
use common::agents::{
    agent, command, command_to, event, events, log, outbox, push, push_to, registry, sign, uuid,
};
use common::proxy::{Proxy, TROUBLES, Trouble};
use common::sequencer::{API_KEY, Fault, Sequencer};
use outbox_sync::push::{ApiKey, Evidence, HttpTransport, Options, Push, Pushed};
use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::Value;
use ves::{AgentId, Event, EventId, StreamKey};

/// For each agent and stream the places of its events in the agent's order, as the sequencer's log has them.
fn orders(sequencer: &Sequencer, all: &[Event]) -> BTreeMap<(AgentId, StreamKey), Vec<usize>> {
    let place: BTreeMap<EventId, usize> = all.iter().map(|e| e.event_id).zip(0..).collect();
    let mut orders: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    log(sequencer);
    for e in &sequencer.state.lock().unwrap().log {
        let order = orders.entry((e.source_agent_id, e.stream)).or_default();
        order.push(place[&e.event_id]);
    }
    orders
}

fn assert_in_order(sequencer: &Sequencer, all: &[Event]) {
    for (key, order) in orders(sequencer, all) {
        assert!(order.is_sorted(), "{key:?}: {order:?}");
    }
}

/// Events of two agents in two streams, mixed as they would be in an export.
fn mixed(count: u128) -> Vec<Event> {
    let mut all = Vec::new();
    for n in 0..count {
        for by in [1, 2] {
            let mut e = event(by, n, &format!("{{\"n\":{n}}}"));
            if n % 3 == 0 {
                e.stream = StreamKey::new(uuid(1).into(), uuid(3).into());
                sign(&mut e, &agent(by).1);
            }
            all.push(e);
        }
    }
    all
}

/// A small generator of numbers: what goes wrong is the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// A run in this process, through the library; it is stopped after a while if `stop` says so.
fn run(
    folder: &Path,
    url: &str,
    sequencer: &Sequencer,
    all: &[Event],
    batch: usize,
    stop: Option<u64>,
) -> Pushed {
    let key = sequencer.key.verifying_key();
    let evidence = Evidence::open(&folder.join("receipts.ndjson"), &key.into()).unwrap();
    let transport = HttpTransport::new(url, Some(ApiKey::new(API_KEY).unwrap()));
    let options = Options {
        max_events: batch,
        attempts: 4,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(4),
        ..Options::default()
    };
    let cancel = Cancel::new();
    if let Some(stop) = stop {
        let cancel = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(stop));
            cancel.cancel();
        });
    }
    let mut push = Push::new(
        Arc::new(transport),
        options,
        Some(evidence),
        key.into(),
        &NoProgress,
        &cancel,
    );
    let mut go = || {
        for (number, event) in all.iter().enumerate() {
            push.add(event, format!("event {number}"))?;
        }
        push.finish()
    };
    // Whether it ended early does not matter here.
    let _ = go();
    push.into_report()
}

/// Half a line, as a killed run leaves it.
fn tear(path: &Path, bytes: usize) {
    if let Ok(text) = fs::read(path) {
        fs::write(path, &text[..text.len().saturating_sub(bytes)]).unwrap();
    }
}

proptest! {
    #![proptest_config(Config { cases: 24, ..Config::default() })]

    #[test]
    fn through_a_faulty_proxy_numbers_rise_in_each_agents_order(seed in any::<u64>(), batch in 1_usize..20) {
        let dir = tempfile::tempdir().unwrap();
        let sequencer = Sequencer::start(registry());
        let mut dice = Dice(seed);
        let proxy = Proxy::before(&sequencer.url, move |_| {
            if dice.roll(3) == 0 { Trouble::Nothing } else { TROUBLES[dice.roll(TROUBLES.len())] }
        });
        let all = mixed(30);
        let mut dice = Dice(!seed);
        for _ in 0..6 {
            let stop = (dice.roll(3) == 0).then(|| dice.roll(40) as u64);
            let pushed = run(dir.path(), &proxy.url, &sequencer, &all, 1 + dice.roll(batch), stop);
            prop_assert_eq!(pushed.out_of_order_count, 0);
            assert_in_order(&sequencer, &all);
            if dice.roll(4) == 0 {
                tear(&dir.path().join("receipts.ndjson"), dice.roll(900));
            }
            if dice.roll(4) == 0 {
                tear(&dir.path().join("receipts.ndjson.sent"), dice.roll(60));
            }
        }
        // Late requests of the runs before are still on their way.
        proxy.choose(|_| Trouble::Nothing);
        let pushed = run(dir.path(), &proxy.url, &sequencer, &all, batch, None);
        prop_assert!(pushed.is_complete(), "{:?}", pushed);
        let orders = orders(&sequencer, &all);
        let whole: usize = orders.values().map(Vec::len).sum();
        prop_assert_eq!((orders.len(), whole), (4, all.len()), "every event once");
        assert_in_order(&sequencer, &all);
    }

    /// What was rejected once is not taken behind what came after it, though it would be accepted now. Where the answer
    /// that told of the rejection was lost, nobody can know of it; then it is told.
    #[test]
    fn rejected_events_do_not_come_back_behind_later_ones_unnoticed(
        seed in any::<u64>(), batch in 1_usize..20, lossy in any::<bool>()
    ) {
        let dir = tempfile::tempdir().unwrap();
        let sequencer = Sequencer::start(registry());
        let mut dice = Dice(seed);
        let mut all = mixed(30);
        // A version that its entity reaches later, or never.
        for _ in 0..6 {
            let one = dice.roll(all.len());
            all[one].base_version = Some(dice.roll(8) as i64);
        }
        let mut dice = Dice(!seed);
        let harmless = [Trouble::Nothing, Trouble::DropRequest, Trouble::Delay, Trouble::ReorderReceipts];
        let proxy = Proxy::before(&sequencer.url, move |_| match TROUBLES[dice.roll(TROUBLES.len())] {
            // A request that arrives when its answer no longer matters cannot be called back. An older answer about the
            // same events cannot be told from a new one: it says rejected of what was accepted since.
            Trouble::ArriveLate | Trouble::OlderAnswer => Trouble::Nothing,
            trouble if lossy => trouble,
            _ => harmless[dice.roll(harmless.len())],
        });
        let mut dice = Dice(seed ^ 7);
        let mut told = 0;
        let in_order = || orders(&sequencer, &all).values().all(|order| order.is_sorted());
        for round in 0..6 {
            if round == 5 {
                proxy.choose(|_| Trouble::Nothing);
            }
            let stop = (round < 5 && dice.roll(4) == 0).then(|| dice.roll(40) as u64);
            let pushed = run(dir.path(), &proxy.url, &sequencer, &all, batch, stop);
            told += pushed.out_of_order_count;
            prop_assert!(lossy || in_order());
        }
        prop_assert_eq!(told > 0, !in_order());
        let pushed = run(dir.path(), &proxy.url, &sequencer, &all, batch, None);
        let there = log(&sequencer).len() as u64;
        let refused = pushed.rejected_count() + pushed.overtaken_count;
        prop_assert_eq!(there + refused, all.len() as u64, "{:?}", pushed);
    }
}

#[test]
fn an_older_answer_in_place_of_this_one_holds_back_that_agent_alone() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 60));
    outbox(&dir.path().join("b.db"), &events(2, 60));
    let first_agent = agent(1).0.to_string();
    let troubled = first_agent.clone();
    let mut seen = 0;
    let proxy = Proxy::before(&sequencer.url, move |body| {
        let agent_of_body = format!("{{\"agentId\":\"{troubled}\"");
        seen += usize::from(body.starts_with(&agent_of_body));
        if body.starts_with(&agent_of_body) && seen > 1 {
            Trouble::OlderAnswer
        } else {
            Trouble::Nothing
        }
    });
    let arguments = ["a.db", "b.db", "--batch", "20", "--attempts", "2"];
    let (code, report, err) = push_to(&proxy.url, dir.path(), &sequencer, &arguments);
    assert_eq!(code, 12, "{report} {err}");
    let held = &report["held"];
    assert_eq!(held.as_array().unwrap().len(), 1, "{report}");
    assert_eq!(
        (
            &held[0]["agent_id"],
            &held[0]["unanswered"],
            &held[0]["held_back"]
        ),
        (
            &Value::from(first_agent.as_str()),
            &Value::from(20),
            &Value::from(20)
        ),
        "{report}"
    );
    // Receipts for events that were not sent are told; agent, stream and events are named.
    assert!(err.contains("a receipt of an event that was not sent"), "{err}");
    for name in [
        &first_agent,
        &event(1, 20, "{}").event_id.to_string(),
        &event(1, 39, "{}").event_id.to_string(),
    ] {
        assert!(err.contains(name.as_str()), "{name}: {err}");
    }
    assert_eq!(report["accepted"], 80, "the other agent goes on: {report}");
    assert_eq!(log(&sequencer).len(), 100);

    // The next run begins with them.
    let (code, report, _) = push(dir.path(), &sequencer, &arguments);
    assert_eq!(
        (code, &report["replayed"], &report["accepted"]),
        (0, &20.into(), &20.into())
    );
    let all = [events(1, 60), events(2, 60)].concat();
    assert_in_order(&sequencer, &all);
    assert_eq!(log(&sequencer).len(), 120);
    assert!(
        !dir.path().join("receipts.ndjson.sent").exists(),
        "nothing is left to say"
    );
}

#[test]
fn answers_that_are_not_whole_are_asked_for_again() {
    for trouble in TROUBLES {
        let dir = tempfile::tempdir().unwrap();
        let sequencer = Sequencer::start(registry());
        outbox(&dir.path().join("a.db"), &events(1, 30));
        let mut seen = 0;
        let proxy = Proxy::before(&sequencer.url, move |_| {
            seen += 1;
            if seen == 2 { trouble } else { Trouble::Nothing }
        });
        let (code, report, err) = push_to(&proxy.url, dir.path(), &sequencer, &["a.db", "--batch", "10"]);
        assert_eq!(code, 0, "{trouble:?} {report} {err}");
        assert_eq!(
            log(&sequencer),
            events(1, 30).iter().map(|e| e.event_id).collect::<Vec<_>>()
        );
        let saved = outbox_sync::receipts::read_receipts(&dir.path().join("receipts.ndjson")).unwrap();
        assert_eq!((saved.receipts.len(), saved.errors.len()), (30, 0), "{trouble:?}");
    }
}

#[test]
fn killed_behind_a_faulty_proxy_and_run_again_the_order_holds() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    let all = events(1, 300);
    outbox(&dir.path().join("a.db"), &all);
    let mut dice = Dice(11);
    let proxy = Proxy::before(&sequencer.url, move |_| {
        if dice.roll(2) == 0 {
            Trouble::Nothing
        } else {
            TROUBLES[dice.roll(TROUBLES.len())]
        }
    });
    for round in 0..25_u64 {
        let mut child = command_to(&proxy.url, dir.path(), &sequencer, &["a.db", "--batch", "9"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + round * 8));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_in_order(&sequencer, &all);
    }
    proxy.choose(|_| Trouble::Nothing);
    let (code, report, err) = push_to(&proxy.url, dir.path(), &sequencer, &["a.db"]);
    assert_eq!(code, 0, "{report} {err}");
    assert_eq!(
        log(&sequencer),
        all.iter().map(|e| e.event_id).collect::<Vec<_>>()
    );
}

#[test]
fn two_pushes_of_one_outbox_at_once_keep_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    let all = events(1, 200);
    outbox(&dir.path().join("a.db"), &all);
    sequencer.state.lock().unwrap().delay = Duration::from_millis(2);
    let start = |receipts: &str, batch: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outbox-sync"));
        command
            .current_dir(dir.path())
            .env("SEQUENCER_API_KEY", API_KEY)
            .env_remove("DATABASE_URL")
            .args([
                "push",
                "a.db",
                "--url",
                &sequencer.url,
                "--receipts",
                receipts,
                "--batch",
                batch,
            ])
            .stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let both = [start("one.ndjson", "7"), start("two.ndjson", "3")];
    for mut child in both {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(
        log(&sequencer),
        all.iter().map(|e| e.event_id).collect::<Vec<_>>()
    );
}

#[test]
fn after_a_key_was_rotated_old_events_are_not_put_behind_new_ones_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let (_, key, mut second) = agent(1);
    second.key_id = 2;
    let mut old = agent(1).2;
    old.revoked_at = Some("2026-02-01T00:00:00Z".parse().unwrap());
    let sequencer = Sequencer::start(ves::KeyRegistry::new([old, second.clone()]));
    let mut all = events(1, 10);
    for e in &mut all[5..] {
        e.agent_key_id = 2;
        sign(e, &key);
    }
    outbox(&dir.path().join("a.db"), &all);
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!(
        (
            code,
            &report["accepted"],
            &report["rejected"]["agent_key_invalid"]
        ),
        (4, &5.into(), &5.into())
    );

    // The old key counts again. The old events would come behind the new ones: that is the user's choice.
    sequencer.state.lock().unwrap().keys = ves::KeyRegistry::new([agent(1).2, second]);
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!(
        (code, &report["overtaken_count"], &report["requests"]),
        (4, &5.into(), &0.into()),
        "{report}"
    );
    assert_eq!(log(&sequencer).len(), 5);
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db", "--send-overtaken"]);
    assert_eq!((code, &report["accepted"]), (0, &5.into()), "{report}");
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!((code, &report["receipted_before"]), (0, &10.into()), "{report}");
}

#[test]
fn receipts_from_before_a_recovery_cover_nothing_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let before = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 20));
    assert_eq!(push(dir.path(), &before, &["a.db"]).0, 0);
    // The log that came back has lost all of them.
    let after = Sequencer::start(registry());
    outbox(&dir.path().join("b.db"), &events(1, 21));
    let (code, report, err) = push(dir.path(), &after, &["b.db"]);
    assert_eq!(code, 4, "{report}");
    assert!(err.contains("the log was rewound"), "{err}");
}

/// Runs a command from a script, with what it was to have; exit status and stderr.
fn in_shell(script: &str, inner: &Command) -> (i32, String) {
    let mut outer = Command::new("sh");
    outer.current_dir(inner.get_current_dir().unwrap());
    outer
        .arg("-c")
        .arg(script)
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    let output = outer.output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// A file system of 96 KiB, as those may mount one who may have namespaces of their own.
#[test]
fn a_full_disk_is_found_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 300));
    fs::create_dir(dir.path().join("small")).unwrap();
    let mount = "mount -t tmpfs -o size=96k tmpfs small";
    let allowed = Command::new("unshare")
        .current_dir(dir.path())
        .args(["-rm", "sh", "-c", mount])
        .stderr(Stdio::null())
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        return test_support::impossible_here("no file system can be mounted by this user (unshare -rm)");
    }
    let script = format!("exec unshare -rm sh -c '{mount}; exec \"$0\" \"$@\"' \"$0\" \"$@\"");
    let mut inner = common::agents::command_bare(dir.path());
    inner.args([
        "push",
        "a.db",
        "--url",
        &sequencer.url,
        "--receipts",
        "small/receipts.ndjson",
        "--batch",
        "100",
    ]);
    let (code, err) = in_shell(&script, &inner);
    assert!(
        err.contains("small/receipts.ndjson: there is no room for the receipts of the next 100 events"),
        "{err}"
    );
    assert!(
        err.contains("were not sent") && err.contains("No space left"),
        "{err}"
    );
    assert_eq!(code, 8, "{err}");
    assert_eq!(log(&sequencer).len(), 100, "what had room was handed over");
}

#[test]
fn receipts_that_cannot_be_saved_are_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 100));
    // Files may grow to so many blocks of 512 bytes, and no signal says so.
    let limited = |blocks: u64| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        in_shell(
            &script,
            &command(dir.path(), &sequencer, &["a.db", "--batch", "50"]),
        )
    };
    // The private copy of the outbox needs more than the receipts.
    let copy = fs::metadata(dir.path().join("a.db")).unwrap().len().div_ceil(512) + 64;

    // Receipts that need more room than any before: the events are noted, and asked for again.
    sequencer.state.lock().unwrap().faults.extend([Fault::Bulky]);
    let (code, err) = limited(copy);
    assert!(
        code == 12 && err.contains("receipts.ndjson: the receipts of 50 events came and cannot be saved"),
        "{code} {err}"
    );
    assert!(err.contains("asks for their receipts again"), "{err}");
    assert!(
        fs::read(dir.path().join("receipts.ndjson")).unwrap().is_empty(),
        "no half a line"
    );
    let noted = fs::read_to_string(dir.path().join("receipts.ndjson.sent")).unwrap();
    assert!(
        noted.contains(&event(1, 49, "{}").event_id.to_string())
            && !noted.contains(&event(1, 50, "{}").event_id.to_string())
    );
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!(
        (code, &report["replayed"], &report["accepted"]),
        (0, &50.into(), &50.into())
    );
}

#[test]
fn what_was_sent_and_never_answered_is_asked_for_whatever_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    let path = dir.path().join("a.db");
    outbox(&path, &events(1, 10));
    sequencer
        .state
        .lock()
        .unwrap()
        .faults
        .extend([Fault::After, Fault::After]);
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db", "--attempts", "2"]);
    assert_eq!((code, &report["unanswered_count"]), (12, &10.into()), "{report}");
    // Another outbox is no answer: they are still named.
    outbox(&dir.path().join("b.db"), &events(2, 3));
    let (code, report, _) = push(dir.path(), &sequencer, &["b.db"]);
    assert_eq!(code, 4, "{report}");
    assert!(
        report["not_checked"]
            .to_string()
            .contains("10 events that were sent and never answered"),
        "{report}"
    );
    // Its agent has marked them meanwhile.
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute("UPDATE _ves_outbox SET sync_status = 'synced'", [])
        .unwrap();
    drop(connection);
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!((code, &report["replayed"]), (0, &10.into()), "{report}");
}
