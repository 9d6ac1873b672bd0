//! The briefing of a tabletop exercise: a scenario by rotation, who plays what, what to ask, what to run, what to keep.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::DrillFault;

/// A quarter of a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarter {
    year: u16,
    quarter: u8,
}

impl fmt::Display for Quarter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Q{}", self.year, self.quarter)
    }
}

impl FromStr for Quarter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no quarter: give one as 2026Q4");
        let (year, quarter) = text.split_once(['Q', 'q']).ok_or_else(wrong)?;
        let plain = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(year, 4) || !plain(quarter, 1) {
            return Err(wrong());
        }
        let (year, quarter) = (
            year.parse().map_err(|_| wrong())?,
            quarter.parse().map_err(|_| wrong())?,
        );
        if !(1..=4).contains(&quarter) {
            return Err(wrong());
        }
        Ok(Self { year, quarter })
    }
}

impl Quarter {
    /// Which scenario it has: each quarter the next one, and the first again after the last.
    fn scenario(self) -> &'static Scenario {
        let at = usize::from(self.year) * 4 + usize::from(self.quarter) - 1;
        &SCENARIOS[at % SCENARIOS.len()]
    }
}

/// What is played.
struct Scenario {
    title: &'static str,
    story: &'static str,
    faults: &'static [DrillFault],
    questions: &'static [&'static str],
    expected: &'static [&'static str],
}

const SCENARIOS: [Scenario; 8] = [
    Scenario {
        title: "A table was dropped, and the database is restored to the minute before",
        story: "At 02:40 a maintenance script drops a table in production. The database is restored to 02:38 and promoted. \
                Agents went on pushing until 02:52.",
        faults: &[],
        questions: &[
            "Who decides on the target time, and from what?",
            "How do we know that no sequencer runs while the log is repaired?",
            "Which agents pushed after 02:38, and who gets at their outboxes at this hour?",
        ],
        expected: &[
            "the audit names every missing position with its witnesses",
            "what outboxes and anchors hold comes back; the rest is named in a loss certificate",
            "every counter is above each number that was promised",
        ],
    },
    Scenario {
        title: "The restore succeeded, and nobody stopped the sequencer",
        story: "The restored database was put behind the load balancer at once. For eleven minutes the sequencer gave out \
                numbers that had been promised to other events, and committed over them.",
        faults: &[DrillFault::RanOn],
        questions: &[
            "Who may decide which of the two histories is kept, and what do the anchors say?",
            "What do we tell the agents whose receipts are superseded?",
            "Why could the sequencer be started, and what will stop it the next time?",
        ],
        expected: &[
            "the audit reports `reissue` with both histories",
            "without --on-reissue nothing is moved",
            "with keep-anchored every newcomer has a number of its own and a new receipt",
        ],
    },
    Scenario {
        title: "Two agents' machines went with the same site",
        story: "The site that burned held the database and two agents with their outboxes. Nobody else pulled all of what \
                they had pushed.",
        faults: &[DrillFault::LostAgent],
        questions: &[
            "Which events can nobody bring back, and who signs that they are lost?",
            "Do we fill the lost positions with tombstones, and what does that cost?",
            "Which backups of outboxes do we have, and how old are they?",
        ],
        expected: &[
            "what nobody holds stays open, and nothing takes its place",
            "the loss certificate names each lost position",
            "streams with open positions cannot commit until they are filled",
        ],
    },
    Scenario {
        title: "The agents' numbers contradict each other",
        story: "A fleet of agents with the older engine counted on over rejected events for a week. Their outboxes claim \
                numbers that belong to others.",
        faults: &[DrillFault::WrongClaims],
        questions: &[
            "Which grade of evidence do we accept, and who answers for less than corroborated?",
            "Which agents have to be upgraded before they push again?",
            "How do we show an auditor that no event stands at another's number?",
        ],
        expected: &[
            "no event stands where only a wrong claim put it",
            "anchored batches are whole again, and proven",
            "what is contested stays open",
        ],
    },
    Scenario {
        title: "Somebody altered an outbox",
        story: "During the outage an agent's owner edited payloads in its outbox, so as to have other prices on record.",
        faults: &[DrillFault::TamperedOutbox],
        questions: &[
            "How do we learn of it, and what is kept as evidence?",
            "Which other witness has the same events unaltered?",
            "Who speaks with the agent's owner, and when?",
        ],
        expected: &[
            "altered rows are refused and reported as `witness.refused`",
            "no altered payload is in the repaired log",
            "the outbox is kept as it was found",
        ],
    },
    Scenario {
        title: "The chain cannot be reached",
        story: "The restore falls on a day on which neither the node nor an anchors file can be had.",
        faults: &[DrillFault::MissingAnchors],
        questions: &[
            "Do we wait for the chain or repair on weaker evidence?",
            "What changes for the counters when no anchor is heard?",
            "What has to be verified once the chain is back?",
        ],
        expected: &[
            "nothing is called proven",
            "the reports say under NOT CHECKED that no anchors were given",
            "the verification is repeated as soon as the chain can be asked",
        ],
    },
    Scenario {
        title: "The target time lies before last week's migration",
        story: "Corruption crept in eight days ago. The only clean target lies before the sequencer's last migration.",
        faults: &[DrillFault::BeforeMigration],
        questions: &[
            "Who runs the migration, and what keeps the sequencer from taking events while it does?",
            "What does eight days of loss mean for RPO, and who must be told?",
            "How old is the oldest backup that we can restore?",
        ],
        expected: &[
            "apply refuses a log of an older level and names the migration",
            "after the migration the same way leads to a repaired log",
            "the time for eight days of WAL is within the RTO, or the RTO is wrong",
        ],
    },
    Scenario {
        title: "The first recovery went wrong, and an agent was compromised",
        story: "While the first repair is verified, the disk fails and the database is restored a second time. At the same time \
                security asks for an agent's key to be revoked.",
        faults: &[DrillFault::SecondRecovery, DrillFault::RevokedKey],
        questions: &[
            "Which plans and undo files belong to which recovery?",
            "Do events that were signed before the key was revoked still count?",
            "Which timeline is the backup tool following now?",
        ],
        expected: &[
            "the second repair ends where the first one did",
            "what was signed before the key was revoked comes back",
            "the agent's new events are refused until it has a new key",
        ],
    },
];

