//! Anchors on a real EVM node: fetched, tied to a trusted block, fetched again after more of them, after a
//! reorganisation of the chain, and from nodes that do not do all that others do.

use crate::evm;

use std::sync::atomic::{AtomicUsize, Ordering};

use alloy::primitives::{B256, Bytes};
use alloy::sol_types::SolCall;
use anchor_verify::chain::examine;
use anchor_verify::fetch::{FetchError, FetchOptions, FetchTarget, Proofs};
use anchor_verify::{AnchorKind, AnchorStanding, AnchorsFile, ContractAddress, Importer};
use evm::{Chain, abi, assert_trusted, commitments, fetch_from, hex, run, world};
use serde_json::{Value, json};
use test_support::{Anvil, FaultyNode, evm_available};
use ves::Hash32;

#[test]
fn real_commitments_are_anchored_fetched_tied_and_extended() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    let commitments = commitments(&world);
    let (first, rest) = commitments.split_at(commitments.len() / 2);
    chain.both(first);
    chain.node.mine(3);

    let fetched = chain.fetch(&chain.options(), None);
    assert_eq!(fetched.notes, Vec::<String>::new());
    assert_eq!(
        (fetched.new, fetched.refused.len(), &fetched.reorg),
        (2 * first.len(), 0, &None)
    );
    assert_eq!(fetched.file.chain_id, Some(84_532_001));
    assert_eq!(fetched.proved.both, 2 * first.len());
    let head = chain.head();
    assert_eq!(fetched.checkpoint.hash, head);
    assert_trusted(&fetched.file, head, &["receipt", "storage"]);
    for anchor in &fetched.file.anchors {
        let commitment = first.iter().find(|c| c.batch_id == anchor.batch_id).unwrap();
        assert_eq!(
            (anchor.events_root, anchor.state_root),
            (commitment.merkle_root, commitment.new_state_root)
        );
        assert_eq!(anchor.stream, Some(commitment.stream));
    }
    // It reads back from the disk as it is.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("anchors.json");
    fetched.file.write(&path).unwrap();
    let file = AnchorsFile::read(&path).unwrap();
    assert!(file == fetched.file);

    // What was damaged is read again.
    let mut damaged = file.clone();
    for header in [4, 6] {
        let mut bytes = damaged.chain.headers[header].rlp.to_vec();
        bytes[40] ^= 1;
        damaged.chain.headers[header].rlp = bytes.into();
    }
    damaged
        .chain
        .receipts
        .iter_mut()
        .for_each(|entry| entry.receipts.clear());
    assert!(chain.fetch(&chain.options(), Some(damaged)).file == file);

    // Nothing new: nothing changes.
    let again = chain.fetch(&chain.options(), Some(file.clone()));
    assert_eq!((again.new, again.reorg.is_none()), (0, true));
    assert!(again.file == file);

    // More anchors: the file is extended, by what it lacks alone.
    chain.both(rest);
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&calls);
    let node = FaultyNode::before(&chain.node.url(), move |method, params| {
        if method == "eth_getLogs" {
            let from = params[0]["fromBlock"].as_str().unwrap();
            assert!(u64::from_str_radix(&from[2..], 16).unwrap() > 5, "{params}");
        }
        counter.fetch_add(1, Ordering::Relaxed);
        None
    });
    let extended = fetch_from(&node.url(), &chain.options(), Some(file)).unwrap();
    assert!(calls.load(Ordering::Relaxed) > 0);
    assert_eq!(
        (extended.new, extended.file.anchors.len()),
        (2 * rest.len(), 2 * commitments.len())
    );
    assert_trusted(&extended.file, chain.head(), &["receipt", "storage"]);
    // The older trusted block proves the older half alone.
    let report = examine(&extended.file, Some(head));
    let trusted = report
        .standings
        .iter()
        .filter(|s| matches!(s, AnchorStanding::Trusted { .. }))
        .count();
    assert_eq!(trusted, 2 * first.len());
    assert!(
        report
            .standings
            .iter()
            .all(|s| !matches!(s, AnchorStanding::Failed { .. }))
    );

    // Fetched at once, and without headers in between: storage proves.
    let options = FetchOptions {
        max_headers: 2,
        ..chain.options()
    };
    let few = chain.fetch(&options, None);
    assert!(
        few.notes.iter().any(|note| note.contains("--max-headers")),
        "{:?}",
        few.notes
    );
    assert_eq!(few.proved.storage + few.proved.both, 2 * commitments.len());
    let options = FetchOptions {
        proofs: Proofs::Receipts,
        ..chain.options()
    };
    assert_eq!(chain.fetch(&options, None).proved.receipt, 2 * commitments.len());
    let options = FetchOptions {
        proofs: Proofs::Storage,
        ..chain.options()
    };
    let storage = chain.fetch(&options, None);
    assert_eq!(
        (
            storage.proved.storage + storage.proved.both,
            storage.file.chain.receipts.len()
        ),
        (2 * commitments.len(), 0)
    );
    // From a later block on there is less.
    let options = FetchOptions {
        from: Some(10),
        to: FetchTarget::Number(12),
        ..chain.options()
    };
    let some = chain.fetch(&options, None);
    assert!(
        some.file
            .anchors
            .iter()
            .all(|a| (10..=12).contains(&a.block_number))
            && some.new == 3,
        "{}",
        some.new
    );
    // Finalized is older than all of it.
    let finalized = chain.fetch(
        &FetchOptions {
            to: FetchTarget::Finalized,
            ..chain.options()
        },
        None,
    );
    assert_eq!((finalized.new, finalized.checkpoint.number), (0, 0));
}

