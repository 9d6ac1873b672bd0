//! Points of edwards25519, eight side by side, and the tables and combs of their multiples.
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

/// d.
const D: [u64; 5] = [
    0x3_4dca_1359_78a3,
    0x1_a828_3b15_6ebd,
    0x5_e7a2_6001_c029,
    0x7_39c6_63a0_3cbb,
    0x5_2036_cee2_b6ff,
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
static IDENTITY: Niels = Row([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// The multiples of a point, window by window: 516 KiB.
pub(super) struct Table(Vec<[Niels; MULTIPLES]>);

/// The teeth of a comb: the point times 2^(64 i).
pub(super) const TEETH: usize = 4;
/// Digits of a comb are −8 to 7, so each tooth has multiples up to 8; that of 0 is [`IDENTITY`].
const COMB_MULTIPLES: usize = 8;

/// Few multiples of a point, by teeth: 4 KiB.
///
/// A scalar is four words of 16 digits each. The digits at the same place of all words are added together, the
/// highest first, and what is there is taken 16-fold before each next place.
pub(super) struct Comb(Box<[[Niels; COMB_MULTIPLES]; TEETH]>);

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

impl<V: Copy> Projective<V> {
    /// No point: x and y are zero.
    #[inline(always)]
    pub(super) fn none<L: Lanes<V = V>>(l: L) -> Self {
        let zero = field::constant(l, &[0; 5]);
        let one = field::constant(l, &[1, 0, 0, 0, 0]);
        Self {
            x: zero,
            y: zero,
            z: one,
        }
    }

    /// Takes a part of the lanes from another.
    #[inline(always)]
    pub(super) fn put<L: Lanes<V = V>>(
        &mut self,
        l: L,
        part: usize,
        value: &Projective<<L::Part as Lanes>::V>,
    ) {
        self.x.put(l, part, &value.x);
        self.y.put(l, part, &value.y);
        self.z.put(l, part, &value.z);
    }
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
            z: field::sum(l, &one),
        }
    }

    /// Bounds, in powers of 2: products are below 60.1, z doubled below 61.1, the bias is below 61. So e
    /// and h are below 61.7 before they are carried, f and g below 62.1: less than the 63 of a sum.
    #[inline(always)]
    fn complete<L: Lanes<V = V>>(&self, l: L, other: &[V; 16], negative: u8) -> Completed<V> {
        let [p0, p1, p2, p3, p4, m0, m1, m2, m3, m4, t0, t1, t2, t3, t4, _] = *other;
        let (plus, minus) = (
            field::trusted(l, &[p0, p1, p2, p3, p4]),
            field::trusted(l, &[m0, m1, m2, m3, m4]),
        );
        let twice_dt = field::trusted(l, &[t0, t1, t2, t3, t4]);
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
        self.complete(l, other, negative).running(l)
    }

    /// 16 times the point.
    #[inline(always)]
    pub(super) fn times_16<L: Lanes<V = V>>(&self, l: L) -> Self {
        let mut point = Doubling {
            plus: self.plus,
            minus: self.minus,
            z: self.z,
        };
        // x·y is needed at the end alone.
        let mut xy = (self.t, self.t);
        for _ in 0..4 {
            let completed = point.complete(l);
            point = completed.doubling(l);
            xy = (completed.e, completed.h);
        }
        let Doubling { plus, minus, z } = point;
        let t = field::times(l, &xy.0, &xy.1);
        Self { plus, minus, t, z }
    }

    /// [`Running::plus`] for the last time: without x·y.
    #[inline(always)]
    pub(super) fn finally_plus<L: Lanes<V = V>>(&self, l: L, other: &[V; 16], negative: u8) -> Projective<V> {
        let Completed { e, f, g, h } = self.complete(l, other, negative);
        Projective {
            x: field::times(l, &e, &f),
            y: field::times(l, &g, &h),
            z: field::times(l, &f, &g),
        }
    }
}

impl<V: Copy> Completed<V> {
    #[inline(always)]
    fn doubling<L: Lanes<V = V>>(&self, l: L) -> Doubling<V> {
        let Self { e, f, g, h } = self;
        let x = field::mul(l, e, f);
        let y = field::mul(l, g, h);
        Doubling {
            plus: field::carry(l, &field::add(l, &y, &x)),
            minus: field::carry(l, &field::sub(l, &y, &x)),
            z: field::mul(l, f, g),
        }
    }

    #[inline(always)]
    fn running<L: Lanes<V = V>>(&self, l: L) -> Running<V> {
        let Doubling { plus, minus, z } = self.doubling(l);
        Running {
            plus,
            minus,
            t: field::times(l, &self.e, &self.h),
            z,
        }
    }
}

/// What a point is doubled from: [`Running`] without x·y.
#[derive(Debug, Clone, Copy)]
struct Doubling<V> {
    plus: Factor<V>,
    minus: Factor<V>,
    z: Sum<V>,
}

impl<V: Copy> Doubling<V> {
    /// With P = y + x and M = y − x, the formula's 2xy, y² − x² and x² + y² are, doubled, P² − M², 2PM and
    /// P² + M². Two of its four signs are turned, which turns those of x, y, z and x·y together.
    ///
    /// Bounds, in powers of 2: squares are below 60.1, so that e is below 61.7 and h below 61.1; P·M is carried, so
    /// that its double is below 53 and can be subtracted from 4z², which is below 62.1; with the bias f is below 62.6.
    #[inline(always)]
    fn complete<L: Lanes<V = V>>(&self, l: L) -> Completed<V> {
        let (p2, m2) = (field::square(l, &self.plus), field::square(l, &self.minus));
        let z2 = field::square(l, &field::carry(l, &self.z));
        let pm = field::settle(l, &field::mul(l, &self.plus, &self.minus));
        let (twice_z2, twice_pm) = (field::add(l, &z2, &z2), field::add(l, &pm, &pm));
        let four_z2 = field::add(l, &twice_z2, &twice_z2);
        Completed {
            e: field::carry(l, &field::sub(l, &p2, &m2)),
            f: field::carry(l, &field::sub(l, &four_z2, &twice_pm)),
            g: field::carry(l, &twice_pm),
            h: field::carry(l, &field::add(l, &p2, &m2)),
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
        product = field::times(l, &product, number);
    }
    let mut inverse = field::invert(l, &product);
    for (number, to) in numbers.iter().zip(&mut inverses).rev() {
        *to = field::times(l, &inverse, to);
        inverse = field::times(l, &inverse, number);
    }
    inverses
}

impl Table {
    /// What a digit stands for, window by window.
    pub(super) fn multiples(&self, window: usize) -> &[Niels; MULTIPLES] {
        &self.0[window]
    }

    pub(super) fn job(point: EdwardsPoint) -> BuildTable {
        // The point times 256^w.
        let next = |base: &EdwardsPoint| {
            let times_64 = base.mul_by_cofactor().mul_by_cofactor();
            let times_128 = times_64 + times_64;
            Some(times_128 + times_128)
        };
        let [y, ix] = coordinates(std::iter::successors(Some(point), next).take(WINDOWS));
        BuildTable { y, ix }
    }
}

/// The building of a table, eight windows side by side.
pub(super) struct BuildTable {
    /// Of each window's point: see [`coordinates`].
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

/// y and i·x of points, as their encodings show them: words of numbers below p, with the sign of x in bit 255.
/// The encoding has y, and the sum with the point (i, 0) of order four is (i·y, i·x).
fn coordinates<const N: usize>(points: impl Iterator<Item = EdwardsPoint>) -> [[[u64; 4]; N]; 2] {
    let both: Vec<EdwardsPoint> = points
        .flat_map(|point| [point, point + EIGHT_TORSION[6]])
        .collect();
    let encoded = EdwardsPoint::compress_batch_alloc(&both);
    let mut coordinates = [[[0; 4]; N]; 2];
    for (at, both) in encoded.as_chunks::<2>().0.iter().enumerate() {
        for (coordinate, encoded) in coordinates.iter_mut().zip(both) {
            coordinate[at] = words(encoded.as_bytes());
        }
    }
    coordinates
}

/// Affine points from their y and x.
#[inline(always)]
fn affine<L: Lanes>(l: L, y: &Factor<L::V>, x: &Factor<L::V>) -> [L::V; 16] {
    let twice_d = field::constant(l, &TWICE_D);
    let t = field::times(l, x, y);
    let plus = field::carry(l, &field::add(l, &field::sum(l, y), &field::sum(l, x)));
    let minus = field::carry(l, &field::sub(l, &field::sum(l, y), &field::sum(l, x)));
    let twice_dt = field::times(l, &t, &twice_d);
    let limbs = [plus, minus, twice_dt].map(|factor| field::limbs(l, &factor));
    columns(l, &limbs)
}

#[inline(always)]
fn columns<L: Lanes>(l: L, thirds: &[[L::V; 5]; 3]) -> [L::V; 16] {
    let mut columns = [l.splat(0); 16];
    columns[..15].copy_from_slice(thirds.as_flattened());
    columns
}

/// Points that wait for being divided by their z, all by one inversion.
struct Undivided<V> {
    /// y + x, y − x and x·y, times z each.
    points: Vec<[Factor<V>; 3]>,
    z: Vec<Factor<V>>,
}

impl<V: Copy> Undivided<V> {
    fn with_capacity(many: usize) -> Self {
        Self {
            points: Vec::with_capacity(many),
            z: Vec::with_capacity(many),
        }
    }

    #[inline(always)]
    fn push<L: Lanes<V = V>>(&mut self, l: L, point: &Running<V>) {
        self.points.push([point.plus, point.minus, point.t]);
        self.z.push(field::carry(l, &point.z));
    }

    /// The affine points 1 to `steps` times the base.
    #[inline(always)]
    fn push_multiples<L: Lanes<V = V>>(&mut self, l: L, base: &[V; 16], steps: usize) {
        let mut multiple = Running::identity(l);
        for _ in 0..steps {
            multiple = multiple.plus(l, base, 0);
            self.push(l, &multiple);
        }
    }

    /// The affine points in their order, with reduced limbs.
    #[inline(always)]
    fn divide<L: Lanes<V = V>>(&self, l: L) -> Vec<[V; 16]> {
        let twice_d = field::constant(l, &TWICE_D);
        let mut divided = Vec::with_capacity(self.points.len());
        for ([plus, minus, t], inverse) in self.points.iter().zip(invert_all(l, &self.z)) {
            let plus = field::reduce(l, &field::times(l, plus, &inverse));
            let minus = field::reduce(l, &field::times(l, minus, &inverse));
            let twice_dt = field::times(l, t, &field::times(l, &inverse, &twice_d));
            let twice_dt = field::reduce(l, &twice_dt);
            divided.push(columns(l, &[plus, minus, twice_dt]));
        }
        divided
    }
}

impl Job for BuildTable {
    type Output = Table;

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> Table {
        let mut table = Table(vec![[IDENTITY; MULTIPLES]; WINDOWS]);
        table.fill(l.part(), &self.y, &self.ix);
        table
    }
}

impl Table {
    /// Fills in the multiples of each window's point, but the identity. As many windows as there are lanes are made side by
    /// side.
    #[inline(always)]
    fn fill<L: Lanes>(&mut self, l: L, y: &[[u64; 4]; WINDOWS], ix: &[[u64; 4]; WINDOWS]) {
        let steps = MULTIPLES - 1;
        let mut points = Undivided::with_capacity(WINDOWS / L::LANES * steps);
        for (y, ix) in y.chunks(L::LANES).zip(ix.chunks(L::LANES)) {
            let minus_i = field::constant(l, &MINUS_I);
            let x = field::times(l, &eight(l, ix), &minus_i);
            points.push_multiples(l, &affine(l, &eight(l, y), &x), steps);
        }
        for (at, columns) in points.divide(l).iter().enumerate() {
            let (first_window, multiple) = (at / steps * L::LANES, at % steps + 1);
            for (i, column) in columns.iter().enumerate() {
                for (lane, word) in l.store(*column).into_iter().take(L::LANES).enumerate() {
                    self.0[first_window + lane][multiple].0[i] = word;
                }
            }
        }
    }
}

impl Comb {
    /// The building of the combs of up to eight keys' points, negated; `None` for one that encodes no point.
    pub(super) fn job(keys: &[[u8; 32]]) -> BuildCombs {
        let mut encoded = [[0; 4]; 8];
        for (encoded, key) in encoded.iter_mut().zip(keys) {
            *encoded = words(key);
        }
        BuildCombs {
            encoded,
            count: keys.len().min(8),
        }
    }

    /// What a digit of a tooth stands for, but for its sign. At most 8.
    pub(super) fn multiple(&self, tooth: usize, digit: usize) -> &Niels {
        match digit.checked_sub(1) {
            Some(at) => &self.0[tooth][at],
            None => &IDENTITY,
        }
    }
}

/// The building of combs, eight points side by side.
pub(super) struct BuildCombs {
    encoded: [[u64; 4]; 8],
    count: usize,
}

impl Job for BuildCombs {
    type Output = Vec<Option<Comb>>;

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> Vec<Option<Comb>> {
        let lanes = L::Part::LANES;
        let mut all = Vec::with_capacity(self.count);
        // Not in a closure: those are not inlined always.
        for encoded in self.encoded[..self.count].chunks(lanes) {
            let (y, x, valid) = negated_points(l.part(), encoded);
            let combs = combs(l.part(), encoded.len(), &affine(l.part(), &y, &x));
            let points = combs.into_iter().enumerate();
            all.extend(points.map(|(lane, comb)| (valid >> lane & 1 == 1).then_some(comb)));
        }
        all
    }
}

/// y and −x of the points that are encoded, and the lanes in which there is one: exactly where
/// [`CompressedEdwardsY::decompress`](curve25519_dalek::edwards::CompressedEdwardsY::decompress) finds one. A y of p and more counts
/// as what it is modulo p, and x = 0 has either sign.
#[inline(always)]
fn negated_points<L: Lanes>(l: L, encoded: &[[u64; 4]]) -> (Factor<L::V>, Factor<L::V>, u8) {
    let one = field::constant(l, &[1, 0, 0, 0, 0]);
    let y = eight(l, encoded);
    let y2 = field::carry(l, &field::square(l, &y));
    // x² = u/v.
    let u = field::carry(l, &field::sub(l, &field::sum(l, &y2), &field::sum(l, &one)));
    let d_y2 = field::times(l, &y2, &field::constant(l, &D));
    let v = field::carry(l, &field::add(l, &field::sum(l, &d_y2), &field::sum(l, &one)));
    let v2 = field::carry(l, &field::square(l, &v));
    let v3 = field::times(l, &v2, &v);
    let v6 = field::carry(l, &field::square(l, &v3));
    let v7 = field::times(l, &v6, &v);
    // u·v³·(u·v⁷)^((p − 5)/8) is a root of u/v or of −u/v, where one of them has a root; and then i times as much is one of the other.
    let power = field::power_for_root(l, &field::times(l, &u, &v7));
    let root = field::times(l, &field::times(l, &u, &v3), &power);
    let found = field::times(l, &v, &field::carry(l, &field::square(l, &root)));
    let found = field::reduce(l, &found);
    let right = field::equal(l, &found, &field::reduce(l, &u));
    let turned = field::equal(l, &found, &field::reduce(l, &field::negate(l, &u)));
    let other = field::times(l, &root, &field::constant(l, &MINUS_I));
    let root = field::select(l, right, &other, &root);
    // Of the two roots the one whose lowest bit is not the sign: the point's opposite is asked for.
    let mut signs = [0; 8];
    for (sign, encoded) in signs.iter_mut().zip(encoded) {
        *sign = encoded[3] >> 63;
    }
    let lowest = l.and(field::reduce(l, &root)[0], l.splat(1));
    let same = l.equal(lowest, l.load(&signs));
    let x = field::select(l, same, &root, &field::negate(l, &root));
    (y, x, right | turned)
}

/// The combs of so many affine points.
#[inline(always)]
fn combs<L: Lanes>(l: L, count: usize, first: &[L::V; 16]) -> Vec<Comb> {
    let first = *first;
    let mut teeth = [first; TEETH];
    let mut further = Undivided::with_capacity(TEETH - 1);
    let mut point = Running::identity(l).plus(l, &first, 0);
    for _ in 1..TEETH {
        for _ in 0..64 / 4 {
            point = point.times_16(l);
        }
        further.push(l, &point);
    }
    teeth[1..].copy_from_slice(&further.divide(l));
    let mut points = Undivided::with_capacity(TEETH * COMB_MULTIPLES);
    for tooth in &teeth {
        points.push_multiples(l, tooth, COMB_MULTIPLES);
    }
    let empty = || Comb(Box::new([[IDENTITY; COMB_MULTIPLES]; TEETH]));
    let mut combs: Vec<Comb> = (0..count).map(|_| empty()).collect();
    for (at, columns) in points.divide(l).iter().enumerate() {
        let (tooth, multiple) = (at / COMB_MULTIPLES, at % COMB_MULTIPLES);
        for (i, column) in columns.iter().enumerate() {
            for (comb, word) in combs.iter_mut().zip(l.store(*column)) {
                comb.0[tooth][multiple].0[i] = word;
            }
        }
    }
    combs
}

#[cfg(test)]
mod tests;
