//! A log over TLS, as hosted databases are reached.

use crate::common;

use common::binary;
use test_support::{ScratchPostgres, TestAuthority, load_schema, postgres_available};

#[test]
fn a_log_over_tls_and_nothing_else_if_asked() {
    if !postgres_available() {
        return;
    }
    let mut server = ScratchPostgres::start();
    let plain = server.create_database("plain");
    load_schema(&plain);
    let authority = TestAuthority::with_certificate_for("127.0.0.1");
    let audit = |url: &str, mode: &str, trusted: &TestAuthority| {
        let trusted = trusted.file();
        let url = format!("{url}?sslmode={mode}&sslrootcert={}", trusted.display());
        let output = binary().args(["audit", "--db", &url]).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };

    // No TLS where it is asked for: refused, rather than done in the open.
    let (code, err) = audit(&plain, "require", &authority);
    assert_eq!(code, 8, "{err}");
    assert!(err.contains("TLS"), "{err}");

    server.speak_tls(&authority);
    let url = server.database_url("plain");
    for mode in ["require", "verify-ca", "verify-full"] {
        let (code, err) = audit(&url, mode, &authority);
        // The log is read, and is empty.
        assert_eq!(code, 4, "{mode}: {err}");
    }
    let stranger = TestAuthority::with_certificate_for("127.0.0.1");
    let (code, err) = audit(&url, "verify-full", &stranger);
    assert_eq!(code, 8, "{err}");
    assert!(err.contains("certificate"), "{err}");

    let misnamed = TestAuthority::with_certificate_for("database.example");
    server.speak_tls(&misnamed);
    let url = server.database_url("plain");
    assert_eq!(audit(&url, "verify-ca", &misnamed).0, 4);
    let (code, err) = audit(&url, "verify-full", &misnamed);
    assert_eq!(code, 8, "{err}");
    assert!(err.contains("certificate"), "{err}");
}
