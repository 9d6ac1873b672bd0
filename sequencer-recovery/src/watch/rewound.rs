//! Whether a stream is less than it was at an earlier look. Pure: values in, findings out.

use event_log::StreamHead;
use ves::{Hash32, StreamKey};

use crate::finding::{Code, Finding, Remedy};
use crate::watch_memory::Remembered;

/// A head or a counter that went backwards. A stream that is not there any more went back to nothing.
pub fn rewound(stream: &StreamKey, was: &Remembered, is: Option<&StreamHead>) -> Option<Finding> {
    let head = is.and_then(|is| is.last).unwrap_or(0);
    let counter = is.and_then(|is| is.counter).unwrap_or(0);
    let mut what = Vec::new();
    if head < was.head {
        what.push(format!("its last number is {head}, and was {}", was.head));
    }
    if counter < was.counter {
        what.push(format!("its counter is {counter}, and was {}", was.counter));
    }
    if what.is_empty() {
        return None;
    }
    let message = format!(
        "the log was rewound: {} at {}; stop the sequencer before it gives numbers out again",
        what.join("; "),
        was.seen_at
    );
    let from = head.min(counter) + 1;
    let finding = Finding::new(Code::HistoryRewound, message).stream(*stream);
    Some(
        finding
            .range(from, was.head.max(was.counter))
            .remedy(Remedy::Plan),
    )
}

/// Another event, or none that can be read, stands where one was remembered.
pub fn changed(stream: &StreamKey, was: &Remembered, is: Option<Hash32>) -> Option<Finding> {
    let leaf = was.leaf?;
    if was.checked == 0 || is == Some(leaf) {
        return None;
    }
    let message = format!(
        "another event stands at {} than at {}: the log was rewound and ran on, or its history was altered; stop the \
         sequencer",
        was.checked, was.seen_at
    );
    let finding = Finding::new(Code::HistoryRewound, message).stream(*stream);
    Some(finding.range(was.checked, was.checked).remedy(Remedy::Plan))
}

/// What a counter says beside its own stream, in one moment. `raised`: a repair put it there.
pub fn counter(head: &StreamHead, raised: bool) -> Option<Finding> {
    let last = head.last.unwrap_or(0);
    let (code, message, range) = match head.counter {
        None if last == 0 => return None,
        None => (
            Code::CounterMissing,
            format!("there is no counter, and the last number is {last}"),
            (1, last),
        ),
        Some(counter) if counter < last => (
            Code::CounterBehind,
            format!("the counter is {counter}, and the last number is {last}"),
            (counter + 1, last),
        ),
        Some(counter) if counter > last && !raised => (
            Code::CounterAhead,
            format!(
                "the counter is {counter}, and the last number is {last}: numbers were given out that are not there"
            ),
            (last + 1, counter),
        ),
        Some(_) => return None,
    };
    let finding = Finding::new(code, message).stream(head.stream);
    Some(finding.range(range.0, range.1).remedy(Remedy::Plan))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ves::{StoreId, TenantId};

    fn key() -> StreamKey {
        StreamKey {
            tenant_id: TenantId(uuid::Uuid::from_u128(1)),
            store_id: StoreId(uuid::Uuid::from_u128(2)),
        }
    }

    fn head(last: Option<u64>, counter: Option<u64>) -> StreamHead {
        StreamHead {
            stream: key(),
            last,
            counter,
        }
    }

    fn was(head: u64, counter: u64) -> Remembered {
        Remembered {
            head,
            counter,
            checked: head,
            leaf: Some(Hash32([7; 32])),
            ..Remembered::default()
        }
    }

    #[test]
    fn what_goes_backwards_is_told_and_nothing_else() {
        let is = |last, counter| rewound(&key(), &was(10, 12), Some(&head(last, counter)));
        assert!(is(Some(10), Some(12)).is_none());
        assert!(is(Some(11), Some(13)).is_none());
        let back = is(Some(7), Some(12)).unwrap();
        assert_eq!((back.from, back.to), (Some(8), Some(12)));
        let counter = is(Some(10), Some(11)).unwrap();
        assert_eq!((counter.from, counter.to), (Some(11), Some(12)));
        assert!(is(None, None).unwrap().message.contains("last number is 0"));
        assert_eq!(rewound(&key(), &was(10, 12), None).unwrap().from, Some(1));
    }

    #[test]
    fn another_event_at_a_known_place_is_told() {
        let same = Some(Hash32([7; 32]));
        assert!(changed(&key(), &was(10, 10), same).is_none());
        assert!(changed(&key(), &was(10, 10), Some(Hash32([8; 32]))).is_some());
        assert!(changed(&key(), &was(10, 10), None).is_some());
        // Nothing was remembered.
        assert!(changed(&key(), &Remembered::default(), None).is_none());
    }

    #[test]
    fn a_counter_stands_at_its_streams_head() {
        let code = |last, is, raised| counter(&head(last, is), raised).map(|f| f.code);
        assert_eq!(code(Some(5), Some(5), false), None);
        assert_eq!(code(None, Some(0), false), None);
        assert_eq!(code(None, None, false), None);
        assert_eq!(code(Some(5), None, false), Some(Code::CounterMissing));
        assert_eq!(code(Some(5), Some(4), false), Some(Code::CounterBehind));
        assert_eq!(code(Some(5), Some(9), false), Some(Code::CounterAhead));
        assert_eq!(code(Some(5), Some(9), true), None);
    }
}
