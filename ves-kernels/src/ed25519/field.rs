//! Arithmetic modulo p = 2^255 − 19, on eight numbers side by side.
//!
//! A number is five limbs of 51 bits: its value is the sum of `limb[i] · 2^(51 i)`. Limbs may be larger
//! than 51 bits; how much is a matter of the type:
//!
//! - [`Factor`]: every limb is below 2^51 + 2^17, in the form that the multiplier reads: integers, of which it reads 52 bits,
//!   or doubles, whose products must be below 2^103 ([`Lanes::factor`]). With more, products would be wrong without
//!   a sign, so a sum becomes one by [`carry`] alone; constants, words and reduced limbs are smaller anyway.
//! - [`Sum`]: every limb is below 2^63. Products are, and so are sums and differences of few of them.
//!
//! Neither is reduced: the value of a `Factor` may be p and more. [`reduce`] gives the one value below p.
//!
//! A product's limbs are below 267 · 2^52 < 2^60.1, whatever the lanes: see [`Lanes::product`].

use crate::kernel::Lanes;

/// The bits of a limb.
const MASK: u64 = (1 << 51) - 1;

/// 2^10 · p, limb by limb more than a product: what is added before a product is subtracted, so that no
/// limb gets below zero.
const BIAS: [u64; 5] = [
    ((1 << 51) - 19) << 10,
    ((1 << 51) - 1) << 10,
    ((1 << 51) - 1) << 10,
    ((1 << 51) - 1) << 10,
    ((1 << 51) - 1) << 10,
];

/// Limbs below 2^51 + 2^17, in the form that can be multiplied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor<V>([V; 5]);

/// Limbs below 2^63: products, and sums of few of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum<V>([V; 5]);

impl<V: Copy> Factor<V> {
    /// Replaces a part of the lanes.
    #[inline(always)]
    pub(super) fn put<L: Lanes<V = V>>(&mut self, l: L, part: usize, value: &Factor<<L::Part as Lanes>::V>) {
        for (x, value) in self.0.iter_mut().zip(value.0) {
            l.put(x, part, value);
        }
    }
}

/// A constant: the same number in every lane.
#[inline(always)]
pub(super) fn constant<L: Lanes>(l: L, limbs: &[u64; 5]) -> Factor<L::V> {
    trusted(
        l,
        &[
            l.splat(limbs[0] & MASK),
            l.splat(limbs[1] & MASK),
            l.splat(limbs[2] & MASK),
            l.splat(limbs[3] & MASK),
            l.splat(limbs[4] & MASK),
        ],
    )
}

/// Limbs that are known to be below 2^51, such as those of [`reduce`], or hardly more, such as those of [`carry`].
#[inline(always)]
pub(super) fn trusted<L: Lanes>(l: L, limbs: &[L::V; 5]) -> Factor<L::V> {
    Factor([
        l.factor(limbs[0]),
        l.factor(limbs[1]),
        l.factor(limbs[2]),
        l.factor(limbs[3]),
        l.factor(limbs[4]),
    ])
}

/// Four words of 64 bits as a number; the uppermost bit is left out.
#[inline(always)]
pub(super) fn from_words<L: Lanes>(l: L, w: &[L::V; 4]) -> Factor<L::V> {
    let mask = l.splat(MASK);
    let limbs = [
        l.and(w[0], mask),
        l.and(l.or(l.shr::<51>(w[0]), l.shl::<13>(w[1])), mask),
        l.and(l.or(l.shr::<38>(w[1]), l.shl::<26>(w[2])), mask),
        l.and(l.or(l.shr::<25>(w[2]), l.shl::<39>(w[3])), mask),
        l.and(l.shr::<12>(w[3]), mask),
    ];
    trusted(l, &limbs)
}

/// Limbs below 2^51 as four words of 64 bits. The uppermost bit stays zero.
#[inline(always)]
pub(super) fn to_words<L: Lanes>(l: L, x: &[L::V; 5]) -> [L::V; 4] {
    [
        l.or(x[0], l.shl::<51>(x[1])),
        l.or(l.shr::<13>(x[1]), l.shl::<38>(x[2])),
        l.or(l.shr::<26>(x[2]), l.shl::<25>(x[3])),
        l.or(l.shr::<39>(x[3]), l.shl::<12>(x[4])),
    ]
}

/// A product.
#[inline(always)]
pub(super) fn mul<L: Lanes>(l: L, a: &Factor<L::V>, b: &Factor<L::V>) -> Sum<L::V> {
    if L::APART {
        mul_apart(l, a, b)
    } else {
        mul_inlined(l, a, b)
    }
}

#[inline(never)]
fn mul_apart<L: Lanes>(l: L, a: &Factor<L::V>, b: &Factor<L::V>) -> Sum<L::V> {
    mul_inlined(l, a, b)
}

#[inline(always)]
fn mul_inlined<L: Lanes>(l: L, a: &Factor<L::V>, b: &Factor<L::V>) -> Sum<L::V> {
    Sum(l.product(&a.0, &b.0))
}

