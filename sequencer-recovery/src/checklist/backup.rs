//! The age of the newest backup: by pgBackRest's own list, or by the files of a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cli_common::program::{Bounds, NotRun, run};
use cli_common::{Cancel, Cancelled};
use event_log::ServerPlace;
use scratch_postgres::StanzaInfo;
use ves::Timestamp;

use super::fetch::beginning;
use super::line::{Line, LineId, Step};

const ID: LineId = LineId::BackupAge;

/// pgBackRest's list of even many backups is no longer, in bytes.
const LARGEST: u64 = 64 << 20;

/// So long pgBackRest may take for its list.
const PATIENCE: Duration = Duration::from_secs(120);

/// So many entries of a folder are looked at.
const ENTRIES: usize = 100_000;

/// Where backups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupSource {
    /// pgBackRest's repository.
    PgBackRest(PgBackRest),
    /// A folder with dumps or base backups, or a base backup itself.
    Folder(PathBuf),
}

/// How pgBackRest is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgBackRest {
    /// The stanza.
    pub stanza: String,
    /// Its configuration file, if it is not the usual one.
    pub config: Option<PathBuf>,
}

impl PgBackRest {
    /// A command of pgBackRest about this stanza, with its messages on stderr.
    pub fn command(&self, command: &str) -> Command {
        let mut called = Command::new("pgbackrest");
        called.args(self.words());
        called.args([
            "--log-level-console=off",
            "--log-level-stderr=warn",
            "--log-level-file=off",
        ]);
        called.arg(command);
        called
    }

    /// The options that name it.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![format!("--stanza={}", self.stanza)];
        words.extend(
            self.config
                .iter()
                .map(|file| format!("--config={}", file.display())),
        );
        words
    }
}

/// What there is to know before a backup is looked at.
#[derive(Debug, Clone, Copy)]
pub struct BackupQuestion<'a> {
    /// Where backups are, if that was said.
    pub source: Option<&'a BackupSource>,
    /// How old the newest may be.
    pub oldest: Duration,
    /// What time it is.
    pub now: SystemTime,
    /// The server that the log is on.
    pub server: Option<&'a ServerPlace>,
}

/// Looks for the newest backup. Nobody said where: it is not checked.
///
/// # Errors
/// The user stopped it.
pub fn line(asked: BackupQuestion<'_>, cancel: &Cancel) -> Result<Line, Cancelled> {
    match asked.source {
        None => {
            let again = vec!["--pgbackrest".into(), "STANZA".into()];
            Ok(Line::not_checked(
                ID,
                "nobody said where backups are (--pgbackrest, --backup-folder)",
            )
            .step(Step::Again("look for the newest backup".into(), again)))
        }
        Some(BackupSource::PgBackRest(repository)) => of_pgbackrest(repository, asked, cancel),
        Some(BackupSource::Folder(path)) => Ok(of_folder(path, asked)),
    }
}

/// Asks pgBackRest about a stanza.
fn ask(repository: &PgBackRest, cancel: &Cancel) -> Result<Result<StanzaInfo, String>, Cancelled> {
    let mut info = repository.command("info");
    info.arg("--output=json");
    let bounds = Bounds {
        bytes: LARGEST,
        time: Some(PATIENCE),
    };
    let ran = match run(info, bounds, cancel) {
        Ok(ran) => ran,
        Err(NotRun::Cancelled(cancelled)) => return Err(cancelled),
        Err(error) => return Ok(Err(error.to_string())),
    };
    if !ran.status.success() {
        return Ok(Err(format!("pgbackrest info failed: {}", ran.complaint())));
    }
    let stanzas: Result<Vec<StanzaInfo>, _> = serde_json::from_slice(&ran.stdout);
    Ok(match stanzas {
        Err(_) => Err("pgbackrest info answers with something else than its list".to_owned()),
        Ok(all) => all
            .into_iter()
            .find(|stanza| stanza.name == repository.stanza)
            .ok_or_else(|| format!("pgBackRest knows no stanza {}", repository.stanza)),
    })
}

fn of_pgbackrest(
    repository: &PgBackRest,
    asked: BackupQuestion<'_>,
    cancel: &Cancel,
) -> Result<Line, Cancelled> {
    let mut words = vec!["pgbackrest".to_owned()];
    words.extend(repository.words());
    words.extend(["--type=full".into(), "backup".into()]);
    let step = Step::Run("make a backup now".into(), words);
    let stanza = match ask(repository, cancel)? {
        Ok(stanza) => stanza,
        Err(why) => {
            let mut info = vec!["pgbackrest".to_owned()];
            info.extend(repository.words());
            info.push("info".into());
            return Ok(Line::could_not(ID, why).step(Step::Run("see what it says".into(), info)));
        }
    };
    Ok(judge(&stanza, asked).step(step))
}

