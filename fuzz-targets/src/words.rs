//! Short texts: URLs and connection strings, ids, times, spans, names, lengths of time.

use cli_common::{DbTarget, Names, redact_text, redact_url};
use grpc_client::Address;
use ves::{Hash32, SignatureBytes, Span, Spans, StreamKey, Timestamp};

/// So many bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is put into a URL as a password, and must not come out.
const SECRET: &str = "Sesame4711";

/// Where a log, a node or a service is. No password is ever printed.
pub(crate) fn urls(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    place(&text);
    let _ = redact_text(&text);
    // The input stands around the password, wherever that may be.
    let escaped = |special: fn(char) -> bool| {
        let mut out = String::new();
        for c in text.chars() {
            out.extend(special(c).then_some('\\'));
            out.push(c);
        }
        out
    };
    let quoted = escaped(|c| matches!(c, '\'' | '\\'));
    let plain = escaped(|c| c.is_whitespace() || matches!(c, '\'' | '\\' | '&' | '"'));
    for url in [
        format!("postgres://user:{SECRET}@{text}"),
        format!("postgresql://{text}&password={SECRET}"),
        format!("host={text} password={SECRET}"),
        format!("host=h password = {SECRET} {text}"),
        format!("host=h password='{quoted}{SECRET}'"),
        format!("host=h password={plain}{SECRET}"),
    ] {
        place(&url);
        assert!(
            !redact_url(&url).contains(SECRET),
            "{url:?} shows its password: {}",
            redact_url(&url)
        );
    }
}

fn place(text: &str) {
    let secret = text.contains(SECRET);
    let shown = match DbTarget::parse(text.as_ref()) {
        Ok(target) => format!("{target} {target:?}"),
        Err(error) => error.to_string(),
    };
    let has_password = !matches!(DbTarget::parse(text.as_ref()), Ok(DbTarget::Snapshot(_)));
    assert!(
        !(secret && has_password && shown.contains(SECRET)),
        "{text:?} shows its password: {shown}"
    );
    if let Some(Ok(address)) = Address::recognise(text) {
        let again = Address::recognise(&address.to_string());
        assert_eq!(again, Some(Ok(address)), "an address reads back");
    }
}

/// What is written on command lines and in files of names. What is read reads back from how it is written.
pub(crate) fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = cli_common::duration(text);
    let _ = Names::parse(text);
    let _ = http_client::retry_after(text);
    if let Ok(stream) = text.parse::<StreamKey>() {
        assert_eq!(
            stream.to_string().parse().ok(),
            Some(stream),
            "a stream reads back"
        );
    }
    if let Ok(hash) = text.parse::<Hash32>() {
        assert_eq!(hash.to_string().parse().ok(), Some(hash), "a hash reads back");
    }
    if let Ok(signature) = text.parse::<SignatureBytes>() {
        assert_eq!(
            signature.to_string().parse().ok(),
            Some(signature),
            "a signature reads back"
        );
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        let _ = time.to_string();
        if let Some(canonical) = Timestamp::from_canonical(text) {
            assert_eq!(canonical, time, "both readers give the same time");
            assert_eq!(canonical.to_string(), text, "one time has one canonical text");
        }
    } else {
        assert_eq!(
            Timestamp::from_canonical(text),
            None,
            "what is no time is no canonical one"
        );
    }
    for json in [text, &format!("[{text}]")] {
        if let Ok(spans) = serde_json::from_str::<Spans>(json) {
            let again = serde_json::to_string(&spans).expect("spans are JSON");
            assert_eq!(
                serde_json::from_str::<Spans>(&again).ok(),
                Some(spans),
                "spans read back"
            );
        }
        let _ = serde_json::from_str::<Span>(json);
    }
}