/// A square.
#[inline(always)]
pub(super) fn square<L: Lanes>(l: L, a: &Factor<L::V>) -> Sum<L::V> {
    if L::APART {
        square_apart(l, a)
    } else {
        square_inlined(l, a)
    }
}

#[inline(never)]
fn square_apart<L: Lanes>(l: L, a: &Factor<L::V>) -> Sum<L::V> {
    square_inlined(l, a)
}

#[inline(always)]
fn square_inlined<L: Lanes>(l: L, a: &Factor<L::V>) -> Sum<L::V> {
    Sum(l.square(&a.0))
}

/// a + b. The caller answers for the bound.
#[inline(always)]
pub(super) fn add<L: Lanes>(l: L, a: &Sum<L::V>, b: &Sum<L::V>) -> Sum<L::V> {
    let (a, b) = (&a.0, &b.0);
    Sum([
        l.add(a[0], b[0]),
        l.add(a[1], b[1]),
        l.add(a[2], b[2]),
        l.add(a[3], b[3]),
        l.add(a[4], b[4]),
    ])
}

/// a − b, where no limb of b is above that of [`BIAS`]. The bias adds less than 2^61 to the bound of a.
#[inline(always)]
pub(super) fn sub<L: Lanes>(l: L, a: &Sum<L::V>, b: &Sum<L::V>) -> Sum<L::V> {
    let (a, b) = (&a.0, &b.0);
    let biased = |i: usize| l.sub(l.add(a[i], l.splat(BIAS[i])), b[i]);
    Sum([biased(0), biased(1), biased(2), biased(3), biased(4)])
}

/// −a in the lanes of a mask, a in the others. No limb of a may be above that of [`BIAS`], and none of
/// the result is.
#[inline(always)]
pub(super) fn negate_where<L: Lanes>(l: L, mask: u8, a: &Sum<L::V>) -> Sum<L::V> {
    let a = &a.0;
    let negated = |i: usize| l.select(mask, a[i], l.sub(l.splat(BIAS[i]), a[i]));
    Sum([negated(0), negated(1), negated(2), negated(3), negated(4)])
}

/// Lanes of b where the mask has ones, of a where it has zeros.
#[inline(always)]
pub(super) fn select<L: Lanes>(l: L, mask: u8, a: &Factor<L::V>, b: &Factor<L::V>) -> Factor<L::V> {
    let (a, b) = (&a.0, &b.0);
    Factor([
        l.select(mask, a[0], b[0]),
        l.select(mask, a[1], b[1]),
        l.select(mask, a[2], b[2]),
        l.select(mask, a[3], b[3]),
        l.select(mask, a[4], b[4]),
    ])
}

/// The same number with limbs that can be multiplied. What a limb has above its 51 bits, less than 2^12,
/// goes to the next one, and 19-fold from the last to the first: limbs come out below 2^51 + 2^17.
#[inline(always)]
pub(super) fn carry<L: Lanes>(l: L, a: &Sum<L::V>) -> Factor<L::V> {
    if L::APART {
        carry_apart(l, a)
    } else {
        carry_inlined(l, a)
    }
}

#[inline(never)]
fn carry_apart<L: Lanes>(l: L, a: &Sum<L::V>) -> Factor<L::V> {
    carry_inlined(l, a)
}

#[inline(always)]
fn carry_inlined<L: Lanes>(l: L, a: &Sum<L::V>) -> Factor<L::V> {
    trusted(l, &settle(l, a).0)
}

/// [`carry`] for what is added to other sums, and not multiplied: limbs below 2^51 + 2^17.
#[inline(always)]
pub(super) fn settle<L: Lanes>(l: L, a: &Sum<L::V>) -> Sum<L::V> {
    let a = &a.0;
    let mask = l.splat(MASK);
    let rest = |i: usize| l.and(a[i], mask);
    let over = |i: usize| l.shr::<51>(a[i]);
    Sum([
        l.add_19_times(rest(0), over(4)),
        l.add(rest(1), over(0)),
        l.add(rest(2), over(1)),
        l.add(rest(3), over(2)),
        l.add(rest(4), over(3)),
    ])
}

/// A factor where a sum is asked for.
#[inline(always)]
pub(super) fn sum<L: Lanes>(l: L, a: &Factor<L::V>) -> Sum<L::V> {
    Sum(limbs(l, a))
}

/// The limbs of a factor.
#[inline(always)]
pub(super) fn limbs<L: Lanes>(l: L, a: &Factor<L::V>) -> [L::V; 5] {
    let a = &a.0;
    [
        l.limb(a[0]),
        l.limb(a[1]),
        l.limb(a[2]),
        l.limb(a[3]),
        l.limb(a[4]),
    ]
}

