//! What the checklist and the check of a backup print.

#![expect(clippy::redundant_closure, reason = "a bare function is not general enough")]

use std::collections::BTreeMap;
use std::time::Duration;

use cli_common::{Cancel, Next};
use sequencer_recovery::backup_check::lacks::{Holder, Repair, StreamLacks};
use sequencer_recovery::backup_check::source::{Broken, Origin, StepTime};
use sequencer_recovery::backup_check::{BackupCheck, BackupResult, Objectives, SCHEMA};
use sequencer_recovery::checklist::line::{Line, LineId};
use sequencer_recovery::checklist::of_audit::{GivenToAudit, lines};
use sequencer_recovery::checklist::{Checklist, alerts, service};
use sequencer_recovery::grade::Grade;
use sequencer_recovery::plan::committing::Committing;
use ves::Timestamp;

use super::*;
use crate::commands::{backup_check, checklist};

/// Each line fits the width, which [`printed`] sees to, and thousands of streams do not flood.
fn fits<T>(
    report: impl Fn(usize) -> T,
    print: impl Fn(&mut Output<&mut Vec<u8>>, &T) -> Result<(), CliError>,
) {
    for count in COUNTS {
        let report = report(count);
        let text = printed(Style::default(), |out| print(out, &report));
        assert!(text.lines().count() <= 2 * SCREEN, "{text}");
    }
}

fn committing(n: usize) -> Committing {
    let why = "161 is the next to be committed and has no event (161 to 236 are open): no further commitment can be made";
    Committing {
        committed: Some(160),
        next: Some(161),
        up_to: (!is_bad(n)).then_some(163),
        blocked: if is_bad(n) { vec![why.into()] } else { Vec::new() },
        must_not_commit: Vec::new(),
    }
}

fn checklist_of(count: usize) -> Checklist {
    let mut report = audit_report(count);
    for (n, stream) in report.streams.iter_mut().enumerate() {
        stream.committing = committing(n);
    }
    let cancel = Cancel::new();
    let mut all = service::lines(None, Duration::from_secs(1), &cancel).unwrap();
    let given = GivenToAudit {
        anchors: true,
        sequencer_keys: false,
    };
    all.extend(lines(&report, given));
    all.push(Line::pass(
        LineId::BackupAge,
        "newest backup 20261128-220000F (full), ended 2026-11-28T22:00:00Z: 2h old",
    ));
    all.push(alerts::line(None, Duration::from_secs(1), &cancel).unwrap());
    for line in all.iter_mut().filter(|line| line.step.is_some()) {
        line.next = Some(Next {
            why: Some("plan the repair; it changes nothing".into()),
            command: Some("sequencer-recovery plan --db log.db --outbox outboxes/ --out plan.ndjson".into()),
        });
    }
    Checklist::new(report.db.clone(), Some(&report), all, &[])
}

#[test]
fn a_checklist_of_any_size_fits_a_screen() {
    fits(checklist_of, |out, checklist| {
        checklist::print_table(out, checklist)
    });
}

fn backup_of(count: usize) -> BackupCheck {
    let streams: Vec<StreamLacks> = (0..count)
        .map(|n| StreamLacks {
            stream: stream(n),
            head: Some(163),
            head_sequenced_at: Some(Timestamp(1_763_618_231_194_000)),
            known_head: Some(200),
            events: 37,
            from: 164,
            to: 200,
            from_sequenced_at: Some(Timestamp(1_763_618_240_000_000)),
            come_back: 30,
            stay_open: 7,
        })
        .collect();
    let holder = |n: usize| Holder {
        witness: format!("/srv/agents/outboxes/agent-{n}.db"),
        kind: "outbox",
        agent_id: Some(id(3, n).to_string()),
        events: 10,
        live: n == 0,
    };
    BackupCheck {
        schema: SCHEMA,
        backup: Origin {
            kind: "pgbackrest",
            name: "main".into(),
            label: Some("20261128-220000F".into()),
            made: Some("2026-11-28T22:00:09Z".into()),
        },
        result: BackupResult::NotEnough,
        broken: None,
        place: Some(place()),
        against: Some("postgres://sequencer".into()),
        steps: ["restore", "start", "audit", "plan"]
            .map(|name| StepTime { name, seconds: 12.25 })
            .into(),
        objectives: Objectives {
            rto_seconds_reached: 49.0,
            rto_seconds_wanted: Some(14_400.0),
            rpo_seconds_before_repair: Some(7_200.0),
            rpo_seconds_reached: Some(7_200.0),
            rpo_seconds_wanted: Some(900.0),
        },
        events: 163 * count as u64,
        newest_event_at: Some(Timestamp(1_763_618_231_194_000)),
        lacks: 37 * count as u64,
        repair: Repair {
            come_back: 30 * count as u64,
            by_grade: BTreeMap::from([(Grade::Proven, 30 * count as u64)]),
            stay_open: 7 * count as u64,
        },
        streams,
        holders: (0..count).map(holder).collect(),
        problems: Vec::new(),
        incomplete: Vec::new(),
        not_checked: vec!["the chain: no anchors file was given (--anchors)".into()],
    }
}

#[test]
fn a_backup_check_of_any_size_fits_a_screen() {
    fits(backup_of, |out, check| backup_check::print_table(out, check));
}

#[test]
fn a_broken_backup_is_told_first() {
    let check = BackupCheck {
        result: BackupResult::Broken,
        broken: Some(Broken {
            step: "restore",
            what: "ERROR: [026]: error restoring 'base/16384/2619': actual checksum 'a' does not match expected \
                   checksum 'b'"
                .into(),
        }),
        place: None,
        newest_event_at: None,
        ..backup_of(0)
    };
    let text = printed(Style::default(), |out| backup_check::print_table(out, &check));
    assert!(text.starts_with("BROKEN"), "{text}");
}
