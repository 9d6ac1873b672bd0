//! The sequencer as a process: the double, or the real one.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;

use crate::http::{self, Message};

/// What requests must show: `ss_` and 64 characters.
pub const API_KEY: &str = "ss_c4a05c4a05c4a05c4a05c4a05c4a05c4a05c4a05c4a05c4a05c4a05c4a05c4a0";
/// The seed of the key that signs receipts.
const SEED: [u8; 32] = [0x5e; 32];
const PATIENCE: Duration = Duration::from_secs(60);

/// The public key that receipts hold by, in hex.
pub fn public_key() -> String {
    hex::encode(SigningKey::from_bytes(&SEED).verifying_key().to_bytes())
}

/// The seed in hex, as an operator's key file has it.
pub fn seed_hex() -> String {
    hex::encode(SEED)
}

/// Serves as the double; the program calls itself so.
///
/// # Errors
/// The database or the port cannot be had.
pub fn serve_double(db: &str, port: u16) -> Result<(), String> {
    crate::double::serve(&crate::double::Start {
        db,
        port,
        api_key: API_KEY,
        seed: SEED,
    })
}

/// A running sequencer. It is killed when dropped.
#[derive(Debug)]
pub struct Sequencer {
    child: Child,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Sequencer {
    /// Starts the real one if its binary is given, otherwise the double, and waits until it answers.
    ///
    /// # Errors
    /// It does not.
    pub fn start(real: Option<&PathBuf>, db: &str) -> Result<Self, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut sequencer = Self::spawn(real, db)?;
            loop {
                let health = http::send(sequencer.port, &http::get("/health"), Duration::from_secs(2));
                if health.is_ok_and(|answer| answer.status() == 200) {
                    return Ok(sequencer);
                }
                if Instant::now() > deadline {
                    return Err("the sequencer does not answer".into());
                }
                // Somebody else may have taken the port, or the database may still be starting.
                if !matches!(sequencer.child.try_wait(), Ok(None)) {
                    break;
                }
                sleep(Duration::from_millis(20));
            }
            sleep(Duration::from_millis(100));
        }
    }

    fn spawn(real: Option<&PathBuf>, db: &str) -> Result<Self, String> {
        let port = free_port()?;
        let mut command = match real {
            None => {
                let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
                command.args(["sequencer", "--db", db, "--port", &port.to_string()]);
                command
            }
            Some(path) => {
                let mut command = Command::new(path);
                command
                    .env("DATABASE_URL", db)
                    .env("PORT", port.to_string())
                    .env("HOST", "127.0.0.1")
                    .env("GRPC_PORT", free_port()?.to_string())
                    .env("AUTH_MODE", "required")
                    .env("BOOTSTRAP_ADMIN_API_KEY", API_KEY)
                    .env("ALLOW_INSECURE_LOCAL_DB", "true")
                    .env("PAYLOAD_ENCRYPTION_MODE", "disabled")
                    .env("VES_SEQUENCER_SIGNING_KEY", seed_hex())
                    .env("DB_MIGRATE_ON_STARTUP", "true")
                    .env("RATE_LIMIT_PER_MINUTE", "1000000")
                    .env("RUST_LOG", "warn");
                command
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        Ok(Self { child, port })
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks for a commitment. Whether one was made is not said: a hole, or another that was faster, refuses it.
    pub fn commit(&self, stream: &ves::StreamKey, start: u64, end: u64) -> Option<Message> {
        let body = serde_json::json!({
            "tenant_id": stream.tenant_id, "store_id": stream.store_id, "sequence_start": start, "sequence_end": end,
        });
        let request = http::post("/api/v1/ves/commitments", API_KEY, &body);
        http::send(self.port, &request, Duration::from_secs(10)).ok()
    }
}

impl Drop for Sequencer {
    fn drop(&mut self) {
        self.end();
    }
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    Ok(listener.local_addr().map_err(|e| e.to_string())?.port())
}
