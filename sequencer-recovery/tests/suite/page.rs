//! The reports as pages (`--report FILE.html`): what is in them, when they are there, and how a browser shows them.

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Data, Db, Ran, Server, args, assert_same, run, text};
use fixtures::{World, WorldSpec};
use test_support::{assert_harmless, look_at_pages, poison_sqlite};

/// A world's files in a folder: recovered log, anchors, outboxes.
fn world(folder: &Path) -> Vec<String> {
    let world = World::generate(&WorldSpec {
        seed: 11,
        events_per_stream: 60,
        ..WorldSpec::default()
    });
    world.write_recovered(&folder.join("log.db")).unwrap();
    world.write_anchors(&folder.join("anchors.json")).unwrap();
    world.write_outboxes(&folder.join("outboxes")).unwrap();
    let at = |name: &str| text(&folder.join(name));
    vec![
        "--outbox".into(),
        at("outboxes"),
        "--anchors".into(),
        at("anchors.json"),
    ]
}

/// What a page says, as text, whatever its elements are.
fn said(html: &str) -> String {
    let (_, body) = html.split_once("<body>").unwrap();
    let pieces = body
        .split('<')
        .map(|piece| piece.split_once('>').map_or("", |(_, text)| text));
    let text: Vec<&str> = pieces.flat_map(str::split_whitespace).collect();
    text.join(" ")
}

