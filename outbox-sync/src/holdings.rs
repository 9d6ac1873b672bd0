//! What a fleet holds of what a log lacks: which events, where, on whose word, with which numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};

use cli_common::{Cancel, Progress};
use serde::Serialize;
use ves::span::{Span, Spans};
use ves::{AgentId, EventId, Hash32, SignatureBytes, StreamKey};

use crate::ahead::Ahead;
use crate::check::{NO_LOG_HOLDS, RowCheck, has_escaped_nul};
use crate::export::Class;
use crate::keys::KeyBook;
use crate::known::{Found, KnownLog, KnownLogError, contains};
use crate::outbox::Outbox;
use crate::rendering::RenderingSearch;
use crate::row::{Content, Item, Origin, OutboxStatus, Table};
use crate::source::{Source, SourceError};
use crate::verify::{RowVerdict, Verification, check_rows};
use crate::words::{Claim, Contents, HolderId, Holders, Saying};

/// Rows are looked up in the log in groups of this many.
const GROUP: usize = 1024;
/// So many rows that are not used are named for each file; all are counted.
pub const MAX_NAMED: usize = 100;

/// A file that was heard.
#[derive(Debug, Clone, Serialize)]
pub struct Heard {
    /// The file.
    pub path: String,
    /// The agent whose outbox it is.
    pub agent_id: Option<AgentId>,
    /// Whether it is an export, not an outbox.
    #[serde(skip)]
    pub is_export: bool,
    /// Rows read.
    pub rows: u64,
    /// Rows whose event the log has.
    pub in_log: u64,
    /// Rows whose event the log lacks, and that hold it whole.
    pub missing_held: u64,
    /// Rows that nobody signed.
    pub unsigned: u64,
    /// Rows of the older log, whose numbers are not VES numbers.
    pub older_log: u64,
    /// Rows whose event the log lacks and that do not verify, or cannot be read: not used.
    pub refused: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<String>,
    /// What is wrong with the file as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// What of it was not checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_checked: Vec<String>,
}

impl Heard {
    /// A file of which no row was read yet.
    pub fn of(path: &Path, source: &Source) -> Self {
        Self {
            damage: source.damage(),
            not_checked: source.not_checked(),
            ..Self::of_outbox(path, source.outbox())
        }
    }

    /// An outbox, or an export if it is `None`, of which nothing is known but what it says of itself.
    pub fn of_outbox(path: &Path, outbox: Option<&Outbox>) -> Self {
        Self {
            path: path.display().to_string(),
            agent_id: outbox.and_then(|outbox| outbox.meta().speaks_for()),
            is_export: outbox.is_none(),
            rows: 0,
            in_log: 0,
            missing_held: 0,
            unsigned: 0,
            older_log: 0,
            refused: 0,
            refusals: Vec::new(),
            damage: None,
            not_checked: outbox.map_or_else(Vec::new, |outbox| outbox.meta().not_checked.clone()),
        }
    }
}

impl Heard {
    /// Counts a row whose event the log lacks; `refused` is why it is not used whatever its verdict.
    fn count_lacking(&mut self, item: &Item, verdict: &RowVerdict, usable: bool, refused: Option<&str>) {
        match verdict.verdict {
            Verification::Unsigned => self.unsigned += 1,
            _ if usable => self.missing_held += 1,
            _ => {
                self.refused += 1;
                if self.refusals.len() < MAX_NAMED {
                    let why = refused.or(verdict.why.as_deref());
                    let why = why.unwrap_or("it does not verify");
                    let event_id = item.row.event_id;
                    (self.refusals).push(format!("{}: event {event_id}: {why}", item.place));
                }
            }
        }
    }
}

/// A file that could not be read.
#[derive(Debug, Clone, Serialize)]
pub struct NotRead {
    /// The file.
    pub path: String,
    /// Why.
    pub why: String,
}

/// The best copy of an event.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    /// The file, by its number among those heard.
    pub file: usize,
    /// The table.
    pub table: Table,
    /// The row.
    pub row: i64,
    /// What was signed.
    pub signing_hash: Hash32,
    /// Whether it verifies.
    pub verdict: Verification,
}

