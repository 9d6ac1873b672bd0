//! Every error says what failed on which input, and what to do about exactly that; and ends with the status that it means.

use crate::common;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use common::agents::{events, outbox, registry};
use common::sequencer::Sequencer;
use fixtures::{World, WorldSpec};
use rusqlite::Connection;
use test_support::{ScratchPostgres, load_schema, postgres_available, query};

/// A command and its environment, what its error and its hint have in them, and its exit status.
struct Case<'a> {
    line: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
    error: &'a str,
    hint: &'a str,
    status: i32,
}

fn case<'a>(line: &'a [&'a str], error: &'a str, hint: &'a str, status: i32) -> Case<'a> {
    Case {
        line,
        environment: &[],
        error,
        hint,
        status,
    }
}

/// Every error has a hint that can be followed as it stands.
fn assert_hinted(name: &str, stderr: &str) {
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.starts_with("  because: "))
        .collect();
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with("error: ") {
            let next = lines.get(at + 1).copied().unwrap_or_default();
            assert!(next.starts_with("hint: "), "{name}: no hint\n{stderr}");
        }
    }
    for half in ["same options", "run it again", "run the command again"] {
        assert!(!stderr.contains(half), "{name}: {half}\n{stderr}");
    }
}

fn check(folder: &Path, case: &Case<'_>) {
    let output = Command::new(assert_cmd::cargo::cargo_bin("outbox-sync"))
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .env_remove("SEQUENCER_API_KEY")
        .envs(case.environment.iter().copied())
        .args(case.line)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let name = case.line.join(" ");
    assert_eq!(output.status.code(), Some(case.status), "{name}\n{stderr}");
    assert!(
        stderr.contains(case.error),
        "{name}: {:?} is missing\n{stderr}",
        case.error
    );
    let hints: Vec<&str> = stderr.lines().filter(|line| line.starts_with("hint: ")).collect();
    assert!(
        hints.iter().any(|hint| hint.contains(case.hint)),
        "{name}: {:?} is missing\n{stderr}",
        case.hint
    );
    assert_hinted(&name, &stderr);
}

#[test]
fn an_error_of_a_file_says_what_to_do_about_that_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let world = World::generate(&WorldSpec {
        tenants: 1,
        stores_per_tenant: 1,
        events_per_stream: 20,
        ..WorldSpec::honest(3)
    });
    world.write_recovered(&at("log.db")).unwrap();
    outbox(&at("a.db"), &events(1, 3));
    fs::write(at("taken"), "mine").unwrap();
    fs::write(at("empty.db"), "").unwrap();
    fs::write(
        at("text.db"),
        "no database, but long enough to be one of something",
    )
    .unwrap();
    fs::write(at("none.json"), r#"{"schema": "agent-keys/1", "keys": []}"#).unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::create_dir_all(at("archive/manifest")).unwrap();
    fs::write(at("archive/manifest/0000000001.json"), "{}").unwrap();
    Connection::open(at("other.db"))
        .unwrap()
        .execute_batch("CREATE TABLE t (a)")
        .unwrap();
    let whole = fs::read(at("a.db")).unwrap();
    fs::write(at("cut.db"), &whole[..whole.len() / 2]).unwrap();
    let unknown = ["--tenant", "00000000-0000-0000-0000-0000000000ff"];
    for case in [
        // Outputs.
        case(&["export", "a.db", "--out", "taken"], "taken", "--force", 8),
        case(&["backup", "a.db", "--out", "taken"], "taken", "--force", 8),
        case(
            &["backup", "a.db", "--out", "folder", "--force"],
            "folder",
            "a regular file",
            8,
        ),
        case(
            &["export", "a.db", "--out", "no/e.ndjson"],
            "no/e.ndjson",
            "is the path right",
            8,
        ),
        case(
            &["backup", "a.db", "--out", "no/a.bak"],
            "no/a.bak",
            "is the path right",
            8,
        ),
        case(
            &["export", "a.db", "--out", "a.db", "--force"],
            "one of the files",
            "another name",
            16,
        ),
        // Inputs.
        case(&["status", "gone.db"], "gone.db", "is the path right", 8),
        case(&["verify", "gone*.db"], "gone*.db", "In quotes", 8),
        case(&["status", "empty.db"], "0 bytes", "look for a backup", 8),
        case(
            &["census", "text.db", "--db", "log.db"],
            "not an SQLite database",
            "docs/outboxes.md",
            8,
        ),
        case(
            &["reconcile", "text.db", "--db", "log.db"],
            "not an SQLite database",
            "decrypted first",
            8,
        ),
        case(&["verify", "other.db"], "not an outbox", "own database", 8),
        case(
            &["status", "cut.db"],
            "Is there a sound copy",
            "what can still be read",
            8,
        ),
        case(
            &["export", "gone.db", "--out", "e"],
            "nothing to export",
            "the errors above",
            8,
        ),
        // Keys, receipts, epochs.
        case(
            &["verify", "a.db", "--keys", "gone.json"],
            "gone.json",
            "is the path right",
            8,
        ),
        case(
            &["verify", "a.db", "--keys", "none.json"],
            "holds no key",
            "docs/outboxes.md",
            8,
        ),
        case(
            &["verify", "a.db", "--keys", "taken"],
            "not a key file",
            "docs/outboxes.md",
            8,
        ),
        case(
            &["reconcile", "a.db", "--receipts", "gone"],
            "gone",
            "is the path right",
            8,
        ),
        case(
            &["reconcile", "a.db", "--epoch", "taken"],
            "recovery epoch",
            "sequencer-recovery apply",
            8,
        ),
        case(&["reconcile", "a.db"], "nothing is known", "--receipts", 16),
        // Logs.
        case(&["census", "a.db", "--db", "gone.log"], "gone.log", "", 8),
        case(&["census", "a.db", "--db", "a.db"], "a.db", "snapshot", 8),
        case(
            &["reconcile", "a.db", "--db", "s3://bucket/archive"],
            "not a log that can be worked on",
            "event-archive snapshot",
            16,
        ),
        case(
            &[
                "verify",
                "a.db",
                "--db",
                "s3://bucket/archive",
                "--schema",
                "public",
            ],
            "an archive of events",
            "leave --schema out",
            16,
        ),
        Case {
            environment: &[("EVENT_ARCHIVE", "no/event-archive")],
            ..case(
                &["export", "a.db", "--missing-from", "archive", "--out", "e.ndjson"],
                "archive: the program event-archive, which reads archives, is not there",
                "name it in EVENT_ARCHIVE",
                8,
            )
        },
        // What selects nothing.
        case(
            &[&["export", "a.db", "--out", "e.ndjson"][..], &unknown].concat(),
            "no event in these files",
            "is the value right",
            4,
        ),
        case(
            &[
                "push",
                "a.db",
                "--dry-run",
                "--url",
                "http://127.0.0.1:9",
                "--state",
                "rejected",
            ],
            "--state",
            "pending and failed",
            4,
        ),
    ] {
        check(dir.path(), &case);
    }
}

