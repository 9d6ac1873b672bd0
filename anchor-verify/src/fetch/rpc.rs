//! The only place that opens a connection: JSON-RPC over HTTP, with limits, retries, and no secret in any message.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket, RpcError};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use cli_common::{Cancel, redact_text, redact_url};
use http_client::{Client, Failure, Limits, NoAnswer, Pauses};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tower_service::Service;

/// How long a node may take for one answer, and how much it may say.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(60),
    bytes: 128 << 20,
};

/// The longest time to wait before a try, unless the node asks for a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(16);

/// How often a call is tried again, waiting longer each time.
const RETRIES: u32 = 5;

/// How often as long as the node has never answered: its URL may be wrong.
const FIRST_RETRIES: u32 = 2;

/// How often it is looked whether the user wants to stop.
const TICK: Duration = Duration::from_millis(100);

/// How long a proof may be waited for. There is another way to prove, so that a node that hangs is not waited for long.
const BUDGET: Duration = Duration::from_secs(20);

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
    /// The node asks to be asked later or less often, and went on doing so.
    #[error("the node limits how often it may be asked: {0}")]
    Busy(String),
    /// No answer, or none that can be read, after several tries.
    #[error("{0}")]
    Unreachable(String),
    /// No answer within the time that is given to it.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Hanging(Duration),
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

    /// Whether a smaller question could be answered. Asked too often is not asked too much.
    pub(super) fn is_too_much(&self) -> bool {
        match self {
            Self::Refused { message, .. } | Self::Unreachable(message) => {
                let message = message.to_ascii_lowercase();
                TOO_MUCH.iter().any(|s| message.contains(s))
            }
            _ => false,
        }
    }

    /// Whether the text can mean nothing else.
    fn is_surely_too_much(&self) -> bool {
        let Self::Refused { message, .. } = self else {
            return false;
        };
        let message = message.to_ascii_lowercase();
        SURELY_TOO_MUCH.iter().any(|s| message.contains(s))
    }

    /// Whether the node did not answer in time.
    pub(super) fn is_hanging(&self) -> bool {
        matches!(self, Self::Hanging(_))
    }
}

