//! Whether anchors were left out: on a real EVM node, behind others that leave out, refuse and alter.

use crate::evm;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anchor_verify::chain::{Completeness, complete};
use anchor_verify::fetch::rpc::Rpc;
use anchor_verify::fetch::{FetchError, FetchOptions, FetchTarget, Fetched, Proofs, fetch};
use anchor_verify::{AnchorsFile, Verdict};
use cli_common::{Cancel, NoProgress};
use evm::{Chain, assert_trusted, commitments, fetch_from, hex, run, word, world};
use fixtures::Commitment;
use serde_json::{Value, json};
use test_support::FaultyNode;
use uuid::Uuid;
use ves::{BatchId, Hash32};

/// Another content for the range of a commitment, under another id.
fn rival_of(commitment: &Commitment) -> Commitment {
    let mut rival = commitment.clone();
    rival.batch_id = BatchId(Uuid::from_u128(0xdead_beef));
    rival.merkle_root = Hash32([7; 32]);
    rival
}

/// Answers without the logs of a batch.
fn without(batch: &Commitment, honest: &dyn Fn() -> Value) -> Value {
    let mut answer = honest();
    let topic = hex::encode_prefixed(word(batch.batch_id.as_bytes()).as_slice());
    let logs = answer["result"].as_array_mut().unwrap();
    logs.retain(|log| log["topics"][1] != topic.as_str());
    answer
}

fn judge(file: &AnchorsFile, trusted: Option<Hash32>) -> Completeness {
    complete(&mut file.clone(), trusted, &|_| true)
}

fn number(params: &Value) -> u64 {
    u64::from_str_radix(&params["fromBlock"].as_str().unwrap()[2..], 16).unwrap()
}

