//! What another sequencer's gRPC service gives of the streams that are named to it.
//!
//! The service lists no streams, and writes times anew (`…+00:00`): how an agent wrote the time that it signed is found
//! again by the receipt's hash and the signature, as for older outboxes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cli_common::keys::ApiKey;
use event_log::{LogEntry, View};
use grpc_client::{Address, Failure, FailureKind, KeptPages, Limits, Pace, Page, Pull, PullError, Service};
use outbox_sync::RenderingSearch;
use ves::span::{Span, Spans};
use ves::{EventId, Hash32, StreamKey};

use crate::error::RecoveryError;
use crate::finding::{Code, Finding};
use crate::floor::Witness;
use crate::grade::Grade;
use crate::witness::evidence::{Claim, HolderId, Saying};

use super::logs::{leaves, take_entries};
use super::pulled::{Pulled, pulled};
use super::{Asked, Collected, Heard, HeardKind};

/// So many streams that were asked for are named.
const NAMED: usize = 8;

/// Other sequencers' services, and how they are asked.
#[derive(Debug, Clone)]
pub struct Services {
    /// Where they are.
    pub addresses: Vec<Address>,
    /// What each of them is shown.
    pub key: Option<ApiKey>,
    /// Questions in a second at most, to each.
    pub rate: f64,
    /// How long each is asked at most.
    pub longest: Duration,
    /// Where what they answer is kept, to go on from there.
    pub folder: Option<PathBuf>,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            key: None,
            rate: 20.0,
            longest: Duration::from_secs(3600),
            folder: None,
        }
    }
}

/// Why a stream was not heard to its end.
enum Ended {
    /// The service is not asked for anything else either.
    Service(String),
    /// Another stream may fare better.
    Stream(String),
    /// The work is to end.
    Work(RecoveryError),
}

impl From<RecoveryError> for Ended {
    fn from(error: RecoveryError) -> Self {
        Self::Work(error)
    }
}

impl From<PullError> for Ended {
    fn from(error: PullError) -> Self {
        match &error {
            PullError::Cancelled => Self::Work(cli_common::Cancelled.into()),
            PullError::Failed(Failure {
                fault: FailureKind::Forbidden,
                ..
            })
            | PullError::Answer(_)
            | PullError::Lacking { .. } => Self::Stream(error.to_string()),
            _ => Self::Service(error.to_string()),
        }
    }
}

/// One service being heard.
struct Hearing<'a> {
    asked: Asked<'a>,
    address: &'a Address,
    name: String,
    holder: HolderId,
    heard: Heard,
    search: RenderingSearch<'a>,
    faults: Vec<String>,
}

/// Hears a service about these streams.
pub(super) async fn read_service(
    view: &mut View,
    asked: Asked<'_>,
    address: &Address,
    streams: &[StreamKey],
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let name = address.to_string();
    let heard = Heard::new(Path::new(&name), HeardKind::Service);
    let services = &asked.inputs.services;
    if streams.is_empty() {
        let why = "no stream is known to ask for: name one with --tenant and --store";
        collected.unreadable(heard, format!("{name}: {why}"));
        return Ok(());
    }
    let key = services.key.as_ref().map(ApiKey::authorization);
    let mut service = match Service::new(address, key.as_deref(), Limits::default()) {
        Ok(service) => service,
        Err(error) => {
            collected.unreadable(heard, format!("{name}: {error}"));
            return Ok(());
        }
    };
    let mut pace = Pace::new(services.rate, services.longest, asked.cancel);
    let mut hearing = Hearing {
        asked,
        address,
        holder: collected.holders.add(name.clone(), Some(name.clone())),
        name,
        heard,
        search: RenderingSearch::new(asked.keys),
        faults: Vec::new(),
    };
    collected.not_checked.push(hearing.asked_for(streams));
    for (index, stream) in streams.iter().enumerate() {
        let before = hearing.heard.rows;
        let ended = match hearing
            .hear(view, &mut service, &mut pace, *stream, collected)
            .await
        {
            Ok(()) => continue,
            Err(ended) => ended,
        };
        let (what, goes_on) = match ended {
            Ended::Work(error) => return Err(error),
            Ended::Stream(what) => (what, true),
            Ended::Service(what) => (what, false),
        };
        hearing.fault(*stream, &what, before, collected);
        if !goes_on {
            for unasked in &streams[index + 1..] {
                let what = format!("{}: stream {unasked} was not asked for", hearing.name);
                collected.not_checked.push(what);
            }
            break;
        }
    }
    hearing.conclude(collected);
    Ok(())
}

