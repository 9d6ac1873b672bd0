//! What happened, in numbers.

use std::fmt;
use std::time::Duration;

/// Counts over all rounds.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Rounds that were played to their end.
    pub rounds: u64,
    /// Runs of the tools that came to their end.
    pub runs: u64,
    /// Tools killed.
    pub tool_kills: u64,
    /// Sequencers killed.
    pub sequencer_kills: u64,
    /// Database servers killed.
    pub server_kills: u64,
    /// Events that agents made.
    pub events: u64,
    /// Requests that the sequencer answered.
    pub requests: u64,
    /// Faults of the network.
    pub network_faults: u64,
    /// Requests that the sequencer answered with 500, whatever for.
    pub failures: u64,
    /// The same, while an apply ran beside it.
    pub failures_beside_apply: u64,
    /// Times that the log was cut back.
    pub cuts: u64,
    /// Those of them that were point-in-time recoveries of the server, not dumps restored.
    pub recoveries: u64,
    /// Events that a cut took.
    pub lost: u64,
    /// Events that came back to their places.
    pub restored: u64,
    /// Applies with the sequencer stopped.
    pub applies: u64,
    /// Applies beside the sequencer and its agents.
    pub applies_under_traffic: u64,
    /// Streams that those repaired.
    pub streams_under_traffic: u64,
    /// Streams that those refused, since they had moved on.
    pub streams_moved_on: u64,
    /// Streams that those failed in for another reason.
    pub streams_failed: u64,
    /// Undos that made the log what it was.
    pub undos: u64,
    /// Undos that were refused beside a sequencer that lives.
    pub undos_refused: u64,
    /// Rounds in which numbers were given out twice, and taken apart again.
    pub reissues: u64,
    /// Runs on a full disk.
    pub full_disks: u64,
    /// Numbers that stay open: nobody had heard of them.
    pub vacant: u64,
    /// Deadlocks in which one of the tools was: a fault.
    pub deadlocks_with_tools: u64,
    /// Deadlocks of others: two requests of the same commands.
    pub deadlocks_of_others: u64,
    /// Times that an agent's own software waited for its database longer than 1.5 s, and gave up.
    pub locked_out: u64,
    /// The longest that one new event waited in a stream that was being repaired, or in another.
    pub worst_pause: Duration,
}

impl Figures {
    /// Adds those of another round.
    pub fn add(&mut self, more: &Self) {
        self.rounds += more.rounds;
        self.runs += more.runs;
        self.tool_kills += more.tool_kills;
        self.sequencer_kills += more.sequencer_kills;
        self.server_kills += more.server_kills;
        self.events += more.events;
        self.requests += more.requests;
        self.network_faults += more.network_faults;
        self.failures += more.failures;
        self.failures_beside_apply += more.failures_beside_apply;
        self.cuts += more.cuts;
        self.recoveries += more.recoveries;
        self.lost += more.lost;
        self.restored += more.restored;
        self.applies += more.applies;
        self.applies_under_traffic += more.applies_under_traffic;
        self.streams_under_traffic += more.streams_under_traffic;
        self.streams_moved_on += more.streams_moved_on;
        self.streams_failed += more.streams_failed;
        self.undos += more.undos;
        self.undos_refused += more.undos_refused;
        self.reissues += more.reissues;
        self.full_disks += more.full_disks;
        self.vacant += more.vacant;
        self.deadlocks_with_tools += more.deadlocks_with_tools;
        self.deadlocks_of_others += more.deadlocks_of_others;
        self.locked_out += more.locked_out;
        self.worst_pause = self.worst_pause.max(more.worst_pause);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: [(&str, u64); 25] = [
            ("rounds", self.rounds),
            ("events made", self.events),
            ("requests answered", self.requests),
            ("faults of the network", self.network_faults),
            ("runs of the tools", self.runs),
            ("tools killed", self.tool_kills),
            ("sequencers killed", self.sequencer_kills),
            ("database servers killed", self.server_kills),
            ("cuts", self.cuts),
            ("  by point-in-time recovery", self.recoveries),
            ("events lost by cuts", self.lost),
            ("events back in their places", self.restored),
            ("numbers left open", self.vacant),
            ("applies, sequencer stopped", self.applies),
            ("applies under traffic", self.applies_under_traffic),
            ("  streams repaired by them", self.streams_under_traffic),
            ("  streams that had moved on", self.streams_moved_on),
            ("  streams failed otherwise", self.streams_failed),
            ("undos to the very same log", self.undos),
            ("undos refused beside a sequencer", self.undos_refused),
            ("reissues taken apart", self.reissues),
            ("runs on a full disk", self.full_disks),
            ("deadlocks with a tool in them", self.deadlocks_with_tools),
            ("deadlocks of other requests", self.deadlocks_of_others),
            ("agents locked out", self.locked_out),
        ];
        for (name, value) in rows {
            writeln!(f, "{name:<34}{value:>8}")?;
        }
        writeln!(f, "{:<34}{:>8}", "HTTP 500, all", self.failures)?;
        writeln!(
            f,
            "{:<34}{:>8}",
            "HTTP 500 beside apply", self.failures_beside_apply
        )?;
        write!(
            f,
            "{:<34}{:>5} ms",
            "worst pause of one event beside apply",
            self.worst_pause.as_millis()
        )
    }
}