#[test]
fn a_rival_that_a_node_hides_is_found_by_receipts_and_bounded_without_them() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    let commitments = commitments(&world);
    chain.both(&commitments[..3]);
    let rival = rival_of(commitments[0]);
    assert_eq!(chain.anchor(&chain.anchor, &rival)["status"], "0x1");
    chain.both(&commitments[3..4]);
    chain.node.mine(2);
    let head = chain.head();
    let honest = chain.fetch(&chain.options(), None);
    assert_eq!(
        honest.completeness.verdict,
        Verdict::Proven,
        "{}",
        honest.completeness
    );
    let to = honest.checkpoint.number;
    assert_eq!(
        (honest.completeness.from_block, honest.completeness.to_block),
        (Some(0), Some(to))
    );
    let hidden = *honest
        .file
        .anchors
        .iter()
        .find(|a| a.batch_id == rival.batch_id)
        .unwrap();

    // Left out of the logs: the bloom filter names the block, its receipts the rival, which is taken and told.
    let liar = {
        let rival = rival.clone();
        FaultyNode::altering(&chain.node.url(), move |method, _, honest| {
            (method == "eth_getLogs").then(|| without(&rival, honest))
        })
    };
    let fetched = fetch_from(&liar.url(), &chain.options(), None).unwrap();
    assert_eq!(fetched.completeness.verdict, Verdict::Failed);
    assert_eq!(fetched.completeness.left_out, [hidden]);
    assert!(
        fetched
            .completeness
            .to_string()
            .contains(&rival.batch_id.to_string())
    );
    assert!(fetched.file == honest.file);
    assert_trusted(&fetched.file, head, &["receipt", "storage"]);

    // Without receipts nothing proves it, and nothing is said to be complete; the contract's own count says that one is
    // hidden. The block does not count as searched, so that an honest node gives it later.
    let dumb = {
        let rival = rival.clone();
        FaultyNode::altering(&chain.node.url(), move |method, _, honest| match method {
            "eth_getLogs" => Some(without(&rival, honest)),
            "eth_getBlockReceipts" | "eth_getTransactionReceipt" => Some(json!({"result": null})),
            _ => None,
        })
    };
    let blind = fetch_from(&dumb.url(), &chain.options(), None).unwrap();
    let completeness = &blind.completeness;
    assert_eq!(completeness.verdict, Verdict::NotChecked, "{completeness}");
    let covered = |ranges: &[(u64, u64)]| {
        let within = |(from, to): &(u64, u64)| (*from..=*to).contains(&hidden.block_number);
        ranges.iter().any(within)
    };
    assert!(covered(&completeness.receipts_missing), "{completeness:?}");
    assert!(
        completeness
            .bounds
            .iter()
            .any(|bound| bound.contains("counts 5 batches") && bound.ends_with("1 are hidden")),
        "{:#?}",
        completeness.bounds
    );
    let scans = blind.file.chain.scanned.iter().map(|scan| (scan.from, scan.to));
    assert!(!covered(&scans.collect::<Vec<_>>()));
    let healed = chain.fetch(&chain.options(), Some(blind.file));
    assert_eq!((healed.new, healed.completeness.verdict), (1, Verdict::Proven));
    assert!(healed.file.anchors == honest.file.anchors);

    // With storage proofs alone the same.
    let options = FetchOptions {
        proofs: Proofs::Storage,
        ..chain.options()
    };
    let storage = fetch_from(&liar.url(), &options, None).unwrap();
    assert_eq!(storage.completeness.verdict, Verdict::NotChecked);
    assert!(!storage.completeness.headers_missing.is_empty());
    // The newest batch of a stream, left out, is missed by name.
    let newest = commitments[3].clone();
    let forgetful = FaultyNode::altering(&chain.node.url(), move |method, _, honest| {
        (method == "eth_getLogs").then(|| without(&newest, honest))
    });
    let missed = fetch_from(&forgetful.url(), &options, None).unwrap().completeness;
    assert_eq!(missed.verdict, Verdict::Failed, "{missed}");
    assert!(
        missed.to_string().contains(&commitments[3].batch_id.to_string()),
        "{missed}"
    );

    // A file from which somebody took the rival: receipts tell. Without its receipts, or a header: not checked.
    let mut cut = honest.file.clone();
    cut.anchors.retain(|anchor| anchor.batch_id != rival.batch_id);
    assert_eq!(judge(&cut, Some(head)).left_out.len(), 1);
    assert_eq!(judge(&cut, None).verdict, Verdict::Failed);
    let mut blind = cut.clone();
    blind
        .chain
        .receipts
        .retain(|entry| entry.block_hash != hidden.block_hash);
    assert_eq!(judge(&blind, Some(head)).verdict, Verdict::NotChecked);
    let mut holed = blind.clone();
    holed
        .chain
        .headers
        .retain(|entry| entry.hash != hidden.block_hash);
    let judged = judge(&holed, Some(head));
    assert_eq!(
        (judged.verdict, judged.headers_missing),
        (Verdict::NotChecked, vec![(0, hidden.block_number)])
    );
    assert_eq!(judge(&honest.file, None).verdict, Verdict::NotChecked);
    assert_eq!(
        judge(&honest.file, Some(Hash32([1; 32]))).verdict,
        Verdict::NotChecked
    );
    reports_have_the_line(&chain, &world, [&honest.file, &cut, &blind], head, commitments[0]);
}

