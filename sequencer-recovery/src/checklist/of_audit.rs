//! The lines that the audit answers. Each finding belongs to one line; what the audit did not check, no line passes.

use std::collections::{BTreeMap, BTreeSet};

use event_log::{Place, ServerMode};

use super::line::{Line, LineId, LineVerdict, Step};
use crate::finding::{Code, Finding, Remedy, Severity};
use crate::report::audit::{AuditReport, StreamReport};
use crate::stream::unheard;
use crate::witness::HeardKind;

/// So many things of a kind are named; all are counted.
const NAMED: usize = 8;

/// What was given to be asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct GivenToAudit {
    /// Anchors files.
    pub anchors: bool,
    /// A public key of the sequencer.
    pub sequencer_keys: bool,
}

/// The line that a finding belongs to; `None` if it says nothing of the log, but of the role that looked.
fn line_of(code: Code) -> Option<LineId> {
    Some(match code {
        Code::GapInterior
        | Code::GapLeading
        | Code::GapTail
        | Code::CheckpointBehind
        | Code::GuardBehind
        | Code::EventTombstone => LineId::NumbersWhole,
        Code::CounterBehind | Code::CounterAhead | Code::CounterMissing => LineId::CountersFloor,
        Code::EventSigningHash
        | Code::EventPayloadHash
        | Code::EventCreatedAt
        | Code::EventSequencedAt
        | Code::EventUnreadable
        | Code::LogEmpty => LineId::HistoryReadable,
        Code::EventSignature | Code::EventKey => LineId::HistorySigned,
        Code::EventDuplicate | Code::IndexIncomplete | Code::IndexMissing | Code::IndexUnused => {
            LineId::DatabaseIndexes
        }
        Code::ReceiptMissing | Code::ReceiptMismatch => LineId::ReceiptsWhole,
        Code::ReceiptSignature => LineId::ReceiptsSigned,
        Code::CommitmentRoot
        | Code::CommitmentStateRoot
        | Code::CommitmentGap
        | Code::CommitmentTime
        | Code::CommitmentChain
        | Code::CommitmentMissing => LineId::CommitmentsHold,
        Code::CommitmentUnanchored
        | Code::AnchorConflict
        | Code::AnchorOverlap
        | Code::AnchorGap
        | Code::AnchorNone
        | Code::AnchorUnresolved
        | Code::AnchorStateRoot
        | Code::AnchorContract
        | Code::AnchorRefused
        | Code::AnchorProof
        | Code::AnchorOmitted
        | Code::AnchorRoot
        | Code::AnchorReorged
        | Code::CheckpointTwoRoots
        | Code::CheckpointFork
        | Code::CheckpointTime
        | Code::CheckpointGeneration
        | Code::CheckpointMismatch
        | Code::CheckpointAnchor => LineId::AnchorsMatch,
        Code::DedupeOrphan
        | Code::DedupeMissing
        | Code::VersionDrift
        | Code::ProjectionAhead
        | Code::ProofOrphan
        | Code::ProofMissing => LineId::BookkeepingAgrees,
        Code::Reissue | Code::GuardChanged | Code::HistoryRewound => LineId::NumbersOnce,
        Code::CheckpointSignature
        | Code::CheckpointLeaves
        | Code::CheckpointRefused
        | Code::CheckpointWitness
        | Code::CheckpointNone
        | Code::ClaimContradicted
        | Code::WitnessRefused
        | Code::WitnessForeign
        | Code::WitnessEmpty
        | Code::WitnessUnreadable => LineId::WitnessesRead,
        Code::HindranceLevel | Code::HindranceTable | Code::HindranceColumn | Code::HindranceTrigger => {
            LineId::DatabaseRules
        }
        Code::HindranceRight | Code::HindranceRowSecurity => return None,
    })
}

