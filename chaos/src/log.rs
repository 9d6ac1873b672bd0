//! The log as the database has it: read, copied, cut back, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use test_support::query;
use uuid::Uuid;
use ves::{AgentId, EventId, StreamKey};

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The event.
    pub event_id: EventId,
    /// Who made it.
    pub agent: AgentId,
    /// Its signing hash and signature, in hex.
    pub content: String,
}

/// A commitment in the log.
#[derive(Debug, Clone)]
pub struct CommittedBatch {
    /// The batch.
    pub batch_id: Uuid,
    /// Its stream.
    pub stream: StreamKey,
    /// First number.
    pub start: u64,
    /// Last number.
    pub end: u64,
    /// Its root, in hex.
    pub merkle_root: String,
    /// The state root after it, in hex.
    pub state_root: String,
}

/// Every stream, as it was at one moment.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// What stands where.
    pub events: BTreeMap<StreamKey, BTreeMap<u64, Placed>>,
    /// The last number given out, as the sequencer believes.
    pub counters: BTreeMap<StreamKey, u64>,
    /// In the order of their ranges.
    pub commitments: Vec<CommittedBatch>,
    /// Positions whose receipt is missing or says something else.
    pub bad_receipts: Vec<String>,
    /// Positions that have two events, which no constraint should let happen.
    pub doubled: Vec<String>,
}

const READ: &str = "\
    SELECT 'event', e.tenant_id, e.store_id, e.sequence_number, e.event_id, e.source_agent_id, \
    encode(e.event_signing_hash || e.agent_signature, 'hex'), r.sequence_number FROM ves_events e \
    LEFT JOIN ves_sequencer_receipts r ON r.event_id = e.event_id \
    UNION ALL SELECT 'counter', tenant_id, store_id, current_sequence, NULL, NULL, NULL, NULL \
    FROM ves_sequence_counters \
    UNION ALL SELECT 'commitment', tenant_id, store_id, sequence_start, batch_id, NULL, \
    encode(merkle_root || new_state_root, 'hex'), sequence_end FROM ves_commitments ORDER BY 1, 2, 3, 4";

impl Log {
    /// Reads it, in one statement.
    ///
    /// # Panics
    /// The database cannot be read.
    pub fn read(url: &str) -> Self {
        let mut log = Self::default();
        for line in query(url, READ).lines() {
            let fields: Vec<&str> = line.split('|').collect();
            assert_eq!(fields.len(), 8, "{line}");
            let uuid = |n: usize| fields[n].parse::<Uuid>().unwrap_or_default();
            let number = |n: usize| fields[n].parse::<u64>().unwrap_or(0);
            let stream = StreamKey::new(uuid(1).into(), uuid(2).into());
            match fields[0] {
                "counter" => {
                    log.counters.insert(stream, number(3));
                }
                "commitment" => log.commitments.push(CommittedBatch {
                    batch_id: uuid(4),
                    stream,
                    start: number(3),
                    end: number(7),
                    merkle_root: fields[6][..64].to_owned(),
                    state_root: fields[6][64..].to_owned(),
                }),
                _ => {
                    if fields[7] != fields[3] {
                        log.bad_receipts
                            .push(format!("{stream} {}: {:?}", fields[3], fields[7]));
                    }
                    let placed = Placed {
                        event_id: EventId(uuid(4)),
                        agent: AgentId(uuid(5)),
                        content: fields[6].to_owned(),
                    };
                    let before = log.events.entry(stream).or_default().insert(number(3), placed);
                    if before.is_some() {
                        log.doubled.push(format!("{stream} {}", fields[3]));
                    }
                }
            }
        }
        log
    }

    /// Where each event stands.
    pub fn places(&self) -> BTreeMap<EventId, (StreamKey, u64)> {
        let streams = self.events.iter();
        streams
            .flat_map(|(stream, events)| events.iter().map(|(n, e)| (e.event_id, (*stream, *n))))
            .collect()
    }

    /// The events in all streams.
    pub fn len(&self) -> usize {
        self.events.values().map(BTreeMap::len).sum()
    }

    /// The highest number of a stream.
    pub fn head(&self, stream: &StreamKey) -> u64 {
        let events = self.events.get(stream);
        events
            .and_then(|events| events.last_key_value())
            .map_or(0, |(n, _)| *n)
    }
}

/// Every row of the sequencer's tables as text, one a line, in an order of their own. `updated_at` is left out if
/// `but_times`: an undo puts everything back but the time of the last change.
///
/// # Panics
/// The database cannot be read.
pub fn dump(url: &str, but_times: bool) -> String {
    let left_out = if but_times { " - ''updated_at''" } else { "" };
    let tables = "SELECT string_agg(format('SELECT %L || (to_jsonb(t)LEFT_OUT)::text FROM public.%I t', table_name, \
        table_name), ' UNION ALL ') || ' ORDER BY 1' FROM information_schema.tables \
        WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
    let select = query(url, &tables.replace("LEFT_OUT", left_out));
    query(url, &select)
}

