//! One signature after the other, by `curve25519-dalek`'s arithmetic: the reference, and the way of machines
//! with neither AVX-512 IFMA nor AVX2 and FMA, and of the portable kernel.

use std::sync::LazyLock;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity;
use curve25519_dalek::{EdwardsPoint, Scalar};
use sha2::{Digest, Sha512};

use super::{SignatureInput, halves};
use crate::kernel::prefetch;

/// Windows of a scalar: 32 digits of eight bits.
const WINDOWS: usize = 32;
/// Digits are signed, so each window has multiples up to 128.
const MULTIPLES: usize = 128;

/// The multiples of a point, window by window.
pub(super) struct Multiples(Vec<EdwardsPoint>);

static BASEPOINT: LazyLock<Multiples> = LazyLock::new(|| Multiples::new(ED25519_BASEPOINT_POINT));

impl Multiples {
    pub(super) fn new(point: EdwardsPoint) -> Self {
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
    pub(super) fn choose(&self, scalar: &Scalar) -> [Option<(&EdwardsPoint, bool)>; WINDOWS] {
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

/// A claim and the multiples of its key, negated.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) claim: SignatureInput<'a>,
    pub(super) negated: &'a Multiples,
}

impl Case<'_> {
    /// R′; `None` if s is not canonical.
    fn expected_r(&self) -> Option<EdwardsPoint> {
        let claim = &self.claim;
        let (r, s) = halves(claim.signature);
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(*s))?;
        let mut hash = Sha512::new();
        hash.update(r);
        hash.update(claim.key.as_bytes());
        hash.update(claim.message);
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

/// How many R′ share an inversion.
const BATCH: usize = 64;

/// Whether each of these signatures holds.
pub(super) fn verify(cases: &[Case<'_>]) -> Vec<bool> {
    let mut verdicts = Vec::with_capacity(cases.len());
    for cases in cases.chunks(BATCH) {
        let mut canonical = Vec::with_capacity(cases.len());
        let mut points = Vec::with_capacity(cases.len());
        for case in cases {
            let point = case.expected_r();
            canonical.push(point.is_some());
            points.push(point.unwrap_or_else(EdwardsPoint::identity));
        }
        let encoded = EdwardsPoint::compress_batch_alloc(&points);
        verdicts.extend(
            cases
                .iter()
                .zip(canonical)
                .zip(encoded)
                .map(|((case, canonical), r)| canonical && r.as_bytes() == halves(case.claim.signature).0),
        );
    }
    verdicts
}
