//! `anchor-verify prove --checkpoints`: that one event is under a signed checkpoint.

use crate::checkpointed::proof::{Made, Proved, prove_in_files, prove_in_log};
use crate::proof::Wanted;
use crate::verify::LogSource as _;
use checkpoints::{CheckpointFiles, History};
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{
    CliError, CommandLine, ExitStatus, GlobalArgs, Next, Output, again, print_report, stderr_progress,
};
use event_log::{Place, Scope};
use serde::Serialize;
use ves::{Hash32, StreamKey};

use super::super::checkpoints::read_history;
use super::super::{
    add_log, cancel_on_signals, cli_error, not_written, open_db, print_head, print_not_checked, provenance,
};
use super::ProveArgs;

/// Runs the command.
pub(super) fn run(
    args: &ProveArgs,
    given: &CheckpointFiles,
    wanted: Wanted,
    mut inputs: Inputs,
    global: &GlobalArgs,
) -> Result<ExitStatus, CliError> {
    let history = read_history(given, &mut inputs)?;
    let (proved, place) = proved(args, wanted, &history, &mut inputs, global)?;
    let made = match proved {
        Proved::Yes(made) => made,
        Proved::No(failures) => {
            for failure in failures {
                CliError::input(format!("{}: {}", failure.code, failure.what))
                    .with_hint(args.after_refusal())
                    .report(global);
            }
            return Ok(ExitStatus::PROBLEMS);
        }
    };
    made.write(&args.out, args.force.existing())
        .map_err(|error| not_written(&args.out, error))?;
    global.recorder.file("proof", &args.out);
    let check = CommandLine::new("anchor-verify check").arg(args.out.display());
    let report = Report::of(&made, args.out.display().to_string(), place, provenance(inputs));
    let report = Report {
        next: Next::run(&check.with(args.checkpoints.key_words())),
        ..report
    };
    print_report(
        global,
        &report,
        |out| print_table(out, &report),
        |out| out.ndjson([&report]),
    )?;
    Ok(ExitStatus::OK)
}

fn proved(
    args: &ProveArgs,
    wanted: Wanted,
    history: &History,
    inputs: &mut Inputs,
    global: &GlobalArgs,
) -> Result<(Proved, Option<Place>), CliError> {
    let Some(target) = args.db.optional_target()? else {
        return match wanted {
            Wanted::Place(stream, number) if !(args.with_event || args.with_payload) => {
                Ok((prove_in_files(stream, number, history), None))
            }
            Wanted::Place(..) => Err(CliError::usage("checkpoints do not tell what an event is")
                .with_hint("give --db with the log, or leave --with-event and --with-payload away")),
            Wanted::Event(_) => Err(
                CliError::usage("checkpoints do not tell which number an event has")
                    .with_hint("give --db with the log, or --stream and --sequence"),
            ),
        };
    };
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    add_log(inputs, &target);
    again(&cancel, || {
        let mut source = open_db(&target, &Scope::default(), &cancel)?;
        let proved = prove_in_log(
            &mut source,
            wanted,
            args.detail(),
            history,
            progress.as_ref(),
            &cancel,
        );
        Ok((proved.map_err(cli_error)?, source.place().cloned()))
    })
}

impl ProveArgs {
    /// What to do where no checkpoint proves the event.
    fn after_refusal(&self) -> String {
        let paths = self.checkpoints.paths().iter();
        let line = CommandLine::new("anchor-verify checkpoints")
            .with(paths.map(|path| path.clone().into_os_string()))
            .with(self.checkpoints.key_words());
        format!("`{line}` says which checkpoints there are and what they prove")
    }
}

#[derive(Serialize)]
pub(in crate::commands) struct Report {
    pub(in crate::commands) schema: &'static str,
    pub(in crate::commands) place: Option<Place>,
    pub(in crate::commands) out: String,
    pub(in crate::commands) stream: StreamKey,
    pub(in crate::commands) sequence_number: u64,
    pub(in crate::commands) origin: String,
    pub(in crate::commands) size: u64,
    pub(in crate::commands) root: Hash32,
    pub(in crate::commands) word: String,
    pub(in crate::commands) steps: usize,
    pub(in crate::commands) not_checked: Vec<String>,
    pub(in crate::commands) provenance: Provenance,
    pub(in crate::commands) next: Next,
}

impl Report {
    fn of(made: &Made, out: String, place: Option<Place>, provenance: Provenance) -> Self {
        let mut not_checked = Vec::new();
        if made.event.leaf.is_some() {
            not_checked
                .push("the event: no log was given (--db), and checkpoints keep its leaf alone".to_owned());
        }
        Self {
            schema: "checkpoint-prove-report/1",
            place,
            out,
            stream: made.event.stream,
            sequence_number: made.event.sequence_number,
            origin: made.checkpoint.origin.to_string(),
            size: made.checkpoint.size,
            root: made.checkpoint.root,
            word: made.trust.describe(),
            steps: made.proof.path.len(),
            not_checked,
            provenance,
            next: Next::nothing("the proof is written"),
        }
    }
}

pub(in crate::commands) fn print_table(
    out: &mut Output<impl std::io::Write>,
    report: &Report,
) -> Result<(), CliError> {
    print_head(out, Some(&report.provenance), report.place.as_ref())?;
    out.line(&format!(
        "{}: event {} of stream {}, {} steps to the root of a checkpoint of {} events, {}",
        report.out, report.sequence_number, report.stream, report.steps, report.size, report.word
    ))?;
    print_not_checked(out, &report.not_checked)?;
    report.next.print(out)
}