#[track_caller]
fn assert_says(html: &str, words: &[&str]) {
    let said = said(html);
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// Audits, plans and applies, each with its page in `folder`; gives back the pages.
fn with_pages(db: &Db, witnesses: &[String], folder: &Path, name: &str) -> Vec<(String, PathBuf)> {
    let page = |command: &str| {
        (
            format!("{name}-{command}"),
            folder.join(format!("{name}-{command}.html")),
        )
    };
    let out = tempfile::tempdir().unwrap();
    let (plan, undo) = (text(&out.path().join("plan")), text(&out.path().join("undo")));
    let log = db.arg();
    let report = |command: &str| ["--report".to_owned(), text(&page(command).1), "--force".into()];
    let done = |ran: Ran, codes: &[i32]| assert!(codes.contains(&ran.code), "{}: {}", ran.code, ran.stderr);
    let audit = [witnesses, &report("audit")].concat();
    done(run(args(["audit", "--db", &log], &audit)), &[4, 12]);
    let planned = [witnesses, &report("plan")].concat();
    done(
        run(args(["plan", "--db", &log, "--out", &plan], &planned)),
        &[0, 4, 8, 12],
    );
    let applied = args(["apply", &plan, "--db", &log, "--undo", &undo], &report("apply"));
    done(run(&applied), &[1, 5]);
    ["audit", "plan", "apply"].map(page).into()
}

#[test]
fn a_real_disaster_is_shown_in_a_browser() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("log", &data.dir.join("recovered.copy.sql"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let pages = with_pages(&db, &data.witnesses(), folder, "scenario");
    let read = |at: usize| fs::read_to_string(&pages[at].1).unwrap();
    assert_says(
        &read(0),
        &[
            "problem(s)",
            "Who holds what is missing",
            "counter.behind",
            "gap.tail",
            "sequencer-recovery plan --db",
            "Not checked",
        ],
    );
    assert_says(
        &read(1),
        &[
            "go back",
            "stay open",
            "Floors, and what each choice costs",
            "--floor proven",
            "Must not be committed",
        ],
    );
    assert_says(
        &read(2),
        &[
            "stream(s) changed",
            "The way back",
            "sequencer-recovery undo",
            "While positions are open",
            "Signatures",
        ],
    );
    for (_, path) in &pages {
        let html = fs::read_to_string(path).unwrap();
        // A strip for each stream, in words too.
        assert_eq!(html.matches("<article").count(), 4, "{}", path.display());
        assert!(html.contains("<desc") && html.contains("SHA-256"));
        // The URL of the scratch server is shown without its secrets, as everywhere.
        assert!(!html.contains("password"), "{}", path.display());
    }
    if test_support::browser_available() {
        let pages: Vec<(&str, &Path)> = pages
            .iter()
            .map(|(name, path)| (name.as_str(), path.as_path()))
            .collect();
        look_at_pages(&pages);
    }
}

#[test]
fn a_page_is_made_for_whoever_asks_and_takes_nobodys_file() {
    let folder = tempfile::tempdir().unwrap();
    let witnesses = world(folder.path());
    let at = |name: &str| text(&folder.path().join(name));
    let log = at("log.db");
    let audit = |more: &[&str]| {
        let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        run(args(
            ["audit", "--db", &log, "--format", "json"],
            &[&witnesses[..], &more].concat(),
        ))
    };
    let without = audit(&[]).expect(4).json();
    let with = audit(&["--report", &at("a.html")]).expect(4).json();
    for part in ["totals", "streams", "findings"] {
        assert_eq!(without[part], with[part], "{part}");
    }
    let first = fs::read_to_string(at("a.html")).unwrap();
    audit(&["--report", &at("a.html")]).expect(8).says(&["--force"]);
    assert_eq!(fs::read_to_string(at("a.html")).unwrap(), first);
    audit(&["--report", &at("a.html"), "--force"]).expect(4);
    audit(&["--report", &at("a.json")]).expect(16).says(&[".html"]);
    audit(&["--report", &at("nowhere/a.html")])
        .expect(8)
        .says(&["nowhere"]);
    audit(&["--force"]).expect(16);
    // Nothing is left of a run that failed.
    run(args(
        ["audit", "--db", &at("none.db")],
        &["--report".to_owned(), at("b.html")],
    ))
    .expect(8);
    let left = fs::read_dir(folder.path()).unwrap();
    let left: Vec<String> = left
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("b.html"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn an_apply_whose_page_cannot_be_written_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let witnesses = world(folder.path());
    let at = |name: &str| text(&folder.path().join(name));
    let db = Db::Snapshot(folder.path().join("log.db"));
    run(args(
        ["plan", "--db", &db.arg(), "--out", &at("plan")],
        &witnesses,
    ));
    let before = db.dump();
    fs::write(at("there.html"), "mine").unwrap();
    for page in ["there.html", "nowhere/page.html"] {
        run([
            "apply",
            &at("plan"),
            "--db",
            &db.arg(),
            "--undo",
            &at("undo"),
            "--report",
            &at(page),
        ])
        .expect(8);
        assert_same(&db.dump(), &before);
        assert!(!Path::new(&at("undo")).exists());
    }
    assert_eq!(fs::read_to_string(at("there.html")).unwrap(), "mine");
    let ran = run([
        "apply",
        &at("plan"),
        "--db",
        &db.arg(),
        "--dry-run",
        "--report",
        &at("dry.html"),
    ]);
    assert!([1, 5].contains(&ran.code), "{}", ran.stderr);
    assert_says(
        &fs::read_to_string(at("dry.html")).unwrap(),
        &["DRY RUN", "would be changed as planned"],
    );
    assert_same(&db.dump(), &before);
}

#[test]
fn text_of_others_in_a_page_is_text() {
    let folder = tempfile::tempdir().unwrap();
    let witnesses = world(folder.path());
    let log = folder.path().join("log.db");
    let poisoned = folder.path().join("<script>alert(1)<script>.db");
    fs::copy(&log, &poisoned).unwrap();
    poison_sqlite(&poisoned);
    let outboxes = fs::read_dir(folder.path().join("outboxes")).unwrap();
    for outbox in outboxes.map(|entry| entry.unwrap().path()) {
        if outbox.extension().is_some_and(|ending| ending == "db") {
            poison_sqlite(&outbox);
        }
    }
    // A log in which nothing can be trusted, alone; and a sound one with witnesses of that kind.
    for (n, log, witnesses) in [(1, &poisoned, &[][..]), (2, &log, &witnesses)] {
        let page = folder.path().join(format!("page-{n}.html"));
        let more = [witnesses, &["--report".to_owned(), text(&page)]].concat();
        let ran = run(args(["audit", "--db", &text(log)], &more));
        assert!(page.exists(), "{}: {}", ran.code, ran.stderr);
        let html = fs::read_to_string(&page).unwrap();
        assert_harmless(&html);
        assert!(!html.contains("<script"));
        assert_eq!(html.contains("&lt;script&gt;"), n == 1);
    }
}
