//! The page of a verification (`verify --report FILE.html`).

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use fixtures::{World, WorldSpec};
use test_support::{assert_harmless, look_at_pages, poison_json};

#[test]
fn a_verification_is_shown_in_a_browser_and_its_text_is_text() {
    let world = World::generate(&WorldSpec {
        seed: 13,
        events_per_stream: 60,
        ..WorldSpec::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let verify = |anchors: &str, page: &Path| {
        let mut command = Command::cargo_bin("anchor-verify").unwrap();
        command
            .current_dir(folder.path())
            .env_remove("DATABASE_URL")
            .args([
                "verify",
                "--db",
                "log.db",
                "--anchors",
                anchors,
                "--force",
                "--report",
            ])
            .arg(page);
        command.output().unwrap()
    };
    world.write_log(&at("log.db")).unwrap();
    world.write_anchors(&at("anchors.json")).unwrap();
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verify.html");
    let ran = verify("anchors.json", &page);
    assert!([0, 4].contains(&ran.status.code().unwrap()), "{ran:?}");
    let html = fs::read_to_string(&page).unwrap();
    for words in [
        "The weakest verdict is",
        "matches anchors",
        "Whether anchors were left out",
        "SHA-256",
        "Not checked",
    ] {
        assert!(html.contains(words), "{words}");
    }
    let streams = world.log().streams.len();
    assert_eq!(html.matches("<article").count(), streams);

    let mut poisoned: serde_json::Value =
        serde_json::from_slice(&fs::read(at("anchors.json")).unwrap()).unwrap();
    poison_json(&mut poisoned, 5, 1);
    fs::write(at("<b>poisoned.json"), poisoned.to_string()).unwrap();
    let hostile = at("hostile.html");
    verify("<b>poisoned.json", &hostile);
    // Refused as a whole, or shown as text.
    if let Ok(html) = fs::read_to_string(&hostile) {
        assert_harmless(&html);
        assert!(!html.contains("<b>poisoned"));
    }
    if test_support::browser_available() {
        look_at_pages(&[("verify", &page)]);
    }
}
