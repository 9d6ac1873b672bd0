//! Whom to believe: each sign of a disturbed push at its edge, and each reason for and against a number.

use uuid::Uuid;
use ves::{AgentId, Event, Hash32, Payload, SignatureBytes, SignatureCheck, SignatureScheme, StreamKey};

use super::*;
use crate::witness::evidence::{Candidate, PushedRow};

const HOLDER: HolderId = HolderId(0);
const OTHER: HolderId = HolderId(1);

fn id(n: u64) -> EventId {
    EventId(Uuid::from_u128(1000 + u128::from(n)))
}

fn command(n: u128) -> CommandId {
    CommandId(Uuid::from_u128(n))
}

fn event(n: u64) -> Event {
    Event {
        event_id: id(n),
        stream: StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into()),
        ves_version: 1,
        source_agent_id: AgentId(Uuid::from_u128(4)),
        agent_key_id: 1,
        entity_type: "order".into(),
        entity_id: "7".into(),
        event_type: "order.changed".into(),
        created_at: "2026-01-01T00:00:00Z".into(),
        payload: Payload::Plain("1".into()),
        payload_plain_hash: Hash32::ZERO,
        payload_cipher_hash: Hash32::ZERO,
        agent_signature: SignatureBytes([n as u8; 64]),
        agent_signature_scheme: SignatureScheme::ED25519,
        agent_signature_bundle: None,
        command_id: None,
        base_version: None,
    }
}

fn candidate(event: Event, signature: SignatureCheck) -> Candidate {
    let signing_hash = event.signing_hash();
    Candidate {
        event,
        signing_hash,
        signature,
        holders: vec![HOLDER],
        status: None,
        local_seq: None,
    }
}

/// Row n is of event n, at position n, in a push.
fn row(n: u64, push: u32) -> PushedRow {
    PushedRow {
        local_seq: n as i64,
        event_id: id(n),
        claim: n,
        push,
        since_first: 0,
    }
}

/// A witness's pushes, and all of their events with valid signatures.
fn pushed(rows: &[PushedRow]) -> (Pushes, StreamEvidence) {
    let mut evidence = StreamEvidence::default();
    for row in rows {
        let n = row.local_seq as u64;
        evidence.add_candidate(candidate(event(n), SignatureCheck::Valid));
    }
    let pushes = Pushes {
        counts_on: true,
        confirmed: LEAST_CONFIRMED,
        rows: rows.to_vec(),
        ..Pushes::default()
    };
    (pushes, evidence)
}

fn change(evidence: &mut StreamEvidence, n: u64, with: impl FnOnce(&mut Candidate)) {
    let at = evidence.candidates_of(id(n))[0];
    with(&mut evidence.candidates[at]);
}

/// For each row whether its push shows, up to it, that something was counted over: what shows it, in few words.
fn signs(pushes: &Pushes, evidence: &StreamEvidence, history: &EntityHistory) -> Vec<Option<&'static str>> {
    let signs = Signs::of(pushes, evidence, history);
    let short = |why: &'static str| {
        let known = ["long before", "not verify", "used before", "not there"];
        known.into_iter().find(|words| why.contains(words)).unwrap_or(why)
    };
    let rows = pushes.rows.iter();
    rows.map(|row| signs.of_row(row.push, row.local_seq).map(short))
        .collect()
}

#[test]
fn a_push_in_order_shows_nothing() {
    let (pushes, evidence) = pushed(&[row(1, 0), row(2, 0), row(3, 1)]);
    assert_eq!(
        signs(&pushes, &evidence, &EntityHistory::default()),
        [None, None, None]
    );
}

#[test]
fn an_event_that_does_not_verify_disturbs_its_push_from_there_on() {
    let (pushes, evidence) = pushed(&[row(1, 0), row(2, 0), row(3, 0), row(4, 1)]);
    let shown = [None, Some("not verify"), Some("not verify"), None];
    let history = EntityHistory::default();

    let mut unsigned = evidence.clone();
    change(&mut unsigned, 2, |c| c.signature = SignatureCheck::KeyUnknown);
    assert_eq!(signs(&pushes, &unsigned, &history), shown, "its key is unknown");

    let mut twice = evidence.clone();
    let other = Event {
        entity_id: "8".into(),
        ..event(2)
    };
    twice.add_candidate(candidate(other, SignatureCheck::Valid));
    assert_eq!(signs(&pushes, &twice, &history), shown, "it has two contents");

    let mut nobodys = StreamEvidence::default();
    for n in [1, 3, 4] {
        nobodys.add_candidate(candidate(event(n), SignatureCheck::Valid));
    }
    assert_eq!(signs(&pushes, &nobodys, &history), shown, "nobody has it");
}

