//! What services answer: pages by gRPC, answers to a push.

use grpc_client::messages::{PullEventsResponse, SequencedEvent, read};
use grpc_client::{Address, KeptPages};
use http_client::Reply;
use outbox_sync::push::understand;
use prost::Message as _;
use sequencer_recovery::witness::pulled_entry;
use sha2::{Digest as _, Sha256};
use ves::{EventId, Hash32, SequencerKeys, StreamKey};

use crate::scratch;

/// The stream that is asked for, and in which all seeds are.
fn stream() -> StreamKey {
    "00000000-0000-4000-8000-000000000001/00000000-0000-4000-8000-000000000002"
        .parse()
        .expect("a stream")
}

/// Answers of a gRPC service, as they come and as a file keeps them. An input is the first and the last number that were asked
/// for, and the answer; the frame that the file puts around it is made right.
pub(crate) fn pages(bytes: &[u8]) {
    if let Ok(answer) = read::<PullEventsResponse>(bytes) {
        for event in &answer.events {
            entry(event);
        }
    }
    entry(bytes);
    let address = Address::recognise("grpc://127.0.0.1:50051").expect("an address");
    let address = address.expect("an address");
    let folder = scratch::folder();
    let kept = KeptPages::open(&folder, &address, &stream()).expect("a file to keep pages in");
    let path = kept.path().to_owned();
    drop(kept);
    let head = std::fs::read(&path).expect("the file that was made");
    let head = head
        .split_inclusive(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let mut framed = head.to_vec();
    framed.extend((bytes.len() as u32).to_be_bytes());
    framed.extend(&Sha256::digest(bytes)[..8]);
    framed.extend(bytes);
    for (text, right) in [(framed, true), ([head, bytes].concat(), false)] {
        std::fs::write(&path, &text).expect("a scratch file");
        let Ok(mut kept) = KeptPages::open(&folder, &address, &stream()) else {
            assert!(!right, "its first line is right");
            continue;
        };
        while let Ok(Some(page)) = kept.next_page() {
            let numbers: Vec<u64> = page.events.iter().flatten().map(|e| e.sequence_number).collect();
            assert!(
                numbers.is_sorted_by(|a, b| a < b),
                "in the order of their numbers"
            );
            assert!(
                numbers.iter().all(|n| page.range.contains(*n)),
                "of those that were asked for"
            );
            for event in page.events.iter().flatten() {
                let _ = pulled_entry(event, stream());
            }
        }
    }
    std::fs::write(&path, head).expect("a scratch file");
}

fn entry(bytes: &[u8]) {
    let Ok(event) = read::<SequencedEvent>(bytes) else {
        return;
    };
    if let Ok(entry) = pulled_entry(&event, stream()) {
        assert_eq!(entry.event.stream, stream(), "of the stream that was asked for");
        assert_eq!(
            entry.event_signing_hash,
            entry.event.signing_hash(),
            "its hash is its own"
        );
    }
    let again = read::<SequencedEvent>(&event.encode_to_vec()).expect("what was read can be written");
    assert_eq!(again, event, "it says the same");
}

/// An answer to a push: a receipt counts only if it is of an event that was sent, and its hash says so.
pub(crate) fn push_answer(bytes: &[u8]) {
    let id = |n: u8| -> EventId {
        format!("00000000-0000-4000-8000-0000000000{n:02x}")
            .parse()
            .expect("an id")
    };
    let sent: Vec<(EventId, Hash32)> = (0x11..0x14).map(|n| (id(n), Hash32([n; 32]))).collect();
    let reply = Reply {
        status: 200,
        retry_after: None,
        content_type: None,
        body: bytes.to_vec(),
    };
    let Ok(answer) = understand(&reply, &sent, &stream(), &SequencerKeys::default()) else {
        return;
    };
    let settled = answer.receipts.len() + answer.rejected.len();
    assert!(settled <= sent.len(), "an event is settled once");
    assert!(
        settled == sent.len() || !answer.flaws.is_empty(),
        "what is missing is told"
    );
    for (at, receipt) in &answer.receipts {
        let (id, hash) = &sent[*at];
        assert_eq!(receipt.event_id, *id, "a receipt of an event that was sent");
        assert!(
            receipt.hash_matches(&stream(), hash),
            "a receipt of this event and number"
        );
    }
}
