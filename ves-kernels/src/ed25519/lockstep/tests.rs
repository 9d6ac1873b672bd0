use curve25519_dalek::Scalar;
use ed25519_dalek::{Signer, SigningKey};
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
    let tables: Vec<Table> = keys
        .iter()
        .map(|key| Table::job(-key.verifying_key().to_edwards()).run(Arrays))
        .collect();
    let signed: Vec<(Vec<u8>, SignatureBytes)> = (0..21)
        .map(|i| {
            let message = vec![i as u8; 40 + i];
            let mut signature = keys[i % 3].sign(&message).to_bytes();
            signature[(i * 5) % 64] ^= u8::from(i % 4 == 3);
            (message, SignatureBytes(signature))
        })
        .collect();
    let cases: Vec<Case<'_>> = (signed.iter().enumerate())
        .map(|(i, (message, signature))| Case {
            claim: Claim {
                key: &prepared[i % 3],
                message,
                signature,
            },
            negated: &tables[i % 3],
        })
        .collect();
    let expected: Vec<bool> = (0..21).map(|i| i % 4 != 3).collect();
    let verify = Verify {
        base: &base,
        cases: &cases,
    };
    assert_eq!(verify.run(Arrays), expected);
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
}
