//! One verdict whatever the order: the same evidence, shuffled and with bad copies beside good ones, always says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use alloy::primitives::U256;
use anchor_verify::chain::HeaderBytes;
use anchor_verify::chain::examine;
use anchor_verify::chain::parts::{BlockReceipts, StorageProofs};
use anchor_verify::{Anchor, AnchorKind, AnchorStanding, AnchorsFile, Importer, group};
use proptest::prelude::*;
use serde_json::Value;
use ves::Hash32;

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

fn golden() -> PathBuf {
    test_support::shared_data().join("data/golden/anchors")
}

/// Something that a file may hold, in any order with the rest.
#[derive(Debug, Clone)]
enum Piece {
    Anchor(Anchor),
    Header(HeaderBytes),
    Receipts(BlockReceipts),
    Proofs(StorageProofs),
}

/// One batch of golden with all that proves it, then what somebody made of it.
struct Evidence {
    good: Vec<Piece>,
    bad: Vec<Piece>,
    blocks: Vec<Hash32>,
    head: Hash32,
}

static EVIDENCE: LazyLock<Evidence> = LazyLock::new(|| {
    let dir = golden();
    let mut importer = Importer::new(None, Vec::new());
    for name in ALL {
        importer.add_file(&dir.join(name)).unwrap();
    }
    let file = importer.finish(&[]).file;
    let head = file.chain.checkpoint.unwrap().hash;
    let batch = file.anchors[20].batch_id;
    // One anchor: each case is judged twice, and there are many.
    let one = file.only(|anchor| anchor.batch_id == batch && anchor.kind == AnchorKind::SetRegistry);
    let blocks: Vec<Hash32> = one.anchors.iter().map(|anchor| anchor.block_hash).collect();
    let receipts: Vec<BlockReceipts> = file
        .chain
        .receipts
        .iter()
        .filter(|of| blocks.contains(&of.block_hash))
        .cloned()
        .collect();
    let (registry, proofs) = (&one.anchors[0], &one.chain.proofs[0]);
    let header = |hash: &Hash32| {
        one.chain
            .headers
            .iter()
            .find(|h| h.hash == *hash)
            .unwrap()
            .clone()
    };
    let good: Vec<Piece> = (one.anchors.iter().copied().map(Piece::Anchor))
        .chain(
            blocks
                .iter()
                .chain([&head])
                .map(|hash| Piece::Header(header(hash))),
        )
        .chain(receipts.iter().cloned().map(Piece::Receipts))
        .chain([Piece::Proofs(proofs.clone())])
        .collect();

    let altered = |hash: &Hash32, keep: bool| {
        let good = header(hash);
        let mut rlp = good.rlp.to_vec();
        *rlp.last_mut().unwrap() ^= 1;
        let is = Hash32(alloy::primitives::keccak256(&rlp).0);
        Piece::Header(HeaderBytes {
            hash: if keep { good.hash } else { is },
            rlp: rlp.into(),
        })
    };
    let mut receipts_cut = receipts[0].clone();
    receipts_cut.receipts.pop();
    let mut receipts_other = receipts[0].clone();
    let mut bytes = receipts_other.receipts[0].to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    receipts_other.receipts[0] = bytes.into();
    let with = |change: &dyn Fn(&mut StorageProofs)| {
        let mut proofs = proofs.clone();
        change(&mut proofs);
        Piece::Proofs(proofs)
    };
    let anchor = |change: &dyn Fn(&mut Anchor)| {
        let mut anchor = *registry;
        change(&mut anchor);
        Piece::Anchor(anchor)
    };
    let bad = vec![
        altered(&head, true),
        altered(&blocks[0], true),
        altered(&head, false),
        Piece::Receipts(receipts_cut),
        Piece::Receipts(receipts_other),
        with(&|p| p.batches[0].slots[0].value.0[0] ^= 1),
        with(&|p| p.account.balance += U256::from(1)),
        with(&|p| drop(p.batches[0].slots.pop())),
        with(&|p| p.block_hash = blocks[0]),
        with(&|p| p.block_hash = Hash32([9; 32])),
        with(&|p| drop(p.account.path.pop())),
        anchor(&|a| a.events_root.0[0] ^= 1),
        anchor(&|a| a.block_hash.0[0] ^= 1),
        anchor(&|a| a.log_index += 1),
    ];
    Evidence {
        good,
        bad,
        blocks,
        head,
    }
});

fn file_of<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> AnchorsFile {
    let mut file = AnchorsFile::default();
    for piece in pieces {
        match piece.clone() {
            Piece::Anchor(anchor) => file.anchors.push(anchor),
            Piece::Header(header) => file.chain.headers.push(header),
            Piece::Receipts(receipts) => file.chain.receipts.push(receipts),
            Piece::Proofs(proofs) => file.chain.proofs.push(proofs),
        }
    }
    file
}

type Judged = (BTreeMap<String, AnchorStanding>, BTreeSet<String>);

