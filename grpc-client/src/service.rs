//! The service, asked one thing at a time.

use std::fmt;
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use ves::StreamKey;

use crate::address::Address;
use crate::messages::{GetSyncStateRequest, PullEventsRequest, PullEventsResponse, SyncState};

const PULL_EVENTS: &str = "/stateset.sequencer.v2.Sequencer/PullEvents";
const GET_SYNC_STATE: &str = "/stateset.sequencer.v2.Sequencer/GetSyncState";
/// So much of what a service says of a failure is kept, in characters.
const SAID: usize = 300;
/// The longest list of headers that is read, in bytes.
const MAX_HEADERS: u32 = 64 << 10;

/// How long to wait, and how much to read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until there is a connection.
    pub connect: Duration,
    /// Until an answer is there as a whole.
    pub call: Duration,
    /// The largest answer that is read, in bytes.
    pub message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            call: Duration::from_secs(60),
            message: 16 << 20,
        }
    }
}

/// What a failure means for who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Nobody answers, not in time or not to the end: to be tried again.
    NoAnswer,
    /// It wants to be left alone for a while.
    Busy,
    /// This question it does not answer, a smaller one maybe: there is a hole in the range, or the answer is too large.
    Question,
    /// It failed by itself, at one event that it cannot read maybe.
    Unwell,
    /// It does not answer us: no key, or not one for this stream.
    Forbidden,
    /// It is not the service that was looked for, or says what makes no sense.
    Final,
}

/// A question without an answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of which kind.
    pub fault: FailureKind,
    /// In words, some of which are the service's.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    pub(crate) fn last(what: impl Into<String>) -> Self {
        Self {
            fault: FailureKind::Final,
            what: what.into(),
        }
    }

    fn of(status: &Status) -> Self {
        let fault = match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted | Code::Unknown => {
                FailureKind::NoAnswer
            }
            Code::ResourceExhausted => FailureKind::Busy,
            Code::OutOfRange => FailureKind::Question,
            Code::Internal | Code::DataLoss => FailureKind::Unwell,
            Code::Unauthenticated | Code::PermissionDenied => FailureKind::Forbidden,
            _ => FailureKind::Final,
        };
        let said: String = status.message().chars().take(SAID).collect();
        let mut what = format!("{:?}: {said}", status.code());
        // What the connection failed of stands behind it.
        let mut source = std::error::Error::source(status);
        while let Some(error) = source {
            let text: String = error.to_string().chars().take(SAID).collect();
            if !what.contains(&text) {
                what = format!("{what}: {text}");
            }
            source = error.source();
        }
        Self { fault, what }
    }
}

/// A connection to a service. It is made with the first question, and again after it broke.
pub struct Service {
    grpc: Grpc<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    limits: Limits,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service(…)")
    }
}

impl Service {
    /// A connection to this service, which is shown `authorization` with each question. Nothing is sent yet. TLS trusts the
    /// system's authorities, or those of `SSL_CERT_FILE`.
    ///
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be reached by anybody, no authority can be read, or the key is none.
    pub fn new(address: &Address, authorization: Option<&str>, limits: Limits) -> Result<Self, Failure> {
        let no_endpoint = |error: tonic::transport::Error| Failure::last(chain(&error));
        let mut endpoint = Endpoint::from_shared(address.http_url())
            .map_err(no_endpoint)?
            .connect_timeout(limits.connect)
            .timeout(limits.call)
            .http2_max_header_list_size(MAX_HEADERS)
            .tcp_keepalive(Some(limits.connect));
        if address.is_tls() {
            let tls = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(tls).map_err(no_endpoint)?;
        }
        let authorization = authorization
            .map(|text| {
                let mut value: MetadataValue<Ascii> = text
                    .parse()
                    .map_err(|_| Failure::last("the API key holds characters that no header can"))?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        Ok(Self {
            grpc: Grpc::new(endpoint.connect_lazy()).max_decoding_message_size(limits.message),
            authorization,
            limits,
        })
    }

    /// How far a stream goes, as the counter says; 0 if there is none.
    ///
    /// # Errors
    /// No answer, or one about another stream.
    pub async fn head(&mut self, stream: &StreamKey) -> Result<u64, Failure> {
        let (tenant, store) = (stream.tenant_id.to_string(), stream.store_id.to_string());
        let asked = GetSyncStateRequest {
            tenant_id: tenant.clone(),
            store_id: store.clone(),
        };
        let state: SyncState = self.ask(GET_SYNC_STATE, asked).await?;
        if !state.tenant_id.eq_ignore_ascii_case(&tenant) || !state.store_id.eq_ignore_ascii_case(&store) {
            return Err(Failure::last(
                "it was asked how far one stream goes, and says it of another",
            ));
        }
        Ok(state.head_sequence)
    }

    /// The events from a number on, `limit` numbers at most.
    ///
    /// # Errors
    /// No answer.
    pub async fn events(
        &mut self,
        stream: &StreamKey,
        from: u64,
        limit: u32,
    ) -> Result<PullEventsResponse, Failure> {
        let asked = PullEventsRequest {
            tenant_id: stream.tenant_id.to_string(),
            store_id: stream.store_id.to_string(),
            from_sequence: from,
            limit,
        };
        self.ask(PULL_EVENTS, asked).await
    }

    async fn ask<Asked, Answer>(&mut self, path: &'static str, asked: Asked) -> Result<Answer, Failure>
    where
        Asked: prost::Message + Send + Sync + 'static,
        Answer: prost::Message + Default + Send + Sync + 'static,
    {
        let mut request = Request::new(asked);
        request.set_timeout(self.limits.call);
        if let Some(authorization) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", authorization.clone());
        }
        let grpc = &mut self.grpc;
        let call = async {
            grpc.ready().await.map_err(|error| Failure {
                fault: FailureKind::NoAnswer,
                what: chain(&error),
            })?;
            let codec = ProstCodec::<Asked, Answer>::default();
            let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await;
            answer.map_err(|status| Failure::of(&status))
        };
        // One clock for all of it: who answers a byte a minute answers never.
        match tokio::time::timeout(self.limits.connect + self.limits.call, call).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(Failure {
                fault: FailureKind::NoAnswer,
                what: format!(
                    "no answer within {} s",
                    (self.limits.connect + self.limits.call).as_secs()
                ),
            }),
        }
    }
}

/// An error with what it came of.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text.chars().take(SAID).collect()
}