#[test]
fn a_full_disk_is_named_by_the_file_system_that_is_full() {
    let dir = tempfile::tempdir().unwrap();
    outbox(&dir.path().join("a.db"), &events(1, 400));
    // No file grows beyond a few blocks: as on a full disk, the system refuses.
    let limited = |line: &str| {
        let tool = assert_cmd::cargo::cargo_bin("outbox-sync");
        let script = format!("trap '' XFSZ; ulimit -f 64; exec {} {line}", tool.display());
        let output = Command::new("sh")
            .current_dir(dir.path())
            .args(["-c", &script])
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for line in [
        "export a.db --out e.ndjson",
        "status a.db",
        "backup a.db --out a.bak",
    ] {
        let (code, stderr) = limited(line);
        assert_eq!(code, 8, "{line}: {stderr}");
        assert!(
            stderr.contains("hint: free space on the file system of "),
            "{line}: {stderr}"
        );
        assert!(stderr.contains("(mounted at /"), "{line}: {stderr}");
        assert_hinted(line, &stderr);
    }
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing half is left"
    );
}

#[test]
fn an_error_of_a_sequencer_says_what_is_wrong_with_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    outbox(&dir.path().join("a.db"), &events(1, 2));
    let sequencer = Sequencer::start(registry());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{closed}");
    let other = format!("{}/elsewhere", sequencer.url);
    let push = |url| ["push", "a.db", "--url", url, "--receipts", "r", "--attempts", "1"];
    let wrong_key = [("SEQUENCER_API_KEY", "wrong")];
    let bad_key = [("SEQUENCER_API_KEY", "two words")];
    let right_key = [("SEQUENCER_API_KEY", common::sequencer::API_KEY)];
    for (url, environment, error, hint, status) in [
        (&*closed, &[][..], "refused", "is the sequencer up", 8),
        (
            "http://no-such-host.invalid",
            &[],
            "given up",
            "has no address",
            8,
        ),
        (
            &sequencer.url,
            &wrong_key,
            "refuses the API key",
            "--api-key-file",
            8,
        ),
        (&sequencer.url, &bad_key, "API key", "SEQUENCER_API_KEY", 16),
        (&other, &right_key, "no sequencer", "without a path", 8),
        ("ftp://host", &[], "--url", "https://HOST", 16),
        ("http://192.0.2.1", &right_key, "in the open", "--allow-http", 16),
    ] {
        let line = push(url);
        let case = Case {
            environment,
            ..case(&line, error, hint, status)
        };
        check(dir.path(), &case);
    }
    let line = [&push(&sequencer.url)[..], &["--api-key-file", "gone"]].concat();
    check(dir.path(), &case(&line, "gone", "is the path right", 8));
}

#[test]
fn an_error_of_a_server_says_who_may_not_do_what() {
    let dir = tempfile::tempdir().unwrap();
    outbox(&dir.path().join("a.db"), &events(1, 2));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = format!("postgres://me:s3cret@{closed}/log");
    check(
        dir.path(),
        &case(&["census", "a.db", "--db", &refused], "refused", "", 8),
    );
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let url = server.create_database("log");
    load_schema(&url);
    let _ = query(&url, "CREATE ROLE stranger LOGIN");
    let stranger = url.replace("postgres@", "stranger@");
    let (missing, role) = (
        url.replace("/log", "/nothing"),
        url.replace("postgres@", "nobody@"),
    );
    for command in ["census", "status", "verify", "reconcile"] {
        let line = [command, "a.db", "--db"];
        check(
            dir.path(),
            &case(&[&line[..], &[&stranger]].concat(), "GRANT SELECT ON", "", 8),
        );
        check(
            dir.path(),
            &case(&[&line[..], &[&missing]].concat(), "nothing", "", 8),
        );
        check(
            dir.path(),
            &case(&[&line[..], &[&role]].concat(), "nobody", "", 8),
        );
    }
}
