//! The chain part of verification on real data, and on data that was tampered with.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use alloy::consensus::Header;
use alloy::primitives::Bytes;
use alloy::rlp::Decodable;
use alloy_trie::root::ordered_trie_root_encoded;
use anchor_verify::chain::{complete, examine};
use anchor_verify::{
    AnchorKind, AnchorStanding, AnchorsFile, ChainReport, Import, Importer, ProvedBy, Verdict,
};
use serde_json::Value;
use ves::Hash32;

fn anchors_dir(folder: &str) -> PathBuf {
    test_support::shared_data()
        .join("data")
        .join(folder)
        .join("anchors")
}

const ALL: [&str; 8] = [
    "logs_SetRegistry_BatchCommitted.json",
    "logs_StateSetAnchor_BatchAnchored.json",
    "logs_StateSetAnchor_CommitmentAnchored.json",
    "block_headers.json",
    "block_receipts.json",
    "proofs_latest.json",
    "trusted_head.json",
    "contracts.json",
];

fn import(folder: &Path, files: &[&str]) -> Import {
    let mut importer = Importer::new(None, Vec::new());
    for file in files {
        importer.add_file(&folder.join(file)).unwrap();
    }
    importer.finish(&[])
}

fn trusted(folder: &Path, which: &[&str]) -> Hash32 {
    let head: Value =
        serde_json::from_slice(&std::fs::read(folder.join("trusted_head.json")).unwrap()).unwrap();
    which.iter().fold(&head, |value, key| &value[*key])["hash"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

fn count(report: &ChainReport, by: &[&str]) -> usize {
    let words = |ways: &[ProvedBy]| ways.iter().map(|way| way.as_str()).eq(by.iter().copied());
    let is = |s: &&AnchorStanding| matches!(s, AnchorStanding::Trusted { by: ways, .. } if words(ways));
    report.standings.iter().filter(is).count()
}

fn check(folder: &str, anchored: usize, blocks: (usize, usize)) {
    let dir = anchors_dir(folder);
    let import = import(&dir, &ALL);
    assert_eq!(import.refused, []);
    assert_eq!(
        (import.headers, import.receipts, import.proofs),
        (blocks.0, blocks.1, 2 * anchored)
    );
    assert_eq!(
        (import.file.chain_id, import.file.anchors.len()),
        (Some(84_532_001), 2 * anchored)
    );
    let head = trusted(&dir, &[]);
    assert_eq!(import.file.chain.checkpoint.unwrap().hash, head);

    let report = examine(&import.file, Some(head));
    assert_eq!(
        count(&report, &["receipt", "storage"]),
        2 * anchored,
        "{:#?}",
        report.standings
    );
    // Nothing was left out, from the first block on.
    let mut whole = import.file.clone();
    let completeness = complete(&mut whole, Some(head), &|_| true);
    assert_eq!(completeness.verdict, Verdict::Proven, "{completeness}");
    assert_eq!(
        (completeness.from_block, completeness.to_block),
        (Some(0), Some(blocks.0 as u64 - 1))
    );
    // Without receipts the contract's own count, and its newest batches, agree with what is there.
    whole.chain.receipts.clear();
    let bounded = complete(&mut whole, Some(head), &|_| true);
    assert_eq!(bounded.verdict, Verdict::NotChecked);
    let heads = import
        .file
        .chain
        .proofs
        .iter()
        .map(|proofs| proofs.heads.len())
        .sum::<usize>();
    assert!(heads > 2, "{heads}");
    assert!(
        bounded
            .bounds
            .iter()
            .any(|bound| bound.contains("none is hidden")),
        "{:#?}",
        bounded.bounds
    );

    // What is written reads back, and proves as much.
    let mut written = Vec::new();
    import.file.write_json(&mut written).unwrap();
    let read = AnchorsFile::from_json(&written).unwrap();
    assert!(read == import.file);
    let mut again = Vec::new();
    read.write_json(&mut again).unwrap();
    assert!(again == written);
    eprintln!("{folder}: {} bytes", written.len());

    // Without a trusted block nothing is proved, and nothing contradicted.
    let untied = examine(&import.file, None);
    assert!(
        untied
            .standings
            .iter()
            .all(|s| matches!(s, AnchorStanding::Untied { .. }))
    );
    assert!(
        untied
            .not_checked
            .iter()
            .any(|what| what.contains("no trusted block"))
    );
    // An older block proves what is older.
    let finalized = examine(&import.file, Some(trusted(&dir, &["finalized"])));
    let older = count(&finalized, &["receipt"]);
    assert!(older > 0 && older < 2 * anchored, "{older}");
    // Another chain's hash proves nothing.
    let other = examine(&import.file, Some(Hash32([7; 32])));
    assert!(
        other
            .standings
            .iter()
            .all(|s| matches!(s, AnchorStanding::Untied { .. }))
    );
}

#[test]
fn every_anchor_of_golden_is_tied_to_its_head_both_ways() {
    check("golden", 39, (151, 33));
}

#[test]
fn every_anchor_of_scenario_1_is_tied_to_its_head_both_ways() {
    check("scenario-1", 17, (117, 13));
}

#[test]
fn imitators_in_receipts_are_told_and_not_taken() {
    let dir = anchors_dir("golden");
    let import = import(&dir, &ALL);
    let named: Vec<String> = import.imitators.iter().map(|(c, n)| format!("{c} {n}")).collect();
    eprintln!("imitators: {named:?}");
    assert_eq!(import.imitators.len(), 1);
    let decoy = *import.imitators.keys().next().unwrap();
    assert!(import.file.anchors.iter().all(|anchor| anchor.contract != decoy));
    // Receipts alone, with the contract named, are enough; one that is asked for is taken.
    let known: Vec<_> = import.file.anchors.iter().map(|a| a.contract).collect();
    let mut importer = Importer::new(None, vec![known[0], known[1]]);
    importer.add_file(&dir.join("block_receipts.json")).unwrap();
    let from_receipts = importer.finish(&[]);
    assert_eq!(
        (from_receipts.from_receipts, from_receipts.imitators.len()),
        (78, 1)
    );
    let mut importer = Importer::new(None, vec![decoy]);
    importer.add_file(&dir.join("block_receipts.json")).unwrap();
    let imitated = importer.finish(&[]).file.anchors;
    assert!(!imitated.is_empty() && imitated.iter().all(|a| a.contract == decoy));
    assert!(imitated.iter().all(|a| a.kind == AnchorKind::StateSetAnchor));
}

/// Golden's file, without the proofs of one way if so wanted.
fn golden() -> (PathBuf, AnchorsFile, Hash32) {
    let dir = anchors_dir("golden");
    let file = import(&dir, &ALL).file;
    let head = trusted(&dir, &[]);
    (dir, file, head)
}

fn why(file: &AnchorsFile, trusted: Hash32, index: usize) -> String {
    match &examine(file, Some(trusted)).standings[index] {
        AnchorStanding::Failed { why } => why.clone(),
        other => panic!("anchor {index} is {other:?}"),
    }
}

fn replace(bytes: &Bytes, from: &[u8], to: &[u8]) -> Bytes {
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat().into()
}

/// The places of what proves an anchor by storage: its contract's proofs, and its batch in them.
fn proof_of(file: &AnchorsFile, index: usize) -> (usize, usize) {
    let anchor = &file.anchors[index];
    let proofs = &file.chain.proofs;
    let at = proofs.iter().position(|p| p.contract == anchor.contract).unwrap();
    (
        at,
        proofs[at]
            .batches
            .iter()
            .position(|b| b.batch_id == anchor.batch_id)
            .unwrap(),
    )
}

#[test]
fn an_altered_anchor_fails_by_receipt_and_by_storage() {
    let (_, file, head) = golden();
    let changes: [fn(&mut anchor_verify::Anchor); 9] = [
        |anchor| anchor.events_root.0[31] ^= 1,
        |anchor| anchor.state_root.0[0] ^= 1,
        |anchor| {
            anchor.sequence_start += 1;
            anchor.sequence_end += 1;
        },
        |anchor| anchor.batch_id.0 = uuid::Uuid::from_u128(anchor.batch_id.0.as_u128() ^ 1),
        |anchor| anchor.log_index += 1,
        |anchor| anchor.block_number += 1,
        |anchor| anchor.block_timestamp = Some(1),
        |anchor| anchor.contract.0[0] ^= 1,
        |anchor| anchor.block_hash.0[0] ^= 1,
    ];
    for index in [0, 1, file.anchors.len() - 1] {
        for (at, change) in changes.into_iter().enumerate() {
            for way in ["both", "receipt", "storage"] {
                let mut file = file.clone();
                change(&mut file.anchors[index]);
                match way {
                    "receipt" => file.chain.proofs.clear(),
                    "storage" => file.chain.receipts.clear(),
                    _ => {}
                }
                let standing = &examine(&file, Some(head)).standings[index];
                // Storage knows no place of a log, and nothing of another batch or contract.
                let told = way != "storage" || at < 3;
                let failed = matches!(standing, AnchorStanding::Failed { .. });
                let by_storage =
                    matches!(standing, AnchorStanding::Trusted { by, .. } if by == &[ProvedBy::Storage]);
                assert!(
                    failed || (!told && (by_storage || matches!(standing, AnchorStanding::Untied { .. }))),
                    "anchor {index}, change {at}, {way}: {standing:?}"
                );
                assert!(failed || at != 3 || !by_storage);
            }
        }
    }
}

#[test]
fn altered_headers_receipts_and_proofs_fail() {
    let (_, file, head) = golden();
    let index = 5;
    let anchor = file.anchors[index];
    let header_at =
        |file: &AnchorsFile, hash: Hash32| file.chain.headers.iter().position(|h| h.hash == hash).unwrap();

    // Any byte of the block's header.
    let at = header_at(&file, anchor.block_hash);
    for byte in (0..file.chain.headers[at].rlp.len()).step_by(7) {
        let mut file = file.clone();
        let mut rlp = file.chain.headers[at].rlp.to_vec();
        rlp[byte] ^= 1;
        file.chain.headers[at].rlp = rlp.into();
        why(&file, head, index);
    }
    // A header on the way: all that is older has lost its tie, by a header that is not what it says.
    let mut broken = file.clone();
    let at = header_at(&broken, head) - 3;
    let mut rlp = broken.chain.headers[at].rlp.to_vec();
    *rlp.last_mut().unwrap() ^= 1;
    broken.chain.headers[at].rlp = rlp.into();
    broken.chain.proofs.clear();
    assert!(why(&broken, head, index).contains("altered"));
    // One that is missing: nothing is contradicted, and nothing tied by receipts. Storage at the head still proves.
    let mut missing = file.clone();
    missing.chain.headers.remove(at);
    assert!(count(&examine(&missing, Some(head)), &["storage"]) > 60);
    missing.chain.proofs.clear();
    let standing = &examine(&missing, Some(head)).standings[index];
    assert!(
        matches!(standing, AnchorStanding::Untied { why } if why.contains("missing")),
        "{standing:?}"
    );

    // Receipts: a root altered, one omitted, two swapped, none left, one of another block.
    let at = file
        .chain
        .receipts
        .iter()
        .position(|r| r.block_hash == anchor.block_hash)
        .unwrap();
    let with = |change: &dyn Fn(&mut Vec<Bytes>)| {
        let mut file = file.clone();
        change(&mut file.chain.receipts[at].receipts);
        why(&file, head, index)
    };
    let root = anchor.events_root.0;
    let place = file.chain.receipts[at]
        .receipts
        .iter()
        .position(|r| r.windows(32).any(|w| w == root))
        .unwrap();
    let no_root = |why: String| assert!(why.contains("receipts root"), "{why}");
    no_root(with(&|receipts| {
        receipts[place] = replace(&receipts[place], &root, &[7; 32]);
    }));
    no_root(with(&|receipts| drop(receipts.remove(0))));
    no_root(with(&|receipts| drop(receipts.pop())));
    no_root(with(&|receipts| receipts.swap(0, 1)));
    no_root(with(&Vec::clear));
    let other = file.chain.receipts[(at + 1) % file.chain.receipts.len()]
        .receipts
        .clone();
    no_root(with(&|receipts| receipts.clone_from(&other)));
    no_root(with(&|receipts| receipts.push(Bytes::new())));

    // Storage proofs.
    let (at, batch) = proof_of(&file, index);
    let with = |change: &dyn Fn(&mut AnchorsFile)| {
        let mut file = file.clone();
        file.chain.receipts.clear();
        change(&mut file);
        why(&file, head, index)
    };
    let other_batch = (batch + 1) % file.chain.proofs[at].batches.len();
    with(&|file| file.chain.proofs[at].batches[batch].slots[0].value.0[3] ^= 1);
    with(&|file| file.chain.proofs[at].batches[batch].slots[0].value = Hash32::ZERO);
    with(&|file| {
        file.chain.proofs[at].batches[batch].slots[1].path.pop();
    });
    with(&|file| file.chain.proofs[at].batches[batch].slots[1].path.clear());
    with(&|file| file.chain.proofs[at].batches[batch].slots[1].path.push(0));
    with(&|file| {
        let last = *file.chain.proofs[at].batches[batch].slots[1].path.last().unwrap();
        file.chain.proofs[at].batches[batch].slots[1].path.push(last);
    });
    with(&|file| file.chain.proofs[at].batches[batch].slots[1].path.push(u32::MAX));
    with(&|file| file.chain.proofs[at].batches[batch].slots.swap(0, 1));
    with(&|file| drop(file.chain.proofs[at].batches[batch].slots.pop()));
    with(&|file| {
        let slots = file.chain.proofs[at].batches[other_batch].slots.clone();
        file.chain.proofs[at].batches[batch].slots = slots;
    });
    with(&|file| {
        let id = file.chain.proofs[at].batches[batch].batch_id;
        file.chain.proofs[at].batches.remove(batch);
        file.chain.proofs[at].batches[0].batch_id = id;
    });
    with(&|file| {
        // The other contract's account.
        let other = file
            .chain
            .proofs
            .iter()
            .position(|p| p.contract != anchor.contract)
            .unwrap();
        file.chain.proofs[at].account = file.chain.proofs[other].account.clone();
    });
    with(&|file| file.chain.proofs[at].account.balance += alloy::primitives::U256::from(1));
    with(&|file| file.chain.proofs[at].account.storage_root.0[0] ^= 1);
    with(&|file| drop(file.chain.proofs[at].account.path.pop()));
    with(&|file| {
        let node = file.chain.proofs[at].account.path[0].clone();
        file.chain.proofs[at].account.path.push(node);
    });
    with(&|file| {
        // The same proof, said to be of another block of the same chain.
        let before = file.chain.headers[file.chain.headers.len() - 40].hash;
        file.chain.proofs[at].block_hash = before;
    });
    for node in 0..file.chain.proofs[at].account.path.len() {
        with(&|file| {
            let mut bytes = file.chain.proofs[at].account.path[node].to_vec();
            bytes[9] ^= 1;
            file.chain.proofs[at].account.path[node] = bytes.into();
        });
    }
    for node in file.chain.proofs[at].batches[batch].slots[2].path.clone() {
        with(&|file| {
            let mut bytes = file.chain.proofs[at].nodes[node as usize].to_vec();
            bytes[9] ^= 1;
            file.chain.proofs[at].nodes[node as usize] = bytes.into();
        });
    }
}

/// The receipts of an anchor's block after a change to the JSON of the one with its log.
fn edited_receipts(dir: &Path, block: u64, root: Hash32, edit: impl FnOnce(&mut Value, usize)) -> Vec<Bytes> {
    let blocks: Value =
        serde_json::from_slice(&std::fs::read(dir.join("block_receipts.json")).unwrap()).unwrap();
    let mut receipts = blocks[block.to_string()].clone();
    let (receipt, log) = receipts
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .find_map(|(at, receipt)| {
            let logs = receipt["logs"].as_array().unwrap();
            let log = logs
                .iter()
                .position(|log| log["data"].as_str().unwrap().contains(&root.to_string()))?;
            Some((at, log))
        })
        .unwrap();
    edit(&mut receipts[receipt], log);
    let mut importer = Importer::new(None, Vec::new());
    importer
        .add_json("edited", receipts.to_string().as_bytes())
        .unwrap();
    importer.finish(&[]).file.chain.receipts[0].receipts.clone()
}

/// A chain on which a block has other receipts: all hashes are right again, up to another head.
fn forge(file: &AnchorsFile, block: Hash32, receipts: &[Bytes]) -> (AnchorsFile, Hash32) {
    let mut forged = file.clone();
    let mut renamed: HashMap<Hash32, Hash32> = HashMap::new();
    for entry in &mut forged.chain.headers {
        let mut header = Header::decode(&mut &entry.rlp[..]).unwrap();
        if let Some(parent) = renamed.get(&Hash32(header.parent_hash.0)) {
            header.parent_hash = parent.0.into();
        }
        if entry.hash == block {
            header.receipts_root = ordered_trie_root_encoded(receipts);
        }
        let hash = Hash32(header.hash_slow().0);
        if hash != entry.hash {
            renamed.insert(entry.hash, hash);
        }
        entry.hash = hash;
        entry.rlp = alloy::rlp::encode(&header).into();
    }
    let rename = |hash: &mut Hash32| *hash = renamed.get(hash).copied().unwrap_or(*hash);
    for entry in &mut forged.chain.receipts {
        if entry.block_hash == block {
            entry.receipts = receipts.to_vec();
        }
        rename(&mut entry.block_hash);
    }
    forged
        .anchors
        .iter_mut()
        .for_each(|anchor| rename(&mut anchor.block_hash));
    forged
        .chain
        .proofs
        .iter_mut()
        .for_each(|proofs| rename(&mut proofs.block_hash));
    let head = forged.chain.headers.last().unwrap().hash;
    (forged, head)
}

#[test]
fn only_the_trusted_hash_tells_a_forged_block_from_a_real_one() {
    let (dir, file, head) = golden();
    let index = 8;
    let anchor = file.anchors[index];
    let receipts = edited_receipts(&dir, anchor.block_number, anchor.events_root, |receipt, log| {
        let data = receipt["logs"][log]["data"].as_str().unwrap().to_owned();
        receipt["logs"][log]["data"] = data
            .replace(&anchor.events_root.to_string(), &"12".repeat(32))
            .into();
        receipt.as_object_mut().unwrap().remove("logsBloom");
    });
    let (mut forged, forged_head) = forge(&file, anchor.block_hash, &receipts);
    assert_ne!(forged_head, head);
    // The anchor as it was is not in the forged block.
    assert!(why(&forged, forged_head, index).contains("another events root"));
    forged.anchors[index].events_root = Hash32([0x12; 32]);
    // The forger did not forge the state: the two ways disagree.
    assert!(why(&forged, forged_head, index).contains("eventsRoot"));
    forged.chain.proofs.clear();
    let report = examine(&forged, Some(forged_head));
    assert_eq!(
        count(&report, &["receipt"]),
        file.anchors.len(),
        "whoever trusts the forger's hash is lost"
    );
    // With the hash of the real chain it proves nothing.
    assert_eq!(count(&examine(&forged, Some(head)), &["receipt"]), 0);
    assert!(matches!(
        examine(&forged, None).standings[index],
        AnchorStanding::Untied { .. }
    ));

    // Real headers beside the forged ones: the block is known not to be on the trusted chain.
    let mut both = forged.clone();
    both.chain.headers.extend(file.chain.headers.clone());
    both.chain.receipts.extend(file.chain.receipts.clone());
    assert!(why(&both, head, index).contains("reorganised away"));
    // As is an anchor that was reorganised away: its block is real, and of another branch.
    let mut branch = file.clone();
    branch.chain.headers.extend(forged.chain.headers.clone());
    branch.anchors[index].block_hash = forged.anchors[index].block_hash;
    assert!(why(&branch, head, index).contains("reorganised away"));
    // Even without the header of that branch.
    let mut unknown = file.clone();
    unknown.anchors[index].block_hash = Hash32([9; 32]);
    assert!(why(&unknown, head, index).contains("reorganised away"));
}

#[test]
fn a_log_in_the_right_block_must_be_right_itself() {
    let (dir, file, _) = golden();
    for index in [4, 5] {
        let anchor = file.anchors[index];
        let check = |what: &str, edit: &dyn Fn(&mut Value, usize)| {
            let receipts = edited_receipts(&dir, anchor.block_number, anchor.events_root, |receipt, log| {
                edit(receipt, log);
                receipt.as_object_mut().unwrap().remove("logsBloom");
            });
            let (mut forged, head) = forge(&file, anchor.block_hash, &receipts);
            forged.chain.proofs.clear();
            let why = why(&forged, head, index);
            assert!(why.contains(what), "{what}: {why}");
        };
        check("did not succeed", &|receipt, _| receipt["status"] = "0x0".into());
        check("bytes, not", &|receipt, log| {
            let data = receipt["logs"][log]["data"].as_str().unwrap().to_owned();
            receipt["logs"][log]["data"] = format!("{data}{}", "00".repeat(32)).into();
        });
        check("16 zero bytes", &|receipt, log| {
            let topic = receipt["logs"][log]["topics"][1].as_str().unwrap().to_owned();
            receipt["logs"][log]["topics"][1] = format!("{}01", &topic[..64]).into();
        });
        check("another batch", &|receipt, log| {
            receipt["logs"][log]["topics"][1] = format!("0x{}{}", "ab".repeat(16), "00".repeat(16)).into();
        });
        check("is of contract", &|receipt, log| {
            receipt["logs"][log]["address"] = format!("0x{}", "ab".repeat(20)).into();
        });
        check("no anchor", &|receipt, log| {
            receipt["logs"][log]["topics"][0] = format!("0x{}", "ab".repeat(32)).into();
        });
    }
    // A decoy's log is the decoy's.
    let decoy = *import(&dir, &ALL).imitators.keys().next().unwrap();
    let mut importer = Importer::new(None, vec![decoy]);
    importer.add_file(&dir.join("block_receipts.json")).unwrap();
    let mut imitated = importer.finish(&[]).file.anchors;
    for anchor in &mut imitated {
        anchor.contract = file
            .anchors
            .iter()
            .find(|a| a.kind == anchor.kind)
            .unwrap()
            .contract;
    }
    let pretending = AnchorsFile::new(None, imitated).with_chain(file.chain.clone());
    let head = pretending.chain.checkpoint.unwrap().hash;
    for index in 0..pretending.anchors.len() {
        assert!(why(&pretending, head, index).contains("is of contract"));
    }
}

#[test]
fn one_anchor_with_its_proofs_alone_is_small_and_proves_as_much() {
    let (_, file, head) = golden();
    let batch = file.anchors[20].batch_id;
    let one = file.only(|anchor| anchor.batch_id == batch);
    assert_eq!(one.anchors.len(), 2);
    assert_eq!(count(&examine(&one, Some(head)), &["storage"]), 2);
    let mut text = Vec::new();
    one.write_json(&mut text).unwrap();
    assert!(text.len() < 40_000, "{}", text.len());
    let mut receipts = file.clone();
    receipts.chain.proofs.clear();
    let one = receipts.only(|anchor| anchor.batch_id == batch);
    assert_eq!(count(&examine(&one, Some(head)), &["receipt"]), 2);
    assert_eq!(file.only(|_| false).chain.receipts, []);
}

/// Damage anywhere in the text neither panics nor makes another statement trusted.
#[test]
fn random_damage_never_proves_anything_else() {
    let (_, file, head) = golden();
    let batch = file.anchors[20].batch_id;
    let mut small = file.only(|anchor| anchor.batch_id == batch);
    small.chain.receipts = file
        .chain
        .receipts
        .iter()
        .filter(|r| small.anchors.iter().any(|a| a.block_hash == r.block_hash))
        .cloned()
        .collect();
    let mut text = Vec::new();
    small.write_json(&mut text).unwrap();
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let mut read = 0;
    for _ in 0..1500 {
        let mut damaged = text.clone();
        for _ in 0..=next(2) {
            let at = next(damaged.len());
            damaged[at] = b"0123456789abcdef,\"[]{}"[next(22)];
        }
        let Ok(file) = AnchorsFile::from_json(&damaged) else {
            continue;
        };
        read += 1;
        let report = examine(&file, Some(head));
        for (anchor, standing) in file.anchors.iter().zip(&report.standings) {
            if matches!(standing, AnchorStanding::Trusted { .. }) {
                let same = small.anchors.iter().any(|a| {
                    (
                        a.batch_id,
                        a.events_root,
                        a.state_root,
                        a.sequence_start,
                        a.sequence_end,
                        a.stream,
                    ) == (
                        anchor.batch_id,
                        anchor.events_root,
                        anchor.state_root,
                        anchor.sequence_start,
                        anchor.sequence_end,
                        anchor.stream.or(a.stream),
                    )
                });
                assert!(same, "{anchor:?} {standing:?}");
            }
        }
        let _ = examine(&file, None);
    }
    assert!(read > 500, "{read}");
}
