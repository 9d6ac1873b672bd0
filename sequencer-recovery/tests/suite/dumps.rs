//! Dumps by `pg_dump` as witnesses, in each of its formats, as operators hold them.

use crate::common;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Data, Db, Server, args, binary, run, text};
use serde_json::Value;

/// The log before the disaster as a database, and the recovered one as a file.
struct World {
    data: Data,
    server: Server,
    truth: Db,
    recovered: Db,
}

impl World {
    fn new() -> Option<Self> {
        let data = Data::scenario();
        let server = Server::start()?;
        let truth = server.load("truth", &data.dir.join("truth.copy.sql"));
        let recovered = server
            .load("recovered", &data.dir.join("recovered.copy.sql"))
            .snapshot(data.path("recovered.db"));
        Some(Self {
            data,
            server,
            truth,
            recovered,
        })
    }

    fn pg_dump(&self, out: &Path, more: &[&str]) {
        let output = Command::new("pg_dump")
            .args(more)
            .arg("--file")
            .arg(out)
            .arg(self.truth.arg())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// What the audit says with this witness, and its exit status.
    fn audit(&self, witness: &str) -> (i32, Value, String) {
        let more = [
            "--witness".to_owned(),
            witness.to_owned(),
            "--format".into(),
            "json".into(),
        ];
        let ran = run(args(["audit", "--db", &self.recovered.arg()], &more));
        let json = if ran.stdout.is_empty() {
            Value::Null
        } else {
            ran.json()
        };
        (ran.code, json, ran.stderr)
    }

    /// As with the database itself as the witness.
    #[track_caller]
    fn equals_the_database(&self, dump: &Path) -> Value {
        let (code, by_url, _) = self.audit(&self.truth.arg());
        let (dump_code, by_dump, stderr) = self.audit(&text(dump));
        assert_eq!(dump_code, code, "{stderr}\n{by_dump}");
        assert_eq!(by_dump["totals"], by_url["totals"]);
        let streams = |report: &Value| -> Vec<(Value, Value)> {
            let streams = report["streams"].as_array().unwrap();
            streams
                .iter()
                .map(|s| (s["gaps"].clone(), s["head_known"]["sequence"].clone()))
                .collect()
        };
        assert_eq!(streams(&by_dump), streams(&by_url));
        let (heard, of_url) = (&by_dump["heard"][0], &by_url["heard"][0]);
        assert!(heard["missing_held"].as_u64().unwrap() > 300);
        for field in ["rows", "missing_held", "refused"] {
            assert_eq!(heard[field], of_url[field], "{field}");
        }
        assert_eq!(heard["kind"], "dump");
        assert_eq!(heard["path"], text(dump));
        by_dump
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn dumps_in_every_format_say_what_their_database_says() {
    let Some(world) = World::new() else { return };
    let at = |name: &str| world.data.path(name);

    world.pg_dump(&at("plain.sql"), &["--verbose"]);
    let report = world.equals_the_database(&at("plain.sql"));
    let made = report["heard"][0]["made"].as_str().unwrap();
    assert!(
        made.starts_with("pg_dump, plain text, of PostgreSQL ") && made.contains("begun 20"),
        "{made}"
    );

    let plain = fs::read(at("plain.sql")).unwrap();
    fs::write(at("plain.sql.gz"), packed(&plain)).unwrap();
    let _ = world.equals_the_database(&at("plain.sql.gz"));
    // In two frames, with something else between them, as parallel packers write.
    let (one, other) = plain.split_at(plain.len() / 2);
    let zstd =
        |part: &[u8]| ruzstd::encoding::compress_to_vec(part, ruzstd::encoding::CompressionLevel::Fastest);
    let skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd";
    let frames = [&zstd(one)[..], skipped, &zstd(other)].concat();
    fs::write(at("plain.sql.zst"), &frames).unwrap();
    let _ = world.equals_the_database(&at("plain.sql.zst"));
    let lz4 = |part: &[u8]| {
        let mut packer = lz4_flex::frame::FrameEncoder::new(Vec::new());
        packer.write_all(part).unwrap();
        packer.finish().unwrap()
    };
    fs::write(at("plain.sql.lz4"), [lz4(one), lz4(other)].concat()).unwrap();
    let _ = world.equals_the_database(&at("plain.sql.lz4"));

    for (format, name, word) in [
        ("custom", "a.dump", "custom format"),
        ("directory", "folder", "directory format"),
        ("tar", "a.tar", "tar format"),
    ] {
        world.pg_dump(&at(name), &["--format", format]);
        let report = world.equals_the_database(&at(name));
        let made = report["heard"][0]["made"].as_str().unwrap();
        assert!(
            made.contains(word) && made.contains("of PostgreSQL ") && made.contains("begun 20"),
            "{made}"
        );
    }

    // The plan names it with its date, and people read it too.
    let out = at("a.plan");
    let ran = run([
        "plan",
        "--db",
        &world.recovered.arg(),
        "--witness",
        &text(&at("a.dump")),
        "--out",
        &text(&out),
    ]);
    assert_eq!(ran.code & 8, 0, "{}", ran.stderr);
    assert!(
        fs::read_to_string(&out)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .contains("custom format, of PostgreSQL")
    );
    let ran = run([
        "audit",
        "--db",
        &world.recovered.arg(),
        "--witness",
        &text(&at("a.dump")),
    ]);
    ran.shows(&["pg_dump, custom format, of PostgreSQL"]);

    // Twice the same dump is no second voice.
    fs::copy(at("plain.sql"), at("again.sql")).unwrap();
    let more = ["plain.sql", "again.sql"]
        .map(|name| ["--witness".to_owned(), text(&at(name))])
        .concat();
    let more = [more, vec!["--accept".into(), "corroborated".into()]].concat();
    let ran = common::plan(&world.recovered, &at("twice.plan"), &more);
    assert_eq!(ran.json()["totals"]["events"], 0, "{}", ran.stdout);
    assert!(
        ran.json()["not_checked"]
            .to_string()
            .contains("the same content as")
    );

    // Another schema, other columns, another order of them, and tables of others beside the log's.
    world.truth.execute(
        "ALTER SCHEMA public RENAME TO sequencer; CREATE SCHEMA app; CREATE TABLE app.events (id int, note text); \
         INSERT INTO app.events VALUES (1, 'not ours'); \
         ALTER TABLE sequencer.ves_events ADD COLUMN extra text DEFAULT E'a\\tb'; \
         ALTER TABLE sequencer.ves_events ADD COLUMN moved bigint; \
         UPDATE sequencer.ves_events SET moved = sequence_number; \
         ALTER TABLE sequencer.ves_events DROP COLUMN sequence_number; \
         ALTER TABLE sequencer.ves_events RENAME COLUMN moved TO sequence_number;",
    );
    world.pg_dump(&at("other.sql"), &[]);
    let (_, report, stderr) = world.audit(&text(&at("other.sql")));
    assert_eq!(report["heard"][0]["error"], Value::Null, "{stderr}");
    assert!(report["heard"][0]["missing_held"].as_u64().unwrap() > 300);
    assert!(report["not_checked"].to_string().contains("app.events"));
    drop(world.server);
}

#[test]
fn dumps_that_are_not_whole_or_not_read_say_so() {
    let Some(world) = World::new() else { return };
    let at = |name: &str| world.data.path(name);
    world.pg_dump(&at("plain.sql"), &[]);
    let plain = fs::read(at("plain.sql")).unwrap();
    let find =
        |what: &[u8], from: usize| from + plain[from..].windows(what.len()).position(|w| w == what).unwrap();
    // Among the last events.
    let end = find(b"\n\\.\n", find(b"\nCOPY public.ves_events ", 0));
    let cut = &plain[..end - 20_000];
    fs::write(at("cut.sql"), cut).unwrap();
    let mut half = packed(&plain);
    half.truncate(half.len() - 4000);
    fs::write(at("cut.sql.gz"), &half).unwrap();
    world.pg_dump(&at("whole.dump"), &["--format=custom"]);
    let archive = fs::read(at("whole.dump")).unwrap();
    fs::write(at("cut.dump"), &archive[..archive.len() - 2000]).unwrap();
    for (name, why) in [
        ("cut.sql", "its end is missing"),
        ("cut.sql.gz", "cannot be unpacked to its end"),
        ("cut.dump", "pg_restore ended with"),
    ] {
        let (code, report, stderr) = world.audit(&text(&at(name)));
        assert_eq!(code, 4 | 8, "{name}: {stderr}");
        let heard = &report["heard"][0];
        assert!(heard["error"].as_str().unwrap().contains(why), "{heard}");
        assert!(
            heard["missing_held"].as_u64().unwrap() > 0,
            "{name}: what it holds is used"
        );
        assert!(stderr.contains(name) && report["not_checked"].to_string().contains(name));
    }
    let out = at("a.plan");
    let ran = run([
        "plan",
        "--db",
        &world.recovered.arg(),
        "--witness",
        &text(&at("cut.sql")),
        "--out",
        &text(&out),
    ]);
    assert_eq!(ran.code & 8, 8);
    let first = fs::read_to_string(&out)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    assert!(
        first.contains("\"incomplete\":[{") && first.contains("its end is missing"),
        "{first}"
    );

    // Refused in one sentence each.
    world.pg_dump(&at("inserts.sql"), &["--inserts"]);
    // This world's texts have no form in LATIN1, so the word alone is changed.
    let latin =
        String::from_utf8_lossy(&plain).replace("client_encoding = 'UTF8'", "client_encoding = 'LATIN1'");
    fs::write(at("latin.sql"), latin).unwrap();
    world.pg_dump(&at("schema.sql"), &["--schema-only"]);
    fs::write(at("broken.sql.zst"), b"\x28\xb5\x2f\xfd and so on").unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
    fs::write(at("cut.sql.zst"), &zstd[..zstd.len() * 2 / 3]).unwrap();
    let archive = fs::read(at("whole.dump")).unwrap();
    let mut packer = lz4_flex::frame::FrameEncoder::new(Vec::new());
    packer.write_all(&archive).unwrap();
    fs::write(at("packed.dump.lz4"), packer.finish().unwrap()).unwrap();
    // The second byte of the version of the format.
    let mut newer = archive;
    newer[6] = 99;
    fs::write(at("newer.dump"), newer).unwrap();
    let wide: Vec<u8> = std::iter::once(0xfeff_u16)
        .chain(String::from_utf8_lossy(&plain[..4000]).encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(at("wide.sql"), wide).unwrap();
    for (name, why) in [
        ("inserts.sql", "--inserts"),
        ("latin.sql", "--encoding=UTF8"),
        ("schema.sql", "holds no log"),
        ("broken.sql.zst", "zstd -dk"),
        ("packed.dump.lz4", "lz4 -dk"),
        ("cut.sql.zst", "cannot be unpacked to its end"),
        ("newer.dump", "first in PATH"),
        ("wide.sql", "UTF-16"),
    ] {
        let (code, _, stderr) = world.audit(&text(&at(name)));
        assert_eq!(code & 8, 8, "{name}");
        assert!(stderr.contains(why) && stderr.contains(name), "{name}: {stderr}");
    }

    // Without pg_restore.
    let output = Command::new(binary().get_program())
        .args([
            "audit",
            "--db",
            &world.recovered.arg(),
            "--witness",
            &text(&at("whole.dump")),
        ])
        .env("PATH", "/nowhere")
        .env_remove("DATABASE_URL")
        .output()
        .unwrap();
    assert_eq!(output.status.code().unwrap() & 8, 8);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("postgresql-client"), "{stderr}");
    // A pipe holds the plain text as well as a file does.
    let output = assert_cmd::Command::from_std(binary())
        .args([
            "audit",
            "--db",
            &world.recovered.arg(),
            "--witness",
            "/dev/stdin",
            "--format",
            "json",
        ])
        .pipe_stdin(at("plain.sql"))
        .unwrap()
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["heard"][0]["kind"], "dump");
    assert_eq!(report["heard"][0]["error"], Value::Null);

    // Of a whole cluster: the other database with a log is a question, not a guess.
    let all: PathBuf = at("cluster.sql");
    let output = Command::new("pg_dumpall")
        .arg("--file")
        .arg(&all)
        .arg("--dbname")
        .arg(world.server.0.url())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (code, _, stderr) = world.audit(&text(&all));
    assert_eq!(code & 8, 8);
    assert!(
        stderr.contains("of database recovered") && stderr.contains("of database truth"),
        "{stderr}"
    );
    let _ = test_support::query(&world.server.0.url(), "DROP DATABASE recovered");
    let output = Command::new("pg_dumpall")
        .arg("--file")
        .arg(&all)
        .arg("--dbname")
        .arg(world.server.0.url())
        .output()
        .unwrap();
    assert!(output.status.success());
    let (code, report, stderr) = world.audit(&text(&all));
    assert_eq!(code, 4, "{stderr}");
    assert_eq!(report["heard"][0]["error"], Value::Null);
}
