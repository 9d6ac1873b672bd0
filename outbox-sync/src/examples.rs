//! The examples that `--help` begins with. A test has the tool take each of them.

/// The tool itself.
pub const TOOL: &str = "\
Examples:
  outbox-sync status agent.db
  outbox-sync export outboxes/ --missing-from log.db --out missing.ndjson";

/// `status`.
pub const STATUS: &str = "\
Examples:
  outbox-sync status agent.db
  outbox-sync status outboxes/ --db \"$DATABASE_URL\"";

/// `verify`.
pub const VERIFY: &str = "\
Examples:
  outbox-sync verify agent.db --db \"$DATABASE_URL\"
  outbox-sync verify outboxes/ --keys keys.json --all";

/// `export`.
pub const EXPORT: &str = "\
Examples:
  outbox-sync export agent.db --out events.ndjson
  outbox-sync export outboxes/ --missing-from \"$DATABASE_URL\" \\
      --out missing.ndjson";

/// `census`.
pub const CENSUS: &str = "\
Examples:
  outbox-sync census outboxes/ --db \"$DATABASE_URL\"
  outbox-sync census outboxes/ --db log.db --format json";

/// `push`.
pub const PUSH: &str = "\
Examples:
  outbox-sync push agent.db --url https://sequencer.example.com \\
      --receipts receipts.ndjson
  outbox-sync push missing.ndjson --url https://sequencer.example.com \\
      --receipts receipts.ndjson --api-key-file api.key";

/// `backup`.
pub const BACKUP: &str = "\
Examples:
  outbox-sync backup agent.db --out agent-backup.db
  outbox-sync backup agent.db --out agent-backup.db --force";

/// `reconcile`.
pub const RECONCILE: &str = "\
Examples:
  outbox-sync reconcile agent.db --db \"$DATABASE_URL\"
  outbox-sync reconcile agent.db --epoch epoch.json \\
      --receipts receipts.ndjson --apply";
