//! Restoring a backup into a scratch cluster: never over anything, and gone with the value.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cli_common::{Cancel, DbTarget, PrivateDir};
use event_log::DumpError;
use scratch_postgres::{
    Binaries, Listen, PgBackRest, Recovery, RecoveryTarget, Restore, ScratchError, ScratchPlace, Server,
    cluster_version,
};

use super::failure::CheckFailure;
use super::room;
use super::source::{Broken, FromPgBackRest, Origin, Restored, Scratch, Source, Way};
use crate::error::RecoveryError;
use crate::witness::Dump;

/// A backup that was restored, or what is broken of it.
type Outcome = Result<Result<Restored, Broken>, CheckFailure>;

/// Where pgBackRest's configuration file usually is.
const USUAL: [&str; 2] = ["/etc/pgbackrest/pgbackrest.conf", "/etc/pgbackrest.conf"];

/// A cluster takes about so many times what its dump takes.
const DUMP_GROWS: u64 = 4;

/// The name of the scratch cluster in its place.
const NAME: &str = "restored";

/// Restores a backup and starts it.
///
/// # Errors
/// It could not be tried. That it is broken is an outcome.
pub(super) fn restore(
    source: &Source,
    scratch: &Scratch<'_>,
    origin: &mut Origin,
    way: &mut Way,
    cancel: &Cancel,
) -> Outcome {
    match source {
        Source::PgBackRest(from) => of_pgbackrest(from, scratch, origin, way),
        Source::BaseBackup {
            dir,
            wal,
            target_time,
        } => of_base_backup(dir, wal.as_deref(), target_time.as_deref(), scratch, way),
        Source::Dump(dump) if dump.is_archive() => of_archive(dump, scratch, way),
        Source::Dump(dump) => of_text(dump, way, cancel),
        Source::Copy { db, .. } => Ok(Ok(Restored {
            candidates: vec![db.clone()],
            _server: None,
            _folder: None,
        })),
    }
}

/// What is broken, if that is what an error says; `None` if it could not be tried.
fn broken(step: &'static str, error: &ScratchError) -> Option<Broken> {
    let what = match error {
        ScratchError::Failed { told, .. } if is_of_the_backup(told) => told,
        ScratchError::NoServer { told } if !told.contains("No space left") => told,
        ScratchError::NoCluster { .. } => &error.to_string(),
        _ => return None,
    };
    Some(Broken {
        step,
        what: what.clone(),
    })
}

/// Whether a complaint of pgBackRest's, pg_verifybackup's or pg_restore's is about the backup: a checksum, a format, a file
/// of it that is not there. What is about a configuration, a right or the disk is not.
fn is_of_the_backup(told: &str) -> bool {
    let ours = [
        "No space left",
        "Permission denied",
        "unable to open missing file '/etc",
    ];
    if ours.iter().any(|what| told.contains(what)) {
        return false;
    }
    // pgBackRest's numbers for: checksum, format, file missing, file read, no such backup, file invalid.
    let codes = ["[026]", "[028]", "[029]", "[042]", "[055]", "[075]"];
    let missing_stanza = told.contains("backup.info") || told.contains("archive.info");
    let of_pgbackrest = codes.iter().any(|code| told.contains(code)) && !missing_stanza;
    of_pgbackrest || told.contains("pg_verifybackup: error") || told.contains("pg_restore: error")
}

/// Passes on what could not be tried, and turns what is broken into an outcome.
macro_rules! or_broken {
    ($step:literal, $tried:expr) => {
        match $tried {
            Ok(done) => done,
            Err(error) => {
                return match broken($step, &error) {
                    Some(broken) => Ok(Err(broken)),
                    None => Err(error.into()),
                }
            }
        }
    };
}

