//! A bad network between the agents and the sequencer: it loses requests and answers, cuts, delays and repeats them,
//! and answers with what it has answered before. It notes every receipt that the sequencer gave.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fixtures::Rng;
use serde_json::Value;

use crate::http::{self, Message};

/// What the network does to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing arrives.
    LoseRequest,
    /// It arrives, and nobody hears of it.
    LoseAnswer,
    /// The body of the answer ends early.
    CutAnswer,
    /// The answer to the agent's request before this one comes in place of this one's.
    OldAnswer,
    /// The request arrives twice, at the same time.
    Twice,
    /// The answer says 503, though the request has arrived.
    Busy,
    /// The answer has no receipts.
    Empty,
    /// The receipts come in another order.
    Shuffled,
    /// The answer takes its time.
    Slow,
}

const FAULTS: [Fault; 9] = [
    Fault::LoseRequest,
    Fault::LoseAnswer,
    Fault::CutAnswer,
    Fault::OldAnswer,
    Fault::Twice,
    Fault::Busy,
    Fault::Empty,
    Fault::Shuffled,
    Fault::Slow,
];

/// What passed through.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Requests that the sequencer answered.
    pub requests: AtomicU64,
    /// Faults that were made.
    pub faults: AtomicU64,
    /// Answers with status 500.
    pub failures: AtomicU64,
}

/// The network.
#[derive(Debug)]
pub struct Proxy {
    /// Where the agents go.
    pub port: u16,
    /// Counts.
    pub traffic: Arc<Traffic>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The sequencer's port; it changes when the sequencer is started again.
    upstream: AtomicU16,
    /// Faults in a thousand requests.
    weather: AtomicU64,
    rng: Mutex<Rng>,
    /// The last answer of each agent.
    last: Mutex<BTreeMap<String, Message>>,
}

impl Proxy {
    /// Listens on a free port.
    ///
    /// # Errors
    /// There is none.
    pub fn start(seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            upstream: AtomicU16::new(0),
            weather: AtomicU64::new(0),
            rng: Mutex::new(Rng::new(seed, "proxy")),
            last: Mutex::default(),
        });
        let traffic = Arc::new(Traffic::default());
        let (theirs, counts) = (Arc::clone(&shared), Arc::clone(&traffic));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (shared, traffic) = (Arc::clone(&theirs), Arc::clone(&counts));
                // Connections that break are what it is for.
                std::thread::spawn(move || drop(pass(&connection, &shared, &traffic)));
            }
        });
        Ok(Self {
            port,
            traffic,
            shared,
        })
    }

    /// Where the sequencer is now.
    pub fn lead_to(&self, port: u16) {
        self.shared.upstream.store(port, Ordering::SeqCst);
    }

    /// How many of a thousand requests something happens to.
    pub fn weather(&self, faults: u64) {
        self.shared.weather.store(faults, Ordering::SeqCst);
    }

    /// Where agents push to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Shared {
    fn fault(&self) -> Option<Fault> {
        let mut rng = self.rng.lock().ok()?;
        let bad = rng.below(1000) < usize::try_from(self.weather.load(Ordering::SeqCst)).unwrap_or(0);
        bad.then(|| rng.pick(&FAULTS))
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

fn pass(client: &TcpStream, shared: &Shared, traffic: &Traffic) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let Some(request) = Message::read(client)? else {
        return Ok(());
    };
    let fault = shared.fault();
    if fault.is_some() {
        traffic.faults.fetch_add(1, Ordering::SeqCst);
    }
    if fault == Some(Fault::LoseRequest) {
        return Ok(());
    }
    let upstream = shared.upstream.load(Ordering::SeqCst);
    let second = (fault == Some(Fault::Twice)).then(|| {
        let again = request.clone();
        std::thread::spawn(move || http::send(upstream, &again, PATIENCE).map(|answer| answer.status()))
    });
    let mut answer = http::send(upstream, &request, PATIENCE)?;
    let repeated = second.and_then(|second| second.join().ok()).and_then(Result::ok);
    traffic.requests.fetch_add(1, Ordering::SeqCst);
    let failures = [Some(answer.status()), repeated].into_iter().flatten();
    let failures = failures.filter(|status| *status == 500).count();
    traffic.failures.fetch_add(failures as u64, Ordering::SeqCst);
    let agent = serde_json::from_slice::<Value>(&request.body)
        .map_or_else(|_| String::new(), |body| body["agentId"].to_string());
    let before = match shared.last.lock() {
        Ok(mut last) => last.insert(agent, answer.clone()),
        Err(_) => None,
    };
    match fault {
        Some(Fault::LoseAnswer) => return Ok(()),
        Some(Fault::CutAnswer) => {
            use std::io::Write;
            let bytes = answer.bytes();
            let mut client = client;
            return client.write_all(&bytes[..bytes.len() - answer.body.len() / 2 - 1]);
        }
        Some(Fault::OldAnswer) => {
            if let Some(before) = before {
                answer = before;
            }
        }
        Some(Fault::Busy) => answer = Message::answer(503, &Value::from("busy")),
        Some(Fault::Slow) => std::thread::sleep(Duration::from_millis(300)),
        Some(fault @ (Fault::Empty | Fault::Shuffled)) => alter(&mut answer, fault, shared),
        _ => {}
    }
    answer.write(client)
}

fn alter(answer: &mut Message, fault: Fault, shared: &Shared) {
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else {
        return;
    };
    if fault == Fault::Empty {
        if let Some(fields) = body.as_object_mut() {
            fields.remove("receipts");
            fields.insert("rejections".into(), Value::Array(Vec::new()));
        }
    } else if let (Some(receipts), Ok(mut rng)) = (body["receipts"].as_array_mut(), shared.rng.lock()) {
        rng.shuffle(receipts);
    }
    answer.body = body.to_string().into_bytes();
}
