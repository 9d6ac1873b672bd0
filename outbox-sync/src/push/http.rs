//! Requests over HTTP.

use std::time::Duration;

pub use cli_common::keys::ApiKey;
use cli_common::{redact_text, redact_url};
use http_client::{Client, Limits, NoAnswer, Reply};

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(15),
    // A request of 1000 events takes seconds; a connection that says nothing for so long is gone.
    answer: Duration::from_secs(120),
    // 1000 receipts with post-quantum bundles have far less.
    bytes: 64 << 20,
};
const INGEST: &str = "/api/v1/ves/events/ingest";

/// The URL of the ingest, from that of the sequencer or of the ingest itself.
pub fn ingest_url(url: &str) -> String {
    let base = url.trim_end_matches('/');
    if base.ends_with(INGEST) {
        base.to_owned()
    } else {
        format!("{base}{INGEST}")
    }
}

/// The sequencer over HTTP.
#[derive(Debug)]
pub struct HttpTransport {
    client: Client,
    url: String,
    key: Option<ApiKey>,
}

impl HttpTransport {
    /// A client for this sequencer. Nothing is sent yet.
    pub fn new(url: &str, key: Option<ApiKey>) -> Self {
        Self {
            client: Client::new(LIMITS),
            url: ingest_url(url),
            key,
        }
    }

    /// Sends the body of an ingest request, and waits for the answer.
    ///
    /// # Errors
    /// No answer came.
    pub fn ingest(&self, body: &[u8]) -> Result<Reply, NoAnswer> {
        let key = self.key.as_ref().map(ApiKey::authorization);
        let sent = self.client.post_json(&self.url, key.as_deref(), body);
        sent.map_err(|error| NoAnswer {
            what: redact_text(&format!("{}: {error}", redact_url(&self.url))),
            ..error
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_sequencer_and_of_its_ingest() {
        for url in ["http://h:1", "http://h:1/", "http://h:1/api/v1/ves/events/ingest"] {
            assert_eq!(ingest_url(url), "http://h:1/api/v1/ves/events/ingest");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let key = ApiKey::new(" s3cret\n").unwrap();
        assert!(!format!("{key:?}").contains("s3cret"));
        assert!(!format!("{:?}", HttpTransport::new("http://h", Some(key))).contains("s3cret"));
        assert!(ApiKey::new(" ").is_err() && ApiKey::new("a\nb").is_err());
    }
}