#[test]
fn a_reorganisation_between_runs_is_noticed_and_told() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    let commitments = commitments(&world);
    chain.both(&commitments[..3]);
    chain.node.mine(1);
    let common: u64 = {
        let number = chain.node.rpc("eth_blockNumber", &json!([]));
        u64::from_str_radix(&number.as_str().unwrap()[2..], 16).unwrap()
    };
    chain.both(&commitments[3..6]);
    let before = chain.fetch(&chain.options(), None);
    let old_head = chain.head();
    assert_eq!(before.new, 12);

    // The last three are reorganised away, and one of them is anchored again.
    chain.node.rpc("anvil_reorg", &json!([6, []]));
    chain.node.mine(1);
    let standing_before = examine(&before.file, Some(chain.head()));
    assert!(
        standing_before
            .standings
            .iter()
            .all(|s| matches!(s, AnchorStanding::Untied { .. }))
    );
    chain.both(&commitments[3..4]);
    let after = chain.fetch(&chain.options(), Some(before.file.clone()));
    let reorg = after.reorg.unwrap();
    assert_eq!((reorg.common, reorg.from), (Some(common), common + 1));
    assert_ne!(reorg.is, Some(reorg.was));
    assert_eq!((reorg.dropped.len(), reorg.again), (6, 2));
    assert_eq!((after.file.anchors.len(), after.new), (8, 2));
    assert_trusted(&after.file, chain.head(), &["receipt", "storage"]);

    // Both files together: what was reorganised away fails against the chain of today, and is said to be so.
    let merged = AnchorsFile::merge(vec![("a".into(), before.file), ("b".into(), after.file)]).unwrap();
    let report = examine(&merged, Some(chain.head()));
    let failed: Vec<&String> = report
        .standings
        .iter()
        .filter_map(|s| match s {
            AnchorStanding::Failed { why } => Some(why),
            _ => None,
        })
        .collect();
    assert_eq!(failed.len(), 6, "{:#?}", report.standings);
    assert!(
        failed.iter().all(|why| why.contains("reorganised away")),
        "{failed:?}"
    );
    // Fetched again, the file of both branches becomes one of today's.
    let healed = chain.fetch(&chain.options(), Some(merged.clone()));
    assert_eq!(healed.reorg.unwrap().dropped.len(), 6);
    assert_eq!(healed.file.anchors.len(), 8);
    assert_trusted(&healed.file, chain.head(), &["receipt", "storage"]);
    // Whoever trusts the old head is told the old story.
    let old = examine(&merged, Some(old_head));
    assert!(
        old.standings
            .iter()
            .filter(|s| matches!(s, AnchorStanding::Trusted { .. }))
            .count()
            >= 10
    );
}

