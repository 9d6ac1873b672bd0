//! The plan: which event goes back to which position on what evidence, what the counter becomes, what stays open and
//! why. Makes a value and a file; changes nothing.
//!
//! Each stream is planned once (`stream_plan`). Where numbers were given out twice, it is the stream without the
//! newcomers that is planned ([`reissue`]).

pub mod accept_keys;
pub mod append;
mod commitments;
pub mod committing;
pub mod hold_back;
mod open;
mod options;
pub mod plan_file;
pub mod planned;
pub mod reissue;
mod stream_plan;
mod summary;
mod times;
pub mod tombstone;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Instant;

use anchor_verify::AnchoredBatch;
use cli_common::provenance::Provenance;
use cli_common::{Cancel, Progress};
use event_log::{Commitment, StreamState, View};
use ves::Timestamp;
use ves::span::Span;

use accept_keys::{Accepted, TenantKeyName, Vouched};
use append::AppendOptions;
use hold_back::{HoldBack, hold_back};
use plan_file::{PlanWriter, SCHEMA};
use planned::{PlanHeader, PlanLine};
use stream_plan::{Draft, StreamInput};
use tombstone::RecoveryAgents;

use crate::damage::NotPlanned;
use crate::error::RecoveryError;
use crate::place::placement::{Budget, Question, judge};
use crate::skipped::Skipped;
use crate::stream::examine::Examined;
use crate::stream::preflight;
use crate::stream::proof_reach::ProofTotals;
use crate::stream::survey::{Survey, SurveyInput};
use crate::stream::unheard::Seen;

pub use options::{OnReissue, PlanOptions};
pub use stream_plan::StreamPlan;
pub use summary::{BatchSummary, GoesBack, MissedKey, PlanSummary, PlanTotals, PlannedStreamSummary};

/// What a plan is made from.
#[derive(Debug)]
pub struct PlanRequest<'a> {
    /// The log, without secrets, as the plan names it.
    pub db: String,
    /// What makes the plan, with its version.
    pub tool: &'a str,
    /// Where the plan comes from, if it is to say so.
    pub provenance: Option<Provenance>,
    /// How the witnesses were named, as words of a command line.
    pub witness_options: Vec<String>,
    /// What to look at.
    pub input: &'a SurveyInput,
    /// What the operator decides.
    pub options: &'a PlanOptions,
}

/// Makes a plan and writes it to `out`.
///
/// # Errors
/// What the log's database says, an anchors file that cannot be used, a floor below a proof, an output that
/// cannot be written, [`RecoveryError::Cancelled`].
pub async fn plan(
    view: &mut View,
    request: &PlanRequest<'_>,
    out: impl Write,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<PlanSummary, RecoveryError> {
    let now = view.database_time().await?;
    let survey = Survey::take(view, request.input, progress, cancel).await?;
    let header = header(view, request, &survey, now);
    let mut writer = PlanWriter::new(out, &header).map_err(cannot_write)?;
    let mut planner = Planner::new(view, request, survey, now)?;
    let mut totals = PlanTotals::default();
    let mut streams = Vec::new();
    progress.start(
        "planning",
        Some(planner.survey.streams.iter().map(|s| s.event_count).sum()),
    );
    for state in planner.survey.streams.clone() {
        if header.not_planned.iter().any(|left| left.stream == state.stream) {
            let why = "it is not planned, so nothing of it was checked";
            planner.not_checked.push(format!("{}: {why}", state.stream));
            progress.advance(state.event_count);
            continue;
        }
        let plan = planner.stream(view, &state, progress, cancel).await?;
        totals.add(&plan);
        let left = !plan.reissues.is_empty()
            || !plan.appending.left_out.is_empty()
            || !plan.summary.keys_refused.is_empty();
        if plan.changes() || !plan.open.is_empty() || left {
            write_stream(&mut writer, &plan).map_err(cannot_write)?;
        }
        if plan.changes() || plan.summary.missing > 0 || left {
            streams.push(plan.summary);
        }
    }
    progress.finish();
    let (_, plan_id) = writer.finish().map_err(cannot_write)?;
    totals.proof = planner.proof.clone();
    let survey = &planner.survey;
    Ok(PlanSummary {
        schema: "recovery-plan-summary/1",
        plan_id,
        db: request.db.clone(),
        place: view.place().clone(),
        accept: header.accept,
        floor: header.floor,
        totals,
        streams,
        witness_unreadable: !header.incomplete.is_empty(),
        incomplete: header.incomplete,
        not_heard: survey.unheard(&planner.seen, &request.input.filter),
        hindrances: preflight::look(view).await?,
        empty: survey
            .nothing(view, &request.input.filter)
            .map(|finding| finding.message),
        not_planned: header.not_planned,
        not_checked: planner.not_checked(),
    })
}

/// The plan's first line.
fn header(view: &View, request: &PlanRequest<'_>, survey: &Survey, made_at: Timestamp) -> PlanHeader {
    let options = request.options;
    let heard = survey.collected.heard.iter().map(|h| match &h.made {
        Some(made) => format!("{} ({made})", h.path),
        None => h.path.clone(),
    });
    let anchors = request
        .input
        .anchors
        .iter()
        .map(|path| path.display().to_string());
    let not_planned = survey.streams.iter().filter_map(|state| {
        let why = survey.damage.refusal(&state.stream)?;
        let stream = state.stream;
        Some(NotPlanned { stream, why })
    });
    PlanHeader {
        schema: SCHEMA.into(),
        made_at,
        tool: request.tool.into(),
        provenance: request.provenance.clone().map(Box::new),
        witness_options: request.witness_options.clone(),
        db: request.db.clone(),
        place: Some(Box::new(view.place().clone())),
        accept: options.accept.to_string(),
        floor: options.floor.unwrap_or_default().to_string(),
        witnesses: heard.chain(anchors).collect(),
        incomplete: survey.incomplete(),
        append: options.append.map(|append| describe_append(&append)),
        not_planned: not_planned.collect(),
    }
}

/// Plans one stream after the other.
struct Planner<'a> {
    request: &'a PlanRequest<'a>,
    survey: Survey,
    /// The database's time when it began.
    now: Timestamp,
    budget: Budget,
    vouched: Vouched,
    /// The keys that events name and the log lacks.
    named: BTreeSet<TenantKeyName>,
    agents: RecoveryAgents,
    seen: Seen,
    skipped: Skipped,
    proof: ProofTotals,
    not_checked: Vec<String>,
}

