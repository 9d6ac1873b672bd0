//! A double of the sequencer over PostgreSQL, in a process of its own so that it can be killed: HTTP ingest and
//! commitments, with the statements, the transactions and the order of locks that the real one was seen to have.

mod commit;
mod ingest;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::http::Message;

/// What every request needs.
struct Double {
    runtime: tokio::runtime::Runtime,
    pool: PgPool,
    key: SigningKey,
    api_key: String,
}

/// How to start it.
#[derive(Debug)]
pub struct Start<'a> {
    /// Its database.
    pub db: &'a str,
    /// The port on 127.0.0.1.
    pub port: u16,
    /// What requests must show.
    pub api_key: &'a str,
    /// The seed of the key that signs receipts.
    pub seed: [u8; 32],
}

/// Serves until the process is ended. Prints `ready` when it listens.
///
/// # Errors
/// The database or the port cannot be had.
pub fn serve(start: &Start<'_>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let pool = runtime
        .block_on(
            PgPoolOptions::new()
                .max_connections(10)
                .acquire_timeout(std::time::Duration::from_secs(10))
                .connect(start.db),
        )
        .map_err(|e| e.to_string())?;
    let listener = TcpListener::bind(("127.0.0.1", start.port)).map_err(|e| e.to_string())?;
    let double = Arc::new(Double {
        runtime,
        pool,
        key: SigningKey::from_bytes(&start.seed),
        api_key: start.api_key.to_owned(),
    });
    println!("ready");
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    for connection in listener.incoming().flatten() {
        let double = Arc::clone(&double);
        std::thread::spawn(move || {
            // A client that was killed is no failure of the sequencer.
            let _ = double.connection(&connection);
        });
    }
    Ok(())
}

impl Double {
    fn connection(&self, stream: &TcpStream) -> std::io::Result<()> {
        let Some(request) = Message::read(stream)? else {
            return Ok(());
        };
        self.answer(&request).write(stream)
    }

    fn answer(&self, request: &Message) -> Message {
        let route = |wanted: &str| request.first.starts_with(wanted);
        if route("GET /health ") || route("GET /ready ") {
            return Message::answer(200, &json!({"status": "ok"}));
        }
        let key = format!("ApiKey {}", self.api_key);
        if !request.headers.iter().any(|header| header.ends_with(&key)) {
            return Message::answer(401, &json!("Unauthorized"));
        }
        let outcome = if route("POST /api/v1/ves/events/ingest ") {
            self.runtime
                .block_on(ingest::ingest(&self.pool, &self.key, &request.body))
        } else if route("POST /api/v1/ves/commitments ") {
            self.runtime.block_on(commit::commit(&self.pool, &request.body))
        } else {
            Err(Refusal::Status(404, "Not Found".into()))
        };
        match outcome {
            Ok(answer) => Message::answer(200, &answer),
            Err(Refusal::Status(status, message)) => Message::answer(status, &json!({"error": message})),
            Err(Refusal::Database(error)) => Message::answer(500, &json!({"error": error.to_string()})),
        }
    }
}

/// Why a request has no good answer.
enum Refusal {
    Status(u16, String),
    /// An HTTP 500, as the real one answers.
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}
