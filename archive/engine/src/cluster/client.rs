//! A client of a scheduler: plans are handed in, watched, called off, and their rows fetched.

use std::sync::Arc;
use std::time::Duration;

use ballista_core::client::BallistaClient;
use ballista_core::extension::SessionConfigHelperExt;
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, ExecuteQueryParams, GetJobStatusParams, KeyValuePair, PartitionLocation,
    RemoveSessionParams, execute_query_result, job_status,
};
use ballista_core::utils::{GrpcClientConfig, create_grpc_client_endpoint};
use ballista_core::version;
use datafusion::arrow::array::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures_util::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Status};
use url::Url;

use super::setup::{self, DEFAULT_PORT, MAX_MESSAGE};
use crate::error::EngineError;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);
/// How long a sign of life may take.
const PULSE: Duration = Duration::from_secs(5);
/// How long fetching the rows of one partition may take.
const FETCH: Duration = Duration::from_secs(300);

/// Where a scheduler is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    /// Reads `df://HOST:PORT`.
    pub(super) fn parse(address: &str) -> Result<Self, EngineError> {
        let refused = || {
            EngineError::Refused(format!(
                "{address:?} is no scheduler's address: give df://HOST:PORT"
            ))
        };
        let url = Url::parse(address).map_err(|_| refused())?;
        let host = url
            .host_str()
            .filter(|host| url.scheme() == "df" && !host.is_empty());
        let host = host.ok_or_else(refused)?.to_owned();
        if !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() {
            return Err(refused());
        }
        Ok(Self {
            host,
            port: url.port().unwrap_or(DEFAULT_PORT),
        })
    }
}

/// How far a job is.
#[derive(Debug)]
pub(super) enum JobState {
    /// It waits for its turn or for an executor, or is being worked on.
    Going,
    /// It failed; or the scheduler does not know it, having been begun anew.
    Failed(String),
    /// Its rows are there.
    Done(Vec<PartitionLocation>),
}

/// A client with a session of its own.
pub(super) struct Client {
    place: Place,
    grpc: SchedulerGrpcClient<Channel>,
    session: String,
    settings: Vec<KeyValuePair>,
}

