//! What words come to, each case by itself.

use std::collections::{BTreeMap, BTreeSet};

use outbox_sync::words::{
    Claim, Contents, HolderId, Holders, NamedEvents, Saying, Spoken, Unsure, WordGrade,
};
use ves::EventId;

/// What is known of events: held once and signed, if nothing else is said.
#[derive(Default)]
struct Known {
    contents: BTreeMap<EventId, Contents>,
    elsewhere: BTreeSet<EventId>,
    doubted: BTreeSet<HolderId>,
}

impl NamedEvents for Known {
    fn contents(&self, event_id: EventId) -> Contents {
        let known = self.contents.get(&event_id);
        known.copied().unwrap_or(Contents::One { signed: true })
    }

    fn is_named_elsewhere(&self, event_id: EventId) -> bool {
        self.elsewhere.contains(&event_id)
    }

    fn is_doubted(&self, claim: &Claim) -> bool {
        self.doubted.contains(&claim.holder)
    }
}

fn event(n: u128) -> EventId {
    EventId(uuid::Uuid::from_u128(n))
}

fn claim(n: u128, holder: usize) -> Claim {
    Claim {
        event_id: event(n),
        holder: HolderId(holder),
        saying: Saying::Pulled,
        sequenced_at: None,
    }
}

/// Two outboxes of one agent, one of another, and an export.
fn holders() -> Holders {
    let mut holders = Holders::default();
    for (name, identity) in [
        ("a", Some("a")),
        ("copy of a", Some("a")),
        ("b", Some("b")),
        ("export", None),
    ] {
        holders.add(name.into(), identity.map(Into::into));
    }
    holders
}

#[track_caller]
fn grade(claims: &[Claim], known: &Known, expected: WordGrade) -> Spoken {
    let spoken = Spoken::of(claims, known);
    assert_eq!(spoken.grade(&holders()), expected, "{spoken:?}");
    spoken
}

#[test]
fn who_is_named_alone_was_there_the_surer_the_more_agree() {
    let known = Known::default();
    assert_eq!(grade(&[], &known, WordGrade::Lost), Spoken::Nobody);
    grade(&[claim(1, 0)], &known, WordGrade::Claimed);
    grade(&[claim(1, 0), claim(1, 1)], &known, WordGrade::Claimed);
    grade(&[claim(1, 3)], &known, WordGrade::Claimed);
    grade(&[claim(1, 0), claim(1, 3)], &known, WordGrade::Claimed);
    let agreed = grade(&[claim(1, 0), claim(1, 2)], &known, WordGrade::Corroborated);
    let holders = BTreeSet::from([HolderId(0), HolderId(2)]);
    let event_id = event(1);
    assert_eq!(agreed, Spoken::One { event_id, holders });
}

#[test]
fn what_speaks_against_an_event_is_told() {
    let both = [claim(1, 0), claim(1, 2)];
    let rivals = [claim(1, 0), claim(2, 2), claim(2, 0)];
    let spoken = grade(&rivals, &Known::default(), WordGrade::Contested);
    assert_eq!(spoken, Spoken::Rivals(vec![event(1), event(2)]));
    let unsure = |why| Spoken::Unsure(event(1), why);
    for (contents, why, expected) in [
        (Contents::None, Unsure::NotHeld, WordGrade::Lost),
        (Contents::Several, Unsure::Contents, WordGrade::Contested),
        (
            Contents::One { signed: false },
            Unsure::Signature,
            WordGrade::Contested,
        ),
    ] {
        let known = Known {
            contents: BTreeMap::from([(event(1), contents)]),
            ..Known::default()
        };
        assert_eq!(grade(&both, &known, expected), unsure(why));
    }
    let known = Known {
        elsewhere: BTreeSet::from([event(1)]),
        ..Known::default()
    };
    assert_eq!(
        grade(&both, &known, WordGrade::Contested),
        unsure(Unsure::Elsewhere)
    );
    let doubted = |holders: &[usize]| Known {
        doubted: holders.iter().map(|n| HolderId(*n)).collect(),
        ..Known::default()
    };
    assert_eq!(
        grade(&both, &doubted(&[0, 2]), WordGrade::Contested),
        unsure(Unsure::Doubted)
    );
    // One word that can be trusted is enough.
    grade(&both, &doubted(&[0]), WordGrade::Corroborated);
}
