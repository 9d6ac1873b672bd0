//! docs/first-recovery.md shows real commands with their real output: all of it is run here on the real scenario, and
//! compared. With `UPDATE_DOCS=1` in the environment the output in the document is written anew; read it before it is
//! committed.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::ScratchPostgres;

use crate::docs::tools;

/// A piece of the document: what is only read, or a command with what it prints.
enum Piece {
    Read(String),
    Run { command: String, shown: String },
}

/// Cuts a document into its pieces: commands stand in `console` blocks behind `$ `, and go on after a backslash at the end
/// of a line.
fn pieces(document: &str) -> Vec<Piece> {
    let mut pieces = vec![Piece::Read(String::new())];
    let mut in_block = false;
    let mut lines = document.split_inclusive('\n');
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            in_block = line.starts_with("```console");
            pieces.push(Piece::Read(line.to_owned()));
        } else if let (true, Some(first)) = (in_block, line.strip_prefix("$ ")) {
            let mut command = first.to_owned();
            while command.ends_with("\\\n") {
                command.push_str(lines.next().unwrap());
            }
            pieces.push(Piece::Run {
                command,
                shown: String::new(),
            });
        } else {
            match pieces.last_mut().unwrap() {
                Piece::Run { shown, .. } => shown.push_str(line),
                Piece::Read(text) => text.push_str(line),
            }
        }
    }
    pieces
}

/// What does not change from run to run: without what says where and when it was run, and the names that follow from it.
fn lasting(text: &str) -> String {
    let mut in_place = false;
    let mut kept = Vec::new();
    for line in text.lines() {
        in_place =
            line.starts_with("Log: ") || line.starts_with("Made: ") || (in_place && line.starts_with(' '));
        if !in_place {
            let words = line.split(' ').map(|word| {
                let bare = word.trim_end_matches([',', '.', ')']);
                let hex = bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
                let time = bare.len() == 20 && bare.ends_with('Z');
                if hex || time { "…" } else { word }
            });
            let line = words.collect::<Vec<_>>().join(" ");
            // The plan's id, and the epoch's, which is named by it, are of the moment.
            let of_the_plan = [", of plan ", " recovery_epoch - -> "];
            let cut = of_the_plan.iter().find_map(|mark| line.split_once(mark));
            kept.push(cut.map_or(line.clone(), |(before, _)| before.to_owned()));
        }
    }
    kept.join("\n")
}

/// What a reader of the document has before the first command.
fn prepare(dir: &Path, database: &str) {
    let scenario = test_support::shared_data().join("data/scenario-1");
    test_support::load_schema(database);
    test_support::load_copy_file(database, &scenario.join("recovered.copy.sql"));
    fs::create_dir(dir.join("outboxes")).unwrap();
    let copy = |from: PathBuf, to: PathBuf| {
        fs::write(to, fs::read(from).unwrap()).unwrap();
    };
    for file in fs::read_dir(scenario.join("outboxes")).unwrap() {
        let file = file.unwrap();
        copy(file.path(), dir.join("outboxes").join(file.file_name()));
    }
    for file in fs::read_dir(scenario.join("anchors")).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        if name.starts_with("logs_") {
            copy(file.path(), dir.join(name));
        }
    }
}

#[test]
fn the_first_recovery_goes_as_it_is_written_down() {
    if !test_support::postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let database = server.create_database("sequencer");
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), &database);
    let path = format!("{}:{}", tools().display(), std::env::var("PATH").unwrap());
    let file = test_support::workspace_root().join("docs/first-recovery.md");
    let document = fs::read_to_string(&file).unwrap();
    let (mut written, mut ran) = (String::new(), 0);
    for piece in pieces(&document) {
        let (command, shown) = match piece {
            Piece::Read(text) => {
                written.push_str(&text);
                continue;
            }
            Piece::Run { command, shown } => (command, shown),
        };
        ran += 1;
        let output = Command::new("bash")
            .args(["-c", &command])
            .current_dir(dir.path())
            .env("PATH", &path)
            .env("DATABASE_URL", &database)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8(output.stdout).unwrap();
        let status = output.status.code().unwrap();
        assert!(
            matches!(status, 0 | 1 | 4 | 5),
            "{command}: {status}\n{said}\n{stderr}"
        );
        let said = match status {
            0 => said,
            status => format!("{said}[exit status {status}]\n"),
        };
        if std::env::var_os("UPDATE_DOCS").is_none() {
            assert_eq!(lasting(&said), lasting(&shown), "{command}\n{said}");
        }
        written.push_str(&format!("$ {command}{said}"));
    }
    assert!(ran >= 10, "{ran} commands");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, written).unwrap();
    }
}
