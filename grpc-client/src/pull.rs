//! A stream, pulled number by number until there is nothing more.

use std::time::Duration;

use http_client::{Backoff, Pauses};
use ves::StreamKey;
use ves::span::{Span, Spans};

use crate::pace::Pace;
use crate::page::Page;
use crate::service::{Failure, FailureKind, Service};

/// So many numbers are asked for at once: more the service does not give.
const WINDOW: u64 = 1000;
/// How often a question is asked that is not answered.
const ATTEMPTS: u32 = 4;
/// A service that counts requests by the minute is busy for as long: with the pauses between, so many tries are some minutes.
const BUSY_ATTEMPTS: u32 = 20;
const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(15),
};
/// After so many numbers up to its head that it does not give, a service is asked no further: each costs a question.
const MOST_LACKING: u64 = 5000;
/// After so many numbers that it failed at, one by one, a service is asked no further.
const MOST_FAILED: u32 = 20;
/// So many events may be behind the head that the service itself tells.
const MOST_BEYOND: u64 = 100_000;

/// Why a pull ended before the stream did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// There was no answer.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The answer makes no sense.
    #[error("the answer makes no sense: {0}")]
    Answer(String),
    /// It says that the stream goes on, and gives nothing.
    #[error(
        "it says that the stream goes to {head}, and does not give {count} of its numbers ({first} is the first)"
    )]
    Lacking {
        /// What it says.
        head: u64,
        /// How many were asked for in vain.
        count: u64,
        /// The first of them.
        first: u64,
    },
    /// It took longer than it may.
    #[error("it was not done within {} s", .0.as_secs())]
    TimeUp(Duration),
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// One stream of a service, being pulled.
#[derive(Debug)]
pub struct Pull<'a> {
    service: &'a mut Service,
    pace: &'a mut Pace,
    stream: StreamKey,
    head: u64,
    /// What is still to be asked for, up to the head.
    todo: Spans,
    /// Where the numbers behind the head begin.
    behind: u64,
    window: u64,
    attempts: u32,
    backoff: Backoff,
    lacking: Spans,
    failed: u32,
    beyond: u64,
    done: bool,
}

impl<'a> Pull<'a> {
    /// Asks how far a stream goes, and begins to pull what of it is not in `known`.
    ///
    /// # Errors
    /// No answer, or one that makes no sense.
    pub async fn begin(
        service: &'a mut Service,
        pace: &'a mut Pace,
        stream: StreamKey,
        known: &Spans,
    ) -> Result<Self, PullError> {
        let mut pull = Self {
            service,
            pace,
            stream,
            head: 0,
            todo: Spans::default(),
            behind: 1,
            window: WINDOW,
            attempts: 0,
            backoff: PAUSES.begin(),
            lacking: Spans::default(),
            failed: 0,
            beyond: 0,
            done: false,
        };
        pull.head = pull.ask_head().await?;
        let all = Span::up_to(pull.head);
        pull.todo = all.map(|all| known.complement(all)).unwrap_or_default();
        pull.behind = pull.head.max(known.last().unwrap_or(0)).saturating_add(1);
        Ok(pull)
    }

    async fn ask_head(&mut self) -> Result<u64, PullError> {
        loop {
            self.pace.wait().await?;
            let asked = self.service.head(&self.stream);
            match self.pace.within(asked).await? {
                Ok(head) if i64::try_from(head).is_err() => {
                    return Err(PullError::Answer(format!(
                        "its head is {head}, which no log can hold"
                    )));
                }
                Ok(head) => return Ok(head),
                Err(failure) => self.try_again(failure).await?,
            }
        }
    }

    /// How far the stream goes, as the service says.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The numbers up to the head that it does not give, as far as it was asked.
    #[must_use]
    pub fn lacking(&self) -> &Spans {
        &self.lacking
    }

