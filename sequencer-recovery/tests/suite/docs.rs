//! Every command that the README and the documents show is run as it stands there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fixtures::{World, WorldSpec};
use test_support::ScratchPostgres;

/// The tools that documents call by name.
const TOOLS: [&str; 3] = ["sequencer-recovery", "outbox-sync", "anchor-verify"];

/// The documents, and commands in them that are not run here, with the reason.
const DOCUMENTS: &[(&str, &[&str])] = &[
    // They build the workspace and run all tests, this one among them.
    (
        "README.md",
        &[
            "cargo run --profile drill -p sequencer-recovery -- drill",
            "cargo run --profile drill -p sequencer-recovery -- drill --pitr",
            "scripts/test",
            "cargo install --locked --path sequencer-recovery",
            "cargo install --locked --path outbox-sync",
            "cargo install --locked --path anchor-verify",
        ],
    ),
    ("docs/runbook.md", &[]),
    ("docs/audit.md", &[]),
    ("docs/checklist.md", &[]),
    ("docs/guard.md", &[]),
    ("docs/watch.md", &[]),
    ("docs/backup-check.md", &[]),
    ("docs/concepts.md", &[]),
    ("docs/plan.md", &[]),
    ("docs/append.md", &[]),
    ("docs/lost-keys.md", &[]),
    ("docs/reissue.md", &[]),
    ("docs/apply.md", &[]),
    ("docs/undo.md", &[]),
    ("docs/loss-certificate.md", &[]),
    ("docs/tombstone.md", &[]),
    ("docs/drill.md", &[]),
    ("docs/incident.md", &[]),
    ("docs/cadence.md", &[]),
    // It needs a chain under the chain: anchor-verify's tests make one.
    (
        "docs/verify.md",
        &[
            "anchor-verify verify --db log.db --anchors anchors.json --trusted-block L1-HASH --l1-output output.json --l1-contract 0x…",
        ],
    ),
    ("docs/bundle.md", &[]),
    ("docs/reports.md", &[]),
    ("docs/proof.md", &[]),
    // They need files of checkpoints from two parties, and a proof's event: anchor-verify's tests run them.
    (
        "docs/checkpoints.md",
        &[
            "anchor-verify checkpoints mine.checkpoints theirs.checkpoints --checkpoint-key orders.vkey",
            "anchor-verify checkpoints checkpoints/ --checkpoint-key orders.vkey --db \"$DATABASE_URL\" --anchors anchors.json",
            "anchor-verify checkpoints checkpoints/ --checkpoint-key orders.vkey --epoch epoch.json --epoch-public-key operator.pub",
            "anchor-verify prove --event ID --db log.db --checkpoints checkpoints/ --checkpoint-key orders.vkey --with-payload --out event.tlog-proof",
            "anchor-verify check event.tlog-proof --checkpoint-key orders.vkey",
            "anchor-verify prove --stream TENANT/STORE --sequence 27 --checkpoints checkpoints/ --checkpoint-key orders.vkey --out leaf.tlog-proof",
            "anchor-verify check leaf.tlog-proof --checkpoint-key orders.vkey --event event.json",
            "anchor-verify verify --db log.db --anchors anchors.json --checkpoints checkpoints/ --checkpoint-key orders.vkey",
        ],
    ),
    ("docs/export.md", &[]),
    ("docs/epoch.md", &[]),
    ("docs/outboxes.md", &[]),
    // They need a node, or a chain's own headers: anchor-verify's tests run them.
    (
        "docs/anchors-file.md",
        &[
            "anchor-verify fetch --rpc https://rpc.example --contract 0x663f… --contract 0x8438… --out anchors.json",
            "anchor-verify import logs.json block_headers.json block_receipts.json proofs.json --out anchors.json",
        ],
    ),
    // They need a sequencer: outbox-sync's tests run them.
    (
        "docs/push.md",
        &[
            "export SEQUENCER_API_KEY=…",
            "outbox-sync push agent.db --url https://sequencer.example --receipts receipts.ndjson --sequencer-public-key \
             sequencer.pub",
            "outbox-sync reconcile agent.db --receipts receipts.ndjson --sequencer-public-key sequencer.pub --apply",
        ],
    ),
];

/// The commands of a document: the lines of its `sh` blocks without comments, and those of its `console` blocks that
/// begin with a prompt.
fn commands(document: &str) -> Vec<String> {
    let mut block = "";
    let mut commands = Vec::new();
    for line in document.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            block = fence;
        } else if block == "sh" && !line.trim().is_empty() && !line.starts_with('#') {
            commands.push(line.to_owned());
        } else if block == "console"
            && let Some(command) = line.strip_prefix("$ ")
        {
            commands.push(command.to_owned());
        }
    }
    commands
}

/// Puts real values where a document has placeholders.
fn filled_in(command: &str, world: &World) -> String {
    let (stream, log) = world.recovered().streams.iter().next().unwrap();
    let event = log.events.values().next().unwrap();
    command
        .replace("TENANT/STORE", &stream.to_string())
        .replace("--event ID", &format!("--event {}", event.event.event_id))
        .replace("HASH", &"ab".repeat(32))
        .replace("postgres://…/sequencer", "\"$DATABASE_URL\"")
}

/// The folder with the tools. A run of the whole workspace has built them all; a run of this crate alone builds those
/// that were never built.
pub fn tools() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_sequencer-recovery"))
        .parent()
        .unwrap();
    if TOOLS.iter().any(|tool| !folder.join(tool).exists()) {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--workspace", "--bins"])
            .current_dir(test_support::workspace_root())
            .status()
            .unwrap();
        assert!(status.success(), "the tools can be built");
    }
    folder.to_owned()
}