fn of_pgbackrest(
    from: &FromPgBackRest,
    scratch: &Scratch<'_>,
    origin: &mut Origin,
    way: &mut Way,
) -> Outcome {
    let place = ScratchPlace::new(scratch.parent, scratch.path())?;
    let usual = || USUAL.iter().map(PathBuf::from).find(|path| path.is_file());
    let Some(config) = from.config.clone().or_else(usual) else {
        return Err(CheckFailure::NoBackup {
            what: format!("pgBackRest has no configuration file ({})", USUAL.join(", ")),
            hint: "name it with --pgbackrest-config",
        });
    };
    let tool = PgBackRest::with_config(&place, &config, &from.stanza)?;
    let info = tool.info(&scratch.patience)?;
    if info.status.code != 0 {
        let what = format!("stanza {}: {}", from.stanza, info.status.message);
        if info.status.code == 2 {
            return Ok(Err(Broken {
                step: "restore",
                what,
            }));
        }
        let hint = "is it the right name and the right configuration file, and may the user `postgres` read the repository?";
        return Err(CheckFailure::NoBackup { what, hint });
    }
    let chosen = match &from.set {
        Some(label) => info.backup.iter().find(|backup| backup.label == *label),
        None => info.newest(),
    };
    if let (None, Some(label)) = (chosen, &from.set) {
        return Err(CheckFailure::NoBackup {
            what: format!("stanza {} has no backup {label}", from.stanza),
            hint: "`pgbackrest info` names those that there are",
        });
    }
    if let Some(backup) = chosen {
        origin.label = Some(backup.label.clone());
        let micros = backup.timestamp.stop.saturating_mul(1_000_000);
        origin.made = Some(ves::Timestamp(micros).to_string());
        room::check(scratch.parent, backup.info.as_ref().map_or(0, |info| info.size))?;
    }
    let target = target(from.target_time.as_deref());
    let data = place.make_dir(NAME)?;
    let restore = Restore {
        data_dir: &data,
        set: from.set.as_deref(),
        target: target.clone(),
        timeline: None,
        delta: false,
    };
    or_broken!(
        "restore",
        way.step("restore", |_| tool.restore(&restore, &scratch.patience))
    );
    let binaries = or_broken!("restore", of_this_release(scratch, &data));
    let server = Server::of(&place, &binaries, NAME, Listen::Socket)?;
    or_broken!("start", server.adopt());
    let command = tool.restore_command(server.data_dir());
    server.recover(&Recovery::to(target, Some(command)))?;
    start(server, scratch, way)
}

fn target(time: Option<&str>) -> RecoveryTarget {
    time.map_or(RecoveryTarget::End, |time| RecoveryTarget::Time(time.to_owned()))
}

fn of_this_release(scratch: &Scratch<'_>, data: &Path) -> Result<Binaries, ScratchError> {
    Binaries::find_major(&scratch.search, &cluster_version(data)?)
}

/// Starts a restored cluster and says which databases may have the log.
fn start(mut server: Server, scratch: &Scratch<'_>, way: &mut Way) -> Outcome {
    or_broken!("start", way.step("start", |_| server.start(&scratch.patience)));
    let names = match scratch.database {
        Some(name) => vec![name.to_owned()],
        None => or_broken!("start", databases(&server, scratch)),
    };
    let candidates = names
        .iter()
        .map(|name| DbTarget::parse(server.url_as(scratch.role, name).as_ref()))
        .collect::<Result<_, _>>();
    let candidates = candidates.map_err(|error| CheckFailure::NoBackup {
        what: error.to_string(),
        hint: "name the database with --database",
    })?;
    Ok(Ok(Restored {
        candidates,
        _server: Some(server),
        _folder: None,
    }))
}

/// The databases of a cluster, those that every cluster has last or not at all.
fn databases(server: &Server, scratch: &Scratch<'_>) -> Result<Vec<String>, ScratchError> {
    let mut command = server.place().command(&server.binaries().program("psql"));
    command.args([
        "--no-psqlrc",
        "--list",
        "--no-align",
        "--tuples-only",
        "--field-separator=\t",
    ]);
    command.args(["--dbname", &server.url_as(scratch.role, "template1")]);
    let said = server
        .place()
        .run("psql --list", &mut command, &scratch.patience)?;
    let text = String::from_utf8_lossy(&said.stdout);
    // Rights go on over several lines.
    let rows = text.lines().filter(|line| line.matches('\t').count() >= 3);
    let mut names: Vec<String> = rows
        .filter_map(|line| line.split('\t').next())
        .filter(|name| !name.starts_with("template"))
        .map(str::to_owned)
        .collect();
    names.sort_by_key(|name| name == "postgres");
    Ok(names)
}

