//! The only place that opens a connection: JSON-RPC over HTTP, with limits, retries, and no secret in any message.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket, RpcError};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use cli_common::{Cancel, redact_text, redact_url};
use reqwest::{Client, Url, redirect};
use serde_json::Value;
use serde_json::value::RawValue;
use tower_service::Service;

/// The largest answer that is taken.
const MAX_ANSWER: usize = 128 << 20;

/// How long a node may take for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a call is tried again, waiting twice as long each time.
const RETRIES: u32 = 5;

/// How often as long as the node has never answered: its URL may be wrong.
const FIRST_RETRIES: u32 = 2;

/// Why a call has no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RpcFailure {
    /// The node answered that it will not.
    #[error("{message} (code {code})")]
    Refused {
        /// The code of the JSON-RPC error.
        code: i64,
        /// What it says.
        message: String,
    },
    /// No answer, or none that can be read, after several tries.
    #[error("{0}")]
    Unreachable(String),
    /// The user stopped the work.
    #[error("cancelled")]
    Cancelled,
}

impl RpcFailure {
    /// Whether the node says that it does not have this method.
    pub(super) fn is_unsupported(&self) -> bool {
        let Self::Refused { code, message } = self else {
            return false;
        };
        let message = message.to_ascii_lowercase();
        let says = [
            "not found",
            "not supported",
            "unsupported",
            "not available",
            "does not exist",
            "not whitelisted",
        ];
        matches!(code, -32601 | -32004)
            || (message.contains("method") && says.iter().any(|s| message.contains(s)))
    }

    /// Whether a smaller question could be answered.
    pub(super) fn is_too_much(&self) -> bool {
        let (Self::Refused { message, .. } | Self::Unreachable(message)) = self else {
            return false;
        };
        let message = message.to_ascii_lowercase();
        // Asked too often is not asked too much.
        if is_busy(&message) {
            return false;
        }
        let says = [
            "too many",
            "too large",
            "too big",
            "more than",
            "exceed",
            "limit",
            "range",
            "timeout",
            "timed out",
            "response size",
            "larger than",
        ];
        says.iter().any(|s| message.contains(s))
    }
}

/// A JSON-RPC node.
#[derive(Debug)]
pub struct Rpc {
    client: RpcClient,
    shown: String,
    cancel: Cancel,
    first_wait: Duration,
    no_batches: AtomicBool,
    answered: AtomicBool,
}