impl Copy {
    /// The agent's own row has `command_id` and `base_version` as they were; then what verifies for sure.
    fn rank(&self) -> (bool, bool) {
        let own = matches!(self.table, Table::Outbox | Table::OlderOutbox);
        (self.verdict == Verification::Holds, own)
    }
}

/// An event that the log lacks.
#[derive(Debug, Clone)]
pub struct HeldEvent {
    /// Its stream.
    pub stream: StreamKey,
    /// The agent that made it, if somebody holds it whole.
    pub agent: Option<AgentId>,
    /// Its best copy.
    pub best: Option<Copy>,
    /// The files that hold it whole.
    pub holders: BTreeSet<usize>,
    /// What they hold, and whatever else was signed as it stands, though by a key that was not valid.
    pub contents: Contents,
    /// One of those contents.
    content: Option<(Hash32, SignatureBytes)>,
    /// The states that outboxes give it.
    pub statuses: BTreeSet<OutboxStatus>,
    /// The numbers that are claimed for it.
    pub claims: Vec<(u64, Saying)>,
    /// Whether there are two contents of it that both verify.
    pub two_contents: bool,
}

impl HeldEvent {
    fn note_content(&mut self, content: (Hash32, SignatureBytes), is_valid: bool) {
        let known = *self.content.get_or_insert(content);
        self.contents = match self.contents {
            Contents::None => Contents::One { signed: is_valid },
            Contents::One { signed } if known == content => Contents::One {
                signed: signed || is_valid,
            },
            _ => Contents::Several,
        };
    }
}

/// The rows of a file that are the best copies of their events.
pub type Chosen = HashMap<(Table, i64), EventId>;

/// What a fleet holds of what a log lacks.
#[derive(Debug, Default)]
pub struct Holdings {
    /// The files, in the order given.
    pub heard: Vec<Heard>,
    /// Who is behind each of them, by its number among them.
    pub holders: Holders,
    /// Files that could not be read.
    pub not_read: Vec<NotRead>,
    /// Events that the log lacks.
    pub events: BTreeMap<EventId, HeldEvent>,
    /// Claims to numbers of events that the log lacks.
    pub claims: BTreeMap<(StreamKey, u64), Vec<Claim>>,
    /// Claims of events that the log has, at another number or in another stream.
    pub contradicted: u64,
    /// The numbers that the log has.
    pub present: BTreeMap<StreamKey, Vec<RangeInclusive<u64>>>,
    /// Numbers of rows of the log that do not say all of where they stand: that they are of these streams, the events tell
    /// that outboxes hold as they were signed.
    pub damaged: BTreeMap<StreamKey, Spans>,
    /// Agents whose outboxes were heard.
    pub agents: BTreeSet<AgentId>,
    /// What is wrong with keys.
    pub key_flaws: Vec<String>,
    /// How many events of older outboxes were found again as they were signed.
    pub renderings_found: u64,
}

