//! Servers over TLS, with certificates of an authority made for one test.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// An authority that nobody trusts unless told to, and a certificate by it for one name.
#[derive(Debug)]
pub struct TestAuthority {
    folder: TempDir,
    /// The certificate for the server, PEM.
    pub(crate) certificate: String,
    /// The certificate's key, PEM.
    pub(crate) key: String,
    config: Arc<ServerConfig>,
}

impl TestAuthority {
    /// An authority with a certificate for `name`, a host name or an IP address.
    ///
    /// # Panics
    /// If no temporary file can be made.
    #[must_use]
    pub fn with_certificate_for(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&authority_key).expect("a certificate");
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");

        let folder = TempDir::new().expect("a temporary folder can be made");
        fs::write(folder.path().join("authority.pem"), authority.pem()).expect("own folder");
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, der))
            .expect("the certificate is of this key");
        // Who speaks HTTP/2 asks for it.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            folder,
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            config: Arc::new(config),
        }
    }

    /// The authority's own certificate as a PEM file: for `SSL_CERT_FILE` or `sslrootcert`.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }
}

/// Speaks TLS before a server that does not.
#[derive(Debug)]
pub struct TlsFront {
    port: u16,
    stop: Arc<AtomicBool>,
}

impl TlsFront {
    /// A front before the server on `port` of 127.0.0.1.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn before(port: u16, authority: &TestAuthority) -> Self {
        let server = port;
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("127.0.0.1 has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, config) = (Arc::clone(&stop), Arc::clone(&authority.config));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let config = Arc::clone(&config);
                // A client that breaks off, as one that does not trust us, is no failure of the server.
                thread::spawn(move || relay(stream, server, config));
            }
        });
        Self { port, stop }
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Hands bytes on in both directions until one side closes. One thread, so that the TLS session has one owner: it
/// looks at either side in turn, and waits a moment where neither has anything.
fn relay(client: TcpStream, server: u16, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server))?;
    let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut client = StreamOwned::new(session, client);
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock)?;
    }
    let moment = Some(Duration::from_millis(1));
    client.sock.set_read_timeout(moment)?;
    server.set_read_timeout(moment)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match idle_as_none(client.read(&mut buffer))? {
            Some(0) => return server.shutdown(Shutdown::Both),
            Some(count) => server.write_all(&buffer[..count])?,
            None => {}
        }
        match idle_as_none(server.read(&mut buffer))? {
            Some(0) => {
                client.conn.send_close_notify();
                client.flush()?;
                return client.sock.shutdown(Shutdown::Both);
            }
            Some(count) => {
                client.write_all(&buffer[..count])?;
                client.flush()?;
            }
            None => {}
        }
    }
}

fn idle_as_none(read: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match read {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => Ok(None),
        Err(error) => Err(error),
    }
}
