//! What an auditor knows and asks for: a block, contracts, a chain, keys, a verdict; and why the verdict is a weaker one.

use crate::common;

use std::fs;
use std::path::Path;
use std::process::Command;

use anchor_verify::chain::parts::RefusedAnchor;
use anchor_verify::{Anchor, AnchorKind, AnchorsFile, Importer};
use common::{Real, export};
use event_log::Scope;
use serde_json::Value;
use ves::Hash32;

struct Site {
    real: Real,
    head: Hash32,
    anchors: AnchorsFile,
}

impl Site {
    fn load() -> Option<Self> {
        let real = Real::load("golden", "log.copy.sql")?;
        let dir = test_support::shared_data().join("data/golden/anchors");
        let mut importer = Importer::new(None, Vec::new());
        for file in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "json") {
                importer.add_file(&file).unwrap();
            }
        }
        let anchors = importer.finish(&[]).file;
        anchors.write(&real.path().join("anchors.json")).unwrap();
        let text = export(&real.target(), &Scope::default(), false);
        fs::write(real.path().join("log.ndjson"), text).unwrap();
        let head = anchors.chain.checkpoint.unwrap().hash;
        Some(Self { real, head, anchors })
    }

    fn path(&self) -> &Path {
        self.real.path()
    }

    fn run(&self, arguments: &str) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_anchor-verify"))
            .args(arguments.split_whitespace())
            .args(["--wide", "--all"])
            .current_dir(self.path())
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout) + &text(&output.stderr),
        )
    }

    fn expect(&self, status: i32, arguments: &str, said: &[&str]) -> String {
        let (code, out) = self.run(arguments);
        assert_eq!(code, status, "{arguments}\n{out}");
        for words in said {
            assert!(out.contains(words), "{arguments}: {words}\n{out}");
        }
        out
    }

    fn contract(&self, kind: AnchorKind) -> String {
        let of = |a: &&Anchor| a.kind == kind;
        let anchor = self.anchors.anchors.iter().find(of).unwrap();
        anchor.contract.to_string()
    }
}

const VERIFY: &str = "verify --events log.ndjson --anchors anchors.json";

fn requires_a_verdict(site: &Site) {
    let (head, verify) = (site.head, VERIFY);
    site.expect(
        0,
        verify,
        &["39 MATCHES ANCHORS", "NOT PROVEN", "no trusted block was given"],
    );
    site.expect(4, &format!("{verify} --require PROVEN"), &["39 MATCHES ANCHORS"]);
    site.expect(0, &format!("{verify} --require MATCHES-ANCHORS"), &[]);
    site.expect(
        0,
        &format!("{verify} --require proven --trusted-block {head}"),
        &["39 PROVEN"],
    );
    let alone = "verify --events log.ndjson";
    site.expect(
        4,
        &format!("{alone} --require MATCHES-ANCHORS"),
        &["no anchor of it was given"],
    );
    site.expect(0, &format!("{alone} --require MATCHES-DATABASE"), &[]);
    site.expect(
        16,
        &format!("{alone} --require OK"),
        &["PROVEN", "MATCHES-ANCHORS"],
    );

    // Reports too, joined or signed.
    for shard in ["1/2", "2/2"] {
        let name = shard.replace('/', "-");
        let (code, out) = site.run(&format!("{verify} --shard {shard} --format json"));
        assert_eq!(code, 0, "{out}");
        fs::write(site.path().join(format!("s-{name}.json")), out).unwrap();
    }
    site.expect(
        0,
        "merge s-1-2.json s-2-2.json --format json --require MATCHES-ANCHORS",
        &[],
    );
    let (code, out) = site.run("merge s-1-2.json s-2-2.json --format json --require PROVEN");
    assert_eq!(code, 4);
    fs::write(site.path().join("whole.json"), out).unwrap();
    fs::write(site.path().join("seed"), "07".repeat(32)).unwrap();
    let signed = site.expect(
        0,
        "attest whole.json --key seed --out signed.json --format json",
        &[],
    );
    let key = serde_json::from_str::<Value>(&signed).unwrap()["public_key"].clone();
    let report = format!("check-report signed.json --public-key {}", key.as_str().unwrap());
    site.expect(0, &report, &["NOT PROVEN"]);
    site.expect(4, &format!("{report} --require PROVEN"), &[]);
}

