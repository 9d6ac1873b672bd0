//! Agents that the log knows and whose outboxes were not heard: they may hold what is missing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use ves::{AgentId, KeyRegistry, StoreId, StreamKey, TenantId};

use event_log::StreamFilter;

/// So many are named in words; the others are counted.
const NAMED: usize = 12;

/// An agent that no outbox speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unheard {
    /// The agent.
    pub agent_id: AgentId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The store that the log has events of it in; `None` if the log has its key alone.
    pub store_id: Option<StoreId>,
    /// The number of its last event there.
    pub last_seen: Option<u64>,
}

/// The agents that made events, stream by stream, with the last number of each.
pub type Seen = BTreeMap<StreamKey, BTreeMap<AgentId, u64>>;

/// The agents with events or keys in the log that are not among those heard, by stream; those with a key alone last.
pub fn unheard(
    seen: &Seen,
    keys: &KeyRegistry,
    heard: &BTreeSet<AgentId>,
    filter: &StreamFilter,
) -> Vec<Unheard> {
    let mut all = Vec::new();
    let mut named = BTreeSet::new();
    for (stream, agents) in seen {
        for (agent, last) in agents {
            named.insert((stream.tenant_id, *agent));
            if !heard.contains(agent) {
                all.push(Unheard {
                    agent_id: *agent,
                    tenant_id: stream.tenant_id,
                    store_id: Some(stream.store_id),
                    last_seen: Some(*last),
                });
            }
        }
    }
    let with_keys: BTreeSet<(TenantId, AgentId)> =
        keys.iter().map(|key| (key.tenant_id, key.agent_id)).collect();
    for (tenant_id, agent_id) in with_keys.difference(&named) {
        // A key holds in every store of its tenant: looking at one store says nothing of the others.
        if filter.store.is_some() || filter.tenant.is_some_and(|tenant| tenant != *tenant_id) {
            continue;
        }
        if !heard.contains(agent_id) {
            all.push(Unheard {
                agent_id: *agent_id,
                tenant_id: *tenant_id,
                store_id: None,
                last_seen: None,
            });
        }
    }
    all.retain(|one| {
        one.store_id
            .is_none_or(|store| filter.admits(&StreamKey::new(one.tenant_id, store)))
    });
    all
}

/// The same in words, for people.
pub fn describe(unheard: &[Unheard]) -> Vec<String> {
    let line = |one: &Unheard| match (one.store_id, one.last_seen) {
        (Some(store), Some(last)) => format!(
            "NOT HEARD: agent {} of stream {}, last seen at {last}: find its outbox",
            one.agent_id,
            StreamKey::new(one.tenant_id, store)
        ),
        _ => format!(
            "NOT HEARD: agent {} of tenant {}, of which the log has a key and no event: find its outbox",
            one.agent_id, one.tenant_id
        ),
    };
    let mut lines: Vec<String> = unheard.iter().take(NAMED).map(line).collect();
    if let Some(more @ 1..) = unheard.len().checked_sub(NAMED) {
        lines.push(format!("NOT HEARD: {more} more (--format json names all)"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_dozen_are_named_and_the_rest_is_counted() {
        let stream = StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into());
        let agent = |n: u128| AgentId(Uuid::from_u128(n));
        let seen = Seen::from([(stream, (1..=15).map(|n| (agent(n), n as u64)).collect())]);
        let all = unheard(
            &seen,
            &KeyRegistry::default(),
            &BTreeSet::from([agent(3)]),
            &StreamFilter::default(),
        );
        assert_eq!(all.len(), 14);
        let lines = describe(&all);
        assert_eq!(lines.len(), 13);
        assert!(lines[1].contains("last seen at 2: find its outbox") && lines[2].contains("last seen at 4"));
        assert_eq!(lines[12], "NOT HEARD: 2 more (--format json names all)");
        let other = StreamFilter {
            store: Some(Uuid::from_u128(9).into()),
            ..StreamFilter::default()
        };
        assert!(unheard(&seen, &KeyRegistry::default(), &BTreeSet::new(), &other).is_empty());
    }
}