    /// How many events it gave that lie behind the head that it told with them: its counter is behind.
    #[must_use]
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// The next events; `None` at the end. After an error there is no more.
    ///
    /// # Errors
    /// See [`PullError`].
    pub async fn next_page(&mut self) -> Result<Option<Page>, PullError> {
        while !self.done {
            let range = self.next_range();
            self.pace.wait().await?;
            let count = u32::try_from(range.count()).unwrap_or(u32::MAX);
            let asked = self.service.events(&self.stream, range.start(), count);
            let answer = match self.pace.within(asked).await? {
                Ok(answer) => answer,
                Err(failure) => {
                    self.failed_at(range, failure).await?;
                    continue;
                }
            };
            self.attempts = 0;
            self.backoff = PAUSES.begin();
            let page = Page::read(range, answer.head_sequence, answer.events).map_err(PullError::Answer)?;
            if page.is_empty() && self.todo.is_empty() {
                self.done = true;
                break;
            }
            self.window = (self.window * 2).min(WINDOW);
            self.take(range, &page)?;
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// What to ask for next: up to the head what is not known, then what is behind it.
    fn next_range(&self) -> Span {
        let all = match self.todo.iter().next() {
            Some(span) => span,
            None => Span::new(self.behind, u64::MAX).unwrap_or(Span::at(u64::MAX)),
        };
        let end = all.start().saturating_add(self.window - 1).min(all.end());
        Span::new(all.start(), end).unwrap_or(all)
    }

    /// Goes on behind a page.
    fn take(&mut self, asked: Span, page: &Page) -> Result<(), PullError> {
        let numbers = page.events.iter().flatten().map(|event| event.sequence_number);
        let there = Spans::of_positions(numbers);
        if self.todo.is_empty() {
            self.behind = page.range.end().saturating_add(1);
        } else {
            // An event that cannot be read says no number: those are told by who reads the page.
            if page.lacking() > 0 {
                let unread = page.events.iter().filter(|event| event.is_err()).count() as u64;
                let absent = Spans::from(asked).subtract(&there);
                for number in absent
                    .positions()
                    .take(absent.count().saturating_sub(unread).try_into().unwrap_or(0))
                {
                    self.lacking.insert(Span::at(number));
                }
                self.check_lacking()?;
            }
            self.todo = self.todo.subtract(&asked.into());
        }
        self.beyond += there.positions().filter(|number| *number > page.head).count() as u64;
        if self.beyond > MOST_BEYOND {
            return Err(PullError::Answer(format!(
                "it gave more than {MOST_BEYOND} events behind the head that it tells ({})",
                page.head
            )));
        }
        Ok(())
    }

    fn check_lacking(&self) -> Result<(), PullError> {
        let count = self.lacking.count();
        match self.lacking.first() {
            Some(first) if count > MOST_LACKING => Err(PullError::Lacking {
                head: self.head,
                count,
                first,
            }),
            _ => Ok(()),
        }
    }

    /// What to do about a range that was not answered for.
    async fn failed_at(&mut self, range: Span, failure: Failure) -> Result<(), PullError> {
        let single = range.count() == 1;
        // Smaller ranges would be more questions, which is what a busy service has too many of.
        if !single && matches!(failure.fault, FailureKind::Question | FailureKind::Unwell) {
            self.window = range.count().div_ceil(2);
        }
        match failure.fault {
            FailureKind::Question if !single => Ok(()),
            FailureKind::Question if self.todo.is_empty() => {
                // Behind the head there need not be anything.
                self.done = true;
                Ok(())
            }
            FailureKind::Question => self.skip(range),
            FailureKind::Unwell if single && self.attempts + 1 >= ATTEMPTS && self.failed < MOST_FAILED => {
                self.failed += 1;
                self.attempts = 0;
                self.backoff = PAUSES.begin();
                if self.todo.is_empty() {
                    self.behind = range.end().saturating_add(1);
                    return Ok(());
                }
                self.skip(range)
            }
            // As long as the range becomes smaller, it is another question.
            FailureKind::Unwell if !single => self.pace.pause(PAUSES.first).await,
            _ => self.try_again(failure).await,
        }
    }

    fn skip(&mut self, range: Span) -> Result<(), PullError> {
        self.lacking.insert(range);
        self.todo = self.todo.subtract(&range.into());
        self.check_lacking()
    }

    /// Waits before a question is asked again, or gives it up.
    async fn try_again(&mut self, failure: Failure) -> Result<(), PullError> {
        self.attempts += 1;
        let attempts = match failure.fault {
            FailureKind::Forbidden | FailureKind::Final => 1,
            FailureKind::Busy => BUSY_ATTEMPTS,
            _ => ATTEMPTS,
        };
        if self.attempts >= attempts {
            return Err(failure.into());
        }
        let pause = self.backoff.next_pause(None);
        self.pace.pause(pause).await
    }
}
