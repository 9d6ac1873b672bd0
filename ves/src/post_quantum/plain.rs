//! A bundle exactly as the sequencer writes it, read without a JSON parser.
//!
//! Reading the 12 KB of digits by a parser took as long as the check of the signature. What is not written in just this
//! way (with white space, other members, another order) is no fault: it is left to the parser.

use super::{Octets, SIGNATURE_BYTES, SignatureBundle};

/// `{"ed25519_signature":…,"ml_dsa_65_signature":…}` with arrays of the right length or `null`; `None` says nothing.
pub(super) fn signatures(json: &[u8]) -> Option<SignatureBundle> {
    let rest = json.strip_prefix(b"{\"ed25519_signature\":")?;
    let (ed25519_signature, rest) = half::<64>(rest)?;
    let rest = rest.strip_prefix(b",\"ml_dsa_65_signature\":")?;
    let (ml_dsa_65_signature, rest) = half::<SIGNATURE_BYTES>(rest)?;
    (rest == b"}").then_some(SignatureBundle {
        ed25519_signature,
        ml_dsa_65_signature,
    })
}

/// `null`, or `[` numbers `]`, and what follows.
fn half<const N: usize>(text: &[u8]) -> Option<(Option<Octets<N>>, &[u8])> {
    if let Some(rest) = text.strip_prefix(b"null") {
        return Some((None, rest));
    }
    let mut rest = text.strip_prefix(b"[")?;
    let mut bytes = Box::new([0; N]);
    let (last, others) = bytes.split_last_mut()?;
    for byte in others {
        (*byte, rest) = number(rest, b',')?;
    }
    (*last, rest) = number(rest, b']')?;
    Some((Some(Octets(Some(bytes))), rest))
}

/// A number from 0 to 255 in its one shortest form, with what ends it; and what follows.
fn number(text: &[u8], end: u8) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| Some(byte.wrapping_sub(b'0')).filter(|digit| *digit < 10);
    match text {
        [a, e, rest @ ..] if *e == end => Some((digit(*a)?, rest)),
        [b'1'..=b'9', b, e, rest @ ..] if *e == end => Some(((text[0] - b'0') * 10 + digit(*b)?, rest)),
        [b'1'..=b'2', b, c, e, rest @ ..] if *e == end => {
            let tens = u16::from(text[0] - b'0') * 10 + u16::from(digit(*b)?);
            let number = tens * 10 + u16::from(digit(*c)?);
            Some((u8::try_from(number).ok()?, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the parser says.
    fn parsed(json: &[u8]) -> Option<SignatureBundle> {
        serde_json::from_slice(json).ok()
    }

    fn bundle(ed25519: bool, ml_dsa: bool, seed: u8) -> SignatureBundle {
        fn some<const N: usize>(seed: u8) -> Option<Octets<N>> {
            let mut bytes = Box::new([0; N]);
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte = (i as u8).wrapping_mul(31).wrapping_add(seed);
            }
            Some(Octets(Some(bytes)))
        }
        SignatureBundle {
            ed25519_signature: some(seed).filter(|_| ed25519),
            ml_dsa_65_signature: some(seed).filter(|_| ml_dsa),
        }
    }

    #[test]
    fn every_byte_in_every_form() {
        for end in [b',', b']'] {
            for n in 0..1100_u32 {
                for text in [
                    format!("{n}"),
                    format!("0{n}"),
                    format!("{n:03}"),
                    format!("-{n}"),
                    format!("{n}.0"),
                ] {
                    let mut json = text.clone().into_bytes();
                    json.extend([end, b'x']);
                    let expected = u8::try_from(n).ok().filter(|_| text == n.to_string());
                    assert_eq!(number(&json, end).map(|(byte, _)| byte), expected, "{text}");
                    if let Some((_, rest)) = number(&json, end) {
                        assert_eq!(rest, b"x");
                    }
                }
            }
            for text in ["", "1", "12", "123", "1234", ",", "]", "a,", "1a,", "12a]"] {
                assert_eq!(number(text.as_bytes(), end), None, "{text}");
            }
        }
    }

    #[test]
    fn what_the_sequencer_writes_is_read_without_the_parser() {
        for (ed25519, ml_dsa) in [(false, false), (false, true), (true, false), (true, true)] {
            let bundle = bundle(ed25519, ml_dsa, 7);
            assert_eq!(signatures(&bundle.to_json()), Some(bundle));
        }
    }

    proptest! {
        /// Whatever is changed, what is read here is what the parser reads; and what is not is left to it.
        #[test]
        fn never_other_than_the_parser(
            seed in any::<u8>(),
            ed25519 in any::<bool>(),
            at in any::<prop::sample::Index>(),
            change in 0..4,
            byte in prop::sample::select(b"0123456789,[]{}null -.\"e".to_vec()),
        ) {
            let mut json = bundle(ed25519, true, seed).to_json();
            let at = at.index(json.len());
            match change {
                0 => json[at] = byte,
                1 => json.insert(at, byte),
                2 => drop(json.remove(at)),
                _ => json.truncate(at),
            }
            if let Some(read) = signatures(&json) {
                prop_assert_eq!(Some(read), parsed(&json));
            }
        }
    }
}