#[test]
fn a_command_that_was_used_before_disturbs_its_push() {
    let (pushes, mut evidence) = pushed(&[row(1, 0), row(2, 0), row(3, 0)]);
    let history = EntityHistory::default();
    change(&mut evidence, 1, |c| c.event.command_id = Some(command(1)));
    change(&mut evidence, 2, |c| c.event.command_id = Some(command(2)));
    assert_eq!(
        signs(&pushes, &evidence, &history),
        [None, None, None],
        "two commands"
    );

    let mut known = evidence.clone();
    known.remembered.insert(command(2));
    let shown = [None, Some("used before"), Some("used before")];
    assert_eq!(signs(&pushes, &known, &history), shown, "the log remembers it");

    change(&mut evidence, 3, |c| c.event.command_id = Some(command(1)));
    let shown = [None, None, Some("used before")];
    assert_eq!(
        signs(&pushes, &evidence, &history),
        shown,
        "an earlier row has it"
    );
}

#[test]
fn a_version_that_was_not_there_disturbs_its_push() {
    let (pushes, mut evidence) = pushed(&[row(1, 0), row(2, 0), row(3, 0)]);
    // Of the entity the log has two events, and the first row, which says nothing of versions, is the third.
    change(&mut evidence, 2, |c| c.event.base_version = Some(3));
    let mut history = EntityHistory::wanted(&evidence);
    history.note(&event(90), 1, true);
    history.note(&event(91), 2, true);
    assert_eq!(signs(&pushes, &evidence, &history), [None, None, None]);
    for base in [2, 4, -1] {
        change(&mut evidence, 2, |c| c.event.base_version = Some(base));
        let shown = [None, Some("not there"), Some("not there")];
        assert_eq!(signs(&pushes, &evidence, &history), shown, "builds on {base}");
    }
    // What would have been refused raised no version, so that the next one builds on the same.
    change(&mut evidence, 3, |c| c.event.base_version = Some(3));
    let (mut next, first) = (pushes.clone(), pushes.clone());
    next.rows[2].push = 1;
    assert_eq!(signs(&next, &evidence, &history), [None, Some("not there"), None]);
    change(&mut evidence, 2, |c| c.event.base_version = Some(3));
    change(&mut evidence, 3, |c| c.event.base_version = Some(4));
    assert_eq!(signs(&first, &evidence, &history), [None, None, None]);
}

#[test]
fn entities_are_told_apart_by_type_and_by_name() {
    let (pushes, mut evidence) = pushed(&[row(1, 0), row(2, 0), row(3, 0)]);
    change(&mut evidence, 2, |c| {
        c.event.entity_type = "invoice".into();
        c.event.base_version = Some(0);
    });
    change(&mut evidence, 3, |c| {
        c.event.entity_id = "8".into();
        c.event.base_version = Some(0);
    });
    let history = EntityHistory::wanted(&evidence);
    assert_eq!(signs(&pushes, &evidence, &history), [None, None, None]);
}

/// Twice the longest push that is known, and 20 ms: rows made within that time are of one push.
#[test]
fn events_made_long_before_the_others_disturb_the_whole_push() {
    let (mut pushes, evidence) = pushed(&[row(1, 0), row(2, 0), row(3, 1)]);
    let history = EntityHistory::default();
    pushes.longest = 500;
    pushes.rows[1].since_first = 21_000;
    assert_eq!(signs(&pushes, &evidence, &history), [None, None, None]);
    pushes.rows[1].since_first = 21_001;
    let shown = [Some("long before"), Some("long before"), None];
    assert_eq!(signs(&pushes, &evidence, &history), shown);
    // Also where a later row was a sign already.
    let mut unsigned = evidence.clone();
    change(&mut unsigned, 1, |c| c.signature = SignatureCheck::KeyUnknown);
    assert_eq!(signs(&pushes, &unsigned, &history), shown);
    pushes.longest = i64::MAX;
    assert_eq!(signs(&pushes, &evidence, &history), [None, None, None]);
}

