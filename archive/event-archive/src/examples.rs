//! The examples that `--help` begins with. A test has the tool take each of them.

/// The tool itself.
pub const TOOL: &str = "\
Examples:
  event-archive write s3://archive/eu --db \"$DATABASE_URL\"
  event-archive verify s3://archive/eu --anchors anchors.json";

/// `write`.
pub const WRITE: &str = "\
Examples:
  event-archive write s3://archive/eu --db \"$DATABASE_URL\"
  event-archive write /mnt/archive --db log.db --anchors anchors.json \\
      --key archive.key";

/// `status`.
pub const STATUS: &str = "\
Examples:
  event-archive status s3://archive/eu
  event-archive status /mnt/archive --chain --public-key archive.pub";

/// `verify`.
pub const VERIFY: &str = "\
Examples:
  event-archive verify s3://archive/eu --anchors anchors.json
  event-archive verify s3://archive/eu --anchors anchors.json \\
      --shard 1/64 --format json";

/// `prove`.
pub const PROVE: &str = "\
Examples:
  event-archive prove s3://archive/eu --anchors anchors.json \\
      --event 3f2c8a54-0f39-4a6e-9a0b-5d1c7e2f4b60 --out event.proof
  event-archive prove /mnt/archive --anchors anchors.json --sequence 4711 \\
      --stream 11111111-1111-4111-8111-111111111111/22222222-2222-4222-8222-222222222222 \\
      --out event.proof";

/// `snapshot`.
pub const SNAPSHOT: &str = "\
Examples:
  event-archive snapshot s3://archive/eu --out log.db
  event-archive snapshot /mnt/archive --out stream.db \\
      --stream 11111111-1111-4111-8111-111111111111/22222222-2222-4222-8222-222222222222";

/// `sql`.
#[cfg(feature = "engine")]
pub const SQL: &str = "\
Examples:
  event-archive sql s3://archive/eu \"select count(*) from events\"
  event-archive sql /mnt/archive --format ndjson \\
      \"select store_id, ves_gaps(sequence_number) from events group by store_id\"";

/// `scheduler`.
#[cfg(feature = "engine")]
pub const SCHEDULER: &str = "\
Examples:
  event-archive scheduler --listen 127.0.0.1:50050
  event-archive scheduler --listen 10.0.0.1:50050";

/// `executor`.
#[cfg(feature = "engine")]
pub const EXECUTOR: &str = "\
Examples:
  event-archive executor --scheduler df://127.0.0.1:50050
  event-archive executor --scheduler df://10.0.0.1:50050 --tasks 2";