/// Says where two dumps differ: the first lines that only one of them has.
pub fn difference(before: &str, after: &str) -> Option<String> {
    if before == after {
        return None;
    }
    let only = |a: &str, b: &str| {
        let others: BTreeSet<&str> = b.lines().collect();
        let mine: Vec<String> = a
            .lines()
            .filter(|line| !others.contains(line))
            .map(shorten)
            .collect();
        format!("{} rows, such as {:?}", mine.len(), mine.first())
    };
    Some(format!(
        "gone: {}; new: {}",
        only(before, after),
        only(after, before)
    ))
}

fn shorten(line: &str) -> String {
    line.chars().take(400).collect()
}

/// Takes a dump of one moment, as an operator does, while others write.
///
/// # Errors
/// It cannot be taken: the server was killed meanwhile, for one.
pub fn take_backup(url: &str, path: &Path) -> Result<(), String> {
    let output = test_support::postgres_program("pg_dump")
        .args(["--format=custom", "--compress=0", "--dbname", url, "--file"])
        .arg(path)
        .output()
        .map_err(|e| format!("pg_dump: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Makes the database anew from a dump: everything since is lost.
///
/// # Errors
/// It cannot be restored.
pub fn restore(server_url: &str, database: &str, url: &str, path: &Path) -> Result<(), String> {
    let _ = query(server_url, &format!("DROP DATABASE {database} WITH (FORCE)"));
    let _ = query(server_url, &format!("CREATE DATABASE {database}"));
    let output = test_support::postgres_program("pg_restore")
        .args(["--exit-on-error", "--dbname", url])
        .arg(path)
        .output()
        .map_err(|e| format!("pg_restore: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Deadlocks that a server's log tells of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Deadlocks {
    /// What the server says of those in which one of the tools was.
    pub with_tools: Vec<String>,
    /// How many there were between others.
    pub of_others: u64,
}

impl Deadlocks {
    /// Reads a log whose lines begin with the process, and that says who connected.
    pub fn read(log: &str) -> Self {
        let mut found = Self::default();
        let mut tools = BTreeSet::new();
        let mut lines = log.lines().peekable();
        while let Some(line) = lines.next() {
            let Some((process, said)) = line.split_once(' ') else {
                continue;
            };
            if said.starts_with("LOG:  connection authorized:") {
                if said.contains("application_name=ves-toolkit") {
                    tools.insert(process);
                } else {
                    tools.remove(process);
                }
            }
            if said != "ERROR:  deadlock detected" {
                continue;
            }
            let mut detail = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with('\t') || line.contains(" DETAIL:  "))
            {
                detail.push_str(line);
                detail.push('\n');
            }
            let processes = detail.split("rocess ").skip(1);
            let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
            if processes
                .map(digits)
                .any(|process| tools.contains(process.as_str()))
            {
                found.with_tools.push(detail);
            } else {
                found.of_others += 1;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadlock_is_told_by_who_was_in_it() {
        let log = "7 LOG:  connection received: host=127.0.0.1 port=1\n\
            7 LOG:  connection authorized: user=postgres database=x application_name=ves-toolkit apply\n\
            8 LOG:  connection authorized: user=postgres database=x\n\
            9 LOG:  connection authorized: user=postgres database=x\n\
            8 ERROR:  deadlock detected\n\
            8 DETAIL:  Process 8 waits for ShareLock on transaction 75; blocked by process 9.\n\
            \tProcess 9 waits for ShareLock on transaction 77; blocked by process 8.\n\
            \tProcess 8: INSERT INTO ves_command_dedupe\n\
            \tProcess 9: INSERT INTO ves_command_dedupe\n\
            8 HINT:  See server log for query details.\n\
            9 ERROR:  deadlock detected\n\
            9 DETAIL:  Process 9 waits for ShareLock on transaction 75; blocked by process 7.\n\
            \tProcess 7 waits for ShareLock on transaction 77; blocked by process 9.\n";
        let found = Deadlocks::read(log);
        assert_eq!(found.of_others, 1);
        assert_eq!(found.with_tools.len(), 1);
        assert!(found.with_tools[0].starts_with("9 DETAIL:  Process 9"));
        // The process that was a tool's is another's by now.
        let log = log.replace(
            "8 ERROR",
            "7 LOG:  connection authorized: user=postgres database=x\n8 ERROR",
        );
        assert_eq!(Deadlocks::read(&log).of_others, 2);
    }
}