/// The lines that the audit answers.
const LINES: [LineId; 16] = [
    LineId::DatabaseWritable,
    LineId::DatabaseIndexes,
    LineId::DatabaseRules,
    LineId::CountersFloor,
    LineId::NumbersWhole,
    LineId::NumbersOnce,
    LineId::HistoryReadable,
    LineId::HistorySigned,
    LineId::ReceiptsWhole,
    LineId::ReceiptsSigned,
    LineId::BookkeepingAgrees,
    LineId::CommitmentsHold,
    LineId::CommitmentsGoOn,
    LineId::AnchorsMatch,
    LineId::WitnessesRead,
    LineId::AgentsHeard,
];

/// The same where the log could not be read: nothing of it was checked.
pub fn without_audit(why: &str) -> Vec<Line> {
    let line = |id| Line::could_not(id, format!("the log could not be read: {why}"));
    LINES.into_iter().map(line).collect()
}

/// What the audit answers.
pub fn lines(report: &AuditReport, given: GivenToAudit) -> Vec<Line> {
    let of = Of { report, given };
    LINES.into_iter().map(|id| of.line(id)).collect()
}

struct Of<'a> {
    report: &'a AuditReport,
    given: GivenToAudit,
}

impl Of<'_> {
    fn line(&self, id: LineId) -> Line {
        let problems: Vec<&Finding> = self.problems(id).collect();
        if !problems.is_empty() {
            let told = told(&problems);
            let (first, more) = told.split_first().map_or(("", &[][..]), |(a, b)| (a.as_str(), b));
            let mut line = Line::fail(id, first);
            line.evidence.extend(more.iter().cloned());
            line = self.also(line);
            let step = self.step(id, &problems);
            return line.step(step);
        }
        let of_streams = !matches!(
            id,
            LineId::DatabaseWritable | LineId::WitnessesRead | LineId::DatabaseRules
        );
        if self.report.streams.is_empty() && of_streams {
            return Line::not_checked(
                id,
                "the log has no stream that was asked for: there is nothing to look at",
            );
        }
        match id {
            LineId::DatabaseWritable => self.writable(),
            LineId::DatabaseIndexes => self.indexes(),
            LineId::DatabaseRules => self.rules(),
            LineId::CountersFloor => self.counters(),
            LineId::NumbersWhole => self.numbers(),
            LineId::NumbersOnce => self.once(),
            LineId::HistoryReadable => self.readable(),
            LineId::HistorySigned => self.signed(),
            LineId::ReceiptsWhole => Line::pass(
                id,
                format!(
                    "{} receipt(s) for {} event(s)",
                    self.sum(|s| s.receipts_matching),
                    self.events()
                ),
            ),
            LineId::ReceiptsSigned => self.receipts_signed(),
            LineId::CommitmentsHold => self.commitments(),
            LineId::CommitmentsGoOn => self.go_on(),
            LineId::AnchorsMatch => self.anchors(),
            LineId::WitnessesRead => self.witnesses(),
            LineId::AgentsHeard => self.agents(),
            _ => Line::pass(id, format!("of {} stream(s)", self.report.streams.len())),
        }
    }

    fn findings(&self, id: LineId) -> impl Iterator<Item = &Finding> {
        let findings = self.report.findings.iter();
        findings.filter(move |f| f.family.is_none() && line_of(f.code) == Some(id))
    }

    fn problems(&self, id: LineId) -> impl Iterator<Item = &Finding> {
        self.findings(id).filter(|f| f.severity == Severity::Problem)
    }

    fn sum(&self, of: impl Fn(&StreamReport) -> u64) -> u64 {
        self.report.streams.iter().map(of).fold(0, u64::saturating_add)
    }

    fn events(&self) -> u64 {
        self.report.totals.events
    }

    /// What a failed line has to say beside its findings.
    fn also(&self, line: Line) -> Line {
        match line.id {
            LineId::NumbersWhole => {
                let (missing, streams) = (self.report.totals.missing, self.lacking());
                line.seen(format!("{missing} number(s) missing, in {streams} stream(s)"))
            }
            LineId::WitnessesRead if !self.report.incomplete().is_empty() => Line {
                could_not: true,
                ..line
            },
            _ => line,
        }
    }

    fn lacking(&self) -> usize {
        self.report.streams.iter().filter(|s| s.missing > 0).count()
    }

    /// What to do about the findings of a line.
    fn step(&self, id: LineId, problems: &[&Finding]) -> Step {
        if problems.iter().any(|f| f.remedy == Some(Remedy::ChooseHistory)) {
            return Step::ChooseHistory;
        }
        if let Some(next) = problems.iter().find_map(|f| f.next.clone()) {
            return Step::Command("as the finding says".into(), next);
        }
        match id {
            LineId::NumbersWhole | LineId::CommitmentsGoOn => self.refill(),
            LineId::WitnessesRead => Step::Say("see to the witness, and run the checklist again".into()),
            _ if problems.iter().any(|f| f.remedy == Some(Remedy::Plan)) => Step::Plan,
            _ if id == LineId::BookkeepingAgrees => Step::Plan,
            _ => Step::Audit,
        }
    }

    /// What brings events back: a plan as long as it helps, then others' evidence, and at last tombstones.
    fn refill(&self) -> Step {
        if self.report.plan_helps() {
            return Step::Plan;
        }
        let unheard = self.report.not_heard.len();
        Step::Fill(if unheard > 0 {
            format!(
                "hear the {unheard} agent(s) first that were not heard. If nobody has them: fill what stays open, for good \
                 (docs/tombstone.md says what each option costs)"
            )
        } else {
            "nobody who was heard has them: fill what stays open, for good (docs/tombstone.md says what each option costs)"
                .into()
        })
    }

    fn writable(&self) -> Line {
        let id = LineId::DatabaseWritable;
        let Some(server) = self.report.place.server() else {
            let why = "this is a snapshot file: whether the server takes writes is not in it";
            return Line::not_checked(id, why);
        };
        let place = Place::Postgres(server.clone()).to_string();
        if server.mode == ServerMode::Primary && server.recovery.is_none() {
            return Line::pass(id, place);
        }
        Line::fail(id, place).step(Step::Command(
            "when it has replayed what it should: end its recovery, or look at the primary instead".into(),
            "psql \"$DATABASE_URL\" -c 'SELECT pg_promote()'".into(),
        ))
    }

    fn indexes(&self) -> Line {
        let id = LineId::DatabaseIndexes;
        let unasked = self.report.not_checked.iter();
        let unasked: Vec<&String> = unasked.filter(|what| what.contains("index")).collect();
        let streams = self.report.streams.len();
        let line = Line::pass(id, format!("every index that is read, of {streams} stream(s)"));
        match unasked.first() {
            None => line,
            Some(first) => line.seen(format!(
                "not compared with their table, since nobody reads them: {first}"
            )),
        }
    }

    /// Triggers, columns and tables of others, which a repair would meet and the sequencer meets too.
    fn rules(&self) -> Line {
        let id = LineId::DatabaseRules;
        if self.report.place.server().is_none() {
            return Line::not_checked(
                id,
                "this is a snapshot file: the server's triggers and columns are not in it",
            );
        }
        let found: Vec<&Finding> = self.findings(id).collect();
        let told = told(&found);
        let stands = |f: &&&Finding| matches!(f.code, Code::HindranceTable | Code::HindranceColumn);
        let mut line = if found.iter().any(|f| stands(&f)) {
            Line::fail(
                id,
                "what the sequencer inserts is refused, or lacks what must be filled",
            )
        } else if found.is_empty() {
            return Line::pass(
                id,
                "no trigger, rule or column of others on the tables that it writes",
            );
        } else {
            let why = "whether what is there lets the sequencer's rows through as they are, nobody can say by looking";
            Line::not_checked(id, why)
        };
        line.evidence.extend(told);
        let step = found.iter().find_map(|f| f.next.clone());
        match step {
            Some(next) => line.step(Step::Say(next)),
            None => line,
        }
    }

    fn counters(&self) -> Line {
        let raised = self
            .report
            .streams
            .iter()
            .filter(|s| s.counter_raised.is_some())
            .count();
        let mut what = format!("{} counter(s)", self.report.streams.len());
        if raised > 0 {
            what.push_str(&format!(", {raised} of them where this toolkit put it"));
        }
        let line = Line::pass(LineId::CountersFloor, what);
        match self.nobody_asked() {
            Some(why) => Line {
                verdict: LineVerdict::NotChecked,
                reason: Some(why),
                ..line
            }
            .step(self.ask()),
            None => line,
        }
    }

    /// Why the end of the log is not known, if nobody beside it was heard.
    fn nobody_asked(&self) -> Option<String> {
        let heard = self.report.heard.iter().any(|h| h.error.is_none());
        let anchored = self.given.anchors
            && self
                .report
                .streams
                .iter()
                .any(|s| s.batches.iter().any(|b| b.anchored));
        if heard || anchored {
            return None;
        }
        Some("nobody beside the log was heard: what was cut off at its end it cannot know".into())
    }

    fn ask(&self) -> Step {
        Step::Again(
            "hear the agents, the chain and other copies too".into(),
            ["--outbox", "outboxes/", "--anchors", "anchors.json"]
                .map(str::to_owned)
                .into(),
        )
    }

    fn numbers(&self) -> Line {
        let id = LineId::NumbersWhole;
        let tombstones = self.sum(|s| s.tombstones);
        let mut what = format!(
            "{} event(s) in {} stream(s), none missing",
            self.events(),
            self.report.streams.len()
        );
        if tombstones > 0 {
            what.push_str(&format!(
                "; {tombstones} of them are tombstones, which say that the event is lost"
            ));
        }
        let line = Line::pass(id, what);
        let incomplete = self.report.incomplete().len();
        let why = match self.nobody_asked() {
            Some(why) => why,
            None if incomplete > 0 => {
                format!("{incomplete} witness(es) could not be read, and may know of more")
            }
            None => return line,
        };
        Line {
            verdict: LineVerdict::NotChecked,
            reason: Some(why),
            ..line
        }
        .step(self.ask())
    }

    fn once(&self) -> Line {
        let line = Line::pass(LineId::NumbersOnce, format!("of {} event(s)", self.events()));
        match self.nobody_asked() {
            Some(_) => Line {
                verdict: LineVerdict::NotChecked,
                reason: Some(
                    "nobody beside the log was heard, who would know another event at a number".into(),
                ),
                ..line
            }
            .step(self.ask()),
            None => line,
        }
    }

    /// A reader stops at the first hole below the head.
    fn readable(&self) -> Line {
        let id = LineId::HistoryReadable;
        let stops = self.report.streams.iter().filter_map(|s| {
            let hole = s
                .gaps
                .iter()
                .find(|gap| s.head.is_some_and(|head| gap.from < head))?;
            Some(format!("{}: reading from 1 stops at {}", s.stream, hole.from))
        });
        let stops: Vec<String> = stops.collect();
        if stops.is_empty() {
            return Line::pass(
                id,
                format!(
                    "{} event(s) in {} stream(s), each from 1 to its head",
                    self.events(),
                    self.report.streams.len()
                ),
            );
        }
        let what = format!(
            "{} of {} stream(s) cannot be read to the end",
            stops.len(),
            self.report.streams.len()
        );
        listed(Line::fail(id, what), &stops).step(self.refill())
    }

    fn signed(&self) -> Line {
        let id = LineId::HistorySigned;
        let not_checked = reasons(self.report.streams.iter().map(|s| &s.signatures_not_checked));
        let what = format!("{} signature(s) hold", self.sum(|s| s.signatures_valid));
        if not_checked.is_empty() {
            return Line::pass(id, what);
        }
        Line::not_checked(id, not_checked.join("; ")).seen(what)
    }

    fn receipts_signed(&self) -> Line {
        let id = LineId::ReceiptsSigned;
        let not_checked = reasons(
            self.report
                .streams
                .iter()
                .map(|s| &s.receipt_signatures_not_checked),
        );
        let what = format!("{} signature(s) hold", self.sum(|s| s.receipt_signatures_valid));
        if !self.given.sequencer_keys {
            let key = vec!["--sequencer-public-key".into(), "sequencer.pub".into()];
            return Line::not_checked(
                id,
                "the sequencer's public key was not given (--sequencer-public-key)",
            )
            .step(Step::Again("check them with its key".into(), key));
        }
        if not_checked.is_empty() {
            return Line::pass(id, what);
        }
        Line::not_checked(id, not_checked.join("; ")).seen(what)
    }

    fn commitments(&self) -> Line {
        let id = LineId::CommitmentsHold;
        let of_log = |s: &StreamReport| s.batches.iter().filter(|b| b.committed).count() as u64;
        let committed = self.sum(of_log);
        if committed == 0 {
            return Line::not_checked(id, "no stream has a commitment");
        }
        let lacks =
            |s: &StreamReport| s.batches.iter().filter(|b| b.committed && b.missing > 0).count() as u64;
        let lacking = self.sum(lacks);
        if lacking > 0 {
            let what = format!(
                "{lacking} of {committed} commitment(s) have no root to compare: events of them are missing"
            );
            return Line::fail(id, what).step(self.refill());
        }
        Line::pass(
            id,
            format!("{committed} commitment(s): roots, state roots, chain"),
        )
    }

    fn go_on(&self) -> Line {
        let id = LineId::CommitmentsGoOn;
        let streams = &self.report.streams;
        let blocked: Vec<String> = streams
            .iter()
            .filter(|s| !s.committing.can_go_on())
            .map(|s| format!("{}: {}", s.stream, s.committing.blocked.join("; ")))
            .collect();
        let held = self.sum(|s| s.committing.must_not_commit.len() as u64);
        let ready = streams.iter().filter(|s| s.committing.up_to.is_some()).count();
        let mut line = if blocked.is_empty() {
            Line::pass(
                id,
                format!(
                    "{} of {} stream(s); in {ready} of them events wait to be committed",
                    streams.len(),
                    streams.len()
                ),
            )
        } else {
            let what = format!(
                "{} of {} stream(s) cannot be committed further",
                blocked.len(),
                streams.len()
            );
            listed(Line::fail(id, what), &blocked).step(self.refill())
        };
        if held > 0 {
            line = line.seen(format!(
                "{held} range(s) must not be committed while positions of them are open: the sequencer would, if it is asked to"
            ));
        }
        line
    }

    fn anchors(&self) -> Line {
        let id = LineId::AnchorsMatch;
        if !self.given.anchors {
            let again = vec!["--anchors".into(), "anchors.json".into()];
            return Line::not_checked(id, "no anchors file was given (--anchors)")
                .step(Step::Again("hold the log against its anchors".into(), again));
        }
        let count = |of: fn(&crate::report::audit::BatchCounts) -> u64| self.sum(|s| of(&s.batch_counts()));
        let (matches, failed) = (count(|b| b.matches_anchors), count(|b| b.failed));
        let lacks =
            |s: &StreamReport| s.batches.iter().filter(|b| b.anchored && b.missing > 0).count() as u64;
        let lacking = self.sum(lacks);
        let what = format!("{matches} batch(es) match, {failed} do not, {lacking} lack events");
        let verify = Step::Audit;
        let line = if failed > 0 {
            Line::fail(id, what).step(verify)
        } else if lacking > 0 {
            Line::fail(id, what).step(self.refill())
        } else if matches == 0 {
            Line::not_checked(id, "none of the anchors is of a stream of this log")
        } else {
            Line::pass(id, what)
        };
        line.seen("the anchors file was taken at its word: `anchor-verify verify` ties it to a block that you trust")
    }

    fn witnesses(&self) -> Line {
        let id = LineId::WitnessesRead;
        let heard = &self.report.heard;
        if heard.is_empty() {
            return Line::not_checked(id, "no witness was given").step(self.ask());
        }
        let rows: u64 = heard.iter().map(|h| h.rows).fold(0, u64::saturating_add);
        let refused: u64 = heard.iter().map(|h| h.refused).fold(0, u64::saturating_add);
        let mut line = Line::pass(id, format!("{} witness(es), {rows} row(s)", heard.len()));
        if refused > 0 {
            line = line.seen(format!("{refused} row(s) do not verify and were not used"));
        }
        line
    }

    fn agents(&self) -> Line {
        let id = LineId::AgentsHeard;
        let outboxes = self
            .report
            .heard
            .iter()
            .filter(|h| h.kind == HeardKind::Outbox && h.error.is_none());
        let outboxes = outboxes.count();
        let unheard = &self.report.not_heard;
        if outboxes == 0 {
            let again = vec!["--outbox".into(), "outboxes/".into()];
            let line = Line::not_checked(id, "no agent's outbox was read (--outbox)")
                .step(Step::Again("hear the agents".into(), again));
            return listed(line, &unheard::describe(unheard));
        }
        if unheard.is_empty() {
            return Line::pass(
                id,
                format!("{outboxes} outbox(es) speak for every agent of the log"),
            );
        }
        let agents: BTreeSet<_> = unheard.iter().map(|one| one.agent_id).collect();
        let what = format!("{} agent(s) not heard; {outboxes} outbox(es) were", agents.len());
        let again = vec!["--outbox".into(), "AGENT.db".into()];
        listed(Line::fail(id, what), &unheard::describe(unheard)).step(Step::Again(
            "ask their owners for a copy of their outboxes (`outbox-sync backup` makes one), and hear those too".into(),
            again,
        ))
    }
}