/// Commands that every exercise walks through, after the drill's own. A test has the tools take each of them.
const COMMANDS: [&str; 7] = [
    "sequencer-recovery audit --db log.db --outbox outboxes/ --anchors anchors.json",
    "sequencer-recovery plan --db log.db --outbox outboxes/ --anchors anchors.json --out plan.ndjson",
    "sequencer-recovery apply plan.ndjson --db log.db --undo undo.ndjson",
    "anchor-verify verify --db log.db --anchors anchors.json",
    "sequencer-recovery certify plan.ndjson --out losses.json --markdown losses.md",
    "sequencer-recovery undo undo.ndjson --db log.db",
    "sequencer-recovery drill history",
];

/// A seed that tells one quarter's world from another's.
fn seed(quarter: Quarter) -> u64 {
    u64::from(quarter.year) * 10 + u64::from(quarter.quarter)
}

/// The drill of the quarter's scenario, as a command.
#[must_use]
pub fn drill_command(quarter: Quarter) -> String {
    let mut command = format!(
        "sequencer-recovery drill --pitr --seed {} --rto 15m --rpo 5m",
        seed(quarter)
    );
    for fault in quarter.scenario().faults {
        let _ = write!(command, " --fault {fault}");
    }
    command
}

/// Every command of a briefing.
#[must_use]
pub fn commands(quarter: Quarter) -> Vec<String> {
    let drill = drill_command(quarter);
    std::iter::once(drill)
        .chain(COMMANDS.map(str::to_owned))
        .collect()
}