/// What a test says of one holder.
#[derive(Default)]
struct Case {
    evidence: StreamEvidence,
    refuted: BTreeMap<(HolderId, Saying), u64>,
    placed: Option<(u64, u64)>,
}

impl Case {
    fn of((pushes, mut evidence): (Pushes, StreamEvidence)) -> Self {
        evidence.pushes.insert(HOLDER, pushes);
        Self {
            evidence,
            ..Self::default()
        }
    }

    fn pushes(&mut self) -> &mut Pushes {
        self.evidence.pushes.entry(HOLDER).or_default()
    }

    /// Somebody says where event n is.
    fn told(&mut self, n: u64, position: u64, saying: Saying) {
        self.evidence.add_claim(position, claim(OTHER, n, saying));
    }

    fn trust(&self) -> Trust {
        let placed = |event: EventId, position: u64| {
            let there = self.placed.map(|(n, at)| (id(n), at));
            there == Some((event, position))
        };
        let history = EntityHistory::default();
        Trust::new(&self.evidence, &history, self.refuted.clone(), &placed)
    }

    /// Why each row is not believed.
    fn doubts(&self) -> Vec<Option<Doubt>> {
        let trust = self.trust();
        let rows = self.evidence.pushes[&HOLDER].rows.iter();
        rows.map(|row| trust.doubt(row.claim, &claim(HOLDER, row.claim, Saying::Outbox)))
            .collect()
    }
}

fn claim(holder: HolderId, n: u64, saying: Saying) -> Claim {
    Claim {
        event_id: id(n),
        holder,
        saying,
        sequenced_at: None,
    }
}

fn three() -> Case {
    Case::of(pushed(&[row(1, 0), row(2, 0), row(3, 0)]))
}

#[test]
fn an_engine_that_counts_on_is_believed_after_fifty_rows() {
    let mut case = three();
    assert_eq!(case.doubts(), [None; 3]);
    case.pushes().confirmed = LEAST_CONFIRMED - 1;
    assert_eq!(case.doubts(), [Some(Doubt::TooLittleKnown); 3]);
    // One that reads each number from the answer needs no such record.
    case.pushes().counts_on = false;
    assert_eq!(case.doubts(), [None; 3]);
}

#[test]
fn a_holder_that_was_wrong_is_not_believed() {
    let mut case = three();
    case.pushes().overlaps = 2;
    assert_eq!(case.doubts(), [Some(Doubt::WrongElsewhere(2)); 3]);
    case.refuted.insert((HOLDER, Saying::Outbox), 3);
    assert_eq!(case.doubts(), [Some(Doubt::WrongElsewhere(5)); 3]);
    // Pushes overlap only where the engine counts on; that it was wrong elsewhere counts for every engine.
    case.pushes().counts_on = false;
    assert_eq!(case.doubts(), [Some(Doubt::WrongElsewhere(3)); 3]);
    case.refuted.clear();
    assert_eq!(case.doubts(), [None; 3]);
    // Another's mistakes, and its own in another kind of word, are not these.
    case.refuted.insert((OTHER, Saying::Outbox), 1);
    case.refuted.insert((HOLDER, Saying::Pulled), 1);
    assert_eq!(case.doubts(), [None; 3]);
}

#[test]
fn a_disturbed_push_is_not_believed_from_its_first_sign_on() {
    let mut case = three();
    change(&mut case.evidence, 2, |c| {
        c.signature = SignatureCheck::KeyUnknown;
    });
    let doubts = case.doubts();
    assert_eq!(doubts[0], None);
    assert!(matches!(
        doubts[1..],
        [Some(Doubt::Disturbed(_)), Some(Doubt::Disturbed(_))]
    ));
}