/// The number's only value below p, with limbs below 2^51.
#[inline(always)]
pub(super) fn reduce<L: Lanes>(l: L, a: &Factor<L::V>) -> [L::V; 5] {
    let a = &limbs(l, a);
    let mask = l.splat(MASK);
    let nineteen = l.splat(19);
    // Once around: what is above bit 255, at most 2, goes 19-fold to the bottom. The limbs are below 2^51
    // afterwards, but that the lowest may be up to 37 more: less than 2^255 + 38 altogether, and so less than 2p.
    let c0 = l.shr::<51>(a[0]);
    let b1 = l.add(a[1], c0);
    let b2 = l.add(a[2], l.shr::<51>(b1));
    let b3 = l.add(a[3], l.shr::<51>(b2));
    let b4 = l.add(a[4], l.shr::<51>(b3));
    let b0 = l.add_19_times(l.and(a[0], mask), l.shr::<51>(b4));
    let b = [
        b0,
        l.and(b1, mask),
        l.and(b2, mask),
        l.and(b3, mask),
        l.and(b4, mask),
    ];
    // p is in it if adding 19 carries out of bit 255; and then that sum without bit 255 is what remains.
    let mut c = l.shr::<51>(l.add(b[0], nineteen));
    c = l.shr::<51>(l.add(b[1], c));
    c = l.shr::<51>(l.add(b[2], c));
    c = l.shr::<51>(l.add(b[3], c));
    c = l.shr::<51>(l.add(b[4], c));
    let r0 = l.add_19_times(b[0], c);
    let r1 = l.add(b[1], l.shr::<51>(r0));
    let r2 = l.add(b[2], l.shr::<51>(r1));
    let r3 = l.add(b[3], l.shr::<51>(r2));
    let r4 = l.add(b[4], l.shr::<51>(r3));
    [
        l.and(r0, mask),
        l.and(r1, mask),
        l.and(r2, mask),
        l.and(r3, mask),
        l.and(r4, mask),
    ]
}

/// A product, carried. Not a closure where it is used: those are not inlined always.
#[inline(always)]
pub(super) fn times<L: Lanes>(l: L, a: &Factor<L::V>, b: &Factor<L::V>) -> Factor<L::V> {
    carry(l, &mul(l, a, b))
}

/// 1/a: a^(p − 2). The inverse of zero is zero.
#[inline(always)]
pub(super) fn invert<L: Lanes>(l: L, a: &Factor<L::V>) -> Factor<L::V> {
    // p − 2 = 2^255 − 21 = (2^250 − 1) · 2^5 + 11.
    let (mut power, a11) = power_of_2_to_250_minus_1(l, a);
    for _ in 0..5 {
        power = carry(l, &square(l, &power));
    }
    times(l, &power, &a11)
}

/// a^((p − 5) / 8), from which square roots are made.
#[inline(always)]
pub(super) fn power_for_root<L: Lanes>(l: L, a: &Factor<L::V>) -> Factor<L::V> {
    // (p − 5) / 8 = 2^252 − 3 = (2^250 − 1) · 2^2 + 1.
    let (mut power, _) = power_of_2_to_250_minus_1(l, a);
    for _ in 0..2 {
        power = carry(l, &square(l, &power));
    }
    times(l, &power, a)
}

/// a^(2^250 − 1), and a^11.
#[inline(always)]
fn power_of_2_to_250_minus_1<L: Lanes>(l: L, a: &Factor<L::V>) -> (Factor<L::V>, Factor<L::V>) {
    let a2 = carry(l, &square(l, a));
    let a4 = carry(l, &square(l, &a2));
    let a9 = times(l, &carry(l, &square(l, &a4)), a);
    let a11 = times(l, &a9, &a2);
    // a^(2^n − 1) for the n that begins each row: so many squarings of it, times which earlier one.
    let mut power = times(l, &carry(l, &square(l, &a11)), &a9);
    let mut kept = [power; 4];
    const STEPS: [(usize, usize, usize); 7] = [
        // From 5: to 10, kept as 1; to 20, as 2; to 40; to 50, as 3; to 100, as 2; to 200; to 250.
        (5, 0, 1),
        (10, 1, 2),
        (20, 2, 0),
        (10, 1, 3),
        (50, 3, 2),
        (100, 2, 0),
        (50, 3, 0),
    ];
    for (squarings, with, keep) in STEPS {
        for _ in 0..squarings {
            power = carry(l, &square(l, &power));
        }
        power = times(l, &power, &kept[with]);
        kept[keep] = power;
    }
    (power, a11)
}

/// −a.
#[inline(always)]
pub(super) fn negate<L: Lanes>(l: L, a: &Factor<L::V>) -> Factor<L::V> {
    carry(l, &negate_where(l, 0xff, &sum(l, a)))
}

/// The lanes in which two reduced numbers are the same.
#[inline(always)]
pub(super) fn equal<L: Lanes>(l: L, a: &[L::V; 5], b: &[L::V; 5]) -> u8 {
    l.equal(a[0], b[0])
        & l.equal(a[1], b[1])
        & l.equal(a[2], b[2])
        & l.equal(a[3], b[3])
        & l.equal(a[4], b[4])
}

#[cfg(test)]
mod tests;