/// The title of the quarter's scenario.
#[must_use]
pub fn title(quarter: Quarter) -> &'static str {
    quarter.scenario().title
}

/// The briefing, in Markdown.
#[must_use]
pub fn briefing(quarter: Quarter) -> String {
    let scenario = quarter.scenario();
    let mut text = format!(
        "# Recovery exercise {quarter}: {}\n\n{}\n\nDate: ______________  Place: ______________  Led by: ______________\n",
        scenario.title, scenario.story
    );
    text.push_str(
        "\n## Roles\n\n| role | what it does | who |\n|---|---|---|\n\
         | incident lead | decides, keeps the timeline | |\n\
         | database operator | restores, promotes, keeps others off the database | |\n\
         | recovery operator | runs audit, plan, apply, verify | |\n\
         | agents' contact | gets the outboxes, tells their owners | |\n\
         | auditor | checks the outcome alone, by anchors and certificate | |\n\
         | communication | tells those who depend on the sequencer | |\n",
    );
    text.push_str(
        "\n## Targets\n\n| target | wanted | reached |\n|---|---|---|\n| RTO: outage to running sequencer | 15 min | |\n\
         | RPO: last event that is back | 5 min | |\n| first status text sent | 10 min | |\n\
         | manual interventions | | |\n",
    );
    text.push_str("\n## Questions\n\n");
    for (number, question) in (1..).zip(scenario.questions.iter().chain(&ALWAYS_ASKED)) {
        let _ = writeln!(text, "{number}. {question}");
    }
    text.push_str("\n## Commands\n\nFirst the drill itself, with this quarter's fault and seed:\n\n```sh\n");
    let _ = writeln!(text, "{}", drill_command(quarter));
    text.push_str("```\n\nThen, at the table, what would be run in earnest, in this order:\n\n```sh\n");
    for command in COMMANDS {
        let _ = writeln!(text, "{command}");
    }
    text.push_str("```\n\n## What should come out\n\n");
    for expected in scenario.expected {
        let _ = writeln!(text, "- [ ] {expected}");
    }
    text.push_str("\n## Evidence to keep\n\n");
    for evidence in EVIDENCE {
        let _ = writeln!(text, "- [ ] {evidence}");
    }
    text.push_str(
        "\n## Record\n\n| time | who | what was done or decided | by hand? |\n|---|---|---|---|\n| | | | |\n| | | | |\n\
         | | | | |\n| | | | |\n\n## What to change\n\n| what | who | until |\n|---|---|---|\n| | | |\n| | | |\n",
    );
    text
}

/// What is asked whatever the scenario.
const ALWAYS_ASKED: [&str; 3] = [
    "How do we notice that the repair is not what we think it is, and how do we take it back?",
    "Who is told what, and by when?",
    "Which of the steps did only one person know how to do?",
];

/// What is kept of an exercise.
const EVIDENCE: [&str; 5] = [
    "the drill's report from `recovery_reports/`",
    "the plan, the undo file and both audits",
    "the loss certificate, if anything stayed lost",
    "the status texts that were sent",
    "the record below, signed by the lead",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_are_read() {
        assert_eq!("2026Q4".parse::<Quarter>().unwrap().to_string(), "2026Q4");
        for wrong in ["2026", "2026Q5", "2026Q0", "26Q4", "2026Q", "2026Q44", "+026Q4"] {
            assert!(wrong.parse::<Quarter>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn two_years_have_eight_scenarios_and_a_quarter_always_the_same() {
        let quarters = (2026..2028).flat_map(|year| (1..=4).map(move |quarter| Quarter { year, quarter }));
        let titles: std::collections::BTreeSet<&str> = quarters.map(title).collect();
        assert_eq!(titles.len(), SCENARIOS.len());
        let quarter = "2026Q4".parse().unwrap();
        assert_eq!(briefing(quarter), briefing(quarter));
    }
}