impl Client {
    /// Connects to a scheduler.
    pub(super) async fn connect(address: &str, config: &SessionConfig) -> Result<Self, EngineError> {
        let place = Place::parse(address)?;
        let unreachable = |error: &dyn std::fmt::Display| {
            EngineError::Cluster(format!("the scheduler {address} cannot be reached: {error}"))
        };
        let settings = GrpcClientConfig {
            timeout_seconds: REQUEST.as_secs(),
            tcp_keepalive_seconds: 30,
            http2_keepalive_interval_seconds: 30,
            ..GrpcClientConfig::default()
        };
        let url = format!("http://{}:{}", place.host, place.port);
        let endpoint =
            create_grpc_client_endpoint(url, Some(&settings)).map_err(|error| unreachable(&error))?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| unreachable(&in_words(&error)))?;
        let size = MAX_MESSAGE as usize;
        let grpc = SchedulerGrpcClient::new(channel)
            .max_encoding_message_size(size)
            .max_decoding_message_size(size);
        Ok(Self {
            place,
            grpc,
            session: uuid::Uuid::now_v7().to_string(),
            settings: config.to_key_value_pairs(),
        })
    }

    /// Where the scheduler is.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Hands in a plan; gives the job's name.
    pub(super) async fn submit(&mut self, plan: Arc<dyn ExecutionPlan>) -> Result<String, EngineError> {
        let mut bytes = Vec::new();
        PhysicalPlanNode::try_from_physical_plan(plan, setup::codec().as_ref())
            .and_then(|message| message.try_encode(&mut bytes))
            .map_err(|error| EngineError::Refused(format!("the plan cannot be sent: {error}")))?;
        let mut request = Request::new(ExecuteQueryParams {
            session_id: self.session.clone(),
            settings: self.settings.clone(),
            operation_id: uuid::Uuid::now_v7().to_string(),
            query: Some(Query::PhysicalPlan(bytes)),
        });
        version::insert_version_header(request.metadata_mut());
        let answer = self
            .grpc
            .execute_query(request)
            .await
            .map_err(|status| failed(&status))?;
        match answer.into_inner().result {
            Some(execute_query_result::Result::Success(accepted)) => Ok(accepted.job_id),
            Some(execute_query_result::Result::Failure(failure)) => Err(EngineError::Cluster(format!(
                "the scheduler refuses the plan: {:?}",
                failure.failure
            ))),
            None => Err(EngineError::Cluster("the scheduler's answer is empty".to_owned())),
        }
    }

    /// How far a job is.
    pub(super) async fn state(&mut self, job: &str) -> Result<JobState, EngineError> {
        let request = GetJobStatusParams {
            job_id: job.to_owned(),
        };
        let answer = self
            .grpc
            .get_job_status(request)
            .await
            .map_err(|status| failed(&status))?;
        let status = answer.into_inner().status.and_then(|status| status.status);
        Ok(match status {
            None => JobState::Failed("the scheduler does not know the job".to_owned()),
            Some(job_status::Status::Queued(_) | job_status::Status::Running(_)) => JobState::Going,
            Some(job_status::Status::Failed(failed)) => JobState::Failed(failed.error),
            Some(job_status::Status::Successful(done)) => JobState::Done(done.partition_location),
        })
    }

    /// Whether any executor is alive, as the scheduler tells those who watch over it (`GET /readyz`).
    pub(super) async fn has_executors(&self) -> Result<bool, EngineError> {
        let ask = async {
            let mut stream = TcpStream::connect((self.place.host.as_str(), self.place.port)).await?;
            let request = format!(
                "GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                self.place.host
            );
            stream.write_all(request.as_bytes()).await?;
            let mut head = [0; 12];
            stream.read_exact(&mut head).await?;
            Ok::<_, std::io::Error>(head)
        };
        let answer = timeout(PULSE, ask).await;
        let gone = |error: &dyn std::fmt::Display| {
            EngineError::Cluster(format!("the scheduler does not answer: {error}"))
        };
        match answer
            .map_err(|_| gone(&"it takes too long"))?
            .map_err(|error| gone(&error))?
        {
            [.., b'2', b'0', b'0'] => Ok(true),
            [.., b'5', b'0', b'3'] => Ok(false),
            other => Err(gone(&String::from_utf8_lossy(&other))),
        }
    }

    /// Calls a job off. That it may fail does no harm: the scheduler drops what nobody fetches.
    pub(super) async fn cancel(&mut self, job: &str) {
        let request = CancelJobParams {
            job_id: job.to_owned(),
        };
        if let Err(status) = self.grpc.cancel_job(request).await {
            tracing::debug!("job {job} cannot be called off: {}", status.message());
        }
    }

    /// Says that no more plans will come.
    pub(super) async fn end(&mut self) {
        let request = RemoveSessionParams {
            session_id: self.session.clone(),
        };
        if let Err(status) = self.grpc.remove_session(request).await {
            tracing::debug!("the session cannot be ended: {}", status.message());
        }
    }
}

/// The rows of a partition, from the executor that has them: the scheduler passes them on, so that a client needs to reach
/// nobody else.
pub(super) async fn fetch(
    scheduler: &Place,
    location: PartitionLocation,
) -> Result<Vec<RecordBatch>, EngineError> {
    let layout = location.layout();
    let incomplete = || EngineError::Cluster("the scheduler does not say where the rows are".to_owned());
    let executor = location.executor_meta.ok_or_else(incomplete)?;
    let partition = location.partition_id.ok_or_else(incomplete)?.into();
    let port = u16::try_from(executor.port).map_err(|_| incomplete())?;
    let gone = |error: &dyn std::fmt::Display| {
        EngineError::Cluster(format!(
            "the executor at {}:{port} does not give its rows: {error}",
            executor.host
        ))
    };
    let rows = async {
        let size = MAX_MESSAGE as usize;
        let mut client =
            BallistaClient::try_new(&scheduler.host, scheduler.port, size, false, None, 2, 500, 0, 0)
                .await
                .map_err(|error| gone(&error))?;
        let rows = client
            .fetch_partition_proxied(
                &executor.id,
                &partition,
                location.file_id,
                layout,
                &executor.host,
                port,
                true,
            )
            .await
            .map_err(|error| gone(&error))?;
        rows.try_collect().await.map_err(|error| gone(&error))
    };
    timeout(FETCH, rows)
        .await
        .unwrap_or_else(|_| Err(gone(&"it takes too long")))
}

fn failed(status: &Status) -> EngineError {
    EngineError::Cluster(format!("the scheduler: {}", status.message()))
}

/// An error with its causes: `transport error` alone says nothing.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
