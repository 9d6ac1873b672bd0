//! The post-recovery checklist: on a real disaster before, between and after repairs; the sequencer, Prometheus and
//! backups beside it, friendly and hostile.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use crate::common;

use common::{Data, Db, Ran, Server, apply, args, plan, run, text};
use fixtures::{World, WorldSpec};
use serde_json::Value;

const HEALTHY: &str =
    r#"{"status":"healthy","service":"stateset-sequencer","version":"0.2.7","timestamp":"x"}"#;
const READY: &str = r#"{"status":"ready","database":{"connected":true,"response_time_ms":1},"pool":null}"#;
const NO_ALERTS: &str = r#"{"status":"success","data":{"alerts":[]}}"#;
const TWO_RULES: &str = r#"{"status":"success","data":{"groups":[{"name":"g","rules":[{},{}]}]}}"#;

/// An HTTP server that answers each path with a status line and a body; gives its URL.
fn http(answers: &[(&str, &str, &str)]) -> String {
    let answers: BTreeMap<String, String> = answers
        .iter()
        .map(|(path, status, body)| {
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
            (
                (*path).to_owned(),
                format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
            )
        })
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            let path = asked.split(' ').nth(1).unwrap_or_default();
            let none = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
            let _ = stream.write_all(answers.get(path).unwrap_or(&none).as_bytes());
        }
    });
    url
}

fn sequencer() -> String {
    http(&[("/health", "200 OK", HEALTHY), ("/ready", "200 OK", READY)])
}

fn checklist(db: &Db, more: &[String]) -> Ran {
    run(args(["checklist", "--format", "json", "--db", &db.arg()], more))
}

fn words(of: &[&str]) -> Vec<String> {
    of.iter().map(|word| (*word).to_owned()).collect()
}

/// Verdicts by line.
#[track_caller]
fn verdicts(report: &Value) -> BTreeMap<&str, &str> {
    let lines = report["lines"].as_array().unwrap().iter();
    lines
        .map(|line| (line["id"].as_str().unwrap(), line["verdict"].as_str().unwrap()))
        .collect()
}

fn line<'a>(report: &'a Value, id: &str) -> &'a Value {
    let mut lines = report["lines"].as_array().unwrap().iter();
    lines.find(|line| line["id"] == id).unwrap()
}

#[track_caller]
fn evidence_has(report: &Value, id: &str, word: &str) {
    let line = line(report, id).to_string();
    assert!(line.contains(word), "{word} is not in {line}");
}