/// The line stands in the reports of verify, lint, bundle and check, and a rival that is hidden fails its batch.
fn reports_have_the_line(
    chain: &Chain,
    world: &fixtures::World,
    [honest, cut, blind]: [&AnchorsFile; 3],
    head: Hash32,
    rivalled: &Commitment,
) {
    let dir = tempfile::tempdir().unwrap();
    world.write_log(&dir.path().join("log.db")).unwrap();
    for (name, file) in [("honest.json", honest), ("cut.json", cut), ("blind.json", blind)] {
        file.write(&dir.path().join(name)).unwrap();
    }
    let head = head.to_string();
    let verify = |anchors: &str| {
        let arguments = [
            "verify",
            "--db",
            "log.db",
            "--trusted-block",
            &head,
            "--anchors",
            anchors,
        ];
        let (_, table, _) = run(dir.path(), &[&arguments[..], &["--wide"]].concat());
        let (code, json, err) = run(dir.path(), &[&arguments[..], &["--format", "json"]].concat());
        let report: Value = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {err}"));
        let line = table
            .lines()
            .find(|line| line.starts_with("COMPLETENESS"))
            .unwrap();
        let word = report["completeness"]["verdict"].as_str().unwrap().to_owned();
        assert!(line.contains(&format!("was left out: {word}")), "{line}");
        let of_batch = report["units"].as_array().unwrap().iter().find(|unit| {
            unit["batch_ids"]
                .as_array()
                .unwrap()
                .contains(&json!(rivalled.batch_id))
        });
        (
            code,
            word,
            of_batch.unwrap()["verdict"].as_str().unwrap().to_owned(),
            report,
        )
    };
    let (code, word, batch, _) = verify("honest.json");
    assert_eq!((code, word.as_str(), batch.as_str()), (4, "PROVEN", "FAILED"));
    let (code, word, batch, report) = verify("cut.json");
    assert_eq!((code, word.as_str(), batch.as_str()), (4, "FAILED", "FAILED"));
    assert!(report["problems"].to_string().contains("anchor.omitted"));
    let (_, word, batch, report) = verify("blind.json");
    assert_eq!((word.as_str(), batch.as_str()), ("NOT CHECKED", "PROVEN"));
    assert!(
        report["not_checked"].to_string().contains("was left out"),
        "{}",
        report["not_checked"]
    );

    let (code, out, _) = run(dir.path(), &["lint", "cut.json"]);
    assert_eq!(code, 4);
    assert!(
        out.contains("anchor.omitted") && out.contains("COMPLETENESS"),
        "{out}"
    );
    // By a trusted block it says of the whole range what verify says.
    for (anchors, expected) in [
        ("honest.json", "PROVEN"),
        ("cut.json", "FAILED"),
        ("blind.json", "NOT CHECKED"),
    ] {
        let (_, out, _) = run(dir.path(), &["lint", "--wide", anchors, "--trusted-block", &head]);
        assert!(
            out.contains(&format!("was left out: {expected}")),
            "{anchors}: {out}"
        );
    }
    // In a bundle of one stream: what is of other streams is not missed, the rival is.
    let stream = rivalled.stream.to_string();
    for (anchors, expected) in [("honest.json", "PROVEN"), ("blind.json", "NOT CHECKED")] {
        let bundle = [
            "bundle",
            "--force",
            "--db",
            "log.db",
            "--stream",
            &stream,
            "--out",
            "x.vesbundle",
            "--anchors",
            anchors,
        ];
        let (_, out, _) = run(dir.path(), &bundle);
        assert!(out.contains("COMPLETENESS"), "{out}");
        let (_, out, _) = run(
            dir.path(),
            &[
                "verify",
                "x.vesbundle",
                "--trusted-block",
                &head,
                "--format",
                "json",
            ],
        );
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            report["completeness"]["verdict"], expected,
            "{}",
            report["completeness"]
        );
    }
    let first = rivalled.sequence_start.to_string();
    let event = ["--stream", &stream, "--sequence", &first];
    let prove = [
        &[
            "prove",
            "--db",
            "log.db",
            "--anchors",
            "blind.json",
            "--out",
            "p.json",
        ][..],
        &event,
    ]
    .concat();
    let (code, out, err) = run(dir.path(), &prove);
    assert_eq!(code, 0, "{out}{err}");
    let (_, out, _) = run(
        dir.path(),
        &["check", "p.json", "--trusted-block", &head, "--wide"],
    );
    assert!(
        out.contains("COMPLETENESS") && out.contains("was left out: NOT CHECKED"),
        "{out}"
    );
    assert!(chain.anchor.len() == 42);
}

