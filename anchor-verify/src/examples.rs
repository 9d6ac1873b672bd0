//! The examples that `--help` begins with. A test has the tool take each of them.

/// The tool itself.
pub const TOOL: &str = "\
Examples:
  anchor-verify import logs_*.json --out anchors.json
  anchor-verify verify --db log.db --anchors anchors.json";

/// `fetch`.
pub const FETCH: &str = "\
Examples:
  anchor-verify fetch --rpc https://node.example.com \\
      --contract 0x5FbDB2315678afecb367f032d93F642f64180aa3 --out anchors.json
  anchor-verify fetch --rpc https://node.example.com --to latest \\
      --contract 0x5FbDB2315678afecb367f032d93F642f64180aa3 --out anchors.json";

/// `import`.
pub const IMPORT: &str = "\
Examples:
  anchor-verify import logs_*.json --out anchors.json
  anchor-verify import logs.json headers.json receipts.json proofs.json \\
      --out anchors.json";

/// `verify`.
pub const VERIFY: &str = "\
Examples:
  anchor-verify verify --db log.db --anchors anchors.json
  anchor-verify verify log.bundle --require PROVEN \\
      --trusted-block 0x9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// `merge`.
pub const MERGE: &str = "\
Examples:
  anchor-verify merge shard-1.json shard-2.json
  anchor-verify merge shard-*.json --format json";

/// `prove`.
pub const PROVE: &str = "\
Examples:
  anchor-verify prove --event 3f2c8a54-0f39-4a6e-9a0b-5d1c7e2f4b60 \\
      --db log.db --anchors anchors.json --out event.proof
  anchor-verify prove --sequence 4711 \\
      --stream 11111111-1111-4111-8111-111111111111/22222222-2222-4222-8222-222222222222 \\
      --db log.db --anchors anchors.json --out event.proof";

/// `check`.
pub const CHECK: &str = "\
Examples:
  anchor-verify check event.proof
  anchor-verify check event.proof --require PROVEN \\
      --trusted-block 0x9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// `bundle`.
pub const BUNDLE: &str = "\
Examples:
  anchor-verify bundle --db log.db --anchors anchors.json --out log.bundle
  anchor-verify bundle --db \"$DATABASE_URL\" --anchors anchors.json \\
      --redact payload --out log.bundle";

/// `attest`.
pub const ATTEST: &str = "\
Examples:
  anchor-verify attest report.json --key auditor.key --out signed.json
  anchor-verify attest report.json --key auditor.key --out signed.json --force";

/// `check-report`.
pub const CHECK_REPORT: &str = "\
Examples:
  anchor-verify check-report signed.json --public-key auditor.pub
  anchor-verify check-report signed.json --public-key auditor.pub \\
      --require PROVEN";

/// `checkpoints`.
pub const CHECKPOINTS: &str = "\
Examples:
  anchor-verify checkpoints orders.checkpoints --checkpoint-key orders.vkey
  anchor-verify checkpoints mine/ theirs/ --checkpoint-key orders.vkey \\
      --db \"$DATABASE_URL\" --epoch epoch.json --epoch-public-key operator.pub";

/// `lint`.
pub const LINT: &str = "\
Examples:
  anchor-verify lint anchors.json
  anchor-verify lint anchors.json --db \"$DATABASE_URL\"";