impl Rpc {
    /// The node at an `http` or `https` URL. Nothing is sent yet.
    ///
    /// # Errors
    /// It is no such URL, or the system has no TLS.
    pub fn new(url: &str, cancel: Cancel) -> Result<Self, String> {
        let shown = redact_url(url);
        let parsed = Url::parse(url).map_err(|e| format!("{shown}: {e}"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(format!("{shown}: only http and https are spoken"));
        }
        // Another part of the process may have chosen before; both are as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(10))
            // A key in the URL is for this host alone.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|e| format!("{shown}: {}", without_url(e)))?;
        let client = RpcClient::new(Http { http, url: parsed }, false);
        let first_wait = Duration::from_millis(500);
        Ok(Self {
            client,
            shown,
            cancel,
            first_wait,
            no_batches: AtomicBool::new(false),
            answered: AtomicBool::new(false),
        })
    }

    /// With another time to wait before the first retry.
    #[must_use]
    pub fn with_first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// The URL without its secrets.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// One call. `None` if the node answers `null`.
    ///
    /// # Errors
    /// See [`RpcFailure`].
    pub async fn call(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<Option<Box<RawValue>>, RpcFailure> {
        let mut wait = self.first_wait;
        for attempt in 0.. {
            self.cancel.check().map_err(|_| RpcFailure::Cancelled)?;
            match self
                .client
                .request::<_, Box<RawValue>>(method, params.clone())
                .await
            {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok((answer.get() != "null").then_some(answer));
                }
                Err(RpcError::NullResp) => return Ok(None),
                Err(error) => {
                    let (failure, retries) = judge(error);
                    let answered = self.answered.load(Ordering::Relaxed);
                    let retries = if answered {
                        retries
                    } else {
                        retries.min(FIRST_RETRIES)
                    };
                    if attempt >= retries {
                        return Err(failure);
                    }
                    tracing_wait(&self.shown, method, &failure, wait);
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(16));
        }
        unreachable!("the last attempt returns")
    }

    /// Several calls of one method, in batches where the node takes them. One result for each, in their order.
    pub async fn calls(
        &self,
        method: &'static str,
        params: Vec<Value>,
    ) -> Vec<Result<Option<Box<RawValue>>, RpcFailure>> {
        if params.len() > 1 && !self.no_batches.load(Ordering::Relaxed) {
            if let Some(results) = self.batch(method, &params).await {
                return results;
            }
            // Whatever was wrong with the batch, each call by itself has its own retries.
            self.no_batches.store(true, Ordering::Relaxed);
        }
        let mut results = Vec::with_capacity(params.len());
        for params in params {
            results.push(self.call(method, params).await);
        }
        results
    }

    /// All or nothing: a batch in which any call failed is not used.
    async fn batch(
        &self,
        method: &'static str,
        params: &[Value],
    ) -> Option<Vec<Result<Option<Box<RawValue>>, RpcFailure>>> {
        self.cancel.check().ok()?;
        let mut batch = self.client.new_batch();
        let mut waiters = Vec::with_capacity(params.len());
        for params in params {
            waiters.push(batch.add_call::<_, Box<RawValue>>(method, params).ok()?);
        }
        batch.send().await.ok()?;
        let mut results = Vec::with_capacity(waiters.len());
        for waiter in waiters {
            results.push(match waiter.await {
                Ok(answer) => Ok((answer.get() != "null").then_some(answer)),
                Err(RpcError::NullResp) => Ok(None),
                Err(_) => return None,
            });
        }
        Some(results)
    }
}

fn tracing_wait(shown: &str, method: &str, failure: &RpcFailure, wait: Duration) {
    tracing::info!(
        "{shown}: {method}: {failure}; trying again in {} ms",
        wait.as_millis()
    );
}

/// What an error means, and how often to try again.
fn judge(error: TransportError) -> (RpcFailure, u32) {
    match error {
        RpcError::ErrorResp(error) => {
            let busy = error.code == 429 || is_busy(&error.message.to_ascii_lowercase());
            let message = redact_text(&error.message.chars().take(300).collect::<String>());
            let code = error.code;
            (
                RpcFailure::Refused { code, message },
                if busy { RETRIES } else { 0 },
            )
        }
        RpcError::Transport(TransportErrorKind::NonRetryable(error)) => {
            (RpcFailure::Unreachable(redact_text(&error.to_string())), 0)
        }
        RpcError::Transport(kind) => {
            let (message, retries) = match kind.as_http_error() {
                Some(error) => {
                    let body: String = error.body.chars().take(200).collect();
                    let again = error.status == 408 || error.status == 429 || error.status >= 500;
                    (
                        format!("HTTP status {}: {body}", error.status),
                        if again { RETRIES } else { 0 },
                    )
                }
                // What took too long once will again, most likely.
                None if kind.to_string().contains(TIMED_OUT) => (kind.to_string(), 1),
                None => (kind.to_string(), RETRIES),
            };
            (RpcFailure::Unreachable(redact_text(&message)), retries)
        }
        RpcError::DeserError { err, .. } => (RpcFailure::Unreachable(format!("not JSON-RPC: {err}")), 0),
        other => (RpcFailure::Unreachable(redact_text(&other.to_string())), 0),
    }
}

const TIMED_OUT: &str = "no answer in time (timed out)";

/// Whether the node asks to be asked later. Limits on results have the same codes, and do not pass.
fn is_busy(message: &str) -> bool {
    [
        "rate limit",
        "rate-limit",
        "too many requests",
        "capacity",
        "try again later",
        "temporarily",
    ]
    .iter()
    .any(|s| message.contains(s))
}

fn without_url(error: reqwest::Error) -> String {
    let mut text = String::new();
    let error = error.without_url();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The transport: one POST for each packet. Alloy's own reads answers of any size.
#[derive(Debug, Clone)]
struct Http {
    http: Client,
    url: Url,
}

impl Http {
    async fn post(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let failed = |error: reqwest::Error| match error.is_timeout() && !error.is_connect() {
            true => TransportErrorKind::custom_str(TIMED_OUT),
            false => TransportErrorKind::custom_str(&without_url(error)),
        };
        let body = packet.serialize().map_err(TransportError::ser_err)?;
        let request = self
            .http
            .post(self.url)
            .header("content-type", "application/json");
        let mut response = request.body(body.get().to_owned()).send().await.map_err(failed)?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                let message = format!("an answer larger than {} MiB", MAX_ANSWER >> 20);
                return Err(TransportErrorKind::non_retryable_str(&message));
            }
            answer.extend_from_slice(&chunk);
        }
        // Some nodes say what is wrong in JSON, whatever the status.
        match serde_json::from_slice(&answer) {
            Ok(packet) => Ok(packet),
            Err(_) if !status.is_success() => {
                let body = String::from_utf8_lossy(&answer).chars().take(200).collect();
                Err(TransportErrorKind::http_error(status.as_u16(), body))
            }
            Err(error) => Err(TransportError::deser_err(error, "")),
        }
    }
}

impl Service<RequestPacket> for Http {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        Box::pin(self.clone().post(packet))
    }
}