fn of_base_backup(
    dir: &Path,
    wal: Option<&Path>,
    time: Option<&str>,
    scratch: &Scratch<'_>,
    way: &mut Way,
) -> Outcome {
    if dir.join("base.tar").exists() || dir.join("base.tar.gz").exists() {
        return Err(CheckFailure::NoBackup {
            what: format!("{} is a base backup in tar format", dir.display()),
            hint: "unpack it into a folder (tar -xf base.tar -C FOLDER, pg_wal.tar into its pg_wal), and give that",
        });
    }
    room::check(scratch.parent, room::size_of(dir).map_err(CheckFailure::io(dir))?)?;
    let place = ScratchPlace::new(scratch.parent, scratch.path())?;
    let data = place.home().join(NAME);
    way.step("restore", |_| Copying { place: &place }.cluster(dir, &data))?;
    let binaries = or_broken!("restore", of_this_release(scratch, &data));
    let server = Server::of(&place, &binaries, NAME, Listen::Socket)?;
    if data.join("backup_manifest").is_file() {
        let mut verify = place.command(&binaries.program("pg_verifybackup"));
        if wal.is_some() {
            verify.arg("--no-parse-wal");
        }
        verify.arg(&data);
        let verified = way.step("verify", |_| {
            place.run("pg_verifybackup", &mut verify, &scratch.patience)
        });
        or_broken!("verify", verified);
    } else {
        way.not_checked.push(format!(
            "checksums of the backup's files: {} has no backup_manifest",
            dir.display()
        ));
    }
    or_broken!("start", server.adopt());
    match wal {
        Some(wal) => {
            readable(&place, wal)?;
            let from = wal.to_string_lossy().replace('\'', "'\\''").replace('%', "%%");
            let command = format!("cp '{from}/%f' %p");
            server.recover(&Recovery::to(target(time), Some(command)))?;
        }
        None if time.is_some() => server.recover(&Recovery::to(target(time), None))?,
        None => {}
    }
    start(server, scratch, way)
}

/// Whether the user that the server runs as may read a folder.
fn readable(place: &ScratchPlace, folder: &Path) -> Result<(), CheckFailure> {
    let mut command = place.command(Path::new("/bin/sh"));
    command
        .args(["-c", "test -r \"$1\" && test -x \"$1\"", "sh"])
        .arg(folder);
    let patience = scratch_postgres::Patience::new(std::time::Duration::from_secs(60), &|| false);
    place
        .run("sh", &mut command, &patience)
        .map(drop)
        .map_err(|_| CheckFailure::NoBackup {
            what: format!(
                "the user that the server runs as cannot read {}",
                folder.display()
            ),
            hint: "let it read that folder and those above it, or copy it to where it may",
        })
}

/// Copies a cluster into the place, and gives it to the user that the server runs as.
struct Copying<'a> {
    place: &'a ScratchPlace,
}

impl Copying<'_> {
    /// Links are followed where clusters have them, to the WAL and to tablespaces, so that the copy writes to none of the
    /// original's files. Any other is refused.
    fn cluster(&self, from: &Path, to: &Path) -> Result<(), CheckFailure> {
        self.dir(from, to, &|path| {
            let inside = path.strip_prefix(from).unwrap_or(path);
            inside == Path::new("pg_wal") || inside.starts_with("pg_tblspc")
        })
    }

    fn dir(&self, from: &Path, to: &Path, may_follow: &dyn Fn(&Path) -> bool) -> Result<(), CheckFailure> {
        let own = |path: &Path, mode: u32| -> Result<(), CheckFailure> {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(CheckFailure::io(path))?;
            Ok(self.place.account().own(path)?)
        };
        fs::create_dir(to).map_err(CheckFailure::io(to))?;
        for entry in fs::read_dir(from).map_err(CheckFailure::io(from))? {
            let path = entry.map_err(CheckFailure::io(from))?.path();
            let Some(name) = path.file_name() else { continue };
            let copy = to.join(name);
            let meta = path.symlink_metadata().map_err(CheckFailure::io(&path))?;
            if meta.is_symlink() && !may_follow(&path) {
                return Err(CheckFailure::NoBackup {
                    what: format!(
                        "{} is a link, which base backups do not have there",
                        path.display()
                    ),
                    hint: "is this a cluster that runs? Give a folder that pg_basebackup made",
                });
            }
            let space = meta.is_symlink() && path.parent().is_some_and(|p| p.ends_with("pg_tblspc"));
            if space {
                self.tablespace(&path, &copy)?;
            } else if path.is_dir() {
                self.dir(&path, &copy, may_follow)?;
            } else if path.is_file() {
                fs::copy(&path, &copy).map_err(CheckFailure::io(&path))?;
                own(&copy, 0o600)?;
            }
        }
        own(to, 0o700)
    }

    /// A tablespace is copied beside the cluster, and linked to there.
    fn tablespace(&self, link: &Path, copy: &Path) -> Result<(), CheckFailure> {
        let name = copy
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let beside = self.place.home().join(format!("space-{name}"));
        self.dir(link, &beside, &|_| false)?;
        std::os::unix::fs::symlink(&beside, copy).map_err(CheckFailure::io(copy))
    }
}

