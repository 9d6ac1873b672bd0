//! A faulty proxy in front of a sequencer, over real connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Nothing,
    /// The request does not arrive.
    DropRequest,
    /// The answer does not arrive.
    DropAnswer,
    /// The connection breaks, and the request arrives a while later all the same.
    ArriveLate,
    /// The request arrives twice; the second answer counts.
    ForwardTwice,
    /// The answer takes its time.
    Delay,
    /// The connection breaks in the middle of the body.
    CutBody,
    /// The body ends too early, and its length says that it is whole.
    ShortBody,
    /// An older answer in place of this one.
    OlderAnswer,
    /// The answer to somebody else.
    OthersReceipts,
    /// Receipts are there twice.
    DoubleReceipts,
    /// Receipts come in another order.
    ReorderReceipts,
    /// Half of the receipts are missing, and the counts too small.
    FewerReceipts,
    /// 200, and neither receipts nor rejections.
    Empty,
    /// 200, and a page for people.
    Page,
    /// The right body under the wrong content type.
    WrongType,
    /// A receipt with another number.
    WrongNumber,
    /// 502 with a page.
    BadGateway,
}

/// All of them.
pub const TROUBLES: [Trouble; 18] = [
    Trouble::Nothing,
    Trouble::DropRequest,
    Trouble::DropAnswer,
    Trouble::ArriveLate,
    Trouble::ForwardTwice,
    Trouble::Delay,
    Trouble::CutBody,
    Trouble::ShortBody,
    Trouble::OlderAnswer,
    Trouble::OthersReceipts,
    Trouble::DoubleReceipts,
    Trouble::ReorderReceipts,
    Trouble::FewerReceipts,
    Trouble::Empty,
    Trouble::Page,
    Trouble::WrongType,
    Trouble::WrongNumber,
    Trouble::BadGateway,
];

type Choose = Box<dyn FnMut(&str) -> Trouble + Send>;

struct Shared {
    /// What goes wrong, by the request's body.
    choose: Choose,
    /// Bodies of answers so far.
    answers: Vec<Value>,
}

/// A proxy before the sequencer at `url`.
pub struct Proxy {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
}

impl Proxy {
    pub fn before(url: &str, choose: impl FnMut(&str) -> Trouble + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Mutex::new(Shared {
            choose: Box::new(choose),
            answers: Vec::new(),
        }));
        let to = url.strip_prefix("http://").unwrap().to_owned();
        let of_threads = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (shared, to) = (Arc::clone(&of_threads), to.clone());
                std::thread::spawn(move || {
                    // A client that was killed is no failure of the proxy.
                    let _ = serve(&connection.unwrap(), &shared, &to);
                });
            }
        });
        Self { url: own, shared }
    }

    /// From now on something else goes wrong.
    pub fn choose(&self, choose: impl FnMut(&str) -> Trouble + Send + 'static) {
        self.shared.lock().unwrap().choose = Box::new(choose);
    }
}

/// Head and body of a message.
fn read_message(stream: &TcpStream) -> std::io::Result<Option<(String, String)>> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((head, String::from_utf8(body).unwrap())))
}

fn forward(to: &str, head: &str, body: &str) -> std::io::Result<Option<(String, String)>> {
    let mut upstream = TcpStream::connect(to)?;
    upstream.write_all(head.as_bytes())?;
    upstream.write_all(body.as_bytes())?;
    read_message(&upstream)
}

fn serve(client: &TcpStream, shared: &Mutex<Shared>, to: &str) -> std::io::Result<()> {
    let Some((head, body)) = read_message(client)? else {
        return Ok(());
    };
    let trouble = (shared.lock().unwrap().choose)(&body);
    match trouble {
        Trouble::DropRequest => return Ok(()),
        Trouble::ArriveLate => {
            client.shutdown(Shutdown::Both)?;
            std::thread::sleep(Duration::from_millis(30));
            forward(to, &head, &body)?;
            return Ok(());
        }
        Trouble::ForwardTwice => {
            forward(to, &head, &body)?;
        }
        Trouble::Delay => std::thread::sleep(Duration::from_millis(20)),
        _ => {}
    }
    let Some((answer_head, answer)) = forward(to, &head, &body)? else {
        return Ok(());
    };
    if trouble == Trouble::DropAnswer {
        return Ok(());
    }
    let status = answer_head.split(' ').nth(1).unwrap().to_owned();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let mut shared = shared.lock().unwrap();
    let reply = spoil(trouble, &status, &answer, &shared.answers);
    shared.answers.push(answer);
    drop(shared);
    let mut client = client;
    client.write_all(&reply)?;
    client.flush()
}

/// The answer as it reaches the client.
fn spoil(trouble: Trouble, status: &str, answer: &Value, older: &[Value]) -> Vec<u8> {
    let (mut status, mut kind, mut body) = (status.to_owned(), "application/json", answer.clone());
    let other = older
        .iter()
        .find(|a| a["batchId"] != answer["batchId"] && a["receipts"].is_array());
    let page = || Value::from("<html><body>The service will be back shortly.</body></html>");
    match trouble {
        Trouble::OlderAnswer => body = other.cloned().unwrap_or_else(|| Value::from(7)),
        Trouble::Empty => {
            for field in ["receipts", "rejections"] {
                body.as_object_mut().unwrap().remove(field);
            }
            body["eventsAccepted"] = 0.into();
            body["eventsRejected"] = 0.into();
        }
        Trouble::Page => (kind, body) = ("text/html; charset=utf-8", page()),
        Trouble::WrongType => kind = "text/plain",
        Trouble::BadGateway => (status, kind, body) = ("502".into(), "text/html", page()),
        _ => {}
    }
    let count = answer["receipts"].as_array().map_or(0, Vec::len);
    if trouble == Trouble::FewerReceipts {
        body["eventsAccepted"] = (count / 2).into();
    }
    if let Some(receipts) = body.get_mut("receipts").and_then(Value::as_array_mut) {
        match trouble {
            Trouble::OthersReceipts => {
                let others = other.and_then(|a| a["receipts"].as_array().cloned());
                receipts.extend(others.unwrap_or_default());
            }
            Trouble::DoubleReceipts => receipts.extend(receipts.clone()),
            Trouble::ReorderReceipts => receipts.reverse(),
            Trouble::FewerReceipts => receipts.truncate(count / 2),
            Trouble::WrongNumber => {
                let number = receipts[0]["sequenceNumber"].as_u64().unwrap();
                receipts[0]["sequenceNumber"] = (number + 1).into();
            }
            _ => {}
        }
    }
    let text = match &body {
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let whole = text.len();
    let sent = match trouble {
        Trouble::CutBody | Trouble::ShortBody => &text[..whole / 2],
        _ => &text,
    };
    let said = if trouble == Trouble::CutBody {
        whole
    } else {
        sent.len()
    };
    let mut reply = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n");
    reply.push_str(&format!("content-length: {said}\r\n\r\n{sent}"));
    reply.into_bytes()
}