#[test]
fn a_real_disaster_is_told_before_between_and_after_repairs() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    let url = sequencer();
    let mut all = data.witnesses();
    all.extend(words(&["--url", &url]));
    let before = checklist(&db, &all).expect(4).json();
    let found = verdicts(&before);
    for (id, verdict) in [
        ("service.health", "PASS"),
        ("service.ready", "PASS"),
        ("database.writable", "PASS"),
        ("database.indexes", "PASS"),
        ("counters.floor", "FAIL"),
        ("numbers.whole", "FAIL"),
        ("history.signed", "PASS"),
        ("receipts.whole", "PASS"),
        ("receipts.signed", "NOT CHECKED"),
        ("commitments.hold", "FAIL"),
        ("commitments.go_on", "FAIL"),
        ("anchors.match", "FAIL"),
        ("witnesses.read", "PASS"),
        ("agents.heard", "FAIL"),
        ("backup.age", "NOT CHECKED"),
        ("alerts.quiet", "NOT CHECKED"),
    ] {
        assert_eq!(found[id], verdict, "{}", line(&before, id));
    }
    // What is missing can be planned.
    let next = &line(&before, "numbers.whole")["next"]["command"];
    assert!(next.as_str().unwrap().contains(" plan --db "), "{next}");
    assert_eq!(before["all_passed"], false);

    // The default repair: more is there, and no stream can be committed further.
    let path = data.path("default.plan");
    plan(&db, &path, &data.witnesses()).expect(4);
    let applied = apply(&db, &path, &[]).expect(5).json();
    let streams = applied["streams"].as_array().unwrap();
    assert!(streams.iter().all(|s| s["commits_stop_at"].is_u64()), "{applied}");
    let between = checklist(&db, &all).expect(4).json();
    assert_eq!(verdicts(&between)["counters.floor"], "PASS");
    assert_eq!(verdicts(&between)["commitments.go_on"], "FAIL");
    evidence_has(
        &between,
        "commitments.go_on",
        "4 of 4 stream(s) cannot be committed further",
    );
    for stream in between["streams"].as_array().unwrap() {
        let of_apply = streams
            .iter()
            .find(|s| s["store_id"] == stream["store_id"])
            .unwrap();
        assert_eq!(stream["next"], of_apply["commits_stop_at"], "{stream}");
        assert!(
            stream["up_to"].is_null() && stream["blocked"][0].is_string(),
            "{stream}"
        );
    }
    let fill = line(&between, "commitments.go_on")["next"]["command"]
        .as_str()
        .unwrap();
    assert!(fill.contains("--fill-losses tombstone"), "{fill}");
    run(args(["checklist", "--db", &db.arg()], &all))
        .expect(4)
        .shows(&[
            "NOT PASSED",
            "4 of 4 stream(s) cannot be committed further",
            "commitments.go_on: Can every stream be committed further?",
        ]);
    let again = run(args(["apply", &text(&path), "--db", &db.arg()], &[])).expect(4);
    again.shows(&["4 of 4 stream(s) can make NO FURTHER COMMITMENT"]);

    // All filled: commitments go on, and what does not match its anchor any more is told.
    fs::write(data.path("seed"), "07".repeat(32)).unwrap();
    let filled = data.path("filled.plan");
    let mut more = data.witnesses();
    more.extend(words(&[
        "--accept",
        "claimed",
        "--fill-losses",
        "tombstone",
        "--fill-undecided",
        "--root-will-not-match",
        "--append",
        "never-sequenced",
        "--recovery-agent",
        "00000000-0000-4000-8000-00000000aaaa",
        "--register-recovery-key",
        "--recovery-key",
    ]));
    more.push(text(&data.path("seed")));
    plan(&db, &filled, &more);
    apply(&db, &filled, &[]);
    let after = checklist(&db, &all).expect(4).json();
    for id in [
        "numbers.whole",
        "counters.floor",
        "history.readable",
        "commitments.go_on",
    ] {
        assert_eq!(verdicts(&after)[id], "PASS", "{}", line(&after, id));
    }
    assert_eq!(verdicts(&after)["agents.heard"], "FAIL");
    evidence_has(&after, "numbers.whole", "tombstones");
}