impl Hearing<'_> {
    /// What was asked for, and what was not.
    fn asked_for(&self, streams: &[StreamKey]) -> String {
        let mut named: Vec<String> = streams.iter().take(NAMED).map(ToString::to_string).collect();
        if let Some(more @ 1..) = streams.len().checked_sub(NAMED) {
            named.push(format!("{more} more"));
        }
        format!(
            "{}: streams that nobody names: a service lists none, and was asked for {} ({})",
            self.name,
            streams.len(),
            named.join(", ")
        )
    }

    /// Notes why a stream was not heard to its end.
    fn fault(&mut self, stream: StreamKey, what: &str, before: u64, collected: &mut Collected) {
        let rows = self.heard.rows - before;
        let used = match rows {
            0 => String::new(),
            rows => format!("; {rows} event(s) before that were read and are used"),
        };
        let message = format!("{}: stream {stream}: {what}{used}", self.name);
        let finding = Finding::new(Code::WitnessUnreadable, message.clone()).stream(stream);
        collected.findings.push(finding);
        let not_checked = format!("{}: stream {stream}: not read to its end", self.name);
        collected.not_checked.push(not_checked);
        self.faults.push(message);
    }

    fn conclude(mut self, collected: &mut Collected) {
        self.heard.renderings_found = self.search.found();
        self.heard.error = match self.faults.len() {
            0 => None,
            1 => self.faults.pop(),
            more => Some(format!("{} (and {} more)", self.faults[0], more - 1)),
        };
        if self.heard.error.is_none() && self.heard.rows == 0 {
            collected.holds_nothing(&self.name);
        }
        if self.heard.missing_held > 0 {
            collected.not_checked.push(format!(
                "{}: whether a base_version is 0 or none: the service does not tell them apart, and none is taken",
                self.name
            ));
        }
        collected.take(self.heard, "event(s) do not verify; they are not used");
    }

    async fn hear(
        &mut self,
        view: &mut View,
        service: &mut Service,
        pace: &mut Pace,
        stream: StreamKey,
        collected: &mut Collected,
    ) -> Result<(), Ended> {
        let mut known = Spans::default();
        let mut kept = None;
        if let Some(folder) = &self.asked.inputs.services.folder {
            let failed = |error: grpc_client::KeptError| Ended::Stream(error.to_string());
            let mut open = KeptPages::open(folder, self.address, &stream).map_err(failed)?;
            while let Some(page) = open.next_page().map_err(failed)? {
                self.asked.cancel.check().map_err(RecoveryError::from)?;
                self.take_page(view, stream, &page, collected).await?;
            }
            known = open.known().clone();
            kept = Some(open);
        }
        let mut pull = Pull::begin(service, pace, stream, &known).await?;
        self.note_head(stream, pull.head(), collected);
        let ended = loop {
            match pull.next_page().await {
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
                Ok(Some(page)) => {
                    if let Some(kept) = &mut kept {
                        kept.add(&page)
                            .map_err(|error| Ended::Stream(error.to_string()))?;
                    }
                    self.take_page(view, stream, &page, collected).await?;
                }
            }
        };
        if !pull.lacking().is_empty() {
            collected.not_checked.push(format!(
                "{}: stream {stream}: {} number(s) up to its head that it does not give: {}",
                self.name,
                pull.lacking().count(),
                first_of(pull.lacking())
            ));
        }
        if pull.beyond() > 0 {
            collected.not_checked.push(format!(
                "{}: stream {stream}: its counter: {} event(s) have higher numbers",
                self.name,
                pull.beyond()
            ));
        }
        Ok(ended?)
    }

    /// That a stream goes so far is the service's word.
    fn note_head(&self, stream: StreamKey, sequence: u64, collected: &mut Collected) {
        if sequence > 0 {
            let evidence = collected.streams.entry(stream).or_default();
            evidence.add_witness(Witness {
                sequence,
                grade: Grade::Claimed,
                who: self.name.clone(),
                identity: self.name.clone(),
            });
        }
    }

    /// Takes the events of a page that the log lacks, or has something else for.
    async fn take_page(
        &mut self,
        view: &mut View,
        stream: StreamKey,
        page: &Page,
        collected: &mut Collected,
    ) -> Result<(), RecoveryError> {
        let ours = leaves(view, &stream, page.range.into()).await?;
        let mut others = Vec::new();
        let mut highest = page.head;
        for event in &page.events {
            let read = event.as_ref().map_err(Clone::clone);
            match read.and_then(|event| pulled(event, stream)) {
                Err(what) => {
                    self.heard.rows += 1;
                    self.heard.refuse(None, self.name.clone(), what, None);
                }
                Ok(event) => {
                    highest = highest.max(event.entry.sequence_number);
                    let same = ours.get(&event.entry.sequence_number).is_some_and(|leaf| {
                        leaf.event_id == event.entry.event.event_id
                            && leaf.agent_signature == event.entry.event.agent_signature
                    });
                    if same {
                        self.heard.rows += 1;
                    } else {
                        others.push(event);
                    }
                }
            }
        }
        self.note_head(stream, highest, collected);
        let ids: Vec<EventId> = others.iter().map(|other| other.entry.event.event_id).collect();
        let in_log = view.find_events(&ids).await?.by_event();
        let mut entries = Vec::new();
        for other in others {
            // What the log says of an event that it has, needs no looking into.
            if in_log.contains_key(&other.entry.event.event_id) {
                entries.push(other.entry);
            } else if let Some(entry) = self.as_signed(stream, other, collected) {
                entries.push(entry);
            }
        }
        take_entries(view, self.asked, entries, self.holder, &mut self.heard, collected).await
    }

    /// The event as it was signed. If that cannot be found, its number stays a claim.
    fn as_signed(&mut self, stream: StreamKey, other: Pulled, collected: &mut Collected) -> Option<LogEntry> {
        let Pulled {
            mut entry,
            receipt_hash,
        } = other;
        let (event_id, number) = (entry.event.event_id, entry.sequence_number);
        let fits = |hash: &Hash32| {
            receipt_hash
                .is_some_and(|told| told == ves::receipt::receipt_hash(&stream, &event_id, number, hash))
        };
        if let Some(event) = self.search.find_told(&entry.event, fits) {
            entry.event_signing_hash = event.signing_hash();
            entry.event = event;
            return Some(entry);
        }
        self.heard.rows += 1;
        let evidence = collected.streams.entry(stream).or_default();
        let why = "no rendering of its time that was tried verifies, or its agent has no key here".to_owned();
        let place = format!("{} {stream} {number}", self.name);
        self.heard.refuse(Some(event_id), place, why, Some(evidence));
        evidence.add_claim(
            number,
            Claim {
                event_id,
                holder: self.holder,
                saying: Saying::Log,
                sequenced_at: Some(entry.sequenced_at),
            },
        );
        None
    }
}

/// The first of many spans.
fn first_of(spans: &Spans) -> String {
    let mut named: Vec<String> = spans
        .iter()
        .take(NAMED)
        .map(|span: Span| span.to_string())
        .collect();
    if spans.iter().len() > NAMED {
        named.push("…".into());
    }
    named.join(", ")
}
