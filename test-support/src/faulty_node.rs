//! A JSON-RPC node that does not do all that another does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::evm::post;

/// What becomes of a call: `None` lets it through, a value is the whole answer but its id (`{"result": …}` or
/// `{"error": …}`, and an HTTP `status` if it is not 200). The last argument gives what the node itself answers.
type Fault = dyn Fn(&str, &Value, &dyn Fn() -> Value) -> Option<Value> + Send + Sync;

/// Stands before a node and answers some calls itself, as nodes with limits do. It takes no batches, as some nodes do
/// not.
#[derive(Debug)]
pub struct FaultyNode {
    port: u16,
    stop: Arc<AtomicBool>,
}

impl FaultyNode {
    /// A node before the one on `port` of 127.0.0.1. `fault` is asked with method and parameters of each call.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn before(url: &str, fault: impl Fn(&str, &Value) -> Option<Value> + Send + Sync + 'static) -> Self {
        Self::altering(url, move |method, params, _| fault(method, params))
    }

    /// As [`FaultyNode::before`], for a `fault` that makes its answers of the node's own. A batch is asked about as the
    /// method `batch`, with the calls as parameters; it is refused unless `fault` answers.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn altering(
        url: &str,
        fault: impl Fn(&str, &Value, &dyn Fn() -> Value) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let node: u16 = port.expect("a URL with a port");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("127.0.0.1 has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, fault): (_, Arc<Fault>) = (Arc::clone(&stop), Arc::new(fault));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let fault = Arc::clone(&fault);
                thread::spawn(move || serve(stream, node, &*fault));
            }
        });
        Self { port, stop }
    }

    /// Its URL, with a part that looks like the key of an account.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "http://127.0.0.1:{}/v3/0123456789abcdef0123456789abcdef",
            self.port
        )
    }
}

impl Drop for FaultyNode {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Answers the calls of one connection until the client closes it.
fn serve(stream: TcpStream, node: u16, fault: &Fault) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut reader = BufReader::new(reading);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let call: Value = serde_json::from_slice(&body).unwrap_or_default();
        let honest = || serde_json::from_slice(&post(node, &body)).unwrap_or_default();
        let answer: Value = if call.is_array() {
            fault("batch", &call, &honest).unwrap_or_else(|| {
                json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "batches are not taken"}})
            })
        } else {
            match fault(
                call["method"].as_str().unwrap_or_default(),
                &call["params"],
                &honest,
            ) {
                Some(mut answer) => {
                    answer["jsonrpc"] = "2.0".into();
                    answer["id"] = call["id"].clone();
                    answer
                }
                None => honest(),
            }
        };
        let status = answer.get("status").and_then(Value::as_u64);
        let says = answer.get("error").is_some() || status.is_none();
        let answer = if says {
            answer.to_string()
        } else {
            "busy".to_owned()
        };
        let status = status.unwrap_or(200);
        let head = format!(
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all(head.as_bytes()).is_err() || stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