/// Adds the first of many, and how many more there are.
fn listed(mut line: Line, all: &[String]) -> Line {
    line.evidence.extend(all.iter().take(NAMED).cloned());
    if let Some(more @ 1..) = all.len().checked_sub(NAMED) {
        line.evidence.push(format!("and {more} more"));
    }
    line
}

/// Findings, a line for each code: how many, and the first of them.
fn told(findings: &[&Finding]) -> Vec<String> {
    let mut codes: BTreeMap<(u8, Code), Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        codes
            .entry((finding.code.rank(), finding.code))
            .or_default()
            .push(finding);
    }
    let line = |((_, code), all): (&(u8, Code), &Vec<&Finding>)| {
        let first = all.first()?;
        let of = first
            .stream
            .map(|stream| format!("{stream}: "))
            .unwrap_or_default();
        let at = match (first.from, first.to) {
            (Some(from), Some(to)) if from == to => format!("{from}: "),
            (Some(from), Some(to)) => format!("{from}-{to}: "),
            _ => String::new(),
        };
        let more = match all.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{code}: {of}{at}{}{more}", first.message))
    };
    codes.iter().filter_map(line).collect()
}

/// Why checks were left out, over all streams, with how often.
fn reasons<'a>(all: impl Iterator<Item = &'a BTreeMap<String, u64>>) -> Vec<String> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (why, count) in all.flatten() {
        *sums.entry(why).or_default() += count;
    }
    sums.into_iter()
        .map(|(why, count)| format!("{count} not checked: {why}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_belongs_to_a_line_that_the_audit_answers() {
        for code in Code::ALL
            .iter()
            .filter(|code| code.severity() == Severity::Problem)
        {
            let line = line_of(*code);
            assert!(line.is_some_and(|id| LINES.contains(&id)), "{code}: {line:?}");
        }
    }

    #[test]
    fn with_what_is_asked_elsewhere_the_lines_are_all_there_are() {
        let elsewhere = [
            LineId::ServiceHealth,
            LineId::ServiceReady,
            LineId::BackupAge,
            LineId::AlertsQuiet,
        ];
        let mut all: Vec<LineId> = LINES.into_iter().chain(elsewhere).collect();
        all.sort_unstable();
        assert_eq!(all, LineId::ALL);
        assert!(without_audit("x").iter().all(|line| line.could_not));
    }
}