/// An archive of pg_dump's goes through PostgreSQL itself, as a role that owns its database and nothing else: what the
/// archive says is carried out, and must not reach beyond it.
fn of_archive(dump: &Dump, scratch: &Scratch<'_>, way: &mut Way) -> Outcome {
    let size = room::size_of(dump.path()).map_err(CheckFailure::io(dump.path()))?;
    room::check(scratch.parent, size.saturating_mul(DUMP_GROWS))?;
    let place = ScratchPlace::new(scratch.parent, scratch.path())?;
    let binaries = Binaries::find(&scratch.search)?;
    let mut server = Server::create(&place, &binaries, NAME, Listen::Socket, &scratch.patience)?;
    server.start(&scratch.patience)?;
    let copy = place.home().join("dump");
    if dump.path().is_dir() {
        Copying { place: &place }.dir(dump.path(), &copy, &|_| false)?;
    } else {
        fs::copy(dump.path(), &copy).map_err(CheckFailure::io(dump.path()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).map_err(CheckFailure::io(&copy))?;
        place.account().own(&copy)?;
    }
    let run = |name: &str, words: &[&str]| {
        let mut command = place.command(&binaries.program(name));
        command.arg("--host").arg(server.socket_dir());
        command
            .args(["--port", &server.port().to_string(), "--no-password"])
            .args(words);
        place.run(name, &mut command, &scratch.patience)
    };
    run("createuser", &["--username=postgres", "--no-superuser", OWNER])?;
    run("createdb", &["--username=postgres", "--owner", OWNER, "log"])?;
    let copy = copy.to_string_lossy().into_owned();
    let words = [
        "--username",
        OWNER,
        "--no-owner",
        "--no-privileges",
        "--exit-on-error",
        "--dbname=log",
        &copy,
    ];
    or_broken!("restore", way.step("restore", |_| run("pg_restore", &words)));
    // It is there already: what is left is to look at it.
    let url = server.url("log");
    let db = DbTarget::parse(url.as_ref()).map_err(|error| CheckFailure::NoBackup {
        what: error.to_string(),
        hint: "give another folder with --scratch",
    })?;
    Ok(Ok(Restored {
        candidates: vec![db],
        _server: Some(server),
        _folder: None,
    }))
}

/// The role that owns what an archive restores.
const OWNER: &str = "restorer";

/// A dump in plain text is read here and not run: psql would carry out whatever else stands in it.
fn of_text(dump: &Dump, way: &mut Way, cancel: &Cancel) -> Outcome {
    let folder = PrivateDir::new().map_err(CheckFailure::io(&std::env::temp_dir()))?;
    let snapshot = folder.path().join("dump.db");
    let loaded = way.step("restore", |_| dump.load(&snapshot, cancel));
    let (info, failed) = match loaded {
        Ok(loaded) => loaded,
        Err(DumpError::Cancelled) => return Err(cli_common::Cancelled.into()),
        Err(DumpError::Log(error)) => return Err(RecoveryError::from(error).into()),
        Err(error) => {
            let what = error.to_string();
            return Ok(Err(Broken {
                step: "restore",
                what,
            }));
        }
    };
    let cut = (!info.complete).then(|| "its end is missing: it was cut off".to_owned());
    if let Some(what) = failed.or(cut) {
        return Ok(Err(Broken {
            step: "restore",
            what,
        }));
    }
    if info.unreadable_count > 0 {
        let first = info.unreadable.first().cloned().unwrap_or_default();
        let what = format!("{} row(s) cannot be read: {first}", info.unreadable_count);
        return Ok(Err(Broken {
            step: "restore",
            what,
        }));
    }
    way.not_checked.extend(info.not_checked);
    way.not_checked.push(
        "whether PostgreSQL takes this dump: one in plain text is read here and not run, since it may say anything \
         (pg_dump --format=custom is restored in earnest)"
            .into(),
    );
    Ok(Ok(Restored {
        candidates: vec![DbTarget::Snapshot(snapshot)],
        _server: None,
        _folder: Some(folder),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_told_from_what_could_not_be_tried() {
        let failed = |told: &str| ScratchError::Failed {
            program: "x".into(),
            told: told.into(),
        };
        for told in [
            "ERROR: [026]: error restoring 'base/1/2': actual checksum 'a' does not match expected checksum 'b'",
            "ERROR: [075]: no backup set found to restore",
            "pg_verifybackup: error: checksum mismatch for file \"base/1/1259\"",
            "pg_restore: error: could not read from input file: end of file",
        ] {
            assert!(broken("restore", &failed(told)).is_some(), "{told}");
        }
        for told in [
            "ERROR: [055]: unable to load info file '/repo/backup/x/backup.info' or 'backup.info.copy'",
            "ERROR: [041]: unable to open file '/repo/x' for read: [13] Permission denied",
            "pg_restore: error: could not write: No space left on device",
        ] {
            assert!(broken("restore", &failed(told)).is_none(), "{told}");
        }
        let no_server = ScratchError::NoServer {
            told: "PANIC: could not locate a valid checkpoint record".into(),
        };
        assert!(broken("start", &no_server).is_some());
    }
}