/// A trusted block that ties nothing is told first, with why; one that is misspelt, with what is near it.
fn names_the_block_that_was_meant(site: &Site) {
    let head = site.head.to_string();
    let digit = if head.ends_with('0') { "1" } else { "0" };
    let misspelt = format!("{}{digit}", &head[..63]);
    let verify = format!("{VERIFY} --trusted-block {misspelt}");
    let near = format!("block 150, {head}, differs in 1 digit(s)");
    let out = site.expect(
        0,
        &verify,
        &[
            &near,
            "is not among the 151 headers of the file, of blocks 0 to 150",
        ],
    );
    assert!(
        out.starts_with(&format!("NOT TIED: the trusted block {misspelt} ties nothing")),
        "{out}"
    );
    assert!(!out.contains("see each"), "{out}");
    site.expect(4, &format!("{verify} --require PROVEN"), &[]);
    let (code, json) = site.run(&format!("{verify} --format json"));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(code, 0);
    assert!(json["input"]["ties_nothing"].as_str().unwrap().contains(&near));
    let (_, lines) = site.run(&format!("{verify} --format ndjson"));
    assert!(
        lines
            .lines()
            .next()
            .unwrap()
            .contains("\"type\":\"ties_nothing\""),
        "{lines}"
    );

    // A block of another chain is near nothing; one before the first anchor ties nothing either.
    let other = format!("{VERIFY} --trusted-block {}", "ab".repeat(32));
    let out = site.expect(
        0,
        &other,
        &["NOT TIED", &format!("the file ends at block 150, {head}")],
    );
    assert!(!out.contains("near it"), "{out}");
    let number = |header: &anchor_verify::chain::HeaderBytes| {
        let decoded = <alloy::consensus::Header as alloy::rlp::Decodable>::decode(&mut &header.rlp[..]);
        decoded.unwrap().number
    };
    let headers = &site.anchors.chain.headers;
    let first = headers.iter().find(|header| number(header) == 1).unwrap().hash;
    let early = format!("{VERIFY} --trusted-block {first}");
    site.expect(0, &early, &["NOT TIED", "is later than the trusted block 1"]);

    // A proof says the same.
    let stream = site.anchors.anchors[0].stream.unwrap();
    let place = format!("--stream {stream} --sequence 1");
    let prove = format!("prove --db log.db {place} --anchors anchors.json --out proof.json");
    site.expect(0, &prove, &[]);
    site.expect(0, "check proof.json", &["not PROVEN: no trusted block was given"]);
    site.expect(4, "check proof.json --require PROVEN", &["MATCHES ANCHORS"]);
    site.expect(
        0,
        &format!("check proof.json --require PROVEN --trusted-block {head}"),
        &["PROVEN"],
    );
    let out = site.expect(
        0,
        &format!("check proof.json --trusted-block {misspelt}"),
        &[&near, "not PROVEN: "],
    );
    assert!(out.starts_with("NOT TIED: "), "{out}");
}

/// What is not of the contracts or the chain that the auditor names is no evidence.
fn pins_contracts_and_chain(site: &Site) {
    let (head, anchor) = (site.head, site.contract(AnchorKind::StateSetAnchor));
    let verify = format!("{VERIFY} --trusted-block {head}");
    let out = site.expect(
        0,
        &format!("{verify} --contract {anchor} --chain-id 84532001"),
        &[
            "39 PROVEN",
            "39 anchor(s) of contracts that are not the given ones, which are no evidence",
        ],
    );
    assert!(!out.contains("that these are the sequencer's contracts"), "{out}");
    let nobody = format!("0x{}", "77".repeat(20));
    for more in ["", " --require PROVEN"] {
        site.expect(
            8,
            &format!("{verify} --contract {nobody}{more}"),
            &[&format!("no anchor was given of {nobody}")],
        );
    }
    site.expect(
        8,
        &format!("{verify} --chain-id 1"),
        &["of chain 84532001, not of chain 1"],
    );

    site.expect(
        0,
        &format!("lint anchors.json --contract {anchor}"),
        &["39 anchors of 39 batches"],
    );
    site.expect(8, "lint anchors.json --chain-id 1", &["not of chain 1"]);
    site.expect(
        0,
        &format!("check proof.json --trusted-block {head} --contract {anchor}"),
        &["PROVEN"],
    );
    site.expect(4, &format!("check proof.json --contract {nobody}"), &["FAILED"]);
    site.expect(8, "check proof.json --chain-id 1", &["not of chain 1"]);
    let bundle = format!("bundle --db log.db --anchors anchors.json --out one.vesbundle --contract {anchor}");
    site.expect(
        0,
        &bundle,
        &["39 anchor(s) of contracts that are not the given ones"],
    );
    let (code, json) = site.run(&format!(
        "verify one.vesbundle --trusted-block {head} --format json"
    ));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["input"]["anchors"]), (0, &39.into()));
}

