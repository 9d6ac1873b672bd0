//! What a log holds beside its events: small enough to be in memory at once.

use std::ops::RangeInclusive;

use ves::{KeyRegistry, SigningKey, Span, Spans, StreamKey, TenantId};

use crate::entry::{Commitment, UnreadableKey};
use crate::error::{LogError, RowError};
use crate::view::{StreamFilter, View};

/// Which part of a log is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// These streams; all, if none is named.
    pub streams: Vec<StreamKey>,
    /// These numbers of each of them; all, if missing.
    pub range: Option<RangeInclusive<u64>>,
}

impl Scope {
    /// Whether a stream is meant.
    pub fn admits(&self, stream: &StreamKey) -> bool {
        self.streams.is_empty() || self.streams.contains(stream)
    }
}

/// One stream of an [`Outline`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOutline {
    /// The stream.
    pub stream: StreamKey,
    /// The numbers that were looked at; `None` for all. What is outside is unknown, not missing.
    pub range: Option<RangeInclusive<u64>>,
    /// How many events there are.
    pub events: u64,
    /// The lowest number of them.
    pub first: Option<u64>,
    /// The highest number of them.
    pub last: Option<u64>,
    /// The stream's counter, if it has one.
    pub counter: Option<u64>,
    /// The commitments that reach into the range, by their first number.
    pub commitments: Vec<Commitment>,
}

/// Keys, streams and commitments of a log, or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// Whether the streams are all that the log has.
    pub whole: bool,
    /// The agents' keys, by tenant, agent and number.
    pub keys: Vec<SigningKey>,
    /// Keys whose rows cannot be read.
    pub unreadable_keys: Vec<UnreadableKey>,
    /// The streams by key.
    pub streams: Vec<StreamOutline>,
    /// What else could not be read.
    pub unreadable: Vec<RowError>,
}

impl Outline {
    /// The keys to check signatures with; a signature by one that cannot be read is not checked.
    pub fn registry(&self) -> KeyRegistry {
        let mut registry = KeyRegistry::new(self.keys.iter().cloned());
        for name in self.unreadable_keys.iter().filter_map(|key| key.name) {
            registry.insert_unreadable(name);
        }
        registry
    }

    /// The outline of a part of a log.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn of_view(view: &mut View, scope: &Scope) -> Result<Self, LogError> {
        let found = view.streams(&StreamFilter::default()).await?;
        let mut outline = Self {
            whole: scope.streams.is_empty() && scope.range.is_none(),
            unreadable: found.unreadable,
            ..Self::default()
        };
        // Rows of other streams are nobody's business here.
        outline
            .unreadable
            .retain(|row| row.stream.is_none_or(|stream| scope.admits(&stream)));
        for state in found.rows.into_iter().filter(|state| scope.admits(&state.stream)) {
            let stream = state.stream;
            if state.misnumbered > 0 {
                outline.unreadable.push(RowError {
                    table: "ves_events",
                    stream: Some(stream),
                    sequence: None,
                    what: format!(
                        "{} row(s) have no number, or one below 1, which no event can have",
                        state.misnumbered
                    ),
                });
            }
            let commitments = view.commitments(&stream).await?;
            outline.unreadable.extend(commitments.unreadable);
            let mut found = StreamOutline {
                stream,
                range: scope.range.clone(),
                events: state.event_count,
                first: state.first,
                last: state.last,
                counter: state.counter,
                commitments: commitments.rows,
            };
            if let Some(range) = &scope.range {
                let present = view.present_spans(&stream).await?;
                // No event has number 0, wherever the range begins.
                let part = Span::new(*range.start().max(&1), *range.end());
                let present = part.map_or_else(Spans::default, |part| present.within(part));
                (found.events, found.first, found.last) = (present.count(), present.first(), present.last());
                found
                    .commitments
                    .retain(|c| c.sequence_start <= *range.end() && c.sequence_end >= *range.start());
            }
            found
                .commitments
                .sort_by_key(|c| (c.sequence_start, c.sequence_end, c.batch_id));
            outline.streams.push(found);
        }
        let mut tenants: Vec<Option<TenantId>> = scope.streams.iter().map(|s| Some(s.tenant_id)).collect();
        if tenants.is_empty() {
            tenants.push(None);
        }
        tenants.sort_unstable();
        tenants.dedup();
        for tenant in tenants {
            let keys = view.log_keys(tenant).await?;
            outline.keys.extend(keys.keys);
            outline.unreadable_keys.extend(keys.unreadable);
        }
        outline
            .keys
            .sort_by_key(|key| (key.tenant_id, key.agent_id, key.key_id));
        Ok(outline)
    }
}