fn run(command: &str, dir: &Path, path: &str, database: &str) -> Output {
    Command::new("bash")
        .args(["-euc", command])
        .current_dir(dir)
        .env("PATH", path)
        .env("DATABASE_URL", database)
        .output()
        .unwrap()
}

// In three parts, side by side: one after the other they take minutes.
#[test]
fn every_command_in_the_documents_runs_first_part() {
    run_documents(0);
}

#[test]
fn every_command_in_the_documents_runs_second_part() {
    run_documents(1);
}

#[test]
fn every_command_in_the_documents_runs_third_part() {
    run_documents(2);
}

/// Each third document.
fn run_documents(part: usize) {
    if !test_support::postgres_available() {
        return;
    }
    let world = World::generate(&WorldSpec {
        seed: 3,
        ..WorldSpec::default()
    });
    let server = ScratchPostgres::start();
    let tools = tools();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    for (name, not_run) in DOCUMENTS.iter().skip(part).step_by(3) {
        let document = fs::read_to_string(test_support::workspace_root().join(name)).unwrap();
        let commands = commands(&document);
        assert!(
            not_run.iter().all(|c| commands.iter().any(|d| d == c)),
            "{name} no longer shows one of {not_run:?}"
        );
        let dir = tempfile::tempdir().unwrap();
        let database = server.create_database(&name.replace(['.', '/', '-'], "_").to_lowercase());
        prepare(&world, dir.path(), &path, &database, name);
        let mut exported = String::new();
        for command in commands.iter().filter(|c| !not_run.contains(&c.as_str())) {
            if command.starts_with("export ") {
                exported = format!("{exported}{command}\n");
                continue;
            }
            assert!(
                TOOLS.iter().any(|t| command.starts_with(t)),
                "{name}: what is `{command}`?"
            );
            let command = format!("{exported}{}", filled_in(command, &world));
            let output = run(&command, dir.path(), &path, &database);
            let code = output.status.code().unwrap_or(-1);
            // 1 and 4 speak of the log; anything else would be a command that does not work.
            assert!(
                matches!(code, 0 | 1 | 4 | 5),
                "{name}: `{command}` ends with {code}\n{}\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// The operator's keys.
fn write_keys(dir: &Path) {
    fs::write(dir.join("operator.seed"), "07".repeat(32)).unwrap();
    let operator = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
    fs::write(
        dir.join("operator.pub"),
        ves::Hash32(operator.to_bytes()).to_string(),
    )
    .unwrap();
    let name = checkpoints::note::KeyKind::Log;
    let vkey = checkpoints::VerifierKey::new("orders.example.com", name, operator).unwrap();
    fs::write(dir.join("orders.vkey"), vkey.to_string()).unwrap();
}

/// What a document's reader is supposed to have.
fn prepare(world: &World, dir: &Path, path: &str, database: &str, document: &str) {
    let copy = dir.join("log.copy.sql");
    world.write_recovered_copy(&copy).unwrap();
    test_support::load_schema(database);
    test_support::load_copy_file(database, &copy);
    fs::create_dir(dir.join("outboxes")).unwrap();
    world.write_outboxes(&dir.join("outboxes")).unwrap();
    world.write_anchor_logs(dir).unwrap();
    write_keys(dir);
    if document == "README.md" {
        return;
    }
    if document == "docs/runbook.md" {
        // An operator has them from before.
        let signed = "sequencer-recovery checkpoint --db \"$DATABASE_URL\" --state state.json --key operator.seed \
                      --name orders.example.com --out checkpoints/";
        let output = run(signed, dir, path, database);
        assert!(
            dir.join("checkpoints").exists(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        return;
    }
    world.write_recovered(&dir.join("log.db")).unwrap();
    world.write_anchors(&dir.join("anchors.json")).unwrap();
    if document == "docs/audit.md" {
        return;
    }
    if document == "docs/backup-check.md" {
        let dump = "pg_dump --format=custom --dbname \"$DATABASE_URL\" --file log.dump";
        assert!(run(dump, dir, path, database).status.success());
    }
    let outbox = fs::read_dir(dir.join("outboxes"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .min()
        .unwrap();
    fs::copy(outbox, dir.join("agent.db")).unwrap();
    fs::create_dir(dir.join("fleet")).unwrap();
    fs::copy(dir.join("agent.db"), dir.join("fleet/agent.db")).unwrap();
    for (command, made) in [
        (
            "sequencer-recovery plan --db log.db --outbox outboxes --anchors anchors.json --out plan.ndjson",
            "plan.ndjson",
        ),
        (
            "sequencer-recovery export --db log.db --out log.ndjson",
            "log.ndjson",
        ),
        (
            "cp log.db copy.db && sequencer-recovery apply plan.ndjson --db copy.db --epoch epoch.json --epoch-key operator.seed",
            "epoch.json",
        ),
        (
            "anchor-verify bundle --db log.db --anchors anchors.json --out audit.vesbundle",
            "audit.vesbundle",
        ),
    ] {
        // bundle.md makes the bundle itself.
        if document == "docs/bundle.md" && made == "audit.vesbundle" {
            continue;
        }
        let output = run(command, dir, path, database);
        assert!(
            dir.join(made).exists(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    if document == "docs/epoch.md" {
        let output = run("sequencer-recovery apply plan.ndjson", dir, path, database);
        assert!(
            matches!(output.status.code(), Some(1 | 5)),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