/// Why the work ended early.
#[derive(Debug, thiserror::Error)]
pub enum HoldingsError {
    /// The log.
    #[error(transparent)]
    Log(#[from] KnownLogError),
    /// The user stopped it.
    #[error("cancelled")]
    Cancelled,
}

impl Holdings {
    /// Reads outboxes and exports once each. One that cannot be read is named and does not stop the others.
    ///
    /// # Errors
    /// The log fails, or the user stops the work.
    pub fn collect(
        paths: &[PathBuf],
        log: &mut KnownLog,
        mut keys: KeyBook,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Self, HoldingsError> {
        let mut holdings = Self::default();
        progress.start("reading outboxes", Some(paths.len() as u64));
        for (path, opened) in Ahead::new(paths, Source::open) {
            holdings.hear(&path, opened, (&mut *log, &mut keys), cancel)?;
            progress.advance(1);
        }
        progress.finish();
        holdings.key_flaws = std::mem::take(&mut keys.flaws);
        Ok(holdings)
    }

    fn hear(
        &mut self,
        path: &Path,
        opened: Result<Source, SourceError>,
        (log, keys): (&mut KnownLog, &mut KeyBook),
        cancel: &Cancel,
    ) -> Result<(), HoldingsError> {
        let not_read = |why: String| NotRead {
            path: path.display().to_string(),
            why,
        };
        let source = match opened {
            Ok(source) => source,
            Err(error) => {
                self.not_read.push(not_read(why(&error.to_string(), path)));
                return Ok(());
            }
        };
        let outbox = source.outbox();
        if let Some(Err(error)) = outbox.map(|outbox| keys.add_peers(outbox)) {
            keys.flaws.push(error.to_string());
        }
        let heard = Heard::of(path, &source);
        self.agents.extend(heard.agent_id);
        let file = self.heard.len();
        let voice = outbox.map(|outbox| outbox.meta().voice());
        self.holders.add(heard.path.clone(), voice);
        self.heard.push(heard);
        let mut bad = Vec::new();
        let mut bad_count = 0;
        let mut stopped: Option<HoldingsError> = None;
        let mut search = RenderingSearch::new(keys.registry());
        let result = source.for_each_group(
            GROUP,
            &mut |what| {
                bad_count += 1;
                if bad.len() < MAX_NAMED {
                    bad.push(what);
                }
            },
            &mut |group| {
                if cancel.is_cancelled() {
                    stopped = Some(HoldingsError::Cancelled);
                    return ControlFlow::Break(());
                }
                match self.take_group(file, group, log, keys, &mut search) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        stopped = Some(error.into());
                        ControlFlow::Break(())
                    }
                }
            },
        );
        self.renderings_found += search.found();
        if let Some(error) = stopped {
            return Err(error);
        }
        let heard = &mut self.heard[file];
        heard.rows += bad_count;
        heard.refused += bad_count;
        heard.refusals.append(&mut bad);
        if let Err(error) = result {
            heard.damage = Some(error.to_string());
        }
        Ok(())
    }

    fn take_group(
        &mut self,
        file: usize,
        group: Vec<Item>,
        log: &mut KnownLog,
        keys: &KeyBook,
        search: &mut RenderingSearch<'_>,
    ) -> Result<(), KnownLogError> {
        let ids: Vec<EventId> = group.iter().map(|item| item.row.event_id).collect();
        let found = log.find(&ids)?;
        let heard = &mut self.heard[file];
        heard.rows += group.len() as u64;
        let (mut lacking, mut damaged) = (Vec::new(), Vec::new());
        for item in group {
            let found = found.get(&item.row.event_id);
            heard.in_log += u64::from(found.is_some());
            match found {
                Some(Ok(found)) => self.contradicted += u64::from(contradicts(&item, found)),
                Some(Err(row)) if row.number_in(&item.row.stream).is_some() => damaged.push(item),
                Some(Err(_)) => {}
                None => lacking.push(item),
            }
        }
        for (item, verdict, _) in check_rows(damaged, keys, search) {
            let row = found
                .get(&item.row.event_id)
                .and_then(|found| found.as_ref().err());
            let number = row.and_then(|row| row.number_in(&item.row.stream));
            let is_signed = matches!(verdict.verdict, Verification::Holds | Verification::NotChecked);
            if let Some(number) = number.filter(|_| is_signed && item.row.content.event().is_some()) {
                let numbers = self.damaged.entry(item.row.stream).or_default();
                numbers.insert(Span::at(number));
            }
        }
        for (item, verdict, check) in check_rows(lacking, keys, search) {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.present.entry(item.row.stream) {
                entry.insert(log.present(&item.row.stream)?);
            }
            self.take_row(file, &item, &verdict, check.as_ref());
        }
        Ok(())
    }