/// The keys of the input are its own word, unless the auditor brings hers.
fn pins_keys(site: &Site) {
    let verify = format!("{VERIFY} --trusted-block {}", site.head);
    let text = fs::read_to_string(site.path().join("log.ndjson")).unwrap();
    let keys: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("{\"type\":\"key\""))
        .collect();
    let write = |name: &str, text: String| fs::write(site.path().join(name), text).unwrap();
    site.expect(
        0,
        &verify,
        &["that the agents' keys are theirs: they are the export's own word"],
    );
    write("keys", keys.join("\n"));
    let out = site.expect(0, &format!("{verify} --keys keys"), &["39 PROVEN"]);
    assert!(!out.contains("own word"), "{out}");

    // Another key for an agent is not the one that signed; one that is not known cannot be judged.
    let mut other: Value = serde_json::from_str(keys[0]).unwrap();
    other["public_key"] = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".into();
    write("other", format!("{other}\n{}", keys[1..].join("\n")));
    site.expect(
        4,
        &format!("{verify} --keys other"),
        &[
            "has another public_key in the input than the given one",
            "event.signature",
        ],
    );
    write("few", keys[..1].join("\n"));
    site.expect(
        4,
        &format!("{verify} --keys few"),
        &["is not among the keys", "BATCHES NOT CHECKED"],
    );
    write("none", "[]".into());
    site.expect(8, &format!("{verify} --keys none"), &["holds no keys"]);
}

/// What `lint` knows of a batch, `verify` says too: whose logs were refused, and of which batch.
fn tells_what_was_refused(site: &Site) {
    let dir = test_support::shared_data().join("data/golden/anchors");
    let name = "logs_StateSetAnchor_CommitmentAnchored.json";
    let mut logs: Value = serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap();
    let batch = site.anchors.anchors[0].batch_id;
    let data = logs[0]["data"].as_str().unwrap().to_owned();
    // A count that is not the range's.
    let at = data.len() - 64 - 1;
    logs[0]["data"] = format!("{}9{}", &data[..at], &data[at + 1..]).into();
    fs::write(
        site.path().join("bad.json"),
        Value::from(vec![logs[0].clone()]).to_string(),
    )
    .unwrap();
    site.expect(4, "import bad.json --out bad-anchors.json", &[]);
    let refused = AnchorsFile::read(&site.path().join("bad-anchors.json"))
        .unwrap()
        .chain
        .refused;
    // No contract is known from it, so it is only kept where one is.
    assert!(refused.is_empty());
    let whole = format!(
        "import bad.json --force {} --out bad-anchors.json",
        dir.join(name).display()
    );
    site.expect(4, &whole, &[]);
    let refused = AnchorsFile::read(&site.path().join("bad-anchors.json"))
        .unwrap()
        .chain
        .refused;
    let named = |r: &RefusedAnchor| r.batch_id.map(|id| id.to_string());
    let id: String = logs[0]["topics"][1].as_str().unwrap()[2..34].into();
    assert_eq!(named(&refused[0]).map(|text| text.replace('-', "")), Some(id));
    let out = site.expect(4, "lint bad-anchors.json --format json", &[]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let is_refused = |f: &&Value| f["code"] == "anchor.refused";
    let finding = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(is_refused)
        .unwrap();
    assert_eq!(
        finding["batches"][0].as_str().unwrap().to_owned(),
        named(&refused[0]).unwrap()
    );
    assert!(finding["tenant_id"].is_string(), "{finding}");

    let mut file = site.anchors.clone();
    file.chain.refused.push(RefusedAnchor {
        batch_id: Some(batch),
        ..refused[0].clone()
    });
    // And a second contract of one kind.
    let mut imitated = file.anchors[0];
    imitated.contract.0[0] ^= 1;
    let mut anchors = file.anchors.clone();
    anchors.push(imitated);
    let file = AnchorsFile::new(file.chain_id, anchors).with_chain(file.chain);
    file.write(&site.path().join("refused.json")).unwrap();
    let verify = "verify --events log.ndjson --anchors refused.json";
    site.expect(
        4,
        &format!("{verify} --trusted-block {}", site.head),
        &[
            &format!("a log of batch {batch} that was refused: "),
            "which contract is the sequencer's: 2 contracts are of the kind",
        ],
    );
    // Two contents of one batch: what differs is named, and nothing else.
    let mut two = site.anchors.anchors.clone();
    let mut other = two[0];
    other.state_root.0[0] ^= 1;
    two.push(other);
    AnchorsFile::new(None, two)
        .write(&site.path().join("two.json"))
        .unwrap();
    let out = site.expect(
        4,
        "lint two.json",
        &["two contents, which differ in state root ("],
    );
    assert!(!out.contains("differ in root"), "{out}");
}

#[test]
fn what_an_auditor_knows_and_asks_for() {
    let Some(site) = Site::load() else { return };
    requires_a_verdict(&site);
    names_the_block_that_was_meant(&site);
    pins_contracts_and_chain(&site);
    pins_keys(&site);
    tells_what_was_refused(&site);
}