#[test]
fn only_what_was_held_counts_as_searched() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    let commitments = commitments(&world);
    chain.both(&commitments[..3]);
    let honest = chain.fetch(&chain.options(), None);
    assert_eq!((honest.new, honest.refused.len()), (6, 0));

    // The time of a block as a number, as one client writes it, null, or in words: no proof needs it.
    for time in [json!(1_700_000_000), json!(null), json!("yesterday"), json!(true)] {
        let node = FaultyNode::altering(&chain.node.url(), move |method, _, honest| {
            let mut answer = matches!(method, "eth_getLogs" | "eth_getBlockReceipts").then(honest)?;
            for entry in answer["result"].as_array_mut().unwrap() {
                let is_log = entry.get("topics").is_some();
                let numbered = is_log && time.is_number();
                let stamp = if numbered {
                    let hex = entry["blockTimestamp"].as_str().unwrap();
                    json!(u64::from_str_radix(&hex[2..], 16).unwrap())
                } else {
                    time.clone()
                };
                entry["blockTimestamp"] = stamp.clone();
                entry["transactionIndex"] = json!(entry["transactionIndex"].clone());
                for log in entry["logs"].as_array_mut().into_iter().flatten() {
                    log["blockTimestamp"] = stamp.clone();
                }
            }
            Some(answer)
        });
        let fetched = fetch_from(&node.url(), &chain.options(), None).unwrap();
        assert_eq!(
            (fetched.new, fetched.refused.len()),
            (6, 0),
            "{:?}",
            fetched.refused
        );
        assert_eq!(fetched.completeness.verdict, Verdict::Proven);
    }

    // Logs that cannot be read: the receipts have them.
    for data in ["0xzz", "0x", "nothing"] {
        let broken = FaultyNode::altering(&chain.node.url(), move |method, _, honest| {
            let mut answer = (method == "eth_getLogs").then(honest)?;
            for log in answer["result"].as_array_mut().unwrap() {
                log["data"] = data.into();
            }
            Some(answer)
        });
        let fetched = fetch_from(&broken.url(), &chain.options(), None).unwrap();
        let left_out = fetched.completeness.left_out.len();
        assert_eq!(
            (fetched.new, fetched.refused.len(), left_out),
            (6, 6, 6),
            "{data}"
        );
        assert!(fetched.file == honest.file, "{data}");
    }

    // Blocks that may have more are read a few at a time, if so wanted; the rest is not called searched.
    let empty = FaultyNode::before(&chain.node.url(), |method, _| {
        (method == "eth_getLogs").then(|| json!({"result": []}))
    });
    let options = FetchOptions {
        max_receipts: 4,
        ..chain.options()
    };
    let some = fetch_from(&empty.url(), &options, None).unwrap();
    assert!(
        some.new == 4 && some.notes.iter().any(|note| note.contains("--max-receipts")),
        "{:?}",
        some.notes
    );
    let rest = fetch_from(&empty.url(), &options, Some(some.file)).unwrap();
    assert_eq!(rest.file.anchors, honest.file.anchors);

    // No logs and no receipts: nothing was searched, whatever the file says, and an honest node gives all.
    let empty = FaultyNode::before(&chain.node.url(), |method, _| match method {
        "eth_getLogs" => Some(json!({"result": []})),
        "eth_getBlockReceipts" | "eth_getTransactionReceipt" => Some(json!({"result": null})),
        _ => None,
    });
    let nothing = fetch_from(&empty.url(), &chain.options(), None).unwrap();
    assert_eq!(
        (nothing.new, nothing.completeness.verdict, nothing.silent.len()),
        (0, Verdict::NotChecked, 2)
    );
    let mut lying = nothing.file.clone();
    for contract in &chain.options().contracts {
        let contract = *contract;
        let (from, to) = (0, nothing.checkpoint.number);
        lying
            .chain
            .scanned
            .push(anchor_verify::chain::parts::Scan { contract, from, to });
    }
    for file in [nothing.file, lying] {
        let healed = chain.fetch(&chain.options(), Some(file));
        assert_eq!((healed.new, healed.completeness.verdict), (6, Verdict::Proven));
    }

    // Searched again when asked to; otherwise what is held is not asked for.
    let lowest = Arc::new(AtomicU64::new(u64::MAX));
    let seen = Arc::clone(&lowest);
    let watched = FaultyNode::before(&chain.node.url(), move |method, params| {
        if method == "eth_getLogs" {
            seen.fetch_min(number(&params[0]), Ordering::Relaxed);
        }
        None
    });
    let again = |rescan: bool| {
        lowest.store(u64::MAX, Ordering::Relaxed);
        let options = FetchOptions {
            rescan,
            ..chain.options()
        };
        let fetched = fetch_from(&watched.url(), &options, Some(honest.file.clone())).unwrap();
        assert!(fetched.file == honest.file);
        lowest.load(Ordering::Relaxed)
    };
    assert_eq!((again(false), again(true)), (u64::MAX, 0));

    // More headers than are wanted: what could not be held is searched again.
    let options = FetchOptions {
        max_headers: 2,
        ..chain.options()
    };
    let few = chain.fetch(&options, None);
    assert_eq!(few.completeness.verdict, Verdict::NotChecked);
    let whole = chain.fetch(&chain.options(), Some(few.file));
    assert_eq!(
        whole.completeness.verdict,
        Verdict::Proven,
        "{}",
        whole.completeness
    );

    // A log that no block has, or of a block that is not there, is not kept, and told.
    let inventive = FaultyNode::altering(&chain.node.url(), |method, _, honest| {
        let mut answer = (method == "eth_getLogs").then(honest)?;
        let logs = answer["result"].as_array_mut().unwrap();
        let mut invented = logs.first()?.clone();
        invented["logIndex"] = "0x5".into();
        invented["topics"][1] = format!("0x{}{}", "ab".repeat(16), "00".repeat(16)).into();
        let mut elsewhere = invented.clone();
        elsewhere["blockHash"] = format!("0x{}", "cd".repeat(32)).into();
        logs.extend([invented, elsewhere]);
        Some(answer)
    });
    let fetched = fetch_from(&inventive.url(), &chain.options(), None).unwrap();
    assert_eq!(fetched.refused.len(), 2, "{:?}", fetched.refused);
    assert!(fetched.file == honest.file);
}

