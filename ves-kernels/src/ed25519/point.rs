//! Points of edwards25519, eight side by side, and the tables of their multiples.
//!
//! The curve is −x² + y² = 1 + d·x²·y². The formulas are those of Hisil, Wong, Carter and Dawson ("Twisted
//! Edwards Curves Revisited", 2008) for a = −1 in extended coordinates; since −1 is a square modulo p and
//! d is not, they hold for any two points: equal ones, opposite ones, the identity, and points of small order.

use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::constants::EIGHT_TORSION;

use super::field::{self, Factor, Sum};
use super::words;
use crate::kernel::{Job, Lanes, Row};

/// 2d.
const TWICE_D: [u64; 5] = [
    0x6_9b94_26b2_f159,
    0x3_5050_762a_dd7a,
    0x3_cf44_c003_8052,
    0x6_738c_c740_7977,
    0x2_406d_9dc5_6dff,
];

/// −i, where i = `EIGHT_TORSION[6]`'s x: a square root of −1.
const MINUS_I: [u64; 5] = [
    0x1_e4d8_b5f1_5f3d,
    0x7_2a5a_0370_e762,
    0x10a1_6342_f39f,
    0x7a6a_597f_b361,
    0x5_47cd_b7fb_03e2,
];

/// Windows of a scalar: 32 digits of eight bits.
pub(super) const WINDOWS: usize = 32;
/// Digits are −128 to 127, so each window has multiples up to 128, and none.
pub(super) const MULTIPLES: usize = 129;

/// An affine point, as it is added: y + x, y − x and 2d·x·y, five limbs below 2^51 each, and an unused word.
type Niels = Row;

