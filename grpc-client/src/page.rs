//! What was answered for a range of numbers.

use prost::Message as _;
use ves::span::Span;

use crate::messages::SequencedEvent;

/// Events of a range, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The numbers that were asked for, as far as they were answered for.
    pub range: Span,
    /// What the counter said then.
    pub head: u64,
    /// The events, each as it was sent.
    pub(crate) raw: Vec<Vec<u8>>,
    /// The same, read; or why they cannot be.
    pub events: Vec<Result<SequencedEvent, String>>,
}

impl Page {
    /// Reads the events of an answer about `asked`. One that cannot be read is given as such.
    ///
    /// # Errors
    /// Numbers that were not asked for, or not in order; more events than numbers.
    pub(crate) fn read(asked: Span, head: u64, raw: Vec<Vec<u8>>) -> Result<Self, String> {
        if raw.len() as u64 > asked.count() {
            return Err(format!(
                "it was asked for the {} number(s) {asked}, and gives {} events",
                asked.count(),
                raw.len()
            ));
        }
        if i64::try_from(head).is_err() {
            return Err(format!("its head is {head}, which no log can hold"));
        }
        let mut last = None;
        let mut events = Vec::with_capacity(raw.len());
        for bytes in &raw {
            let event = match SequencedEvent::decode(bytes.as_slice()) {
                Ok(event) => event,
                Err(error) => {
                    events.push(Err(format!("an event among {asked} cannot be read: {error}")));
                    continue;
                }
            };
            let number = event.sequence_number;
            if !asked.contains(number) {
                return Err(format!("it was asked for {asked}, and gives number {number}"));
            }
            if last.is_some_and(|last| last >= number) {
                return Err(format!(
                    "it gives number {number} after number {}",
                    last.unwrap_or(0)
                ));
            }
            last = Some(number);
            events.push(Ok(event));
        }
        // What lies behind the head may still come.
        let end = last.unwrap_or(0).max(head).min(asked.end());
        let range = Span::new(asked.start(), end).unwrap_or(Span::at(asked.start()));
        Ok(Self {
            range,
            head,
            raw,
            events,
        })
    }

    /// How many numbers of it no event came for.
    #[must_use]
    pub fn lacking(&self) -> u64 {
        self.range.count().saturating_sub(self.events.len() as u64)
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
