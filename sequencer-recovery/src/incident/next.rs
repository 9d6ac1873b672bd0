//! What is still to be done in an incident, by what was done so far.

use cli_common::CommandLine;
use cli_common::incident::timeline::Moment;

use super::Course;

/// A step that is still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is to be done, and why.
    pub why: String,
    /// The command, if one does it.
    pub command: Option<CommandLine>,
}

/// The next step of an incident.
#[must_use]
pub fn next(course: &Course) -> Step {
    let recovery = |command: &str| CommandLine::new(&format!("sequencer-recovery {command}"));
    let step = |why: &str, command: CommandLine| Step {
        why: why.to_owned(),
        command: Some(command),
    };
    let note = |moment: Moment| recovery("incident note").option("--moment", moment.as_str());
    let has = |command: &str| {
        course
            .runs
            .iter()
            .any(|run| run.command == command && run.is_done())
    };
    if course.closed_at.is_some() {
        return step("look whether the folder is whole", recovery("incident check"));
    }
    if !course.moments.contains_key(&Moment::RestoreEnded) {
        return step(
            "when the database is restored, say so",
            note(Moment::RestoreEnded),
        );
    }
    if course.audits().next().is_none() {
        return step(
            "look at what the recovery lost, with all witnesses that there are",
            recovery("audit --outbox outboxes/ --anchors anchors.json"),
        );
    }
    let Some(repair) = course.last_repair() else {
        let missing = course
            .audits()
            .next_back()
            .is_some_and(|(_, audit)| audit.totals.problems > 0);
        return match (missing, has("plan")) {
            (true, false) => step(
                "plan the repair",
                recovery("plan --outbox outboxes/ --anchors anchors.json --out plan.ndjson"),
            ),
            (true, true) => step(
                "apply the plan, with the sequencer stopped",
                recovery("apply plan.ndjson --undo undo.ndjson"),
            ),
            (false, _) => after_repair(course),
        };
    };
    if course.audit_after().is_none() {
        return step(
            "look at the log after the last repair",
            recovery("audit --outbox outboxes/ --anchors anchors.json"),
        );
    }
    let checked = |run: &super::course::Run| run.command == "checklist" && run.n > repair.n && run.is_done();
    if !course.runs.iter().any(checked) {
        return step("go through the checklist", recovery("checklist"));
    }
    after_repair(course)
}

fn after_repair(course: &Course) -> Step {
    let recovery = |command: &str| CommandLine::new(&format!("sequencer-recovery {command}"));
    if !course.moments.contains_key(&Moment::SequencerStarted) {
        return Step {
            why: "start the sequencer, and say when".into(),
            command: Some(recovery("incident note --moment sequencer-started")),
        };
    }
    Step {
        why: "close the incident".into(),
        command: Some(recovery("incident close")),
    }
}
