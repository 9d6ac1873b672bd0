//! PostgreSQL clusters of one's own, in a private folder: made or restored, started, backed up, recovered to a point in
//! time, and gone without a trace.
//!
//! - [`Binaries`]: where the server's programs are, and of which release.
//! - [`ScratchPlace`]: the private folder, the system user that servers run as, and the watchdog that ends all servers and
//!   programs and removes the folder when this process is gone, however it went.
//! - [`Server`]: one cluster in the place. It listens on a unix socket in the private folder, so nobody else on the machine
//!   gets at what was restored.
//! - [`Recovery`]: where a restored cluster is to stop replaying.
//! - [`PgBackRest`]: stanzas, backups and restores by pgBackRest, never with the configuration below `/etc`.
//!
//! Nothing here prints, exits, reads the environment (callers give the `PATH`) or has SQL. Whatever takes long takes a
//! [`Patience`] and can be stopped. Every error says what could not be done, and [`ScratchError::hint`] what to do.
//!
//! ```no_run
//! use std::time::Duration;
//! use scratch_postgres::{Binaries, Listen, Patience, ScratchPlace, Search, Server};
//!
//! # fn main() -> Result<(), scratch_postgres::ScratchError> {
//! let search = Search { folder: None, path: std::env::var_os("PATH").unwrap_or_default() };
//! let patience = Patience::new(Duration::from_secs(60), &|| false);
//! let binaries = Binaries::find(&search)?;
//! let place = ScratchPlace::new(None, &search.path)?;
//! let mut server = Server::create(&place, &binaries, "primary", Listen::Socket, &patience)?;
//! server.start(&patience)?;
//! println!("{}", server.url("postgres"));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod account;
mod backup_info;
mod binaries;
mod control;
mod error;
mod patience;
mod pgbackrest;
mod place;
mod recovery;
mod server;

pub use account::Account;
pub use backup_info::{ArchiveInfo, BackupInfo, BackupType, ClusterInfo, StanzaInfo, StanzaStatus};
pub use binaries::{Binaries, Search, cluster_version};
pub use control::ControlData;
pub use error::ScratchError;
pub use patience::Patience;
pub use pgbackrest::{PgBackRest, Restore};
pub use place::{Said, ScratchPlace};
pub use recovery::{Recovery, RecoveryTarget};
pub use server::{Listen, Server};
