//! Requests over HTTP.

use std::fmt;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use super::{NoAnswer, Reply, Transport};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A request of 1000 events takes seconds; a connection that says nothing for so long is gone.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The largest answer that is read: 1000 receipts with post-quantum bundles have far less.
const MAX_ANSWER: u64 = 64 << 20;
const INGEST: &str = "/api/v1/ves/events/ingest";

/// The secret that lets us in. Never printed.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key, without the white space around it.
    ///
    /// # Errors
    /// It is empty, or holds what no header can.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the API key is empty or holds characters that no header can".into());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

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
    agent: Agent,
    url: String,
    key: Option<ApiKey>,
}

impl HttpTransport {
    /// A client for this sequencer. Nothing is sent yet.
    pub fn new(url: &str, key: Option<ApiKey>) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // A redirect would take the API key elsewhere.
            .max_redirects(0)
            .tls_config(tls)
            .build();
        Self {
            agent: config.into(),
            url: ingest_url(url),
            key,
        }
    }
}

impl Transport for HttpTransport {
    fn ingest(&self, body: &[u8]) -> Result<Reply, NoAnswer> {
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("ApiKey {}", key.0));
        }
        let failed = |e: ureq::Error| NoAnswer {
            unreachable: is_unreachable(&e),
            what: cli_common::redact_text(&format!("{}: {e}", cli_common::redact_url(&self.url))),
        };
        let mut response = request.send(body).map_err(failed)?;
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|v| v.to_str().ok())
            .and_then(retry_after);
        let content_type = response.headers().get("content-type");
        let content_type = content_type.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_vec()
            .map_err(failed)?;
        Ok(Reply {
            status: response.status().as_u16(),
            retry_after,
            content_type,
            body,
        })
    }
}

/// Whether no connection came about: then nothing was sent, and the next request will not fare better.
fn is_unreachable(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;

    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::BadUri(_)
        | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
        ureq::Error::Io(error) => {
            matches!(
                error.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            ) || error.to_string().starts_with("invalid peer certificate")
        }
        _ => false,
    }
}

/// Seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    let left = at.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
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
    fn pauses_are_seconds_or_dates() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(100);
        let date = soon.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let pause = retry_after(&date).unwrap().as_secs();
        assert!((95..=100).contains(&pause), "{date}: {pause}");
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn keys_are_not_shown() {
        let key = ApiKey::new(" s3cret\n").unwrap();
        assert!(!format!("{key:?}").contains("s3cret"));
        assert!(!format!("{:?}", HttpTransport::new("http://h", Some(key))).contains("s3cret"));
        assert!(ApiKey::new(" ").is_err() && ApiKey::new("a\nb").is_err());
    }
}