    fn take_row(&mut self, file: usize, item: &Item, verdict: &RowVerdict, check: Option<&RowCheck>) {
        let row = &item.row;
        let event_of_row = row.content.event();
        let agent = event_of_row.map(|event| event.source_agent_id);
        let has_nul = event_of_row.is_some_and(|event| has_escaped_nul(event.payload.json()));
        let is_refused = has_nul || check.is_some_and(|check| check.refusal().is_some());
        let heard = &mut self.heard[file];
        if let (true, Content::Unsigned { .. }) = (row.place.table.is_older(), &row.content) {
            heard.older_log += 1;
            return;
        }
        let is_whole = matches!(verdict.verdict, Verification::Holds | Verification::NotChecked);
        let usable = is_whole && agent.is_some() && !has_nul;
        heard.count_lacking(item, verdict, usable, has_nul.then_some(NO_LOG_HOLDS));
        let event = self.events.entry(row.event_id).or_insert_with(|| HeldEvent {
            stream: row.stream,
            agent: None,
            best: None,
            holders: BTreeSet::new(),
            contents: Contents::None,
            content: None,
            statuses: BTreeSet::new(),
            claims: Vec::new(),
            two_contents: false,
        });
        if let Origin::Outbox { status, .. } = row.origin {
            event.statuses.insert(status);
        }
        if let (Some(held), Some(check), false) = (event_of_row, check, is_refused) {
            event.note_content(
                (check.signing_hash, held.agent_signature),
                check.signature.is_valid(),
            );
        }
        if let (true, Some(signing_hash)) = (usable, verdict.signing_hash) {
            let copy = Copy {
                file,
                table: row.place.table,
                row: row.place.row,
                signing_hash,
                verdict: verdict.verdict,
            };
            event.holders.insert(file);
            event.two_contents |= event.best.is_some_and(|best| best.signing_hash != signing_hash);
            if event.best.is_none_or(|best| copy.rank() > best.rank()) {
                event.best = Some(copy);
                event.agent = agent;
                event.stream = row.stream;
            }
        }
        // What does not hold what was signed is no word either; a row without content names event and number still.
        if let Some(number) = row.claimed_sequence.filter(|_| !is_refused) {
            let saying = Saying::of(row);
            if !event.claims.contains(&(number, saying)) {
                event.claims.push((number, saying));
            }
            let claim = Claim {
                event_id: row.event_id,
                holder: HolderId(file),
                saying,
                sequenced_at: row.sequenced_at,
            };
            self.claims.entry((row.stream, number)).or_default().push(claim);
        }
    }

    /// Takes in which numbers of a stream the log has; what it has in damaged rows is there too.
    pub fn note_present(&mut self, stream: StreamKey, present: Vec<RangeInclusive<u64>>) {
        let present = match self.damaged.get(&stream) {
            None => present,
            Some(damaged) => {
                let readable = present.into_iter().filter_map(|range| Span::try_from(range).ok());
                readable.chain(damaged.iter()).collect::<Spans>().into()
            }
        };
        self.present.insert(stream, present);
    }

    /// What an event is to the log.
    pub fn class(&self, id: &EventId) -> Option<Class> {
        let event = self.events.get(id)?;
        if event.claims.iter().any(|(_, saying)| *saying != Saying::Outbox) {
            return Some(Class::Missing);
        }
        let synced = event.statuses.contains(&OutboxStatus::Synced) || !event.claims.is_empty();
        if !synced {
            let rejected = !event.statuses.is_empty()
                && event
                    .statuses
                    .iter()
                    .all(|status| *status == OutboxStatus::Rejected);
            return Some(if rejected {
                Class::Rejected
            } else {
                Class::NeverSequenced
            });
        }
        let disproved = |number: u64| {
            let in_log = self
                .present
                .get(&event.stream)
                .is_some_and(|present| contains(present, number));
            let elsewhere = self.claims.get(&(event.stream, number)).is_some_and(|claims| {
                claims
                    .iter()
                    .any(|claim| claim.event_id != *id && claim.saying != Saying::Outbox)
            });
            in_log || elsewhere
        };
        let numbers = || event.claims.iter().map(|(number, _)| *number);
        if numbers().next().is_some() && numbers().all(disproved) {
            Some(Class::Doubtful)
        } else {
            Some(Class::Missing)
        }
    }

    /// Which copies of events are the best ones: by the file, and by their places there.
    pub fn chosen(&self) -> HashMap<usize, Chosen> {
        let mut chosen: HashMap<usize, Chosen> = HashMap::new();
        for (id, event) in &self.events {
            if let Some(best) = event.best {
                let of_file = chosen.entry(best.file).or_default();
                of_file.insert((best.table, best.row), *id);
            }
        }
        chosen
    }
}

fn contradicts(item: &Item, found: &Found) -> bool {
    let row = &item.row;
    found.stream != row.stream
        || row
            .claimed_sequence
            .is_some_and(|claim| found.sequence.is_some_and(|n| n != claim))
}

/// The message without the path before it, which stands by itself.
fn why(message: &str, path: &Path) -> String {
    let shown = format!("{}: ", path.display());
    message.strip_prefix(&shown).unwrap_or(message).to_owned()
}
