//! JSON by our fast ways, held against plain ones; and signatures, checked together and one by one.

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use ves::ed25519::{PreparedKey, SignatureInput, verify_many};
use ves::post_quantum::{PublicKeyBundle, SignatureBundle};
use ves::{SignatureBytes, jcs};

/// Canonical JSON in one pass, by way of a tree, and by another implementation.
pub(crate) fn jcs(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let plain = jcs::canonicalize(text);
    let mut fast = b"before".to_vec();
    let by_pass = jcs::Canonicalizer::default().append(text, &mut fast);
    match (&plain, by_pass) {
        (Ok(plain), Ok(())) => assert_eq!(&fast[6..], plain.as_bytes(), "both ways give the same"),
        (Err(plain), Err(fast)) => assert_eq!(plain.to_string(), fast.to_string(), "both say the same"),
        (plain, fast) => panic!("one way takes it and the other does not: {plain:?} {fast:?}"),
    }
    // One pass alone may leave any text to the tree, but not take what the tree refuses.
    let mut alone = Vec::new();
    if ves_kernels::json::Canonicalizer::default()
        .append(text, &mut alone)
        .is_ok()
    {
        assert_eq!(Some(alone.as_slice()), plain.as_ref().ok().map(String::as_bytes));
    }
    if let Ok(plain) = &plain {
        let again = jcs::canonicalize(plain).expect("a canonical form has one");
        assert_eq!(again, *plain, "a canonical form is its own");
        // It merges members of one name, and its parser has limits of its own.
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
            let other = serde_json_canonicalizer::to_string(&value).expect("a value has a canonical form");
            assert_eq!(other, *plain, "another implementation gives the same");
        }
    }
}

/// Whether text is JSON on one line, told fast: never yes where `serde_json` says no.
pub(crate) fn line(bytes: &[u8]) {
    let sure = outbox_sync::fast_export::is_json_line(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if sure {
        let parsed: Result<&serde_json::value::RawValue, _> = serde_json::from_str(text);
        assert!(parsed.is_ok(), "it is no JSON");
        assert_eq!(text.trim(), text, "it is all of the line");
        assert!(!text.contains(['\n', '\r']), "it is one line");
    }
}

/// JSON as PostgreSQL keeps it.
pub(crate) fn jsonb(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(kept) = event_log::as_jsonb(text) else {
        return;
    };
    assert_eq!(
        event_log::as_jsonb(&kept).as_ref(),
        Ok(&kept),
        "what is kept stays as it is"
    );
    // Its numbers have more digits than doubles, which may come out of range.
    if let (Ok(before), Ok(after)) = (jcs::canonicalize(text), jcs::canonicalize(&kept)) {
        assert_eq!(before, after, "it means the same");
    }
}

/// Bundles of signatures and keys by our own reader, held against the general one.
pub(crate) fn post_quantum(bytes: &[u8]) {
    let read = SignatureBundle::read(bytes);
    let by_serde: Option<SignatureBundle> = serde_json::from_slice(bytes).ok();
    assert_eq!(read, by_serde, "both readers give the same bundle");
    if let Some(bundle) = read {
        assert_eq!(
            SignatureBundle::read(&bundle.to_json()),
            Some(bundle),
            "it reads back"
        );
    }
    let _ = PublicKeyBundle::read(bytes);
}

/// Signatures that are checked together get the verdicts of `ed25519-dalek`. Each 128 bytes of an input are a key, a signature
/// and a message; the keys are those of the first two, so that several signatures are by one key. And a comb is made of exactly
/// those keys that `ed25519-dalek` takes.
pub(crate) fn signatures(bytes: &[u8]) {
    let cases: Vec<Case<'_>> = bytes.chunks_exact(128).filter_map(Case::of).take(8).collect();
    let encoded: Vec<[u8; 32]> = cases.iter().map(|case| *case.key).collect();
    let parsed: Vec<Option<VerifyingKey>> = encoded
        .iter()
        .map(|key| VerifyingKey::from_bytes(key).ok())
        .collect();
    let combs = PreparedKey::combs(&encoded);
    if let Some(combs) = &combs {
        let taken = combs.iter().map(Option::is_some);
        assert!(
            taken.eq(parsed.iter().map(Option::is_some)),
            "which keys are points"
        );
    }
    let keys: Vec<VerifyingKey> = parsed.into_iter().flatten().take(2).collect();
    let tables: Vec<PreparedKey> = keys.iter().map(PreparedKey::new).collect();
    let combs = combs.into_iter().flatten().flatten().take(2);
    let prepared: Vec<PreparedKey> = tables.into_iter().chain(combs).collect();
    let claims = prepared.iter().flat_map(|key| {
        cases.iter().map(move |case| SignatureInput {
            key,
            message: case.message,
            signature: &case.signature,
        })
    });
    let claims: Vec<SignatureInput<'_>> = claims.collect();
    let expected: Vec<bool> = claims
        .iter()
        .map(|claim| {
            let signature = Signature::from_bytes(&claim.signature.0);
            let key = keys.iter().find(|key| key.as_bytes() == claim.key.as_bytes());
            key.is_some_and(|key| key.verify(claim.message, &signature).is_ok())
        })
        .collect();
    assert_eq!(verify_many(&claims), expected, "together as one by one");
}

struct Case<'a> {
    key: &'a [u8; 32],
    signature: SignatureBytes,
    message: &'a [u8],
}

impl<'a> Case<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (signature, message) = rest.split_first_chunk()?;
        Some(Self {
            key,
            signature: SignatureBytes(*signature),
            message,
        })
    }
}
