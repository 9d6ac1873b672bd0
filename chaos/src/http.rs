//! As much of HTTP/1.1 as the double, the proxy and the program's own requests need: one request a connection, bodies
//! with a length.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No body that anybody sends here is larger.
const MAX_BODY: usize = 16 << 20;

/// A request, or an answer.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// `POST /path HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub first: String,
    /// The other lines of the head.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads one. `None`: the other side closed before it said anything.
    ///
    /// # Errors
    /// The connection breaks, or what comes is no HTTP.
    pub fn read(stream: &TcpStream) -> io::Result<Option<Self>> {
        let mut reader = BufReader::new(stream);
        let mut message = Self::default();
        if reader.read_line(&mut message.first)? == 0 {
            return Ok(None);
        }
        message.first.truncate(message.first.trim_end().len());
        let mut length = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse::<usize>().ok();
            }
            message.headers.push(line.to_owned());
        }
        match length {
            Some(length) if length > MAX_BODY => return Err(io::ErrorKind::FileTooLarge.into()),
            Some(length) => {
                message.body.resize(length, 0);
                reader.read_exact(&mut message.body)?;
            }
            // An answer without a length ends with its connection.
            None if message.first.starts_with("HTTP/") => {
                reader.take(MAX_BODY as u64).read_to_end(&mut message.body)?;
            }
            None => {}
        }
        Ok(Some(message))
    }

    /// Writes it, with the length that its body has.
    ///
    /// # Errors
    /// The connection breaks.
    pub fn write(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.write_all(&self.bytes())?;
        stream.flush()
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.first).into_bytes();
        for header in &self.headers {
            let name = header.split(':').next().unwrap_or_default();
            if !["content-length", "connection", "transfer-encoding"]
                .iter()
                .any(|ours| name.eq_ignore_ascii_case(ours))
            {
                out.extend_from_slice(format!("{header}\r\n").as_bytes());
            }
        }
        out.extend_from_slice(
            format!("connection: close\r\ncontent-length: {}\r\n\r\n", self.body.len()).as_bytes(),
        );
        out.extend_from_slice(&self.body);
        out
    }

    /// An answer with this status and JSON.
    pub fn answer(status: u16, body: &serde_json::Value) -> Self {
        Self {
            first: format!("HTTP/1.1 {status} X"),
            headers: vec!["content-type: application/json".into()],
            body: body.to_string().into_bytes(),
        }
    }

    /// An answer's status; 0 if there is none.
    pub fn status(&self) -> u16 {
        let status = self.first.split(' ').nth(1).and_then(|word| word.parse().ok());
        status.unwrap_or(0)
    }
}

/// Sends a request to a port of this machine and waits for the answer.
///
/// # Errors
/// There is none.
pub fn send(port: u16, request: &Message, patience: Duration) -> io::Result<Message> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    request.write(&stream)?;
    Message::read(&stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// A POST of JSON with the API key.
pub fn post(path: &str, api_key: &str, body: &serde_json::Value) -> Message {
    Message {
        first: format!("POST {path} HTTP/1.1"),
        headers: vec![
            "host: 127.0.0.1".into(),
            "content-type: application/json".into(),
            format!("authorization: ApiKey {api_key}"),
        ],
        body: body.to_string().into_bytes(),
    }
}

/// A GET.
pub fn get(path: &str) -> Message {
    Message {
        first: format!("GET {path} HTTP/1.1"),
        headers: vec!["host: 127.0.0.1".into()],
        body: Vec::new(),
    }
}
