//! `/metrics` for Prometheus and `/health` for whoever restarts what does not answer. Only reads, and knows no secret: it
//! belongs on an address that the monitoring alone reaches.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cli_common::Cancel;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// So many are answered at once; others wait.
const MOST_CONNECTIONS: usize = 16;
/// Who does not ask within this time is sent away, and who does not read the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is told, for all threads.
#[derive(Debug, Clone, Default)]
pub struct Page(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    metrics: String,
    healthy: bool,
    words: String,
}

impl Page {
    /// Puts a new page up. `healthy`: the watch does its work, whatever it finds; `words` say why not.
    pub fn set(&self, metrics: String, healthy: bool, words: String) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Told {
            metrics,
            healthy,
            words,
        };
    }

    fn answer(&self, method: &Method, path: &str) -> (StatusCode, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        if method != Method::GET && method != Method::HEAD {
            return (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
        }
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match path {
            "/metrics" => (
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                told.metrics.clone(),
            ),
            "/health" if told.healthy => (StatusCode::OK, TEXT, format!("{}\n", told.words)),
            "/health" => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{}\n", told.words)),
            _ => (
                StatusCode::NOT_FOUND,
                TEXT,
                "here are /metrics and /health\n".to_owned(),
            ),
        }
    }
}

/// Answers on a thread of its own, as long as the process lives; gives the address, of which the port may have been 0.
///
/// # Errors
/// The address cannot be had.
pub fn serve(address: SocketAddr, page: Page, cancel: Cancel) -> io::Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind(address))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || runtime.block_on(answer_all(&listener, &page, &cancel)));
    Ok(address)
}

async fn answer_all(listener: &TcpListener, page: &Page, cancel: &Cancel) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while !cancel.is_cancelled() {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, say: others end meanwhile.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let page = page.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = page.answer(request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(response(answer)) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            // Who goes away in the middle is nobody's fault.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
            drop(permit);
        });
    }
}

fn response((status, kind, body): (StatusCode, &'static str, String)) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn two_pages_are_there_and_nothing_else() {
        let page = Page::default();
        let address = serve("127.0.0.1:0".parse().unwrap(), page.clone(), Cancel::new()).unwrap();
        let get = |path: &str| ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(
            get("/health").starts_with("HTTP/1.1 503"),
            "nothing was looked at yet"
        );
        page.set("a 1\n".into(), true, "well".into());
        assert!(get("/metrics").ends_with("\r\n\r\na 1\n"));
        assert!(get("/metrics").contains("version=0.0.4"));
        assert!(get("/health").starts_with("HTTP/1.1 200"));
        assert!(get("/").starts_with("HTTP/1.1 404"));
        assert!(ask(address, "POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 405"));
        // Garbage, and a head without an end.
        assert!(!ask(address, "\u{0}\u{1}\r\n\r\n").contains("200 OK"));
        let endless = format!("GET /metrics HTTP/1.1\r\nHost: {}", "x".repeat(100_000));
        assert!(!ask(address, &endless).contains("200 OK"));
        assert!(get("/metrics").starts_with("HTTP/1.1 200"));
    }
}