#[test]
fn a_whole_log_passes_what_was_asked_and_no_more() {
    let world = World::generate(&WorldSpec {
        batch_size: 8,
        anchored_fraction: 1.0,
        lost_outboxes: 0,
        ..WorldSpec::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    world.write_log(&path("log.db")).unwrap();
    let db = Db::Snapshot(path("log.db"));
    fs::create_dir(path("backups")).unwrap();
    fs::write(path("backups").join("night.dump"), "x").unwrap();
    let prometheus = http(&[
        ("/api/v1/alerts", "200 OK", NO_ALERTS),
        ("/api/v1/rules?type=alert", "200 OK", TWO_RULES),
    ]);
    let alone = checklist(&db, &[]).expect(0).json();
    let found = verdicts(&alone);
    // Nobody beside the log was asked: what was cut off at its end it does not know.
    for id in [
        "numbers.whole",
        "numbers.once",
        "counters.floor",
        "agents.heard",
        "service.health",
    ] {
        assert_eq!(found[id], "NOT CHECKED", "{}", line(&alone, id));
    }
    assert_eq!(
        (found["history.readable"], found["commitments.hold"]),
        ("PASS", "PASS")
    );
    assert_eq!(alone["all_passed"], false);
    run(["checklist", "--db", &db.arg()])
        .expect(0)
        .shows(&["not all was checked"]);
    // Required, that is a failure.
    let required = checklist(&db, &words(&["--require", "alerts.quiet", "backup.age"]))
        .expect(4)
        .json();
    assert_eq!(line(&required, "alerts.quiet")["required"], true);
    assert_eq!(verdicts(&required)["service.health"], "NOT CHECKED");
    checklist(&db, &words(&["--require", "all"])).expect(4);
    checklist(&db, &words(&["--require", "alerts"])).expect(16);
    // Asked, it passes.
    let asked = words(&[
        "--prometheus",
        &prometheus,
        "--url",
        &sequencer(),
        "--backup-folder",
        &text(&path("backups")),
        "--require",
        "alerts.quiet",
        "backup.age",
        "service.ready",
    ]);
    let asked = checklist(&db, &asked).expect(0).json();
    for id in ["alerts.quiet", "backup.age", "service.health", "service.ready"] {
        assert_eq!(verdicts(&asked)[id], "PASS", "{}", line(&asked, id));
    }
    evidence_has(&asked, "service.health", "0.2.7");
    let old = words(&["--backup-folder", &text(&path("backups")), "--backup-age", "0"]);
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(
        verdicts(&checklist(&db, &old).expect(4).json())["backup.age"],
        "FAIL"
    );
    let page = path("checklist.html");
    run(["checklist", "--db", &db.arg(), "--report", &text(&page)]).expect(0);
    let html = fs::read_to_string(&page).unwrap();
    assert!(
        html.contains("commitments.go_on") && html.contains("NOT CHECKED"),
        "{html}"
    );
    run(["checklist", "--db", &db.arg(), "--report", &text(&page)]).expect(8);
    let ndjson = run(["checklist", "--format", "ndjson", "--db", &db.arg()]).expect(0);
    for kind in ["line", "stream", "summary", "provenance", "next"] {
        assert!(ndjson.stdout.contains(&format!(r#""type":"{kind}""#)), "{kind}");
    }
}

#[test]
fn hostile_answers_end_no_checklist_and_pass_no_line() {
    let world = World::generate(&WorldSpec::default());
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.db");
    world.write_log(&log).unwrap();
    let db = Db::Snapshot(log);
    let escape = "{\"status\":\"\\u001b[2Jhealthy\\u0007\"}";
    let huge = format!(r#"{{"status":"healthy","x":"{}"}}"#, "a".repeat(6 << 20));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let cases = [
        http(&[("/health", "200 OK", escape), ("/ready", "200 OK", "null")]),
        http(&[
            ("/health", "200 OK", &huge),
            ("/ready", "200 OK", "<html>ok</html>"),
        ]),
        http(&[
            ("/health", "302 Found\r\nLocation: http://127.0.0.1:1/", ""),
            ("/ready", "503 Busy", "\u{1b}[31m"),
        ]),
        http(&[]),
        format!("http://{closed}"),
        format!("http://{}", silent.local_addr().unwrap()),
    ];
    for url in &cases {
        let more = words(&["--url", url, "--prometheus", url, "--http-timeout", "1s"]);
        let ran = run(args(["checklist", "--db", &db.arg()], &more)).expect(12);
        assert!(
            !ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'),
            "{url}"
        );
        assert!(ran.stdout.lines().all(|line| line.len() < 2000), "{url}");
        let report = checklist(&db, &more).expect(12).json();
        for id in ["service.health", "service.ready"] {
            assert_eq!(verdicts(&report)[id], "FAIL", "{url}");
        }
        assert_eq!(line(&report, "alerts.quiet")["could_not"], true, "{url}");
    }
    // Alerts that fire are named, whatever they are called.
    let evil = r#"{"status":"success","data":{"alerts":[{"state":"firing","labels":{"alertname":"\u001b]0;x\u0007"}}]}}"#;
    let prometheus = http(&[("/api/v1/alerts", "200 OK", evil)]);
    let ran = run(["checklist", "--db", &db.arg(), "--prometheus", &prometheus]).expect(4);
    assert!(
        ran.stdout.contains("alerts.quiet") && !ran.stdout.contains('\u{1b}'),
        "{}",
        ran.stdout
    );
    // Passwords in URLs are not shown, and what is no beginning of a URL is refused.
    let secret = cases[3].replace("http://", "http://me:s3cret@");
    let ran = run(["checklist", "--db", &db.arg(), "--url", &secret]).expect(4);
    assert!(
        !ran.stdout.contains("s3cret") && !ran.stderr.contains("s3cret"),
        "{}",
        ran.stdout
    );
    run(["checklist", "--db", &db.arg(), "--url", "file:///etc/passwd"]).expect(16);
    run(["checklist", "--db", &db.arg(), "--url", "http://x/?a"]).expect(16);
}

#[test]
fn a_log_that_cannot_be_read_leaves_the_rest_to_be_asked() {
    let more = words(&["--url", &sequencer(), "--backup-folder", "/nonexistent"]);
    let db = Db::Postgres("postgres://127.0.0.1:1/none?connect_timeout=2".into());
    let report = checklist(&db, &more).expect(8).json();
    assert_eq!(verdicts(&report)["service.ready"], "PASS");
    let unread = report["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|l| l["could_not"] == true);
    assert_eq!(unread.count(), 17);
    assert!(report.get("place").is_none());
}
