//! HTTP as the tools speak it: one client ([`Client`]), and one way to wait before a request is tried again ([`Pauses`]).
//!
//! Requests block: who must hear the user meanwhile sends them from a thread of its own. TLS trusts the system's authorities,
//! or those of `SSL_CERT_FILE`; proxies are those of the environment. A redirect is not followed: it would take what is
//! secret in a request elsewhere.

#![forbid(unsafe_code)]

mod retry;

use std::fmt;
use std::io;
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

pub use retry::{Backoff, Pauses, retry_after};

/// How long to wait, and how much to read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until there is a connection.
    pub connect: Duration,
    /// Until the answer is there as a whole.
    pub answer: Duration,
    /// The largest answer that is read, in bytes.
    pub bytes: u64,
}

/// Sends requests. Copies share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    bytes: u64,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// How long the other side asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What the body is said to be.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no host of that name.
    NoHost,
    /// Nobody takes the connection, or not in time.
    NoConnection,
    /// The other side does not show a certificate that is trusted.
    Tls,
    /// It is no URL that can be asked.
    BadUrl,
    /// The answer did not come in time.
    TimedOut,
    /// The answer is larger than [`Limits::bytes`].
    TooLarge,
    /// Anything else: a connection that broke, an answer that is not HTTP.
    Other,
}

impl Failure {
    /// Whether no connection came about: then nothing was sent, and the next request will not fare better.
    #[must_use]
    pub fn is_before_sending(self) -> bool {
        matches!(self, Self::NoHost | Self::NoConnection | Self::Tls | Self::BadUrl)
    }
}

/// No answer came. Whether the request was carried out nobody knows, unless it could not be sent at all.
#[derive(Clone, Debug)]
pub struct NoAnswer {
    /// Of which kind.
    pub failure: Failure,
    /// What happened, in words.
    pub what: String,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for NoAnswer {}

impl Client {
    /// A client with these limits. Nothing is sent yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .timeout_connect(Some(limits.connect))
            .timeout_global(Some(limits.answer))
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(tls)
            .build();
        Self {
            agent: config.into(),
            bytes: limits.bytes,
        }
    }

    /// Asks for what is at a URL, and waits for the answer.
    ///
    /// # Errors
    /// No answer came.
    pub fn get(&self, url: &str) -> Result<Reply, NoAnswer> {
        let response = self.agent.get(url).header("accept", "application/json").call();
        self.reply(response)
    }

    /// Posts JSON, and waits for the answer.
    ///
    /// # Errors
    /// No answer came.
    pub fn post_json(&self, url: &str, authorization: Option<&str>, body: &[u8]) -> Result<Reply, NoAnswer> {
        let mut request = self.agent.post(url).header("content-type", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        self.reply(request.send(body))
    }

    /// Posts text, and waits for the answer.
    ///
    /// # Errors
    /// No answer came.
    pub fn post_text(&self, url: &str, body: &str) -> Result<Reply, NoAnswer> {
        let request = self
            .agent
            .post(url)
            .header("content-type", "text/plain; charset=utf-8");
        self.reply(request.send(body))
    }

    /// Reads an answer to its end.
    fn reply(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Reply, NoAnswer> {
        let failed = |error: ureq::Error| self.no_answer(&error);
        let mut response = response.map_err(failed)?;
        let text = |name: &str| {
            let value = response.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let retry_after = text("retry-after").as_deref().and_then(retry_after);
        let content_type = text("content-type");
        let body = response
            .body_mut()
            .with_config()
            .limit(self.bytes)
            .read_to_vec()
            .map_err(failed)?;
        Ok(Reply {
            status: response.status().as_u16(),
            retry_after,
            content_type,
            body,
        })
    }

    fn no_answer(&self, error: &ureq::Error) -> NoAnswer {
        let failure = failure(error);
        let what = match failure {
            Failure::TooLarge => format!("an answer larger than {} MiB", self.bytes >> 20),
            _ => error.to_string(),
        };
        NoAnswer { failure, what }
    }
}

fn failure(error: &ureq::Error) -> Failure {
    use io::ErrorKind;

    match error {
        ureq::Error::HostNotFound | ureq::Error::Timeout(ureq::Timeout::Resolve) => Failure::NoHost,
        ureq::Error::ConnectionFailed | ureq::Error::Timeout(ureq::Timeout::Connect) => Failure::NoConnection,
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Failure::Tls,
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::BadUrl,
        ureq::Error::Timeout(_) => Failure::TimedOut,
        ureq::Error::BodyExceedsLimit(_) => Failure::TooLarge,
        ureq::Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Failure::NoConnection
            }
            // The system's resolver and the judge of certificates say it in words alone.
            _ if error.to_string().starts_with("failed to lookup address") => Failure::NoHost,
            _ if error.to_string().starts_with("invalid peer certificate") => Failure::Tls,
            _ => Failure::Other,
        },
        _ => Failure::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const LIMITS: Limits = Limits {
        connect: Duration::from_secs(10),
        answer: Duration::from_secs(10),
        bytes: 1 << 20,
    };

    /// A server that says one thing to everybody; gives its URL.
    fn server(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // The request is small: it comes as one.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer);
            }
        });
        url
    }

    #[test]
    fn an_answer_comes_whatever_its_status() {
        let url = server(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbusy");
        let reply = Client::new(LIMITS)
            .post_json(&url, Some("ApiKey x"), b"{}")
            .unwrap();
        assert_eq!(
            (reply.status, reply.retry_after),
            (503, Some(Duration::from_secs(7)))
        );
        assert_eq!(
            (reply.content_type.as_deref(), &*reply.body),
            (Some("text/plain"), &b"busy"[..])
        );
        let reply = Client::new(LIMITS).get(&url).unwrap();
        assert_eq!((reply.status, &*reply.body), (503, &b"busy"[..]));
        // A redirect is an answer too.
        let url = server(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(
            Client::new(LIMITS).post_json(&url, None, b"{}").unwrap().status,
            302
        );
    }

    #[test]
    fn failures_are_told_apart() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (url, failure) in [
            (format!("http://{closed}/"), Failure::NoConnection),
            ("http://no-such-host.invalid/".into(), Failure::NoHost),
            ("http://".into(), Failure::BadUrl),
            (server(b"nonsense\r\n\r\n"), Failure::Other),
        ] {
            let error = Client::new(LIMITS).post_json(&url, None, b"{}").unwrap_err();
            assert_eq!(error.failure, failure, "{url}: {error}");
            assert_eq!(failure.is_before_sending(), failure != Failure::Other);
        }
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let hasty = Client::new(Limits {
            answer: Duration::from_millis(200),
            ..LIMITS
        });
        let error = hasty.post_json(&url, None, b"{}").unwrap_err();
        assert_eq!(error.failure, Failure::TimedOut, "{error}");
        let large = server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789");
        let small = Client::new(Limits { bytes: 4, ..LIMITS });
        let error = small.post_json(&large, None, b"{}").unwrap_err();
        assert_eq!(error.failure, Failure::TooLarge, "{error}");
    }
}
