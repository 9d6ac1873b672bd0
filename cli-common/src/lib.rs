//! How the tools of this workspace talk to people: arguments that all of them have, formats, exit status, errors,
//! progress, logging, cancelling. The binaries are thin shells over their libraries, and this is the rest of them.
//!
//! stdout is data ([`Output`]), stderr is talk ([`CliError`], [`Progress`], logging). Secrets are redacted in
//! everything that is printed ([`redact_url`]), and so are control characters out of hostile input escaped, by what
//! prints: nobody else needs to ([`escape_controls`]).
//!
//! ```no_run
//! use clap::Parser;
//! use cli_common::{CliError, DbArg, ExitStatus, GlobalArgs, Output};
//!
//! /// Counts streams.
//! #[derive(Debug, Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     global: GlobalArgs,
//!     #[command(flatten)]
//!     db: DbArg,
//! }
//!
//! fn run(args: &Args) -> Result<ExitStatus, CliError> {
//!     let target = args.db.target()?;
//!     let mut out = Output::stdout(&args.global);
//!     out.line(&format!("reading {target}"))?;
//!     out.finish()?;
//!     Ok(ExitStatus::OK)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     let args: Args = cli_common::parse_or_exit(["portable"]);
//!     cli_common::init_logging(&args.global);
//!     cli_common::init_threads(&args.global);
//!     cli_common::finish(run(&args), &args.global)
//! }
//! ```

#![forbid(unsafe_code)]

pub mod archive;
mod args;
mod cancel;
mod clock;
mod command_line;
mod common_command;
mod connection;
mod db;
mod environment;
mod error;
mod escape;
mod exit;
pub mod files;
pub mod finding;
pub mod help;
pub mod incident;
pub mod keys;
mod labels;
mod leftovers;
mod logging;
pub mod metrics;
mod next;
mod not_checked;
mod notify;
mod output;
mod partial;
mod private_dir;
pub mod program;
mod progress;
pub mod provenance;
mod redact;
pub mod report;
mod shell;
mod short_paths;
mod style;
mod table;
mod wait;
mod whole_file;
mod wrap;

pub use args::{Format, GlobalArgs, duration, init_threads, parse_or_exit};
pub use cancel::{Cancel, Cancelled};
pub use clock::in_words as time_in_words;
pub use command_line::{CommandLine, quoted};
pub use common_command::CommonCommand;
pub use connection::{ConnectionSettings, HostSettings, TargetServer};
pub use db::{DbArg, DbTarget, PostgresUrl, SchemaArg, db_words};
pub use environment::apply_environment;
pub use error::{CliError, ErrorKind, again, file_hint, finish};
pub use escape::{escape_controls, escape_controls_in_lines};
pub use exit::ExitStatus;
pub use keys::SequencerPublicKeyArgs;
pub use labels::{Labels, Names};
pub use logging::init_logging;
pub use next::Next;
pub use not_checked::not_checked_by_kind;
pub use output::Output;
pub use partial::{Access, partial_file};
pub use private_dir::PrivateDir;
pub use progress::{NoProgress, Progress, stderr_progress};
pub use redact::{redact_text, redact_url};
pub use report::{Frame, Stdouted, print_report, print_report_to};
pub use shell::ShellCommand;
pub use short_paths::ShortPaths;
pub use style::{Style, Tone};
pub use table::Table;
pub use wait::Wait;
pub use whole_file::{Existing, WholeFile};
pub use wrap::WIDTH;