#[test]
fn a_row_is_right_if_a_later_one_of_its_push_is() {
    let wrong = Some(Doubt::WrongElsewhere(1));
    let mut case = Case::of(pushed(&[row(1, 0), row(2, 0), row(3, 0), row(4, 1)]));
    case.refuted.insert((HOLDER, Saying::Outbox), 1);
    assert_eq!(case.doubts(), [wrong; 4]);
    // By the log, which confirms up to the second.
    case.pushes().confirmed_to.insert(0, 2);
    assert_eq!(case.doubts(), [None, None, wrong, wrong]);
    // By a root or a receipt: of the first, which adds nothing to that, and of the third.
    case.placed = Some((1, 1));
    assert_eq!(case.doubts(), [None, None, wrong, wrong]);
    case.placed = Some((3, 3));
    assert_eq!(case.doubts(), [None, None, None, wrong]);
    case.pushes().confirmed_to.clear();
    assert_eq!(case.doubts(), [None, None, None, wrong]);
    // At another position it would be another number than the noted one.
    case.placed = Some((3, 4));
    assert_eq!(case.doubts(), [wrong; 4]);
}

#[test]
fn what_the_sequencer_told_somebody_ties_a_push_and_what_an_outbox_says_does_not() {
    let wrong = Some(Doubt::WrongElsewhere(1));
    for (saying, ties) in [
        (Saying::Pulled, true),
        (Saying::Pointer, true),
        (Saying::Log, true),
        (Saying::Outbox, false),
    ] {
        let mut case = three();
        case.refuted.insert((HOLDER, Saying::Outbox), 1);
        case.told(2, 2, saying);
        let shown = if ties { [None, None, wrong] } else { [wrong; 3] };
        assert_eq!(case.doubts(), shown, "{saying:?}");
        // Not if that holder's words of this kind were wrong.
        case.refuted.insert((OTHER, saying), 1);
        assert_eq!(case.doubts(), [wrong; 3], "{saying:?}");
    }
}

#[test]
fn an_event_that_the_log_has_under_another_number_is_not_placed_by_its_own_agent() {
    let mut case = three();
    for (holder, saying) in [(HOLDER, Saying::Outbox), (OTHER, Saying::Pulled)] {
        case.evidence.add_claim(2, claim(holder, 2, saying));
        case.evidence.add_claim(3, claim(holder, 3, saying));
    }
    let there = case.evidence.candidates_of(id(2))[0];
    case.evidence.standing.insert(9, there);
    assert_eq!(case.doubts(), [None, Some(Doubt::NumberedAgain), None]);
    let trust = case.trust();
    assert_eq!(trust.doubt(2, &claim(OTHER, 2, Saying::Pulled)), None);
}

#[test]
fn words_of_other_kinds_are_doubted_where_their_holder_was_wrong_in_that_kind() {
    let mut case = three();
    case.refuted.insert((OTHER, Saying::Pulled), 4);
    case.refuted.insert((HOLDER, Saying::Outbox), 1);
    case.pushes().confirmed_to.insert(0, 3);
    let trust = case.trust();
    let doubt = |holder, saying| trust.doubt(2, &claim(holder, 2, saying));
    assert_eq!(doubt(OTHER, Saying::Pulled), Some(Doubt::WrongElsewhere(4)));
    assert_eq!(doubt(OTHER, Saying::Log), None);
    // The tie is of the outbox's row and says nothing of what the same holder pulled, nor of a number that no row has.
    assert_eq!(doubt(HOLDER, Saying::Outbox), None);
    assert_eq!(doubt(HOLDER, Saying::Pulled), None);
    let elsewhere = trust.doubt(8, &claim(HOLDER, 2, Saying::Outbox));
    assert_eq!(elsewhere, Some(Doubt::WrongElsewhere(1)));
}

#[test]
fn doubts_go_on_where_the_name_of_their_holder_ends() {
    let said: Vec<String> = [
        Doubt::WrongElsewhere(3),
        Doubt::TooLittleKnown,
        Doubt::Disturbed("and its push is odd"),
        Doubt::NumberedAgain,
    ]
    .iter()
    .map(ToString::to_string)
    .collect();
    let expected = [
        "and was wrong about 3 other(s)",
        "whose engine counts on by itself, and too little confirms it",
        "whose engine counts on by itself, and its push is odd",
        "and the log has it under another number",
    ];
    assert_eq!(said, expected);
}