fn judge(file: &AnchorsFile, trusted: Option<Hash32>) -> Judged {
    let report = examine(file, trusted);
    let name = |anchor: &Anchor| serde_json::to_string(anchor).unwrap();
    let standings = file.anchors.iter().map(name).zip(report.standings).collect();
    (standings, report.not_checked.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn shuffled_evidence_has_one_verdict(
        chosen in any::<u32>(),
        also in any::<u32>(),
        order in Just((0..24_usize).collect::<Vec<_>>()).prop_shuffle(),
        block in 0..3_usize,
        whole in any::<bool>(),
    ) {
        let Evidence { good, bad, blocks, head } = &*EVIDENCE;
        let all: Vec<&Piece> = good.iter().chain(bad).collect();
        let is_chosen = |at: usize| (whole && at < good.len()) || (chosen & also) >> at & 1 == 1;
        let given = || (0..all.len()).filter(|at| is_chosen(*at));
        let shuffled: Vec<&Piece> = order.iter().filter(|at| **at < all.len() && is_chosen(**at)).map(|at| all[*at]).collect();
        let trusted = [Some(*head), Some(blocks[0]), None][block];
        let (one, other) = (file_of(given().map(|at| all[at])), file_of(shuffled));
        prop_assert_eq!(one.anchors.len(), other.anchors.len());
        let judged = judge(&one, trusted);
        prop_assert_eq!(&judged, &judge(&other, trusted));
        prop_assert_eq!(group(&one.anchors, &[]), group(&other.anchors, &[]));
        // With all that is good, no bad copy takes its proof from the anchor, and none is passed over in silence.
        if whole && block == 0 {
            let registry = one.anchors.iter().find(|a| a.kind == AnchorKind::SetRegistry).unwrap();
            let standing = &judged.0[&serde_json::to_string(registry).unwrap()];
            prop_assert!(matches!(standing, AnchorStanding::Trusted { .. }), "{:?}", standing);
            let copies = given().any(|at| (good.len()..good.len() + 8).contains(&at) && at != good.len() + 2);
            let told = judged.1.iter().any(|what| what.contains("was not used"));
            prop_assert!(!copies || told, "{:?}", judged.1);
        }
    }
}

fn tool(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_anchor-verify"))
        .args(arguments)
        .args(["--wide", "--all"])
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

/// Two answers of `eth_getProof` for one account, one of them wrong: in either order, and whatever is wrong.
#[test]
fn two_answers_for_one_account_are_judged_together() {
    let dir = golden();
    let folder = tempfile::tempdir().unwrap();
    let proofs: Value = serde_json::from_slice(&fs::read(dir.join("proofs_latest.json")).unwrap()).unwrap();
    let receipts: Value =
        serde_json::from_slice(&fs::read(dir.join("block_receipts.json")).unwrap()).unwrap();
    let change = |proofs: &Value, pointer: &str, to: &str| {
        let mut changed = proofs.clone();
        *changed.pointer_mut(pointer).unwrap() = to.into();
        changed
    };
    let slot = "/commitments/3/SetRegistry/storageProof/0/value";
    let nonce = "/commitments/3/StateSetAnchor/nonce";
    let bad = [
        change(&proofs, slot, &format!("0x{}", "12".repeat(32))),
        change(&proofs, nonce, "0x7"),
        change(
            &proofs,
            "/commitments/0/StateSetAnchor/storageProof/2/value",
            "0x0",
        ),
    ];
    // A receipt of one block, altered in another answer.
    let mut other_receipts = receipts.clone();
    let (block, _) = receipts.as_object().unwrap().iter().next().unwrap();
    *other_receipts
        .pointer_mut(&format!("/{block}/0/cumulativeGasUsed"))
        .unwrap() = "0x1".into();
    let mut files = vec![
        ("proofs", proofs.clone(), bad[0].clone()),
        ("proofs", proofs.clone(), bad[1].clone()),
        ("proofs", proofs, bad[2].clone()),
        ("receipts", receipts, other_receipts),
    ];
    let rest = |kind: &str| -> Vec<String> {
        let of = format!("{kind}_latest.json");
        let of = if kind == "receipts" {
            "block_receipts.json"
        } else {
            &of
        };
        let others = ALL.iter().filter(|name| **name != of);
        others.map(|name| dir.join(name).display().to_string()).collect()
    };
    let head: Value = serde_json::from_slice(&fs::read(dir.join("trusted_head.json")).unwrap()).unwrap();
    let head: Hash32 = head["hash"].as_str().unwrap().parse().unwrap();
    for (kind, good, bad) in files.drain(..) {
        fs::write(folder.path().join("good.json"), good.to_string()).unwrap();
        fs::write(folder.path().join("bad.json"), bad.to_string()).unwrap();
        let mut told = Vec::new();
        for order in [["good.json", "bad.json"], ["bad.json", "good.json"]] {
            let others = rest(kind);
            let mut arguments = vec!["import", "--force", "--out", "anchors.json"];
            arguments.extend(order);
            arguments.extend(others.iter().map(String::as_str));
            let (code, said) = tool(folder.path(), &arguments);
            assert!(code == 0 || code == 4, "{said}");
            let bytes = fs::read(folder.path().join("anchors.json")).unwrap();
            let file = AnchorsFile::from_json(&bytes).unwrap();
            let report = examine(&file, Some(head));
            let proven =
                |s: &AnchorStanding| matches!(s, AnchorStanding::Trusted { by, .. } if by.len() == 2);
            let all_proven = report.standings.iter().all(proven);
            assert!(all_proven, "{kind} {order:?}: {:?}", report.standings);
            let named = report
                .not_checked
                .iter()
                .any(|what| what.contains("was not used"));
            assert!(
                named || said.contains("not used"),
                "{kind}: {said} {:?}",
                report.not_checked
            );
            told.push((code, bytes));
        }
        assert!(told[0] == told[1], "{kind}: the same file from either order");
    }
}
