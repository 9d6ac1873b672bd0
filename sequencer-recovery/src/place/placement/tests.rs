//! Tests of the judgement, without a database.

use std::ops::RangeInclusive;

use outbox_sync::OutboxStatus;
use proptest::prelude::*;
use uuid::Uuid;
use ves::merkle::{self, leaf_hash};
use ves::receipt::receipt_hash;
use ves::{AgentId, Event, Payload, Receipt, SequencerId, SignatureBytes, SignatureScheme};

use super::*;
use crate::witness::evidence::{Candidate, Claim, HeldReceipt, HolderId, Saying};

pub(in crate::place) fn stream() -> StreamKey {
    StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into())
}

pub(in crate::place) fn id(n: u64) -> EventId {
    EventId(Uuid::from_u128(1000 + u128::from(n)))
}

pub(in crate::place) fn candidate(n: u64, signature: SignatureCheck) -> Candidate {
    let event = Event {
        event_id: id(n),
        stream: stream(),
        ves_version: 1,
        source_agent_id: AgentId(Uuid::from_u128(4)),
        agent_key_id: 1,
        entity_type: "order".into(),
        entity_id: n.to_string(),
        event_type: "order.created".into(),
        created_at: "2026-01-01T00:00:00Z".into(),
        payload: Payload::Plain("1".into()),
        payload_plain_hash: Hash32::ZERO,
        payload_cipher_hash: Hash32::ZERO,
        agent_signature: SignatureBytes([n as u8; 64]),
        agent_signature_scheme: SignatureScheme::ED25519,
        agent_signature_bundle: None,
        command_id: None,
        base_version: None,
    };
    let signing_hash = event.signing_hash();
    Candidate {
        event,
        signing_hash,
        signature,
        holders: vec![],
        status: None,
        local_seq: None,
    }
}

/// The leaf of event n at position n.
pub(in crate::place) fn leaf(n: u64) -> Hash32 {
    let c = candidate(n, SignatureCheck::Valid);
    leaf_hash(&stream(), n, &c.signing_hash, &c.event.agent_signature)
}

pub(in crate::place) fn spans(spans: &[(u64, u64)]) -> Spans {
    let span = |(from, to): &(u64, u64)| Span::new(*from, *to).unwrap();
    spans.iter().map(span).collect()
}

/// Event n is truly at position n.
pub(in crate::place) struct Case {
    pub(in crate::place) evidence: StreamEvidence,
    pub(in crate::place) holders: Holders,
    pub(in crate::place) budget: Budget,
}

impl Case {
    pub(in crate::place) fn new(held: impl IntoIterator<Item = u64>) -> Self {
        let mut evidence = StreamEvidence::default();
        for n in held {
            evidence.add_candidate(candidate(n, SignatureCheck::Valid));
        }
        let mut holders = Holders::default();
        holders.add("alpha".into(), Some("agent alpha".into()));
        holders.add("bravo".into(), Some("agent bravo".into()));
        holders.add("copy of alpha".into(), Some("agent alpha".into()));
        Self {
            evidence,
            holders,
            budget: Budget::default(),
        }
    }

    /// An event with its place in its agent's own order.
    pub(in crate::place) fn made(&mut self, agent: u128, local: i64, n: u64) -> &mut Candidate {
        let mut c = candidate(n, SignatureCheck::Valid);
        c.event.source_agent_id = AgentId(Uuid::from_u128(agent));
        c.local_seq = Some(local);
        c.status = Some(OutboxStatus::Pending);
        self.evidence.add_candidate(c);
        self.evidence.candidates.last_mut().unwrap()
    }

    pub(in crate::place) fn claim(&mut self, holder: usize, position: u64, n: u64, saying: Saying) {
        self.claim_at(holder, position, n, saying, None);
    }

    /// A claim that says when the event was numbered.
    pub(in crate::place) fn claim_at(
        &mut self,
        holder: usize,
        position: u64,
        n: u64,
        saying: Saying,
        at: Option<i64>,
    ) {
        let claim = Claim {
            event_id: id(n),
            holder: HolderId(holder),
            saying,
            sequenced_at: at.map(Timestamp),
        };
        self.evidence.add_claim(position, claim);
    }

