//! Who waits for whom.

use crate::locks::Locks;
use crate::size::Size;
use crate::world::{Job, REQUESTS, TOOLS, World};

/// All that can be at work at once.
const WORKERS: usize = REQUESTS + TOOLS + 2;

/// Somebody at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A request.
    Request(usize),
    /// A tool.
    Tool(usize),
    /// The job that commits batches.
    Batch,
    /// The older log's writer.
    Older,
}

impl Who {
    fn place(self) -> usize {
        match self {
            Who::Request(i) => i,
            Who::Tool(i) => REQUESTS + i,
            Who::Batch => REQUESTS + TOOLS,
            Who::Older => REQUESTS + TOOLS + 1,
        }
    }
}

/// The locks of everybody, and what each needs for its next step.
#[derive(Debug, Default)]
pub struct Waits {
    held: [Locks; WORKERS],
    wants: [Locks; WORKERS],
    /// Who, if it waits, gives up after a moment: one bit for each.
    short: u8,
    /// Who is in a transaction.
    active: u8,
    /// Who holds the counter to give out numbers.
    numbering: u8,
}

/// The bits of tools.
const OF_TOOLS: u8 = ((1 << TOOLS) - 1) << REQUESTS;

impl Waits {
    /// Those of a moment.
    pub fn of(world: &World, size: &Size) -> Self {
        let mut waits = Self::default();
        for (i, request) in world.requests.iter().enumerate() {
            if let Some(request) = request {
                waits.add(Who::Request(i), request.held, request.wants());
                waits.numbering |= u8::from(request.numbers()) << i;
            }
        }
        for (i, tool) in world.tools.iter().enumerate() {
            let who = Who::Tool(i);
            match &tool.job {
                Job::Idle | Job::Surveying(_) => {}
                Job::Raising(raise) => waits.add(who, raise.held, raise.wants()),
                Job::Undoing(undo) => waits.add(who, undo.held, undo.wants()),
                Job::Applying(apply) => {
                    waits.add(who, apply.held, apply.wants(size));
                    waits.short |= u8::from(apply.is_short(size)) << who.place();
                }
            }
        }
        if let Some(batch) = &world.batch {
            waits.add(Who::Batch, batch.held, batch.wants());
        }
        if let Some(older) = &world.older {
            waits.add(Who::Older, older.held, older.wants());
        }
        waits
    }

    fn add(&mut self, who: Who, held: Locks, wants: Locks) {
        let place = who.place();
        self.held[place] = held;
        self.wants[place] = wants;
        self.active |= 1 << place;
    }

    /// For whom the next step must wait: one bit for each.
    fn blockers(&self, place: usize) -> u8 {
        if self.wants[place] == Locks::NONE {
            return 0;
        }
        let meets = |other: &usize| *other != place && self.wants[place].meets(self.held[*other]);
        (0..WORKERS).filter(meets).fold(0, |all, other| all | 1 << other)
    }

    /// Whether the next step must wait.
    pub fn is_blocked(&self, who: Who) -> bool {
        self.blockers(who.place()) != 0
    }

    /// Whether a request that gives out numbers waits for this one.
    pub fn stands_in_the_way(&self, who: Who) -> bool {
        let waits = |place: &usize| self.blockers(*place) & 1 << who.place() != 0;
        (0..REQUESTS)
            .filter(|place| self.numbering & 1 << place != 0)
            .any(|place| waits(&place))
    }

    /// Who is in a circle of waits that nobody of it ends by itself: one bit for each.
    fn deadlocked(&self) -> u8 {
        // Who gives up after a moment ends every circle that it is in.
        let lasting = !self.short;
        let mut reach = [0_u8; WORKERS];
        for (place, reached) in reach.iter_mut().enumerate() {
            if lasting & 1 << place != 0 {
                *reached = self.blockers(place) & lasting;
            }
        }
        if reach.iter().filter(|blockers| **blockers != 0).count() < 2 {
            return 0;
        }
        for _ in 0..WORKERS {
            for place in 0..WORKERS {
                let further = (0..WORKERS).filter(|other| reach[place] & 1 << other != 0);
                let further = further.fold(0, |all, other| all | reach[other]);
                reach[place] |= further;
            }
        }
        let circles = (0..WORKERS).filter(|place| reach[*place] & 1 << place != 0);
        circles.fold(0, |all, place| all | 1 << place)
    }

    /// Whether this one is in a deadlock, so that PostgreSQL may end it.
    pub fn is_deadlocked(&self, who: Who) -> bool {
        self.deadlocked() & 1 << who.place() != 0
    }

    /// Whether anybody is.
    pub fn has_deadlock(&self) -> bool {
        self.deadlocked() != 0
    }

    /// Whether a tool is.
    pub fn has_deadlock_of_a_tool(&self) -> bool {
        self.deadlocked() & OF_TOOLS != 0
    }

    /// Whether there is a circle with a tool in it that the tool ends by itself.
    pub fn has_short_circle(&self) -> bool {
        let all = Self { short: 0, ..*self };
        all.has_deadlock_of_a_tool() && !self.has_deadlock_of_a_tool()
    }

    /// Whether somebody waits and nobody can go on: neither by a step, nor by giving up, nor as PostgreSQL's victim.
    pub fn is_stuck(&self) -> bool {
        let active = (0..WORKERS).filter(|place| self.active & 1 << place != 0);
        let blocked: Vec<usize> = active
            .clone()
            .filter(|place| self.blockers(*place) != 0)
            .collect();
        let goes_on = |place: usize| self.short & 1 << place != 0 || self.deadlocked() & 1 << place != 0;
        !blocked.is_empty() && blocked.len() == active.count() && !blocked.into_iter().any(goes_on)
    }
}
