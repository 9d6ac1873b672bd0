//! The one thing to do after a report: a command that can be copied as it stands, or nothing.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::{CliError, CommandLine, Output};

/// What to do after a report: one command that can be run as it stands, or why none is left to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Next {
    /// With a command: what it is for, or what must be so before it is run. Without: why nothing is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The command, quoted for a shell. A password is never in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Next {
    /// A command that can be run at once.
    #[must_use]
    pub fn run(command: &CommandLine) -> Self {
        Self {
            why: what_is_hidden(command),
            command: Some(command.to_string()),
        }
    }

    /// A command, and what it is for, or what must be so first.
    #[must_use]
    pub fn run_for(why: impl Into<String>, command: &CommandLine) -> Self {
        let mut why = why.into();
        if let Some(hidden) = what_is_hidden(command) {
            why.push_str(&format!(" ({hidden})"));
        }
        Self {
            why: Some(why),
            command: Some(command.to_string()),
        }
    }

    /// No command is to be run; `why` is a whole clause.
    #[must_use]
    pub fn nothing(why: impl Into<String>) -> Self {
        Self {
            why: Some(why.into()),
            command: None,
        }
    }

    /// Writes it, for people: the last lines of a report. A command has the last line for itself.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn print<W: Write>(&self, out: &mut Output<W>) -> Result<(), CliError> {
        match (&self.command, &self.why) {
            (None, None) => out.line("NEXT: no further command"),
            (None, Some(why)) => out.line(&format!("NEXT: no further command: {why}")),
            (Some(command), None) => out.command(&format!("NEXT: {command}")),
            (Some(command), Some(why)) => {
                out.line(&format!("NEXT: {why}:"))?;
                out.command(&format!("  {command}"))
            }
        }
    }
}

/// What has to be put in before a command that hides a secret can be run.
fn what_is_hidden(command: &CommandLine) -> Option<String> {
    let whole_url = "with the whole URL, password and all, in DATABASE_URL";
    let stars = "with the password in place of ***, which is shown nowhere";
    let hidden = [(command.hides_url(), whole_url), (command.hides_a_part(), stars)];
    let told: Vec<&str> = hidden
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, what)| *what)
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};

    use super::*;
    use crate::DbTarget;
    use crate::command_line::quoted;

    fn line(words: &[&str]) -> CommandLine {
        words.iter().map(OsString::from).collect::<Vec<_>>().into()
    }

    #[test]
    fn a_shell_reads_the_words_as_they_were() {
        let words = [
            "a.db",
            "my agent's.db",
            "x\ny\\",
            "",
            "$HOME/*",
            "~",
            "ä b",
            "\u{1b}7",
        ];
        for shell in ["bash", "zsh"] {
            let script = format!("printf '%s\\0' {}", line(&words));
            // Not every machine has every shell.
            let Ok(ran) = std::process::Command::new(shell).args(["-c", &script]).output() else {
                continue;
            };
            let read: Vec<u8> = words
                .iter()
                .flat_map(|word| [word.as_bytes(), b"\0"].concat())
                .collect();
            assert_eq!(ran.stdout, read, "{script}");
        }
        assert_eq!(line(&["a.db", "o'b.db"]).to_string(), r"a.db 'o'\''b.db'");
        assert!(!line(&words).to_string().contains(char::is_control));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_utf_8_is_quoted_byte_by_byte() {
        use std::os::unix::ffi::OsStrExt as _;
        assert_eq!(quoted(OsStr::from_bytes(b"a\xff1")), "$'a\\3771'");
    }

    #[test]
    fn options_are_added_and_left_out() {
        let dry = line(&["tool", "push", "--dry-run", "--", "--odd.db"]);
        let next = dry.without("--dry-run").with(["--apply"]);
        assert_eq!(next.to_string(), "tool push --apply -- --odd.db");
        assert_eq!(line(&["tool"]).with(["a", "b c"]).to_string(), "tool a 'b c'");
        let audit = line(&["tool", "audit", "--db", "audit"]);
        assert_eq!(audit.instead("audit", "plan").to_string(), "tool plan --db audit");
    }

    #[test]
    fn a_password_is_never_shown() {
        let secret = "postgres://me:s3cret@h/d";
        let joined = format!("--db={secret}");
        for words in [
            ["t", "--db", secret],
            ["t", "--missing-from", secret],
            ["t", "x", &joined],
        ] {
            let command = line(&words);
            let next = Next::run_for("go on", &command);
            let text = next.command.unwrap();
            assert!(
                text.ends_with("\"$DATABASE_URL\"") && !text.contains("s3cret"),
                "{text}"
            );
            assert!(next.why.unwrap().contains("DATABASE_URL"));
        }
        let other = line(&["t", "--witness", secret, "--outbox", "a b"]);
        // As it was given, and as it was written down without its secret.
        for other in [
            other.clone(),
            line(&["t", "--witness", &crate::redact_text(secret)]),
        ] {
            let next = Next::run(&other);
            assert!(
                next.command
                    .as_ref()
                    .is_some_and(|text| text.contains("***") && !text.contains("s3cret")),
                "{next:?}"
            );
            assert!(next.why.is_some_and(|why| why.contains("in place of ***")));
        }
        assert_eq!(Next::run(&line(&["t", "--db", "postgres://me@h/d"])).why, None);
        let plain = line(&["t", "--db", "postgres://me@h/d"]);
        assert_eq!(plain.to_string(), "t --db postgres://me@h/d");
    }

    #[test]
    fn a_log_is_named_without_its_secret() {
        let db = |url: &str| {
            let target = DbTarget::parse(OsStr::new(url)).unwrap();
            CommandLine::new("x y").db(&target).to_string()
        };
        assert_eq!(db("log.db"), "x y --db log.db");
        assert_eq!(db("postgres://me@h/d"), "x y --db postgres://me@h/d");
        assert_eq!(db("postgres://me:s3cret@h/d"), "x y --db \"$DATABASE_URL\"");
        let line = CommandLine::new("x").options("--anchors", ["a.json", "b c.json"]);
        assert_eq!(line.to_string(), "x --anchors a.json --anchors 'b c.json'");
    }

    #[test]
    fn a_report_ends_with_a_command_or_says_that_none_is_left() {
        let printed = |next: &Next| {
            let mut text = Vec::new();
            let mut out = Output::new(&mut text, crate::Style::default());
            next.print(&mut out).unwrap();
            out.finish().unwrap();
            String::from_utf8(text).unwrap()
        };
        let line = CommandLine::new("x y");
        assert_eq!(printed(&Next::run(&line)), "NEXT: x y\n");
        assert_eq!(printed(&Next::run_for("if so", &line)), "NEXT: if so:\n  x y\n");
        assert_eq!(
            printed(&Next::nothing("all is proven")),
            "NEXT: no further command: all is proven\n"
        );
        let json = serde_json::to_string(&Next::run(&line)).unwrap();
        assert_eq!(json, r#"{"command":"x y"}"#);
    }
}