    /// A receipt that was checked.
    pub(in crate::place) fn receipt(&mut self, position: u64, n: u64, place: &str) -> &mut Receipt {
        let signing_hash = candidate(n, SignatureCheck::Valid).signing_hash;
        let receipt = Receipt {
            event_id: id(n),
            sequencer_id: SequencerId(Uuid::from_u128(5)),
            sequence_number: position,
            sequenced_at: Timestamp(1),
            receipt_hash: receipt_hash(&stream(), &id(n), position, &signing_hash),
            sequencer_signature: None,
            sequencer_key_version: 1,
            receipt_signature_scheme: 1,
            receipt_signature_bundle: None,
        };
        self.evidence.add_receipt(HeldReceipt {
            receipt,
            place: place.into(),
        });
        let held = self.evidence.receipts.get_mut(&position).unwrap();
        &mut held.last_mut().unwrap().receipt
    }

    pub(in crate::place) fn target(
        &self,
        range: RangeInclusive<u64>,
        present: impl IntoIterator<Item = u64>,
    ) -> Target {
        let leaves: Vec<Hash32> = range.clone().map(leaf).collect();
        Target {
            batch_id: BatchId(Uuid::from_u128(u128::from(*range.start()))),
            range: Span::try_from(range).unwrap(),
            root: merkle::root(&leaves).unwrap(),
            grade: Grade::Proven,
            present: present.into_iter().map(|n| (n, leaf(n))).collect(),
            times: BTreeMap::new(),
        }
    }

    pub(in crate::place) fn judge(&self, missing: RangeInclusive<u64>, targets: &[Target]) -> Judgement {
        self.judge_spans(&Span::try_from(missing).unwrap().into(), targets)
    }

    pub(in crate::place) fn judge_spans(&self, missing: &Spans, targets: &[Target]) -> Judgement {
        let question = Question {
            stream: &stream(),
            missing,
            targets,
            history: &EntityHistory::default(),
            checkpointed: &Checkpointed::default(),
            log_tree: None,
        };
        judge(&question, &self.evidence, &self.holders, self.budget)
    }

    /// Which event each position got, and how sure that is.
    pub(in crate::place) fn placed(&self, judgement: &Judgement) -> Vec<(u64, u64, Grade)> {
        let number = |p: &Placement| self.evidence.candidates[p.candidate].event.entity_id.parse();
        let placements = judgement.placements.iter();
        placements
            .map(|p| (p.position, number(p).unwrap(), p.grade))
            .collect()
    }
}

/// What became of the only target.
pub(in crate::place) fn outcome(judgement: &Judgement) -> TargetOutcome {
    let [(_, outcome)] = &judgement.outcomes[..] else {
        panic!("{:?}", judgement.outcomes);
    };
    outcome.clone()
}

#[test]
fn a_root_decides_between_rivals_and_overrules_the_majority() {
    let mut case = Case::new(3..=6);
    for n in 3..=6 {
        case.claim(0, n, n, Saying::Outbox);
    }
    // Bravo counted on: everything one too high, with a stronger word at 4.
    case.claim(1, 4, 3, Saying::Pulled);
    case.claim(1, 5, 4, Saying::Pulled);
    let target = case.target(1..=6, 1..=2);
    let judgement = case.judge(3..=6, &[target]);
    let placed: Vec<(u64, String)> = judgement
        .placements
        .iter()
        .map(|p| {
            (
                p.position,
                case.evidence.candidates[p.candidate].event.entity_id.clone(),
            )
        })
        .collect();
    assert_eq!(placed, (3..=6).map(|n| (n, n.to_string())).collect::<Vec<_>>());
    assert!(judgement.placements.iter().all(|p| p.grade == Grade::Proven));
    assert!(judgement.open.is_empty());
    assert!(matches!(judgement.outcomes[0].1, TargetOutcome::Solved { .. }));
}

