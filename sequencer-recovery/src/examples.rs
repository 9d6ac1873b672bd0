//! The examples that `--help` begins with. A test has the tool take each of them.

/// The tool itself.
pub const TOOL: &str = "\
Examples:
  sequencer-recovery audit --db \"$DATABASE_URL\" --outbox outboxes/
  sequencer-recovery plan --db \"$DATABASE_URL\" --outbox outboxes/ \\
      --anchors anchors.json --out plan.ndjson";

/// `audit`.
pub const AUDIT: &str = "\
Examples:
  sequencer-recovery audit --db \"$DATABASE_URL\"
  sequencer-recovery audit --db log.db --outbox outboxes/ \\
      --anchors anchors.json --witness old-primary.dump --report audit.html";

/// `gaps`.
pub const GAPS: &str = "\
Examples:
  sequencer-recovery gaps --db \"$DATABASE_URL\"
  sequencer-recovery gaps --db log.db --all --format json";

/// `plan`.
pub const PLAN: &str = "\
Examples:
  sequencer-recovery plan --db \"$DATABASE_URL\" --outbox outboxes/ \\
      --anchors anchors.json --out plan.ndjson
  sequencer-recovery plan --db log.db --outbox outboxes/ --accept claimed \\
      --append never-sequenced --out plan.ndjson";

/// `apply`.
pub const APPLY: &str = "\
Examples:
  sequencer-recovery apply plan.ndjson --db \"$DATABASE_URL\"
  sequencer-recovery apply plan.ndjson --db \"$DATABASE_URL\" \\
      --undo undo.ndjson --epoch epoch.json";

/// `undo`.
pub const UNDO: &str = "\
Examples:
  sequencer-recovery undo undo.ndjson --db \"$DATABASE_URL\"
  sequencer-recovery undo undo.ndjson --db log.db --format json";

/// `epoch`.
pub const EPOCH: &str = "\
Examples:
  sequencer-recovery epoch --db \"$DATABASE_URL\" --out epoch.json
  sequencer-recovery epoch --db \"$DATABASE_URL\" --plan plan.ndjson \\
      --epoch-key recovery.key --out epoch.json";

/// `certify`.
pub const CERTIFY: &str = "\
Examples:
  sequencer-recovery certify plan.ndjson --out losses.json
  sequencer-recovery certify plan.ndjson --out losses.json \\
      --markdown losses.md --key recovery.key";

/// `backup-check`.
pub const BACKUP_CHECK: &str = "\
Examples:
  sequencer-recovery backup-check --pgbackrest main --outbox outboxes/ \\
      --anchors anchors.json --against \"$DATABASE_URL\" --rto 4h
  sequencer-recovery backup-check --dump log.dump --outbox outboxes/ \\
      --scratch /var/tmp --report backup.html";

/// `checklist`.
pub const CHECKLIST: &str = "\
Examples:
  sequencer-recovery checklist --db \"$DATABASE_URL\" --outbox outboxes/ \\
      --anchors anchors.json --url http://localhost:8080
  sequencer-recovery checklist --db log.db --backup-folder backups/ \\
      --prometheus http://localhost:9090 --require alerts.quiet";

/// `checkpoint`.
pub const CHECKPOINT: &str = "\
Examples:
  sequencer-recovery checkpoint --db \"$DATABASE_URL\" --state state.json \\
      --key checkpoint.key --name orders.example.com --out checkpoints/
  sequencer-recovery checkpoint --db log.db --state state.json \\
      --key checkpoint.key --name orders.example.com --out log.checkpoints";

/// `guard`.
pub const GUARD: &str = "\
Examples:
  sequencer-recovery guard --db \"$DATABASE_URL\" --state guard.json \\
      --checkpoints checkpoints/ --checkpoint-key orders.vkey
  sequencer-recovery guard --db log.db --anchors anchors.json --quick";

/// `watch`.
pub const WATCH: &str = "\
Examples:
  sequencer-recovery watch --db \"$DATABASE_URL\" --state watch.db \\
      --listen 127.0.0.1:9187
  sequencer-recovery watch --db \"$DATABASE_URL\" --state watch.db \\
      --outbox outboxes/ --anchors anchors.json --once";

/// `counters`.
pub const COUNTERS: &str = "\
Examples:
  sequencer-recovery counters --db \"$DATABASE_URL\" --outbox outboxes/
  sequencer-recovery counters --db \"$DATABASE_URL\" --outbox outboxes/ --apply";

/// `snapshot`.
pub const SNAPSHOT: &str = "\
Examples:
  sequencer-recovery snapshot --db \"$DATABASE_URL\" --out log.db
  sequencer-recovery snapshot --db \"$DATABASE_URL\" --schema ves --out log.db";

/// `drill`.
pub const DRILL: &str = "\
Examples:
  sequencer-recovery drill
  sequencer-recovery drill --pitr --rto 15m --keep drill/
  sequencer-recovery drill --seed 7 --events 1000 --fault ran-on";

/// `drill history`.
pub const DRILL_HISTORY: &str = "\
Examples:
  sequencer-recovery drill history
  sequencer-recovery drill history recovery_reports/ --format json";

/// `drill plan`.
pub const DRILL_PLAN: &str = "\
Examples:
  sequencer-recovery drill plan --quarter 2026Q4
  sequencer-recovery drill plan --quarter 2027Q1 --out exercise.md";

/// `export`.
pub const EXPORT: &str = "\
Examples:
  sequencer-recovery export --db \"$DATABASE_URL\" --out log.ndjson
  sequencer-recovery export --db log.db --redact --out log.ndjson";

/// `incident`.
pub const INCIDENT: &str = "\
Examples:
  sequencer-recovery incident start \"Log lost in eu-1\" --ago 20m --rto 1h
  sequencer-recovery incident status --incident incidents/2026-11-28-log-lost";

/// `incident start`.
pub const INCIDENT_START: &str = "\
Examples:
  sequencer-recovery incident start \"Log lost in eu-1\"
  sequencer-recovery incident start \"Log lost in eu-1\" --ago 20m \\
      --rto 1h --rpo 5m --in /srv/incidents";

/// `incident note`.
pub const INCIDENT_NOTE: &str = "\
Examples:
  sequencer-recovery incident note --moment restore-ended --ago 5m
  sequencer-recovery incident note \"pgbouncer restarted\" --intervention";

/// `incident status`.
pub const INCIDENT_STATUS: &str = "\
Examples:
  sequencer-recovery incident status
  sequencer-recovery incident status --incident incidents/2026-11-28-log-lost \\
      --format json";

/// `incident close`.
pub const INCIDENT_CLOSE: &str = "\
Examples:
  sequencer-recovery incident close
  sequencer-recovery incident close --key recovery.key \\
      --reports /srv/recovery_reports";

/// `incident check`.
pub const INCIDENT_CHECK: &str = "\
Examples:
  sequencer-recovery incident check --incident incidents/2026-11-28-log-lost
  sequencer-recovery incident check --public-key recovery.pub";