fn rpc(url: &str) -> Rpc {
    Rpc::new(url, Cancel::new())
        .unwrap()
        .with_first_wait(Duration::from_millis(1))
        .with_budget(Duration::from_millis(300))
}

fn fetch_by(first: &str, others: &[&str], options: &FetchOptions) -> Result<Fetched, FetchError> {
    let others: Vec<Rpc> = others.iter().map(|url| rpc(url)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(fetch(&rpc(first), &others, options, None, &NoProgress))
}

#[test]
fn nodes_as_they_are() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    let commitments = commitments(&world);
    chain.both(&commitments[..2]);
    let url = chain.node.url();
    let direct = chain.fetch(&chain.options(), None).file;

    // A second node is compared with the first: what one leaves out is taken from the other, and told.
    let left_out = commitments[0].clone();
    let liar = FaultyNode::altering(&url, move |method, _, honest| {
        (method == "eth_getLogs").then(|| without(&left_out, honest))
    });
    for (first, second) in [(liar.url(), url.clone()), (url.clone(), liar.url())] {
        let fetched = fetch_by(&first, &[&second], &chain.options()).unwrap();
        assert!(
            fetched.notes[0].contains("gives 2 logs that"),
            "{:?}",
            fetched.notes
        );
        assert!(fetched.file == direct);
    }
    let elsewhere = FaultyNode::before(&url, |method, _| {
        (method == "eth_chainId").then(|| json!({"result": "0x5"}))
    });
    let error = fetch_by(&url, &[&elsewhere.url()], &chain.options()).unwrap_err();
    assert!(matches!(error, FetchError::Disagree(_)), "{error}");
    let gone = fetch_by(&url, &["http://127.0.0.1:9/"], &chain.options()).unwrap();
    assert!(gone.notes[0].contains("nothing was compared"), "{:?}", gone.notes);

    asked_too_often_is_not_asked_too_much(&chain, &direct);

    // Too much, said in the data alone, with a status of its own, or by a gateway.
    let limits = [
        json!({"error": {"code": -32602, "message": "invalid params", "data": "block range is too wide"}}),
        json!({"status": 400, "error": {"code": -32600, "message": "up to a 2 block range is allowed"}}),
        json!({"status": 500, "error": {"code": -32000, "message": "query returned more than 10 results"}}),
        json!({"error": {"code": -32005, "message": "query returned more than 10000 results"}}),
    ];
    for limit in limits {
        let said = limit.clone();
        let node = FaultyNode::before(&url, move |method, params| {
            let much = method == "eth_getLogs" && params[0]["fromBlock"] != params[0]["toBlock"];
            much.then(|| said.clone())
        });
        let fetched = fetch_by(&node.url(), &[], &chain.options());
        assert!(fetched.unwrap().file == direct, "{limit}");
    }
    let most = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&most);
    let node = FaultyNode::before(&url, move |method, params| {
        if method == "eth_getLogs" {
            let to = u64::from_str_radix(&params[0]["toBlock"].as_str().unwrap()[2..], 16).unwrap();
            seen.fetch_max(to - number(&params[0]) + 1, Ordering::Relaxed);
        }
        None
    });
    let options = FetchOptions {
        chunk: Some(3),
        ..chain.options()
    };
    assert!(fetch_by(&node.url(), &[], &options).unwrap().file == direct);
    assert_eq!(most.load(Ordering::Relaxed), 3);

    // Proofs that do not come are not waited for.
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let hanging = FaultyNode::before(&url, move |method, _| {
        if method == "eth_getProof" {
            seen.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_secs(3));
        }
        None
    });
    let fetched = fetch_by(&hanging.url(), &[], &chain.options()).unwrap();
    assert_eq!((fetched.proved.receipt, asked.load(Ordering::Relaxed)), (4, 1));
    assert!(
        fetched.notes.iter().any(|note| note.contains("no answer within")),
        "{:?}",
        fetched.notes
    );

    // Batches of one method are refused, those of another are taken.
    let batches: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&batches);
    let picky = FaultyNode::altering(&url, move |method, calls, honest| {
        if method != "batch" {
            return None;
        }
        let of = calls[0]["method"].as_str().unwrap();
        seen.lock().unwrap().push(of.to_owned());
        (of == "eth_getBlockReceipts").then(honest)
    });
    assert!(fetch_by(&picky.url(), &[], &chain.options()).unwrap().file == direct);
    assert_eq!(
        *batches.lock().unwrap(),
        ["eth_getBlockByNumber", "eth_getBlockReceipts"]
    );

    // The command: a hint where it fits, a wrong checksum, contracts that wrote nothing.
    let dir = tempfile::tempdir().unwrap();
    let command = |url: &str, contract: &str, more: &[&str]| {
        let base = ["fetch", "--rpc", url, "--contract", contract, "--out", "x.json"];
        let (code, out, err) = run(dir.path(), &[&base[..], more].concat());
        (code, format!("{out}{err}"))
    };
    let old = FaultyNode::before(&url, |method, params| {
        let tag = method == "eth_getBlockByNumber" && params[0] == "finalized";
        tag.then(|| json!({"error": {"code": -32602, "message": "invalid block tag"}}))
    });
    let (code, said) = command(&old.url(), &chain.anchor, &[]);
    assert!(code == 8 && said.contains("--to latest"), "{code} {said}");
    let (code, said) = command("http://127.0.0.1:9/", &chain.anchor, &[]);
    assert!(code == 8 && !said.contains("--to latest"), "{code} {said}");
    let checksummed = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    let (code, said) = command(&url, &checksummed.replace("5FbD", "5fbD"), &["--to", "latest"]);
    assert!(code == 16 && said.contains("checksum"), "{code} {said}");
    let (code, said) = command(
        &url,
        "0x00000000000000000000000000000000000000AA",
        &["--to", "latest"],
    );
    assert!(
        code == 4 && said.contains("knows no contract there"),
        "{code} {said}"
    );
    let (code, said) = command(&url, &chain.emitter, &["--to", "latest", "--rpc", &url]);
    assert!(
        code == 4 && said.contains("is it the right one?"),
        "{code} {said}"
    );
    assert!(matches!(chain.options().to, FetchTarget::Latest));
    assert!(Path::new(&dir.path().join("x.json")).exists());
    let text = fs::read_to_string(dir.path().join("x.json")).unwrap();
    assert!(text.contains("\"searched_from\": 0"), "{text}");
}