#[test]
fn without_a_root_rivals_stay_contested_and_copies_do_not_corroborate() {
    let mut case = Case::new(3..=8);
    case.claim(0, 3, 3, Saying::Outbox);
    case.claim(1, 3, 4, Saying::Outbox);
    case.claim(0, 5, 5, Saying::Outbox);
    case.claim(2, 5, 5, Saying::Outbox);
    case.claim(0, 6, 6, Saying::Outbox);
    case.claim(1, 6, 6, Saying::Pulled);
    case.claim(0, 7, 7, Saying::Outbox);
    case.claim(1, 8, 7, Saying::Outbox);
    let judgement = case.judge(3..=9, &[]);
    let graded: Vec<(u64, Grade)> = judgement
        .placements
        .iter()
        .map(|p| (p.position, p.grade))
        .collect();
    assert_eq!(graded, [(5, Grade::Claimed), (6, Grade::Corroborated)]);
    let open: Vec<(u64, Grade, usize)> = judgement
        .open
        .iter()
        .map(|o| (o.range.start(), o.grade, o.rivals.len()))
        .collect();
    assert_eq!(
        open,
        [
            (3, Grade::Contested, 2),
            (4, Grade::Lost, 0),
            (7, Grade::Contested, 1),
            (8, Grade::Contested, 1),
            (9, Grade::Lost, 0)
        ]
    );
}

#[test]
fn who_was_wrong_elsewhere_is_not_believed_alone() {
    let mut case = Case::new(3..=9);
    (3..=6).for_each(|n| case.claim(0, n, n, Saying::Outbox));
    // Bravo's word on 6 is refuted by the root, so its word on 7 counts for nothing; with alpha's it does.
    case.claim(1, 5, 6, Saying::Outbox);
    case.claim(1, 7, 7, Saying::Outbox);
    case.claim(1, 8, 8, Saying::Outbox);
    case.claim(0, 8, 8, Saying::Outbox);
    // What it pulled from the sequencer is another kind of word.
    case.claim(1, 9, 9, Saying::Pulled);
    let target = case.target(1..=6, 1..=2);
    let judgement = case.judge(3..=9, &[target]);
    let graded: Vec<(u64, Grade)> = judgement
        .placements
        .iter()
        .skip(4)
        .map(|p| (p.position, p.grade))
        .collect();
    assert_eq!(graded, [(8, Grade::Corroborated), (9, Grade::Claimed)]);
    assert_eq!(judgement.open.len(), 1);
    assert!(
        judgement.open[0].reason.contains("was wrong about 1 other"),
        "{}",
        judgement.open[0].reason
    );
}

#[test]
fn an_event_proven_elsewhere_is_no_rival() {
    let mut case = Case::new(3..=7);
    (3..=6).for_each(|n| case.claim(0, n, n, Saying::Outbox));
    case.claim(0, 7, 7, Saying::Outbox);
    case.claim(1, 7, 6, Saying::Outbox);
    let target = case.target(1..=6, 1..=2);
    let judgement = case.judge(3..=7, &[target]);
    let last = judgement.placements.last().unwrap();
    assert_eq!((last.position, last.grade), (7, Grade::Claimed));
}

#[test]
fn an_unregistered_key_is_enough_under_a_root_and_not_for_a_claim() {
    let mut case = Case::new([]);
    case.evidence
        .add_candidate(candidate(3, SignatureCheck::KeyUnknown));
    case.evidence
        .add_candidate(candidate(4, SignatureCheck::KeyUnknown));
    case.claim(0, 3, 3, Saying::Pulled);
    case.claim(0, 4, 4, Saying::Pulled);
    let target = case.target(1..=3, 1..=2);
    let judgement = case.judge(3..=4, &[target]);
    assert_eq!(judgement.placements.len(), 1);
    assert!(
        judgement.placements[0].basis.contains("NOT CHECKED"),
        "{}",
        judgement.placements[0].basis
    );
    assert_eq!(judgement.open[0].range.start(), 4);
    assert!(
        judgement.open[0].reason.contains("NOT CHECKED"),
        "{}",
        judgement.open[0].reason
    );
}

#[test]
fn a_batch_with_a_position_that_nobody_names_is_told_so() {
    let mut case = Case::new([3, 4, 6]);
    [3, 4, 6]
        .into_iter()
        .for_each(|n| case.claim(0, n, n, Saying::Outbox));
    let target = case.target(1..=6, 1..=2);
    let judgement = case.judge(3..=6, std::slice::from_ref(&target));
    assert_eq!(
        judgement.outcomes,
        [(
            target.batch_id,
            TargetOutcome::NoCandidate {
                positions: Span::at(5).into(),
                limit: None,
            }
        )]
    );
    assert!(judgement.placements.iter().all(|p| p.grade == Grade::Claimed));
}