fn judge(stanza: &StanzaInfo, asked: BackupQuestion<'_>) -> Line {
    let stanza_name = beginning(&stanza.name);
    if stanza.status.code != 0 {
        let message = beginning(&stanza.status.message);
        return Line::fail(ID, format!("stanza {stanza_name}: {message}"));
    }
    let Some(newest) = stanza.newest() else {
        return Line::fail(ID, format!("stanza {stanza_name} has no backup"));
    };
    let seconds = u64::try_from(newest.timestamp.stop).unwrap_or(0);
    let ended = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    let label = format!("{} ({})", beginning(&newest.label), newest.kind.as_str());
    let mut line = by_age(
        &format!("newest backup {label}, ended"),
        ended.unwrap_or(UNIX_EPOCH),
        asked,
    );
    line = line.seen(format!(
        "{} backup(s) in stanza {stanza_name}",
        stanza.backup.len()
    ));
    let mut wrong = Vec::new();
    if newest.error == Some(true) {
        wrong.push("damaged pages were found when it was made".to_owned());
    }
    let server = asked.server;
    let here = server.and_then(|s| s.system_identifier.as_deref());
    if let (Some(here), Some(there)) = (here, stanza.system_of(newest))
        && here != there.to_string()
    {
        wrong.push(format!(
            "it is of another cluster: system {there}, and the log is on {here}"
        ));
    }
    if let (Some(now), Some(then)) = (server.and_then(|s| s.timeline), newest.timeline())
        && now != then
    {
        line = line.seen(format!(
            "it is of timeline {then}, and the server writes timeline {now}: it was made before the recovery"
        ));
    }
    for what in wrong {
        line = Line {
            verdict: super::line::LineVerdict::Fail,
            ..line
        }
        .seen(what);
    }
    line
}

/// A verdict by age alone.
fn by_age(what: &str, made: SystemTime, asked: BackupQuestion<'_>) -> Line {
    let text = format!("{what} {}", moment(made));
    let oldest = told(asked.oldest);
    match asked.now.duration_since(made) {
        Ok(age) if age > asked.oldest => Line::fail(
            ID,
            format!("{text}: {} old, and no more than {oldest} is wanted", told(age)),
        ),
        Ok(age) => Line::pass(ID, format!("{text}: {} old, of at most {oldest}", told(age))),
        // A clock that is a little behind is no matter.
        Err(ahead) if ahead.duration() < Duration::from_secs(300) => {
            Line::pass(ID, format!("{text}: just now, of at most {oldest}"))
        }
        Err(_) => Line::fail(
            ID,
            format!("{text}, which is in the future: one of the clocks is wrong"),
        ),
    }
}

fn of_folder(path: &Path, asked: BackupQuestion<'_>) -> Line {
    let newest = match newest_in(path) {
        Ok(newest) => newest,
        Err(error) => {
            return Line::could_not(ID, format!("{}: {error}", path.display()))
                .step(Step::Say("is it the right folder, and may you read it?".into()));
        }
    };
    let step = Step::Say("make a backup now, and see why the usual one was not made".into());
    let Some((name, made)) = newest else {
        return Line::fail(ID, format!("{} is empty", path.display())).step(step);
    };
    by_age(&format!("newest is {}, of", name.display()), made, asked)
        .seen("by the file's time: a copy may be younger than what it is a copy of")
        .step(step)
}

/// The newest file of a folder, or the manifest of a base backup, which is written last.
fn newest_in(path: &Path) -> std::io::Result<Option<(PathBuf, SystemTime)>> {
    let at = |path: PathBuf| -> std::io::Result<(PathBuf, SystemTime)> {
        let made = path.metadata()?.modified()?;
        Ok((path, made))
    };
    if path.is_file() {
        return at(path.to_owned()).map(Some);
    }
    for manifest in ["backup_manifest", "backup_label"].map(|name| path.join(name)) {
        if manifest.is_file() {
            return at(manifest).map(Some);
        }
    }
    let mut newest: Option<(PathBuf, SystemTime)> = None;
    for entry in fs::read_dir(path)?.take(ENTRIES) {
        let found = entry?.path();
        let found = if found.is_dir() {
            let manifest = ["backup_manifest", "backup_label", "toc.dat"].map(|name| found.join(name));
            let Some(manifest) = manifest.into_iter().find(|file| file.is_file()) else {
                continue;
            };
            at(manifest)
        } else {
            at(found)
        };
        // What went meanwhile is no backup.
        let Ok(found) = found else { continue };
        if newest.as_ref().is_none_or(|(_, made)| found.1 > *made) {
            newest = Some(found);
        }
    }
    Ok(newest)
}