#[test]
fn decoys_and_faulty_logs_do_not_become_anchors() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    let commitments = commitments(&world);
    chain.both(&commitments[..2]);
    // A second contract of the same shape, with other roots for the same batch.
    let decoy = chain.node.deploy(chain.code["StateSetAnchor"].as_str().unwrap());
    let mut lie = commitments[0].clone();
    lie.merkle_root = Hash32([7; 32]);
    chain.anchor(&decoy, &lie);
    // Anchored twice, a range that does not follow: refused by the contracts, so transactions that failed.
    assert_eq!(chain.anchor(&chain.anchor, commitments[0])["status"], "0x0");
    assert_eq!(chain.commit(commitments[0])["status"], "0x0");

    let fetched = chain.fetch(&chain.options(), None);
    assert_eq!((fetched.new, fetched.proved.both), (4, 4));
    assert!(
        fetched
            .file
            .anchors
            .iter()
            .all(|anchor| anchor.events_root != lie.merkle_root)
    );
    // Whoever asks for it gets it, as that contract's.
    let asked = FetchOptions {
        contracts: vec![decoy.parse().unwrap()],
        ..chain.options()
    };
    let decoys = chain.fetch(&asked, None).file;
    assert_eq!(
        (decoys.anchors.len(), decoys.anchors[0].kind),
        (1, AnchorKind::StateSetAnchor)
    );
    // Said to be the real contract's, it fails by receipt and by storage.
    let real: ContractAddress = chain.anchor.parse().unwrap();
    let mut pretending = decoys.anchors[0];
    pretending.contract = real;
    let mut all = fetched.file.clone();
    all.chain.extend(decoys.chain);
    let pretending = AnchorsFile::new(all.chain_id, vec![pretending]).with_chain(all.chain);
    let report = examine(&pretending, Some(chain.head()));
    assert!(matches!(&report.standings[0], AnchorStanding::Failed { why } if why.contains("is of contract")));
    let mut by_storage = pretending.clone();
    by_storage.chain.receipts.clear();
    let report = examine(&by_storage, Some(chain.head()));
    assert!(
        matches!(&report.standings[0], AnchorStanding::Failed { why } if why.contains("another eventsRoot"))
    );

    // Logs that no sequencer can have meant: trailing words, an id of 32 bytes that begins as a batch's, a wrong count.
    let good = chain.node.rpc(
        "eth_getLogs",
        &json!([{"address": chain.anchor, "fromBlock": "0x0"}]),
    )[0]
    .clone();
    let topics: Vec<B256> = good["topics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_str().unwrap().parse().unwrap())
        .collect();
    let data: Bytes = good["data"].as_str().unwrap().parse().unwrap();
    let emit = |batch: B256, data: Vec<u8>| {
        let call = abi::emitLogCall {
            topic0: topics[0],
            topic1: batch,
            topic2: topics[2],
            data: data.into(),
        };
        let receipt = chain
            .node
            .send(Some(&chain.emitter), &hex::encode_prefixed(&call.abi_encode()));
        assert_eq!(receipt["status"], "0x1");
    };
    emit(topics[1], [&data[..], &[0; 32]].concat());
    let mut longer = topics[1];
    longer.0[31] = 1;
    emit(longer, data.to_vec());
    let mut miscounted = data.to_vec();
    miscounted[6 * 32 - 1] ^= 1;
    emit(topics[1], miscounted);
    let asked = FetchOptions {
        contracts: vec![chain.emitter.parse().unwrap()],
        ..chain.options()
    };
    let refused = chain.fetch(&asked, None);
    assert_eq!(
        (refused.file.anchors.len(), refused.refused.len()),
        (0, 3),
        "{:?}",
        refused.refused
    );
    let why: Vec<&str> = refused
        .file
        .chain
        .refused
        .iter()
        .map(|refused| refused.why.as_str())
        .collect();
    for (why, part) in why.iter().zip(["bytes, not", "16 zero bytes", "events, not"]) {
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn a_node_that_forgot_falls_back_to_the_other_proof() {
    // It keeps the state of its last blocks alone.
    let Some(chain) = Chain::start(&["--prune-history", "3"]) else {
        return;
    };
    let world = world();
    let commitments = commitments(&world);
    chain.both(&commitments[..3]);
    let number = chain.node.rpc("eth_blockNumber", &json!([]));
    let number = u64::from_str_radix(&number.as_str().unwrap()[2..], 16).unwrap();
    chain.node.mine(20);
    let options = FetchOptions {
        to: FetchTarget::Number(number),
        ..chain.options()
    };
    let fetched = chain.fetch(&options, None);
    assert_eq!(
        (fetched.proved.receipt, fetched.proved.both),
        (6, 0),
        "{:?}",
        fetched.notes
    );
    assert!(
        fetched
            .notes
            .iter()
            .any(|note| note.contains("rest on receipts alone")),
        "{:?}",
        fetched.notes
    );
    // At its newest block it has them.
    let newer = chain.fetch(&chain.options(), Some(fetched.file));
    assert_eq!(newer.proved.both, 6, "{:?}", newer.notes);
}

#[test]
fn a_node_that_is_behind_takes_nothing_away() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    chain.both(&commitments(&world)[..3]);
    let whole = chain.fetch(&chain.options(), None).file;
    let behind = FaultyNode::before(&chain.node.url(), |method, params| {
        match (method, params[0].as_str()) {
            ("eth_blockNumber", _) => Some(json!({"result": "0x6"})),
            ("eth_getBlockByNumber", Some(number)) if number != "latest" => {
                let later = u64::from_str_radix(&number[2..], 16).is_ok_and(|number| number > 6);
                later.then(|| json!({"result": null}))
            }
            _ => None,
        }
    });
    let options = FetchOptions {
        to: FetchTarget::Number(6),
        ..chain.options()
    };
    let fetched = fetch_from(&behind.url(), &options, Some(whole.clone())).unwrap();
    assert_eq!(fetched.reorg, None);
    assert!(
        fetched.notes.iter().any(|note| note.contains("reaches further")),
        "{:?}",
        fetched.notes
    );
    assert!(fetched.file == whole);
}

fn refused(code: i64, message: &str) -> Option<Value> {
    Some(json!({"error": {"code": code, "message": message}}))
}

fn span(params: &Value) -> u64 {
    let number = |name: &str| u64::from_str_radix(&params[0][name].as_str().unwrap()[2..], 16).unwrap();
    number("toBlock") - number("fromBlock")
}

#[test]
fn limits_of_nodes_are_worked_around_and_said() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    let commitments = commitments(&world);
    chain.both(&commitments[..3]);
    let direct = chain.fetch(&chain.options(), None);
    let through = |fault: fn(&str, &Value) -> Option<Value>| {
        let node = FaultyNode::before(&chain.node.url(), fault);
        fetch_from(&node.url(), &chain.options(), None)
    };

    // Few results at a time, in the words of several providers.
    let limits: [fn(&str, &Value) -> Option<Value>; 4] = [
        |method, params| {
            let much = method == "eth_getLogs" && span(params) > 2;
            if much {
                refused(-32005, "query returned more than 10000 results")
            } else {
                None
            }
        },
        |method, params| {
            let much = method == "eth_getLogs" && span(params) > 0;
            if much {
                refused(-32602, "block range too large")
            } else {
                None
            }
        },
        |method, params| {
            let much = method == "eth_getLogs" && span(params) > 1;
            if much {
                refused(-32000, "Log response size exceeded.")
            } else {
                None
            }
        },
        // A batch may be refused as well, which the node before it always does.
        |_, _| None,
    ];
    for limit in limits {
        let fetched = through(limit).unwrap();
        assert_eq!(fetched.notes, Vec::<String>::new());
        assert!(fetched.file == direct.file);
    }

    // Neither block receipts nor storage proofs: the other way is taken, and said.
    let fetched = through(|method, _| match method {
        "eth_getBlockReceipts" => refused(-32601, "the method eth_getBlockReceipts does not exist"),
        _ => None,
    });
    let fetched = fetched.unwrap();
    assert!(fetched.notes[0].contains("one by one"), "{:?}", fetched.notes);
    assert!(fetched.file == direct.file);
    let fetched = through(|method, _| match method {
        "eth_getBlockReceipts" | "eth_getTransactionReceipt" => Some(json!({"result": null})),
        _ => None,
    });
    let fetched = fetched.unwrap();
    assert!(
        fetched
            .notes
            .iter()
            .any(|note| note.contains("rest on storage proofs alone")),
        "{:?}",
        fetched.notes
    );
    assert_eq!((fetched.proved.storage, fetched.proved.both), (6, 0));
    let fetched = through(|method, _| match method {
        "eth_getProof" => refused(-32601, "the method eth_getProof does not exist/is not available"),
        _ => None,
    });
    let fetched = fetched.unwrap();
    assert!(
        fetched
            .notes
            .iter()
            .any(|note| note.contains("rest on receipts alone")),
        "{:?}",
        fetched.notes
    );
    assert_eq!((fetched.proved.receipt, fetched.proved.both), (6, 0));

    // A node that is busy now and then.
    let calls = AtomicUsize::new(0);
    let node = FaultyNode::before(&chain.node.url(), move |_, _| {
        match calls.fetch_add(1, Ordering::Relaxed) % 4 {
            1 => refused(429, "Too Many Requests"),
            2 => Some(json!({"status": 503})),
            _ => None,
        }
    });
    assert!(fetch_from(&node.url(), &chain.options(), None).unwrap().file == direct.file);
    // One that stays so: an error without the key in the URL.
    let node = FaultyNode::before(&chain.node.url(), |_, _| Some(json!({"status": 503})));
    let error = fetch_from(&node.url(), &chain.options(), None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("503") && !error.contains("0123456789abcdef"),
        "{error}"
    );

    // Nodes that lie: what they give is not kept.
    let error = through(|method, _| match method {
        "eth_chainId" => Some(json!({"result": "0x1"})),
        _ => None,
    });
    assert_eq!(error.unwrap().file.chain_id, Some(1));
    let error = through(|method, _| match method {
        "eth_getBlockByNumber" => Some(json!({"result": {"hash": "0x00"}})),
        _ => None,
    });
    assert!(matches!(error, Err(FetchError::Answer { .. })), "{error:?}");
    let other = AnchorsFile::new(Some(5), Vec::new());
    let error = fetch_from(&chain.node.url(), &chain.options(), Some(other));
    assert!(
        matches!(error, Err(FetchError::OtherChain { file: 5, .. })),
        "{error:?}"
    );
}