#[test]
fn a_wrong_guess_is_never_placed_and_the_budget_is_told() {
    let mut case = Case::new(3..=30);
    // Everybody shifted by one: no combination of the named events is right.
    (3..=29).for_each(|n| case.claim(0, n, n + 1, Saying::Pulled));
    let target = case.target(1..=29, 1..=2);
    let judgement = case.judge(3..=29, std::slice::from_ref(&target));
    assert_eq!(
        judgement.outcomes,
        [(target.batch_id, TargetOutcome::NoMatch { tries: 1 })]
    );
    assert!(judgement.placements.iter().all(|p| p.grade == Grade::Claimed));

    let mut case = Case::new(3..=60);
    (3..=29).for_each(|n| case.claim(0, n, n + 1, Saying::Pulled));
    (3..=29).for_each(|n| case.claim(1, n, n + 30, Saying::Pulled));
    let target = case.target(1..=29, 1..=2);
    let judgement = case.judge(3..=29, std::slice::from_ref(&target));
    assert!(matches!(
        judgement.outcomes[0].1,
        TargetOutcome::BudgetSpent {
            tries: 20_000,
            limit: Limit::Candidates
        }
    ));
}

#[test]
fn agents_own_order_fills_what_nobody_names() {
    let mut case = Case::new([]);
    // Agents 4 and 5 made 3..=5 and 6..=8; nobody knows a number, and 4's event 90 was never sequenced.
    for (n, agent, local) in [
        (3, 4, 1),
        (4, 4, 2),
        (90, 4, 3),
        (5, 4, 4),
        (6, 5, 1),
        (7, 5, 2),
        (8, 5, 3),
    ] {
        let mut c = candidate(n, SignatureCheck::Valid);
        c.event.source_agent_id = AgentId(Uuid::from_u128(agent));
        c.local_seq = Some(local);
        c.status = Some(OutboxStatus::Pending);
        case.evidence.add_candidate(c);
    }
    let target = case.target(1..=8, 1..=2);
    let judgement = case.judge(3..=8, std::slice::from_ref(&target));
    let placed: Vec<String> = judgement
        .placements
        .iter()
        .map(|p| case.evidence.candidates[p.candidate].event.entity_id.clone())
        .collect();
    assert_eq!(placed, ["3", "4", "5", "6", "7", "8"]);
    assert!(judgement.placements.iter().all(|p| p.grade == Grade::Proven));
}

#[test]
fn an_absurd_claim_costs_nothing() {
    let mut case = Case::new([3]);
    case.claim(0, u64::MAX / 2, 3, Saying::Outbox);
    let target = Target {
        range: Span::up_to(u64::MAX / 2).unwrap(),
        ..case.target(1..=3, 1..=2)
    };
    let judgement = case.judge(3..=u64::MAX / 2, &[target]);
    assert_eq!(judgement.placements.len(), 1);
    assert_eq!(judgement.open.len(), 1);
}

proptest! {
    /// Whatever is claimed, what is called proven is true, no event is placed twice, and every
    /// missing position is either placed or open.
    #[test]
    fn proven_means_true(claims in prop::collection::vec((0usize..3, 3u64..12, 3u64..12, 0u8..3), 0..60)) {
        let mut case = Case::new(3..=11);
        for (holder, position, n, saying) in claims {
            let saying = [Saying::Outbox, Saying::Pointer, Saying::Pulled][saying as usize];
            case.claim(holder, position, n, saying);
        }
        let targets = [case.target(1..=6, 1..=2), case.target(7..=10, [])];
        let judgement = case.judge(3..=11, &targets);
        let mut seen = BTreeSet::new();
        let mut covered: BTreeSet<u64> = BTreeSet::new();
        for p in &judgement.placements {
            let id = &case.evidence.candidates[p.candidate].event.entity_id;
            prop_assert!(seen.insert(id.clone()));
            prop_assert!(covered.insert(p.position));
            if p.grade == Grade::Proven {
                prop_assert_eq!(id, &p.position.to_string());
            }
        }
        for position in judgement.open.iter().flat_map(|o| o.range.positions()) {
            prop_assert!(covered.insert(position));
        }
        prop_assert_eq!(covered.len(), 9);
    }
}