impl<'a> Planner<'a> {
    fn new(
        view: &View,
        request: &'a PlanRequest<'a>,
        survey: Survey,
        now: Timestamp,
    ) -> Result<Self, RecoveryError> {
        let options = request.options;
        let mut not_checked = survey.not_checked();
        not_checked.extend(view.place().reservation());
        let until = options
            .solve_for
            .and_then(|time| Instant::now().checked_add(time));
        Ok(Self {
            request,
            now,
            budget: Budget {
                until,
                ..options.budget
            },
            vouched: Vouched::hear(&options.accept_keys, &survey.collected.peer_keys, &survey.keys)?,
            survey,
            named: BTreeSet::new(),
            agents: RecoveryAgents::default(),
            seen: Seen::new(),
            skipped: Skipped::default(),
            proof: ProofTotals::default(),
            not_checked,
        })
    }

    async fn stream(
        &mut self,
        view: &mut View,
        state: &StreamState,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<StreamPlan, RecoveryError> {
        let input = self.request.input;
        let examined = self.survey.examine(view, state, input, progress, cancel).await?;
        self.seen.insert(state.stream, examined.scan.tally.agents.clone());
        self.not_checked.extend(examined.not_checked.iter().cloned());
        self.skipped.extend(examined.skipped.clone());
        let reach = examined.proof_reach().timed(view, state).await?;
        self.proof.add(examined.head_known, &reach);
        let given = reissue::ReissueInput {
            examined: &examined,
            evidence: self.survey.evidence(&state.stream),
            holders: &self.survey.collected.holders,
            keys: &self.survey.keys,
            budget: self.budget,
        };
        let found = reissue::find(view, &given, &mut self.not_checked, cancel).await?;
        let mut plan = match &found {
            Some(reissue) => {
                let of = (self.request.options, &self.survey, self.now);
                reissue.plan_stream(view, &examined, of).await?
            }
            None => self.whole_stream(view, &examined).await?,
        };
        if !plan.open.is_empty() {
            let commitments = view.commitments(&state.stream).await?.rows;
            plan.summary.must_not_commit =
                must_not_commit(&plan, &self.survey.anchored(&state.stream), &commitments);
        }
        Ok(plan)
    }

    /// Plans a stream in which each number was given out once.
    async fn whole_stream(
        &mut self,
        view: &mut View,
        examined: &Examined,
    ) -> Result<StreamPlan, RecoveryError> {
        let stream = examined.state.stream;
        let missing = examined.missing_spans();
        let question = Question {
            stream: &stream,
            missing: &missing,
            targets: &examined.targets,
            history: &examined.scan.history,
            checkpointed: &examined.checkpointed,
            log_tree: Some(&examined.scan.tree),
        };
        let holders = &self.survey.collected.holders;
        let mut judgement = judge(&question, self.survey.evidence(&stream), holders, self.budget);
        let mut accepted = Accepted::default();
        if !self.vouched.is_empty() {
            let (evidence, holders) = self.survey.evidence_and_holders(&stream);
            let judged = accept_keys::Judged {
                examined,
                judgement: &judgement,
                holders,
                accept: self.request.options.accept,
            };
            accepted = accept_keys::accept(view, &mut self.vouched, evidence, &judged).await?;
            self.named.extend(accepted.named.iter().copied());
            if accepted.changed {
                judgement = judge(&question, evidence, holders, self.budget);
            }
            for key in &accepted.keys {
                self.survey.keys.insert(key.key.clone());
            }
        }
        let input = StreamInput {
            examined,
            evidence: self.survey.evidence(&stream),
            judgement: &judgement,
            survey: &self.survey,
            options: self.request.options,
            rewritten_from: None,
            now: self.now,
        };
        let draft = Draft::of(view, &input, accepted, &mut self.agents).await?;
        Ok(draft.finish(examined, &self.survey))
    }

    /// What was not checked, once all streams are planned.
    fn not_checked(mut self) -> Vec<String> {
        self.not_checked.extend(self.skipped.lines());
        if !self.request.options.accept_keys.is_empty() && self.vouched.is_empty() {
            self.not_checked.push(
                "keys to register again: whoever was asked vouches for none that the log lacks".to_owned(),
            );
        }
        let not_needed = self.vouched.not_needed(&self.named);
        if not_needed > 0 {
            self.not_checked.push(format!(
                "{not_needed} key(s) that somebody vouches for and that the log lacks or has otherwise: no event names \
                 them, so they are not registered"
            ));
        }
        self.not_checked
    }
}

fn cannot_write(source: std::io::Error) -> RecoveryError {
    RecoveryError::Io {
        path: "the plan".into(),
        source,
    }
}

fn write_stream<W: Write>(writer: &mut PlanWriter<W>, plan: &StreamPlan) -> std::io::Result<()> {
    writer.line(&PlanLine::Stream(Box::new(plan.header.clone())))?;
    for key in &plan.keys {
        writer.line(&PlanLine::Key(Box::new(key.clone())))?;
    }
    for reissue in &plan.reissues {
        writer.line(&PlanLine::Reissue(Box::new(reissue.clone())))?;
    }
    for superseded in &plan.superseded {
        writer.line(&PlanLine::Superseded(superseded.clone()))?;
    }
    for moved in &plan.moves {
        writer.line(&PlanLine::Move(Box::new(moved.clone())))?;
    }
    for event in &plan.events {
        writer.line(&PlanLine::Event(Box::new(event.clone())))?;
    }
    for tombstone in &plan.tombstones {
        writer.line(&PlanLine::Tombstone(Box::new(tombstone.clone())))?;
    }
    for commitment in &plan.commitments {
        writer.line(&PlanLine::Commitment(Box::new(commitment.clone())))?;
    }
    if !plan.bookkeeping.is_empty() {
        writer.line(&PlanLine::Bookkeeping(Box::new(plan.bookkeeping.clone())))?;
    }
    for append in &plan.appending.events {
        writer.line(&PlanLine::Append(Box::new(append.clone())))?;
    }
    for left_out in &plan.appending.left_out {
        writer.line(&PlanLine::LeftOut(Box::new(left_out.clone())))?;
    }
    for open in &plan.open {
        writer.line(&PlanLine::Open(open.clone()))?;
    }
    Ok(())
}

/// What must not be committed once a plan is applied.
fn must_not_commit(
    plan: &StreamPlan,
    anchored: &[AnchoredBatch],
    commitments: &[Commitment],
) -> Vec<HoldBack> {
    let stays_open = plan.open.iter().filter(|open| !open.filled);
    let open: Vec<Span> = stays_open.filter_map(|o| Span::new(o.from, o.to)).collect();
    let anchored = anchored
        .iter()
        .filter_map(|a| Span::new(a.sequence_start, a.sequence_end));
    let newcomers = plan.moves.iter().filter(|m| m.to > m.from).map(|m| m.to);
    hold_back(
        &open,
        &anchored.collect::<Vec<_>>(),
        plan.last_committed(commitments),
        newcomers.min(),
    )
}

/// The choice about appending, in words.
fn describe_append(options: &AppendOptions) -> String {
    let which = if options.doubtful {
        "never-sequenced and doubtful"
    } else {
        "never-sequenced"
    };
    format!("{which}, keys judged {}", options.judge_keys)
}
