//! Checkpoints made here, read and verified by another's implementation of the same documents, and the other way round.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use checkpoints::file::{Entry, LeavesOfFile};
use checkpoints::note::{KeyKind, SignatureLine, Signed};
use checkpoints::proof::TlogProof;
use checkpoints::{Checkpoint, Note, Origin, VerifierKey};
use ed25519_dalek::SigningKey;
use signed_note::{StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::tlog::{
    Error, Hash, HashReader, check_record, check_tree, prove_record, prove_tree, record_hash, stored_hashes,
    tree_hash,
};
use ves::digest::Preimage;
use ves::log_tree::{CompactRange, Tree, TreeHead, is_consistent, root_of_inclusion};
use ves::{Hash32, StreamKey};

/// The hashes of a log in the order in which theirs stores them.
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

fn leaves(count: u64) -> Vec<Hash32> {
    (0..count)
        .map(|n| Preimage::new("foreign").u64(n).finish())
        .collect()
}

fn theirs(leaves: &[Hash32]) -> Stored {
    let mut stored = Stored(Vec::new());
    for (n, leaf) in leaves.iter().enumerate() {
        let new = stored_hashes(n as u64, &leaf.0, &stored).unwrap();
        stored.0.extend(new);
    }
    stored
}

fn ours(hashes: &[Hash]) -> Vec<Hash32> {
    hashes.iter().map(|hash| Hash32(hash.0)).collect()
}

fn as_theirs(hashes: &[Hash32]) -> Vec<Hash> {
    hashes.iter().map(|hash| Hash(hash.0)).collect()
}

#[test]
fn trees_and_proofs_are_the_same_both_ways() {
    let leaves = leaves(200);
    let stored = theirs(&leaves);
    let tree = Tree::new(CompactRange::default(), &leaves);
    for size in [1_u64, 2, 3, 7, 8, 64, 65, 127, 130, 200] {
        let root = tree_hash(size, &stored).unwrap();
        let mut range = CompactRange::default();
        range.extend(&leaves[..size as usize]);
        assert_eq!(range.root(), Hash32(root.0));
        for index in [0, size / 2, size - 1] {
            let leaf = &leaves[index as usize];
            let made_there = prove_record(size, index, &stored).unwrap();
            let found = root_of_inclusion(leaf, index, size, &ours(&made_there));
            assert_eq!(found, Some(range.root()));
            let made_here = as_theirs(&tree.inclusion_proof(index, size).unwrap());
            check_record(&made_here, size, root, index, record_hash(&leaf.0)).unwrap();
        }
        for old in [1, size / 2 + 1, size] {
            let old_root = tree_hash(old, &stored).unwrap();
            let made_there = prove_tree(size, old, &stored).unwrap();
            let head = |size, root: Hash| TreeHead {
                size,
                root: Hash32(root.0),
            };
            assert!(is_consistent(
                head(old, old_root),
                head(size, root),
                &ours(&made_there)
            ));
            let made_here = as_theirs(&tree.consistency_proof(old, size).unwrap());
            check_tree(&made_here, size, root, old, old_root).unwrap();
            assert!(check_tree(&made_here, size, old_root, old, root).is_err() || old == size);
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn checkpoint(leaves: &[Hash32]) -> Checkpoint {
    let mut range = CompactRange::default();
    range.extend(leaves);
    Checkpoint {
        origin: Origin {
            deployment: "a.example".into(),
            stream: StreamKey::new(uuid::Uuid::from_u128(1).into(), uuid::Uuid::from_u128(2).into()),
            generation: 1,
        },
        size: leaves.len() as u64,
        root: range.root(),
        time: None,
        continues: None,
    }
}

#[test]
fn notes_are_read_and_verified_both_ways() {
    let key = SigningKey::from_bytes(&[5; 32]);
    let checkpoint = checkpoint(&leaves(9));
    let origin = checkpoint.origin.to_string();
    let vkey = VerifierKey::new(&origin, KeyKind::Log, key.verifying_key()).unwrap();
    let note = checkpoint.sign(&key);

    let verifier = StandardVerifier::new(&vkey.to_string()).unwrap();
    let verifiers = VerifierList::new(vec![Box::new(verifier)]);
    let read = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
    let (verified, unverified) = read.verify(&verifiers).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    let body = tlog_tiles::Checkpoint::from_bytes(read.text()).unwrap();
    assert_eq!((body.origin(), body.size()), (origin.as_str(), checkpoint.size));
    assert_eq!(body.hash().0, checkpoint.root.0);

    let seed = base64(&[&[1][..], &[5; 32]].concat());
    let skey = format!("PRIVATE+KEY+{}+{seed}", vkey.short());
    let signer = StandardSigner::new(&skey).unwrap();
    let mut theirs = signed_note::Note::new(checkpoint.text().as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    let ours: Note = String::from_utf8(theirs.to_bytes()).unwrap().parse().unwrap();
    assert_eq!(vkey.check(&ours), Signed::Valid { time: None });
    assert_eq!(ours, note);
    assert_eq!(Checkpoint::read(&ours.text), Ok(checkpoint));
}

#[test]
fn a_proof_is_checked_with_its_event_alone() {
    let leaves = leaves(41);
    let checkpoint = checkpoint(&leaves);
    let mut note = checkpoint.sign(&SigningKey::from_bytes(&[5; 32]));
    let witness = SigningKey::from_bytes(&[6; 32]);
    note.signatures
        .push(SignatureLine::by_witness("w", &witness, &note.text, 7));
    let tree = Tree::new(CompactRange::default(), &leaves);
    for index in 0..41 {
        let proof = TlogProof {
            extra: (index % 2 == 0).then(|| vec![index as u8; 7]),
            index,
            path: tree.inclusion_proof(index, 41).unwrap(),
            note: note.clone(),
        };
        let read: TlogProof = proof.to_string().parse().unwrap();
        assert_eq!(read, proof);
        assert!(read.proves(&leaves[index as usize], &checkpoint));
        assert!(!read.proves(&leaves[(index as usize + 1) % 41], &checkpoint));
    }
    let text = "c2sp.org/tlog-proof@v1\nextra AAAA\nindex 3\n\na\n1\n";
    assert!(text.parse::<TlogProof>().is_err());
}

/// The notes of a file, cut out by hand: what stands behind the first empty line of an entry, to the next empty line but one.
fn cut_out(file: &str) -> Vec<String> {
    let entries = file.split("checkpoint/1\n").skip(1);
    let note = |entry: &str| {
        let (_, note) = entry.split_once("\n\n").unwrap();
        format!("{}\n", note.trim_end_matches('\n'))
    };
    entries.map(note).collect()
}

/// Whoever has the file alone needs nothing of ours: the notes verify by their tools, and so does the consistency of any
/// two of them, by proofs that their tools make from the leaves in the file and by proofs that ours make.
#[test]
fn a_file_of_checkpoints_is_verified_by_their_tools_alone() {
    let key = SigningKey::from_bytes(&[5; 32]);
    let all = leaves(90);
    let sizes: Vec<u64> = (1..=12).chain([16, 17, 31, 32, 33, 64, 65, 89, 90]).collect();
    let mut file = String::new();
    let mut before = 0;
    for size in &sizes {
        let checkpoint = checkpoint(&all[..*size as usize]);
        let entry = Entry {
            leaves: Some(LeavesOfFile {
                first: before + 1,
                hashes: all[before as usize..*size as usize].to_vec(),
            }),
            peaks: Vec::new(),
            note: checkpoint.sign(&key),
            checkpoint,
        };
        file.push_str(&entry.to_text());
        before = *size;
    }
    // What a stranger reads of it: the leaves are the lines of 44 characters below `leaves`, one record each.
    let is_leaf = |line: &&str| line.len() == 44 && line.ends_with('=');
    let mut records: Vec<Hash32> = Vec::new();
    for entry in file.split("checkpoint/1\n").skip(1) {
        let (head, _) = entry.split_once("\n\n").unwrap();
        let decode = |line: &str| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(line).unwrap();
            Hash32(bytes.try_into().unwrap())
        };
        records.extend(head.lines().filter(is_leaf).map(decode));
    }
    let stored = theirs(&records);
    let origin = checkpoint(&all[..1]).origin.to_string();
    let vkey = VerifierKey::new(&origin, KeyKind::Log, key.verifying_key()).unwrap();
    let heads: Vec<(u64, Hash)> = cut_out(&file)
        .iter()
        .map(|text| {
            let verifier = StandardVerifier::new(&vkey.to_string()).unwrap();
            let verifiers = VerifierList::new(vec![Box::new(verifier)]);
            let note = signed_note::Note::from_bytes(text.as_bytes()).unwrap();
            assert_eq!(note.verify(&verifiers).unwrap().0.len(), 1);
            let body = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
            assert_eq!(body.origin(), origin);
            (body.size(), *body.hash())
        })
        .collect();
    assert_eq!(heads.iter().map(|head| head.0).collect::<Vec<_>>(), sizes);
    let tree = Tree::new(CompactRange::default(), &records);
    for (n, (new, new_root)) in heads.iter().enumerate() {
        for (old, old_root) in &heads[..=n] {
            let made_there = prove_tree(*new, *old, &stored).unwrap();
            check_tree(&made_there, *new, *new_root, *old, *old_root).unwrap();
            let made_here = as_theirs(&tree.consistency_proof(*old, *new).unwrap());
            assert_eq!(made_here.len(), made_there.len());
            check_tree(&made_here, *new, *new_root, *old, *old_root).unwrap();
        }
    }
}