/// A limit on calls is waited out; it never makes the question smaller, and is no reason to give up a method.
fn asked_too_often_is_not_asked_too_much(chain: &Chain, direct: &AnchorsFile) {
    let answers = [
        json!({"status": 429, "error": {"code": -32000, "message": "exceeded"}}),
        json!({"status": 503, "error": {"code": -32000, "message": "upstream"}}),
        json!({"error": {"code": -32007, "message": "50/second request limit reached"}}),
        json!({"error": {"code": -32012, "message": "credits limited to 6000/sec"}}),
        json!({"error": {"code": -32005, "message": "project ID request rate exceeded"}}),
        json!({"error": {"code": -32000, "message": "Your app has exceeded its compute units per second capacity"}}),
        json!({"error": {"code": -32000, "message": "limited", "data": {"reason": "too many requests"}}}),
    ];
    for answer in answers {
        let calls = Arc::new(Mutex::new((0_usize, Vec::new())));
        let (seen, said) = (Arc::clone(&calls), answer.clone());
        let node = FaultyNode::before(&chain.node.url(), move |method, params| {
            if method != "eth_getLogs" {
                return None;
            }
            let mut seen = seen.lock().unwrap();
            seen.0 += 1;
            seen.1.push(params.clone());
            (seen.0 <= 2).then(|| said.clone())
        });
        let fetched = fetch_by(&node.url(), &[], &chain.options());
        assert!(fetched.unwrap().file == *direct, "{answer}");
        let calls = calls.lock().unwrap();
        assert_eq!(calls.0, 3, "{answer}");
        assert!(
            calls.1.iter().all(|params| *params == calls.1[0]),
            "{answer}: {:?}",
            calls.1
        );
    }
}