fn moment(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(
        i64::try_from(since.as_secs())
            .unwrap_or(0)
            .saturating_mul(1_000_000),
    )
    .to_string()
}

/// A length of time, in its two largest units.
pub fn told(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let (mut rest, mut parts) = (seconds, Vec::new());
    for (size, name) in units {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{}{name}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() {
        return "0s".into();
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::line::LineVerdict;

    const HOUR: Duration = Duration::from_secs(3600);

    fn asked(now: u64, server: Option<&ServerPlace>) -> BackupQuestion<'_> {
        BackupQuestion {
            source: None,
            oldest: 24 * HOUR,
            now: UNIX_EPOCH + Duration::from_secs(now),
            server,
        }
    }

    fn stanza(backups: &str) -> StanzaInfo {
        serde_json::from_str(&format!(
            r#"{{"name":"main","status":{{"code":0,"message":"ok"}},"db":[{{"id":1,"system-id":7,"version":"15"}}],
                "backup":{backups}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn the_newest_backup_counts_and_says_what_is_wrong_with_it() {
        let two = r#"[
            {"label":"B","type":"incr","error":false,"timestamp":{"start":1,"stop":200000},"database":{"id":1},
             "archive":{"start":"000000010000000000000002","stop":"000000010000000000000002"}},
            {"label":"A","type":"full","timestamp":{"start":1,"stop":100000}}]"#;
        let line = judge(&stanza(two), asked(200_000 + 7_200, None));
        assert_eq!(line.verdict, LineVerdict::Pass);
        assert!(
            line.evidence[0].contains("B (incr)") && line.evidence[0].contains("2h old"),
            "{line:?}"
        );
        assert_eq!(
            judge(&stanza(two), asked(400_000, None)).verdict,
            LineVerdict::Fail
        );
        assert_eq!(
            judge(&stanza(two), asked(100_000, None)).verdict,
            LineVerdict::Fail
        );
        assert_eq!(judge(&stanza("[]"), asked(1, None)).verdict, LineVerdict::Fail);
        let torn = two.replace("\"error\":false", "\"error\":true");
        assert_eq!(
            judge(&stanza(&torn), asked(200_100, None)).verdict,
            LineVerdict::Fail
        );
        let mut server = server();
        assert_eq!(
            judge(&stanza(two), asked(200_100, Some(&server))).verdict,
            LineVerdict::Pass
        );
        server.timeline = Some(2);
        let before = judge(&stanza(two), asked(200_100, Some(&server)));
        assert!(
            before.evidence.iter().any(|e| e.contains("before the recovery")),
            "{before:?}"
        );
        server.system_identifier = Some("8".into());
        assert_eq!(
            judge(&stanza(two), asked(200_100, Some(&server))).verdict,
            LineVerdict::Fail
        );
    }

    fn server() -> ServerPlace {
        ServerPlace {
            server_version: "15".into(),
            system_identifier: Some("7".into()),
            timeline: Some(1),
            database: "d".into(),
            role: "r".into(),
            schema: None,
            level: None,
            mode: event_log::ServerMode::Primary,
            recovery: None,
        }
    }

    #[test]
    fn a_folder_is_as_old_as_its_newest_backup() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(
            of_folder(folder.path(), asked(now, None)).verdict,
            LineVerdict::Fail
        );
        fs::write(folder.path().join("a.dump"), "x").unwrap();
        assert_eq!(
            of_folder(folder.path(), asked(now, None)).verdict,
            LineVerdict::Pass
        );
        assert_eq!(
            of_folder(folder.path(), asked(now + 100_000, None)).verdict,
            LineVerdict::Fail
        );
        let none = of_folder(&folder.path().join("none"), asked(now, None));
        assert_eq!((none.verdict, none.could_not), (LineVerdict::NotChecked, true));
    }

    #[test]
    fn lengths_of_time_are_told_in_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_661, "1h 1m"),
            (90_000, "1d 1h"),
            (86_401, "1d"),
        ] {
            assert_eq!(told(Duration::from_secs(seconds)), text);
        }
    }
}
