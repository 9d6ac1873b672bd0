//! Where a service is: `grpc://host:port`, `grpcs://host:port`.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

/// The address of a gRPC service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    tls: bool,
    host: String,
    port: u16,
}

/// Why a text is no address. The text is not repeated: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is no URL.
    #[error("a gRPC service is named as grpc://host:port or grpcs://host:port")]
    NoUrl,
    /// It has a name or a password in it.
    #[error("the address of a gRPC service holds no name and no password: its API key is given beside it")]
    Secret,
    /// It has a path or a query.
    #[error("the address of a gRPC service ends with its port")]
    Path,
    /// `grpc://host`.
    #[error("grpc:// needs a port, as in grpc://host:50051")]
    NoPort,
}

impl Address {
    /// Reads what begins with `grpc://` or `grpcs://`; `None` for anything else. `grpcs://` without a port means 443.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn recognise(text: &str) -> Option<Result<Self, AddressError>> {
        let (scheme, rest) = text.split_once("://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "grpc" => false,
            "grpcs" => true,
            _ => return None,
        };
        Some(Self::read(tls, rest))
    }

    fn read(tls: bool, rest: &str) -> Result<Self, AddressError> {
        if rest.contains('@') {
            return Err(AddressError::Secret);
        }
        let uri: Uri = format!("http://{rest}")
            .parse()
            .map_err(|_| AddressError::NoUrl)?;
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(AddressError::Path);
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or(AddressError::NoUrl)?;
        // A port that is no number is passed over by the parser.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let behind = &authority[host.len().min(authority.len())..];
        let port = match (uri.port_u16(), behind.is_empty()) {
            (Some(port), _) => port,
            (None, false) => return Err(AddressError::NoUrl),
            (None, true) if tls => 443,
            (None, true) => return Err(AddressError::NoPort),
        };
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Whether the connection is by TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether what is sent would leave this machine in the open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !self.tls && !here
    }

    /// As HTTP has it.
    pub(crate) fn http_url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "grpcs" } else { "grpc" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, shown, open) in [
            ("grpc://replica:50051", "grpc://replica:50051", true),
            ("GRPC://Replica:50051/", "grpc://replica:50051", true),
            ("grpc://localhost:1", "grpc://localhost:1", false),
            ("grpc://127.0.0.2:1", "grpc://127.0.0.2:1", false),
            ("grpc://[::1]:1", "grpc://[::1]:1", false),
            ("grpcs://replica.example", "grpcs://replica.example:443", false),
            ("grpcs://10.0.0.1:9", "grpcs://10.0.0.1:9", false),
        ] {
            let address = Address::recognise(text).unwrap().unwrap();
            assert_eq!(
                (address.to_string().as_str(), address.is_open()),
                (shown, open),
                "{text}"
            );
            assert_eq!(Address::recognise(shown).unwrap().unwrap(), address);
        }
        for text in ["postgres://h/d", "file.db", "http://h:1", "grpc:h:1"] {
            assert!(Address::recognise(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_without_repeating_it() {
        for (text, error) in [
            ("grpc://key:s3cret@h:1", AddressError::Secret),
            ("grpc://h", AddressError::NoPort),
            ("grpc://h:1/path", AddressError::Path),
            ("grpc://h:1?key=s3cret", AddressError::Path),
            ("grpc://", AddressError::NoUrl),
            ("grpc://h:port", AddressError::NoUrl),
            ("grpc://h:70000", AddressError::NoUrl),
            ("grpc://a b:1", AddressError::NoUrl),
        ] {
            assert_eq!(Address::recognise(text).unwrap(), Err(error), "{text}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }
}