#[test]
fn answers_saved_by_another_client_prove_the_same() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    let commitments = commitments(&world);
    chain.both(&commitments[..2]);
    let direct = chain.fetch(&chain.options(), None).file;
    let result = |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": 1, "result": chain.node.rpc(method, &params)});
    let logs = result(
        "eth_getLogs",
        json!([{"address": [chain.anchor, chain.registry], "fromBlock": "0x0"}]),
    );
    let head = direct.chain.checkpoint.unwrap().number;
    let headers: Vec<Value> = (0..=head)
        .map(|n| result("eth_getBlockByNumber", json!([format!("{n:#x}"), true])))
        .collect();
    let receipts: Vec<Value> = (1..=head)
        .map(|n| result("eth_getBlockReceipts", json!([format!("{n:#x}")])))
        .collect();
    let mut importer = Importer::new(None, Vec::new());
    for document in [logs, Value::from(headers), Value::from(receipts)] {
        importer
            .add_json("saved", document.to_string().as_bytes())
            .unwrap();
    }
    let import = importer.finish(&[]);
    assert_eq!(import.refused, []);
    assert_eq!(import.file.anchors, direct.anchors);
    assert_trusted(&import.file, chain.head(), &["receipt"]);
}

#[test]
fn the_command_writes_extends_and_tells() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    let commitments = commitments(&world);
    chain.both(&commitments[..2]);
    let node = FaultyNode::before(&chain.node.url(), |_, _| None);
    let dir = tempfile::tempdir().unwrap();
    let url = node.url();
    let fetch = |more: &[&str]| {
        let mut arguments = vec!["fetch", "--rpc", &url, "--contract", &chain.anchor, "--contract"];
        arguments.extend([&chain.registry, "--to", "latest", "--out", "anchors.json"]);
        arguments.extend(more);
        let (code, out, err) = run(dir.path(), &arguments);
        // The key in the URL is shown nowhere.
        assert!(!format!("{out}{err}").contains("0123456789abcdef"), "{out}{err}");
        // What is said of work that takes long on a busy machine is no part of it.
        let lines = err.lines().filter(|line| !line.starts_with("took "));
        let err: String = lines.map(|line| format!("{line}\n")).collect();
        (code, out, err)
    };
    let (code, out, err) = fetch(&[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("4 anchors in anchors.json, 4 of them new"), "{out}");
    assert!(out.contains("4 proved by receipt and storage"), "{out}");
    let told = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains(&format!("compare its hash {}", chain.head())),
        "{out}"
    );

    let (code, out, _) = fetch(&["--format", "json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &document["schema"], &document["new"]),
        (0, &"anchors-fetch/1".into(), &0.into())
    );

    chain.node.rpc("anvil_reorg", &json!([1, []]));
    chain.node.mine(1);
    let (code, out, _) = fetch(&[]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("anchor.reorged: the chain was reorganised"), "{out}");
    let told = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("1 anchors went with it"), "{out}");
    let (code, out, _) = fetch(&["--format", "ndjson"]);
    assert_eq!((code, out.lines().count()), (0, 3), "{out}");

    // What is no node, and a file that is of another kind.
    let contract = ["--contract", &chain.anchor, "--out", "x.json"];
    let with = |rpc: &str| run(dir.path(), &[&["fetch", "--rpc", rpc][..], &contract].concat());
    assert_eq!(with("ftp://user:s3cret@x").0, 16);
    let (code, _, err) = with("http://user:s3cret@127.0.0.1:9/");
    assert_eq!((code, err.contains("s3cret")), (8, false), "{err}");
    std::fs::write(dir.path().join("x.json"), "{}").unwrap();
    assert_eq!(with(&url).0, 8);
}

