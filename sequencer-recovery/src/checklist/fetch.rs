//! Asking over HTTP, with the answer bounded and the user heard meanwhile.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cli_common::{Cancel, Cancelled, redact_url};
use http_client::{Client, Limits, NoAnswer, Reply};

/// No answer that is looked at is larger, in bytes.
const LARGEST: u64 = 4 << 20;

/// How often the user is heard.
const TICK: Duration = Duration::from_millis(50);

/// So much of others' text is told.
const TOLD: usize = 160;

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Fetch<'a> {
    client: Client,
    cancel: &'a Cancel,
}

impl<'a> Fetch<'a> {
    /// Waits for each answer as long as that.
    pub(super) fn new(timeout: Duration, cancel: &'a Cancel) -> Self {
        let client = Client::new(Limits {
            connect: timeout,
            answer: timeout,
            bytes: LARGEST,
        });
        Self { client, cancel }
    }

    /// Asks for what is below a URL.
    pub(super) fn get(&self, base: &str, below: &str) -> Result<Result<Reply, NoAnswer>, Cancelled> {
        let url = format!("{}{below}", base.trim_end_matches('/'));
        let (sender, answer) = mpsc::channel();
        let client = self.client.clone();
        // A thread that waits for an answer cannot be stopped: it is left behind, and bounded by its timeout.
        thread::spawn(move || sender.send(client.get(&url)));
        loop {
            self.cancel.check()?;
            if let Ok(answer) = answer.recv_timeout(TICK) {
                return Ok(answer);
            }
        }
    }
}

/// Where was asked, without secrets.
pub(super) fn shown(base: &str, below: &str) -> String {
    format!("{}{below}", redact_url(base.trim_end_matches('/')))
}

/// The beginning of others' text, on one line.
pub(super) fn beginning(text: &str) -> String {
    let mut short: String = text.chars().take(TOLD).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Whether a URL can be asked: http or https with a host, and nothing after the path.
///
/// # Errors
/// Why not.
pub fn check_url(url: &str) -> Result<String, String> {
    let rest = ["http://", "https://"]
        .into_iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    match rest {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Err("it names no host".into()),
        Some(rest) if rest.contains(['?', '#']) => {
            Err("it has more than a path: give its beginning alone".into())
        }
        Some(rest) if rest.chars().any(|c| c.is_control() || c == ' ') => Err("it is no URL".into()),
        Some(_) => Ok(url.to_owned()),
        None => Err("it begins with neither http:// nor https://".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_before_anything_is_asked() {
        for good in ["http://localhost:8080", "https://seq.example/prefix/"] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost:8080",
            "ftp://x",
            "http://",
            "http:///x",
            "http://x/?a=b",
            "http://x#y",
            "http://x y",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn others_text_is_cut() {
        assert_eq!(beginning("ok"), "ok");
        assert!(beginning(&"ä".repeat(1000)).chars().count() <= TOLD + 1);
    }
}