/// The creation code of a contract that writes a log of four topics and nothing else.
fn writer_of(topics: [Hash32; 4]) -> String {
    let mut code = Vec::new();
    for topic in topics.iter().rev() {
        code.push(0x7f);
        code.extend(topic.0);
    }
    // No data, LOG4, STOP.
    code.extend([0x60, 0, 0x60, 0, 0xa4, 0]);
    hex::encode_prefixed(&code)
}

/// What a client saves of an L1 node: its headers and receipts from block 0 on.
fn saved(node: &test_support::Anvil) -> (Vec<Value>, Vec<Value>, Hash32) {
    let head = node.rpc("eth_blockNumber", &json!([]));
    let head = u64::from_str_radix(&head.as_str().unwrap()[2..], 16).unwrap();
    let numbers = (0..=head).map(|number| format!("{number:#x}"));
    let headers: Vec<Value> = numbers
        .clone()
        .map(|number| node.rpc("eth_getBlockByNumber", &json!([number, false])))
        .collect();
    let receipts = numbers
        .map(|number| node.rpc("eth_getBlockReceipts", &json!([number])))
        .collect();
    let hash = headers[headers.len() - 1]["hash"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    (headers, receipts, hash)
}

#[test]
fn an_output_root_on_l1_ties_the_l2_block() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    chain.both(&commitments(&world)[..2]);
    let fetched = chain.fetch(&chain.options(), None);
    let dir = tempfile::tempdir().unwrap();
    fetched.file.write(&dir.path().join("anchors.json")).unwrap();
    world.write_log(&dir.path().join("log.db")).unwrap();
    let l2 = chain.node.rpc("eth_getBlockByNumber", &json!(["latest", false]));
    let output = json!({
        "version": format!("0x{}", "00".repeat(32)),
        "state_root": l2["stateRoot"],
        "message_passer_storage_root": format!("0x{}", "05".repeat(32)),
        "block_hash": l2["hash"],
    });
    let bytes = |value: &Value| -> [u8; 32] {
        let hash: Hash32 = value.as_str().unwrap().parse().unwrap();
        hash.0
    };
    let preimage = [[0; 32], bytes(&l2["stateRoot"]), [5; 32], bytes(&l2["hash"])].concat();
    let root = Hash32(alloy::primitives::keccak256(preimage).0);

    let l1 = test_support::Anvil::start();
    let proposed: Hash32 = "a7aaf2512769da4e444e3de247be2564225c2e7a8f74cfe528e46e17d24868e2"
        .parse()
        .unwrap();
    let created: Hash32 = "5b565efe82411da98814f356d0e7bcb8f0219b8d970307c5afb4a6903a8b2e35"
        .parse()
        .unwrap();
    let number = Hash32([0; 32]);
    let oracle = l1.deploy(&writer_of([proposed, root, number, number]));
    l1.mine(3);
    let (headers, receipts, head) = saved(&l1);
    let write = |name: &str, value: &Value| fs::write(dir.path().join(name), value.to_string()).unwrap();
    write(
        "output.json",
        &json!({"output": output, "headers": headers, "receipts": receipts}),
    );
    write("alone.json", &output);
    let (head, root) = (head.to_string(), root.to_string());
    let verify = |trusted: &str, more: &[&str]| {
        let base = [
            "verify",
            "--db",
            "log.db",
            "--anchors",
            "anchors.json",
            "--format",
            "json",
            "--trusted-block",
        ];
        let (code, out, err) = run(dir.path(), &[&base[..], &[trusted], more].concat());
        let report: Value = serde_json::from_str(&out).unwrap_or_default();
        (
            code,
            report["totals"]["batches"]["proven"].as_u64(),
            format!("{err}{}", report["not_checked"]),
        )
    };
    let (code, proven, said) = verify(&head, &["--l1-output", "output.json"]);
    assert_eq!((code, proven), (0, Some(2)), "{said}");
    assert!(
        said.contains("--l1-contract") && said.contains("not challenged"),
        "{said}"
    );
    let pinned = ["--l1-output", "output.json", "--l1-contract", &oracle];
    let (code, proven, said) = verify(&head, &pinned);
    assert!(
        (code, proven) == (0, Some(2)) && !said.contains("--l1-contract"),
        "{said}"
    );
    // The root itself, as an explorer of L1 shows it.
    assert_eq!(verify(&root, &["--l1-output", "alone.json"]).1, Some(2));
    assert_eq!(verify(&head, &[]).1, Some(0));

    // Another root, another contract, receipts or headers that are missing or altered, another chain of L1.
    let mut other = output.clone();
    other["message_passer_storage_root"] = format!("0x{}", "06".repeat(32)).into();
    let mut altered = output.clone();
    altered["state_root"] = format!("0x{}", "07".repeat(32)).into();
    let mut blind = receipts.clone();
    blind[1] = json!([]);
    let mut holed = headers.clone();
    holed.remove(2);
    for (what, file) in [
        (
            "another output",
            json!({"output": other, "headers": headers, "receipts": receipts}),
        ),
        (
            "another state root",
            json!({"output": altered, "headers": headers, "receipts": receipts}),
        ),
        ("no output", json!({"headers": headers, "receipts": receipts})),
        (
            "no receipts",
            json!({"output": output, "headers": headers, "receipts": blind}),
        ),
        (
            "a header is missing",
            json!({"output": output, "headers": holed, "receipts": receipts}),
        ),
    ] {
        write("bad.json", &file);
        assert_eq!(verify(&head, &["--l1-output", "bad.json"]).0, 8, "{what}");
    }
    let elsewhere = ["--l1-output", "output.json", "--l1-contract", &chain.registry];
    assert_ne!(chain.registry, oracle);
    assert_eq!(verify(&head, &elsewhere).0, 8);
    assert_eq!(verify(&"ab".repeat(32), &["--l1-output", "output.json"]).0, 8);
    // A log with the root in the wrong place says nothing; a dispute game's says it elsewhere.
    for (topics, code) in [
        ([proposed, number, root.parse().unwrap(), number], 8),
        ([created, number, number, root.parse().unwrap()], 0),
    ] {
        let l1 = test_support::Anvil::start();
        l1.deploy(&writer_of(topics));
        let (headers, receipts, head) = saved(&l1);
        write(
            "game.json",
            &json!({"output": output, "headers": headers, "receipts": receipts}),
        );
        assert_eq!(
            verify(&head.to_string(), &["--l1-output", "game.json"]).0,
            code,
            "{topics:?}"
        );
    }
}