#[test]
fn verify_asks_a_node_only_if_it_is_told_to_and_takes_its_word_for_no_proof() {
    let Some(chain) = Chain::start(&[]) else { return };
    let world = world();
    let commitments = commitments(&world);
    chain.both(&commitments);
    // Far enough behind the head to be final.
    chain.node.mine(100);
    let finalized = chain
        .node
        .rpc("eth_getBlockByNumber", &json!(["finalized", false]));
    let trusted = finalized["hash"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    world.write_log(&dir.path().join("log.db")).unwrap();
    let url = chain.node.url();
    let verify = |more: &[&str]| {
        let (code, out, err) = run(
            dir.path(),
            &[&["verify", "--db", "log.db", "--format", "json"][..], more].concat(),
        );
        assert!(err.is_empty(), "{err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        (code, report)
    };
    let count = |report: &Value, verdict: &str| {
        let units = report["units"].as_array().unwrap();
        units.iter().filter(|unit| unit["verdict"] == verdict).count()
    };
    let (_, report) = verify(&[]);
    assert_eq!(
        count(&report, "MATCHES DATABASE"),
        commitments.len(),
        "no node is asked"
    );
    let asked = [
        "--rpc",
        &url,
        "--contract",
        &chain.anchor,
        "--contract",
        &chain.registry,
    ];
    let (_, report) = verify(&asked);
    assert_eq!(count(&report, "MATCHES ANCHORS"), commitments.len());
    assert!(
        report["not_checked"].to_string().contains("is the chain"),
        "{}",
        report["not_checked"]
    );
    let (code, report) = verify(&[&asked[..], &["--trusted-block", trusted]].concat());
    assert_eq!((code, count(&report, "PROVEN")), (0, commitments.len()));
    let (code, _, err) = run(
        dir.path(),
        &[
            "verify",
            "--db",
            "log.db",
            "--rpc",
            "http://user:s3cret@127.0.0.1:9/",
        ],
    );
    assert_eq!((code, err.contains("s3cret")), (16, false), "{err}");
}

/// Headers and receipts of every fork that the node knows, and of an OP-stack chain with a deposit, come out with their
/// hashes and roots.
#[test]
fn headers_and_receipts_of_every_fork_are_understood() {
    if !evm_available() {
        return;
    }
    let forks = [
        "frontier",
        "byzantium",
        "berlin",
        "london",
        "paris",
        "shanghai",
        "cancun",
        "prague",
        "osaka",
    ];
    for fork in forks.into_iter().chain(["optimism"]) {
        let arguments = if fork == "optimism" {
            vec!["--optimism"]
        } else {
            vec!["--hardfork", fork]
        };
        let node = Anvil::start_with(&arguments);
        // Creation code that writes a log: LOG0 of one word.
        let accounts = node.rpc("eth_accounts", &json!([]));
        let creation =
            json!({"from": accounts[0], "data": "0x60206000a0", "gas": "0x7a120", "gasPrice": "0x77359400"});
        node.rpc("eth_sendTransaction", &json!([creation]));
        if fork == "optimism" {
            let deposit = json!({
                "from": accounts[0],
                "to": accounts[1],
                "type": "0x7e",
                "sourceHash": format!("0x{}", "07".repeat(32)),
                "mint": "0x0",
                "value": "0x1",
                "isSystemTx": false,
                "gas": "0x7a120",
            });
            node.rpc("eth_sendTransaction", &json!([deposit]));
        }
        node.mine(1);
        let head = node.rpc("eth_blockNumber", &json!([]));
        let head = u64::from_str_radix(&head.as_str().unwrap()[2..], 16).unwrap();
        let mut importer = Importer::new(None, Vec::new());
        let mut types = Vec::new();
        for number in 0..=head {
            let number = format!("{number:#x}");
            let header = node.rpc("eth_getBlockByNumber", &json!([number, false]));
            let receipts = node.rpc("eth_getBlockReceipts", &json!([number]));
            types.extend(
                receipts
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|r| r["type"].as_str().unwrap().to_lowercase()),
            );
            for document in [header, receipts] {
                importer.add_json(fork, document.to_string().as_bytes()).unwrap();
            }
        }
        let import = importer.finish(&[]);
        assert_eq!(import.refused, [], "{fork}");
        assert_eq!(import.headers as u64, head + 1, "{fork}");
        assert!(import.receipts > 0, "{fork}");
        assert_eq!(
            types.contains(&"0x7e".to_owned()),
            fork == "optimism",
            "{types:?}"
        );
    }
}
