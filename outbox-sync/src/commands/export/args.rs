//! What is to be exported, and how.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cli_common::SchemaArg;
use outbox_sync::export::Filter;
use ves::{StoreId, TenantId, Timestamp};

use super::super::{KeyArgs, SecretUrl};

/// Write events of outboxes to a file, as NDJSON or one JSON document, with a manifest beside it
///
/// Without --missing-from every signed row goes out as it is, in constant memory. With it, what that log lacks goes
/// out, whatever the outboxes believe: each event once, by its best copy, with its class (missing, doubtful,
/// never_sequenced), and nothing that fails to verify. created_at goes out as it was signed. Outboxes are not
/// changed. Ends with 0, 4 if rows were left out since they do not verify or cannot be read, or if nothing is as it
/// was asked for (--tenant, --state …), 8 if a file cannot be read whole.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Outboxes: files, folders (all outboxes below them) or patterns; exports are read too
    #[arg(required = true, value_name = "OUTBOX")]
    pub(super) inputs: Vec<String>,

    /// The file to write; one that is there is kept, unless --force is given
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,

    /// Replace the file and its manifest, once the new ones are whole; never a link, device or pipe
    #[arg(long)]
    pub(super) force: bool,

    /// Read outboxes row by row, each from a private copy: slower, and the export is the same
    #[arg(long, conflicts_with = "missing_from")]
    pub(super) row_by_row: bool,

    /// How to write it
    #[arg(long, value_enum, default_value_t = Form::Ndjson)]
    pub(super) form: Form,

    /// Only what this log lacks: a PostgreSQL URL, a snapshot file, an export of the log, or an archive of events
    /// (s3://, gs://, az://, file:// or a folder; read by event-archive)
    #[arg(long, value_name = "URL|FILE")]
    pub(super) missing_from: Option<SecretUrl>,

    #[command(flatten)]
    pub(super) schema: SchemaArg,

    #[command(flatten)]
    pub(super) keys: KeyArgs,

    /// Only events in these states
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(super) state: Vec<State>,

    /// Only this tenant
    #[arg(long, value_name = "ID")]
    pub(super) tenant: Option<TenantId>,

    /// Only this store
    #[arg(long, value_name = "ID")]
    pub(super) store: Option<StoreId>,

    /// Only events created at this time or later (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<Timestamp>,

    /// Only events created before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<Timestamp>,

    /// Only entities of this type
    #[arg(long, value_name = "TYPE")]
    pub(super) entity_type: Option<String>,

    /// Only the entity with this id
    #[arg(long, value_name = "ID")]
    pub(super) entity_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// One event a line
    Ndjson,
    /// One document
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum State {
    /// Not yet acknowledged
    Pending,
    /// Acknowledged, as the agent believes
    Synced,
    /// Could not be sent
    Failed,
    /// Refused by the sequencer; left out of --missing-from unless named here
    Rejected,
    /// In a state that no agent writes
    Unknown,
    /// Got from the sequencer
    Pulled,
    /// Got from the sequencer and not accepted
    Quarantined,
}

impl State {
    /// As [`state_name`] has it.
    fn name(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Synced => "synced",
            State::Failed => "failed",
            State::Rejected => "rejected",
            State::Unknown => "unknown",
            State::Pulled => "pulled",
            State::Quarantined => "quarantined",
        }
    }
}

impl ExportArgs {
    /// What was asked for, in words.
    pub(super) fn selection(&self) -> Vec<String> {
        let states: Vec<&str> = self.state.iter().map(|state| state.name()).collect();
        let asked = [
            ("--state", (!states.is_empty()).then(|| states.join(","))),
            ("--tenant", self.tenant.map(|id| id.to_string())),
            ("--store", self.store.map(|id| id.to_string())),
            ("--since", self.since.map(|time| time.to_string())),
            ("--until", self.until.map(|time| time.to_string())),
            ("--entity-type", self.entity_type.clone()),
            ("--entity-id", self.entity_id.clone()),
        ];
        let given = asked
            .into_iter()
            .filter_map(|(option, value)| Some((option, value?)));
        given.map(|(option, value)| format!("{option} {value}")).collect()
    }

    pub(super) fn filter(&self) -> Filter {
        Filter {
            states: self.state.iter().map(|state| state.name()).collect(),
            tenant: self.tenant,
            store: self.store,
            since: self.since,
            until: self.until,
            entity_type: self.entity_type.clone(),
            entity_id: self.entity_id.clone(),
        }
    }
}