/// What nodes say of a question whose answer would be too large.
const TOO_MUCH: [&str; 11] = [
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

/// What they say of that and of nothing else.
const SURELY_TOO_MUCH: [&str; 9] = [
    "results",
    "block range",
    "range limit",
    "range is",
    "range too",
    "block limit",
    "response size",
    "log response",
    " blocks",
];

/// A JSON-RPC node.
#[derive(Debug)]
pub struct Rpc {
    client: RpcClient,
    shown: String,
    cancel: Cancel,
    first_wait: Duration,
    budget: Duration,
    /// Methods that the node does not answer in batches.
    no_batches: Mutex<HashSet<&'static str>>,
    answered: AtomicBool,
}

impl Rpc {
    /// The node at an `http` or `https` URL. Nothing is sent yet.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn new(url: &str, cancel: Cancel) -> Result<Self, String> {
        let shown = redact_url(url);
        let scheme = url
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        if !matches!(scheme.as_deref(), Some("http" | "https")) {
            return Err(format!("{shown}: only http and https are spoken"));
        }
        let http = Http {
            client: Client::new(LIMITS),
            url: url.into(),
        };
        let client = RpcClient::new(http, false);
        let first_wait = Duration::from_millis(500);
        Ok(Self {
            client,
            shown,
            cancel,
            first_wait,
            budget: BUDGET,
            no_batches: Mutex::default(),
            answered: AtomicBool::new(false),
        })
    }

    /// With another time to wait before the first retry.
    #[must_use]
    pub fn with_first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// With another time that is given to answers which can be done without.
    #[must_use]
    pub fn with_budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
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
        let pauses = Pauses {
            first: self.first_wait,
            longest: LONGEST_WAIT,
        };
        let mut pauses = pauses.begin();
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
                    let asked = asked_to_wait(&error);
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
                    let wait = pauses.next_pause(asked);
                    tracing_wait(&self.shown, method, &failure, wait);
                    self.sleep(wait).await?;
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Waits, but hears it if the user wants to stop.
    async fn sleep(&self, wait: Duration) -> Result<(), RpcFailure> {
        let end = Instant::now() + wait;
        loop {
            self.cancel.check().map_err(|_| RpcFailure::Cancelled)?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(TICK)).await;
        }
    }

    /// One call whose answer can be done without, if it takes too long.
    ///
    /// # Errors
    /// See [`RpcFailure`].
    pub async fn call_within_budget(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<Option<Box<RawValue>>, RpcFailure> {
        let call = tokio::time::timeout(self.budget, self.call(method, params));
        call.await.unwrap_or(Err(RpcFailure::Hanging(self.budget)))
    }

    /// Several calls of one method, in batches where the node takes them. One result for each, in their order.
    pub async fn calls(
        &self,
        method: &'static str,
        params: Vec<Value>,
    ) -> Vec<Result<Option<Box<RawValue>>, RpcFailure>> {
        // A lock that another thread left in a panic still holds a set.
        let refused = || {
            self.no_batches
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        if params.len() > 1 && !refused().contains(method) {
            if let Some(results) = self.batch(method, &params).await {
                return results;
            }
            // Whatever was wrong with the batch, each call by itself has its own retries. Other methods may go in batches.
            refused().insert(method);
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
            // Some nodes say what they mean in `data` alone.
            let data = error.data.as_ref().map(|data| data.get().trim_matches('"'));
            let data = data.filter(|data| !data.is_empty() && *data != "null");
            let text = match data {
                Some(data) => format!("{}: {data}", error.message),
                None => error.message.to_string(),
            };
            refusal(error.code, &text)
        }
        RpcError::Transport(TransportErrorKind::NonRetryable(error)) => {
            (RpcFailure::Unreachable(redact_text(&error.to_string())), 0)
        }
        RpcError::Transport(TransportErrorKind::Custom(error)) => {
            if let Some(refused) = error.downcast_ref::<StatusError>() {
                return by_status(refused.status, &refused.body);
            }
            let unreachable = RpcFailure::Unreachable(redact_text(&error.to_string()));
            let retries = match error.downcast_ref::<NoAnswer>().map(|error| error.failure) {
                Some(Failure::TooLarge | Failure::BadUrl) => 0,
                // What took too long once will again, most likely.
                Some(Failure::TimedOut) => 1,
                _ => RETRIES,
            };
            (unreachable, retries)
        }
        RpcError::DeserError { err, .. } => (RpcFailure::Unreachable(format!("not JSON-RPC: {err}")), 0),
        other => (RpcFailure::Unreachable(redact_text(&other.to_string())), 0),
    }
}

/// What a JSON-RPC error means: by its code first, then by its text.
fn refusal(code: i64, text: &str) -> (RpcFailure, u32) {
    let lower = text.to_ascii_lowercase();
    let message = redact_text(&text.chars().take(400).collect::<String>());
    let too_much = SURELY_TOO_MUCH.iter().any(|s| lower.contains(s));
    let busy = match code {
        // HTTP's own code; those of providers for calls in a second and credits in a second.
        429 | -32007 | -32012 => true,
        // "Limit exceeded": of results or of calls, as the text says.
        -32005 => is_busy(&lower) || !too_much,
        _ => is_busy(&lower),
    };
    if busy {
        (RpcFailure::Busy(format!("{message} (code {code})")), RETRIES)
    } else {
        (RpcFailure::Refused { code, message }, 0)
    }
}

/// What an HTTP status other than success means; it is judged before the text of the answer.
fn by_status(status: u16, body: &str) -> (RpcFailure, u32) {
    #[derive(serde::Deserialize)]
    struct Body {
        error: Payload,
    }
    #[derive(serde::Deserialize)]
    struct Payload {
        #[serde(default)]
        code: i64,
        #[serde(default)]
        message: String,
    }
    let shown: String = body.chars().take(200).collect();
    let text = redact_text(&format!("HTTP status {status}: {shown}"));
    if status == 429 {
        return (RpcFailure::Busy(text), RETRIES);
    }
    // Some nodes say what is wrong in JSON, whatever the status.
    let said = serde_json::from_str::<Body>(body).ok();
    let said = said.map(|body| refusal(body.error.code, &body.error.message).0);
    match said {
        Some(failure @ RpcFailure::Busy(_)) => (failure, RETRIES),
        Some(failure) if status < 500 || failure.is_surely_too_much() || failure.is_unsupported() => {
            (failure, 0)
        }
        _ if status == 408 || status >= 500 => (RpcFailure::Unreachable(text), RETRIES),
        _ => (RpcFailure::Unreachable(text), 0),
    }
}

/// How long the node asks to be left alone.
fn asked_to_wait(error: &TransportError) -> Option<Duration> {
    match error {
        RpcError::Transport(TransportErrorKind::Custom(error)) => {
            error.downcast_ref::<StatusError>()?.retry_after
        }
        _ => None,
    }
}

/// Whether the text asks to be asked later, or less often. Limits on results do not pass.
fn is_busy(message: &str) -> bool {
    [
        "rate limit",
        "rate-limit",
        "ratelimit",
        "rate exceeded",
        "too many requests",
        "request limit",
        "requests per",
        "request count",
        "calls per",
        "per second",
        "/second",
        "/sec",
        "per minute",
        "per day",
        "daily",
        "quota",
        "credits",
        "compute units",
        "throughput",
        "capacity",
        "throttle",
        "slow down",
        "try again later",
        "retry after",
        "retry later",
        "retry in",
        "temporarily",
    ]
    .iter()
    .any(|s| message.contains(s))
}

/// An answer with a status that is none of success.
#[derive(Debug, thiserror::Error)]
#[error("HTTP status {status}")]
struct StatusError {
    status: u16,
    body: String,
    retry_after: Option<Duration>,
}

/// The transport: one POST for each packet.
#[derive(Debug, Clone)]
struct Http {
    client: Client,
    url: Arc<str>,
}

impl Http {
    async fn post(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let body = packet.serialize().map_err(TransportError::ser_err)?;
        let (tell, hear) = oneshot::channel();
        // In a thread of its own: a node that never answers must not keep us from hearing the user.
        let thread = std::thread::Builder::new().name("request".into());
        let spawned = thread.spawn(move || {
            // Nobody listens any more if the user stopped the work.
            let _ = tell.send(self.client.post_json(&self.url, None, body.get().as_bytes()));
        });
        spawned.map_err(TransportErrorKind::custom)?;
        let reply = hear.await.map_err(TransportErrorKind::custom)?;
        let reply = reply.map_err(TransportErrorKind::custom)?;
        if !(200..300).contains(&reply.status) {
            let body = String::from_utf8_lossy(&reply.body).chars().take(2000).collect();
            return Err(TransportErrorKind::custom(StatusError {
                status: reply.status,
                body,
                retry_after: reply.retry_after,
            }));
        }
        serde_json::from_slice(&reply.body).map_err(|error| TransportError::deser_err(error, ""))
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A node that gives these answers one after the other, then says that it is busy; gives its URL.
    fn node(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            let mut answers = answers.iter();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let answer = answers.next().copied().unwrap_or(BUSY);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        url
    }

    const BUSY: &str =
        "HTTP/1.1 429 Busy\r\nRetry-After: 600\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    const SOON: &str =
        "HTTP/1.1 429 Busy\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    const ONE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 39\r\n\r\n\
                       {\"jsonrpc\":\"2.0\",\"id\":0,\"result\":\"0x1\"}";

    fn rpc(url: &str, cancel: &Cancel) -> Rpc {
        // Without what the node asks for, the first retry would be an hour away.
        Rpc::new(url, cancel.clone())
            .unwrap()
            .with_first_wait(Duration::from_secs(3600))
    }

    #[tokio::test]
    async fn a_node_is_left_alone_for_as_long_as_it_asks() {
        let rpc = rpc(&node(&[SOON, ONE]), &Cancel::new());
        let answer = rpc.call("eth_chainId", Value::Null).await.unwrap();
        assert_eq!(answer.unwrap().get(), "\"0x1\"");
    }

    #[tokio::test]
    async fn a_user_who_wants_to_stop_does_not_wait_for_the_next_try() {
        let cancel = Cancel::new();
        let rpc = rpc(&node(&[]), &cancel);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            cancel.cancel();
        });
        let stopped = rpc.call("eth_chainId", Value::Null).await;
        assert!(matches!(stopped, Err(RpcFailure::Cancelled)), "{stopped:?}");
    }
}