/// The identity.
const IDENTITY: Niels = Row([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// The multiples of a point, window by window.
pub(super) struct Table(Vec<[Niels; MULTIPLES]>);

/// A point on the way: y + x, y − x and x·y, times z each, and z.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running<V> {
    plus: Factor<V>,
    minus: Factor<V>,
    t: Factor<V>,
    z: Sum<V>,
}

/// A point at its end: x·z, y·z and z.
#[derive(Debug, Clone, Copy)]
pub(super) struct Projective<V> {
    pub(super) x: Factor<V>,
    pub(super) y: Factor<V>,
    pub(super) z: Factor<V>,
}

/// An addition before its last multiplications: x = e·f, y = g·h, x·y = e·h, and z = f·g.
struct Completed<V> {
    e: Factor<V>,
    f: Factor<V>,
    g: Factor<V>,
    h: Factor<V>,
}

impl<V: Copy> Running<V> {
    /// The identity.
    #[inline(always)]
    pub(super) fn identity<L: Lanes<V = V>>(l: L) -> Self {
        let one = field::constant(l, &[1, 0, 0, 0, 0]);
        Self {
            plus: one,
            minus: one,
            t: field::constant(l, &[0; 5]),
            z: field::sum(&one),
        }
    }

    /// Bounds, in powers of 2: products are below 60.1, z doubled below 61.1, the bias is below 61. So e
    /// and h are below 61.7 before they are carried, f and g below 62.1: less than the 63 of a sum.
    #[inline(always)]
    fn complete<L: Lanes<V = V>>(&self, l: L, other: &[V; 16], negative: u8) -> Completed<V> {
        let [p0, p1, p2, p3, p4, m0, m1, m2, m3, m4, t0, t1, t2, t3, t4, _] = *other;
        let (plus, minus) = (
            field::trusted(&[p0, p1, p2, p3, p4]),
            field::trusted(&[m0, m1, m2, m3, m4]),
        );
        let twice_dt = field::trusted(&[t0, t1, t2, t3, t4]);
        // The opposite point: x is −x, so that y + x and y − x change places, and x·y is −x·y.
        let a = field::mul(l, &self.minus, &field::select(l, negative, &minus, &plus));
        let b = field::mul(l, &self.plus, &field::select(l, negative, &plus, &minus));
        let c = field::negate_where(l, negative, &field::mul(l, &self.t, &twice_dt));
        let d = field::add(l, &self.z, &self.z);
        Completed {
            e: field::carry(l, &field::sub(l, &b, &a)),
            f: field::carry(l, &field::sub(l, &d, &c)),
            g: field::carry(l, &field::add(l, &d, &c)),
            h: field::carry(l, &field::add(l, &b, &a)),
        }
    }

    /// The sum with affine points, or with their opposites in the lanes of the mask.
    #[inline(always)]
    pub(super) fn plus<L: Lanes<V = V>>(&self, l: L, other: &[V; 16], negative: u8) -> Self {
        let Completed { e, f, g, h } = self.complete(l, other, negative);
        let x = field::mul(l, &e, &f);
        let y = field::mul(l, &g, &h);
        Self {
            plus: field::carry(l, &field::add(l, &y, &x)),
            minus: field::carry(l, &field::sub(l, &y, &x)),
            t: field::carry(l, &field::mul(l, &e, &h)),
            z: field::mul(l, &f, &g),
        }
    }

    /// [`Running::plus`] for the last time: without x·y.
    #[inline(always)]
    pub(super) fn finally_plus<L: Lanes<V = V>>(&self, l: L, other: &[V; 16], negative: u8) -> Projective<V> {
        let Completed { e, f, g, h } = self.complete(l, other, negative);
        let product = |a, b| field::carry(l, &field::mul(l, a, b));
        Projective {
            x: product(&e, &f),
            y: product(&g, &h),
            z: product(&f, &g),
        }
    }
}

/// The inverses of many numbers by one inversion. None of them may be zero.
#[inline(always)]
pub(super) fn invert_all<L: Lanes>(l: L, numbers: &[Factor<L::V>]) -> Vec<Factor<L::V>> {
    let mut product = field::constant(l, &[1, 0, 0, 0, 0]);
    // First the products of all before, then times the inverse of all up to there.
    let mut inverses = Vec::with_capacity(numbers.len());
    for number in numbers {
        inverses.push(product);
        product = field::carry(l, &field::mul(l, &product, number));
    }
    let mut inverse = field::invert(l, &product);
    for (number, to) in numbers.iter().zip(&mut inverses).rev() {
        *to = field::carry(l, &field::mul(l, &inverse, to));
        inverse = field::carry(l, &field::mul(l, &inverse, number));
    }
    inverses
}

impl Table {
    /// What a digit stands for, window by window.
    pub(super) fn multiples(&self, window: usize) -> &[Niels; MULTIPLES] {
        &self.0[window]
    }

    pub(super) fn job(point: EdwardsPoint) -> BuildTable {
        // The point times 256^w. Of each, y is in the encoding; and so is x: the sum with the point
        // (i, 0) of order four is (i·y, i·x).
        let mut bases = Vec::with_capacity(2 * WINDOWS);
        let mut base = point;
        for _ in 0..WINDOWS {
            bases.extend([base, base + EIGHT_TORSION[6]]);
            let times_64 = base.mul_by_cofactor().mul_by_cofactor();
            let times_128 = times_64 + times_64;
            base = times_128 + times_128;
        }
        let encoded = EdwardsPoint::compress_batch_alloc(&bases);
        let mut y = [[0; 4]; WINDOWS];
        let mut ix = [[0; 4]; WINDOWS];
        for (w, both) in encoded.as_chunks::<2>().0.iter().enumerate() {
            y[w] = words(both[0].as_bytes());
            ix[w] = words(both[1].as_bytes());
        }
        BuildTable { y, ix }
    }
}

/// The building of a table, eight windows side by side.
pub(super) struct BuildTable {
    /// y and i·x of each window's point: words of numbers below p, with the sign of x in bit 255.
    y: [[u64; 4]; WINDOWS],
    ix: [[u64; 4]; WINDOWS],
}

#[inline(always)]
fn eight<L: Lanes>(l: L, words: &[[u64; 4]]) -> Factor<L::V> {
    let word = |i: usize| {
        let mut lanes = [0; 8];
        for (lane, words) in lanes.iter_mut().zip(words) {
            *lane = words[i];
        }
        l.load(&lanes)
    };
    field::from_words(l, &[word(0), word(1), word(2), word(3)])
}

impl Job for BuildTable {
    type Output = Table;

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> Table {
        let twice_d = field::constant(l, &TWICE_D);
        let minus_i = field::constant(l, &MINUS_I);
        let steps = MULTIPLES - 1;
        let mut points = Vec::with_capacity(WINDOWS / 8 * steps);
        let mut z = Vec::with_capacity(WINDOWS / 8 * steps);
        for (y, ix) in self.y.as_chunks::<8>().0.iter().zip(self.ix.as_chunks::<8>().0) {
            let y = eight(l, y);
            let x = field::carry(l, &field::mul(l, &eight(l, ix), &minus_i));
            let t = field::carry(l, &field::mul(l, &x, &y));
            let plus = field::carry(l, &field::add(l, &field::sum(&y), &field::sum(&x)));
            let minus = field::carry(l, &field::sub(l, &field::sum(&y), &field::sum(&x)));
            let twice_dt = field::carry(l, &field::mul(l, &t, &twice_d));
            let mut base = [l.splat(0); 16];
            base[..5].copy_from_slice(plus.limbs());
            base[5..10].copy_from_slice(minus.limbs());
            base[10..15].copy_from_slice(twice_dt.limbs());
            let mut multiple = Running::identity(l);
            for _ in 0..steps {
                multiple = multiple.plus(l, &base, 0);
                points.push((multiple.plus, multiple.minus, multiple.t));
                z.push(field::carry(l, &multiple.z));
            }
        }
        let inverses = invert_all(l, &z);
        let mut table = Table(vec![[IDENTITY; MULTIPLES]; WINDOWS]);
        for (at, ((plus, minus, t), inverse)) in points.iter().zip(&inverses).enumerate() {
            let (first_window, multiple) = (at / steps * 8, at % steps + 1);
            let times = |a, b| field::carry(l, &field::mul(l, a, b));
            let plus = field::reduce(l, &times(plus, inverse));
            let minus = field::reduce(l, &times(minus, inverse));
            let twice_dt = field::reduce(l, &times(t, &times(inverse, &twice_d)));
            for i in 0..5 {
                let columns = [l.store(plus[i]), l.store(minus[i]), l.store(twice_dt[i])];
                for (third, column) in columns.iter().enumerate() {
                    for (lane, word) in column.iter().enumerate() {
                        table.0[first_window + lane][multiple].0[5 * third + i] = *word;
                    }
                }
            }
        }
        table
    }
}

#[cfg(test)]
mod tests;
