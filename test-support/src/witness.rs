//! A double of a C2SP witness (`tlog-witness`), as its specification says: it remembers the last head of each log that it
//! knows, and cosigns what continues it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use checkpoints::note::{KeyKind, SignatureLine, Signed};
use checkpoints::{Checkpoint, Note, VerifierKey};
use ed25519_dalek::SigningKey;
use ves::Hash32;
use ves::log_tree::{TreeHead, empty_root, is_consistent};

const NAME: &str = "witness.example/double";

/// See the module. It runs until the process ends.
#[derive(Debug)]
pub struct WitnessDouble {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    key: SigningKey,
    logs: Vec<VerifierKey>,
    heads: BTreeMap<String, TreeHead>,
}

impl WitnessDouble {
    /// Starts one that knows no log yet.
    ///
    /// # Panics
    /// If no port can be had.
    #[must_use]
    pub fn start(seed: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let key = SigningKey::from_bytes(&[seed; 32]);
        let state = Arc::new(Mutex::new(State {
            key,
            logs: Vec::new(),
            heads: BTreeMap::new(),
        }));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is not this double's matter.
                let _ = serve(&stream, &shared);
            }
        });
        Self { url, state }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its verifier key.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn vkey(&self) -> VerifierKey {
        let key = self.state.lock().expect("no panic").key.verifying_key();
        VerifierKey::new(NAME, KeyKind::Witness, key).expect("a name")
    }

    /// Makes it know a log by its key.
    ///
    /// # Panics
    /// Never.
    pub fn know(&self, log: VerifierKey) {
        let mut state = self.state.lock().expect("no panic");
        state.logs.retain(|known| known.name() != log.name());
        state.logs.push(log);
    }

    /// Makes it remember another head of a log.
    ///
    /// # Panics
    /// Never.
    pub fn remember(&self, origin: &str, size: u64, root: Hash32) {
        let head = TreeHead { size, root };
        self.state
            .lock()
            .expect("no panic")
            .heads
            .insert(origin.to_owned(), head);
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut input = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    input.read_line(&mut line)?;
    let post = line.starts_with("POST /add-checkpoint ");
    loop {
        let mut header = String::new();
        input.read_line(&mut header)?;
        let header = header.trim().to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if header.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    let (status, kind, answer) = match (post, String::from_utf8(body)) {
        (true, Ok(body)) => {
            state
                .lock()
                .expect("no panic")
                .answer(&body)
                .unwrap_or((400, "text/plain", String::new()))
        }
        _ => (400, "text/plain", String::new()),
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n");
    let mut stream = stream;
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{answer}", answer.len()).as_bytes())
}

impl State {
    /// Status, type and body; nothing if the request is not to be understood.
    fn answer(&mut self, body: &str) -> Option<(u16, &'static str, String)> {
        let plain = |status| Some((status, "text/plain", String::new()));
        let (proof, note) = body.split_once("\n\n")?;
        let mut lines = proof.lines();
        let old: u64 = lines.next()?.strip_prefix("old ")?.parse().ok()?;
        let hash = |line: &str| -> Option<Hash32> {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(line).ok()?;
            Some(Hash32(bytes.try_into().ok()?))
        };
        let proof: Vec<Hash32> = lines.map(hash).collect::<Option<_>>()?;
        let note: Note = note.parse().ok()?;
        let checkpoint = Checkpoint::read(&note.text).ok()?;
        let origin = checkpoint.origin.to_string();
        let Some(log) = self.logs.iter().find(|log| log.name() == origin) else {
            return plain(404);
        };
        if !matches!(log.check(&note), Signed::Valid { .. }) {
            return plain(403);
        }
        if old > checkpoint.size {
            return None;
        }
        let root = empty_root();
        let latest = self
            .heads
            .get(&origin)
            .copied()
            .unwrap_or(TreeHead { size: 0, root });
        if old != latest.size {
            return Some((409, "text/x.tlog.size", format!("{}\n", latest.size)));
        }
        if old == checkpoint.size && latest.root != checkpoint.root {
            return plain(409);
        }
        if !is_consistent(latest, checkpoint.head(), &proof) {
            return plain(422);
        }
        self.heads.insert(origin, checkpoint.head());
        let line = SignatureLine::by_witness(NAME, &self.key, &note.text, 1_700_000_000);
        Some((200, "text/plain", format!("{line}\n")))
    }
}
