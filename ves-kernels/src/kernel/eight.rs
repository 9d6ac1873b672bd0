//! Eight lanes of 64 bits, with multiplications of 52 bits, for arithmetic written in plain code over [`Lanes`].

// On other processors only the tests run the arithmetic in lanes.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

use std::fmt;

/// Adds halves of the products `a[i] · b[j]` to limbs: `add_halves!(l, limbs, mul_add_low, a, b, 0; 1: 2 3)` those of `a[1]`
/// with `b[2]` and `b[3]`, the lower halves, which belong to limb i + j and 0 more.
macro_rules! add_halves {
    ($l:ident, $limbs:ident, $half:ident, $a:ident, $b:ident, $more:literal; $($i:literal: $($j:literal)*),*) => {$($(
        $limbs[$i + $j + $more] = $l.$half($limbs[$i + $j + $more], $a[$i], $b[$j]);
    )*)*};
}

/// What arithmetic in eight lanes is made of. Each operation is that of `u64` in every lane, modulo 2^64
/// where nothing else is said.
///
/// Implementations are tokens: a value of the type is the proof that the machine has the instructions.
pub(crate) trait Lanes: Copy + fmt::Debug {
    /// Eight lanes.
    type V: Copy + fmt::Debug;

    /// One vector of lanes: all of them, or some, if there are more lanes than one vector has. Larger pieces of arithmetic are
    /// done for one such part after the other, since there are not registers for more.
    type Part: Lanes;

    /// How many lanes there are: eight, but in a part.
    const LANES: usize = 8;

    /// How many parts there are.
    const PARTS: usize = 1;

    /// Whether larger pieces of arithmetic are functions of their own. Instructions must be inlined into the function that
    /// is compiled for them; what has none takes minutes to be compiled in one piece.
    const APART: bool = false;

    /// The lanes of one part.
    fn part(self) -> Self::Part;
    /// Replaces a part of lanes.
    fn put(self, x: &mut Self::V, part: usize, value: <Self::Part as Lanes>::V);
    /// The same value in every lane.
    fn splat(self, x: u64) -> Self::V;
    /// A value for each lane.
    fn load(self, x: &[u64; 8]) -> Self::V;
    /// The values of the lanes.
    fn store(self, x: Self::V) -> [u64; 8];
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    fn or(self, a: Self::V, b: Self::V) -> Self::V;
    /// a ⊕ b ⊕ c.
    fn xor3(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Bits of `b` where `a` has ones, of `c` where it has zeros.
    fn choose(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The majority of each bit.
    fn majority(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn shr<const N: u32>(self, a: Self::V) -> Self::V;
    fn shl<const N: u32>(self, a: Self::V) -> Self::V;
    /// Rotates right.
    fn ror<const N: i32>(self, a: Self::V) -> Self::V;
    /// The lower half of a product.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `sum` and bits 0 to 51 of the product of bits 0 to 51 of each factor.
    fn mul_add_low(self, sum: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `sum` and bits 52 to 103 of the product of bits 0 to 51 of each factor.
    fn mul_add_high(self, sum: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Lanes of `b` where the mask has ones (lane 0 is its lowest bit), of `a` where it has zeros.
    fn select(self, mask: u8, a: Self::V, b: Self::V) -> Self::V;
    /// A mask of the lanes that are equal.
    fn equal(self, a: Self::V, b: Self::V) -> u8;
    /// Rows of words, one for each lane, to columns.
    fn columns(self, rows: [&Row; 8]) -> [Self::V; 16];

    /// `sum` and 19 times `a`, which is below 2^32.
    #[inline(always)]
    fn add_19_times(self, sum: Self::V, a: Self::V) -> Self::V {
        self.mul_add_low(sum, a, self.splat(19))
    }

    /// What limbs of a factor modulo 2^255 − 19 must be below; all that is made by [`crate::ed25519`] is below 2^51 + 2^17.
    #[cfg(test)]
    const FACTOR_END: u64 = 1 << 52;

    /// A limb of a factor in the form that [`Lanes::product`] reads. In most lanes it is the limb itself.
    #[inline(always)]
    fn factor(self, limb: Self::V) -> Self::V {
        limb
    }

    /// The limb that [`Lanes::factor`] was given.
    #[inline(always)]
    fn limb(self, factor: Self::V) -> Self::V {
        factor
    }

    /// A product modulo 2^255 − 19, in five limbs of weight 2^(51 i) that are below 267 · 2^52.
    ///
    /// In units of 2^52, with factors' limbs as large as they may be: the halves of a product of limbs are below 1
    /// each; the lower half of `a[i] · b[j]` belongs to limb i + j, and the upper half, whose weight is 2^52 =
    /// 2 · 2^51, doubled to limb i + j + 1. So the ten limbs of a product are below 1, 4, 7, 10, 13, 14, 11, 8, 5 and
    /// 2. As 2^255 is 19, limb i + 5 goes 19-fold to limb i, and the five limbs are below 267, 213, 159, 105 and 51.
    #[inline(always)]
    fn product(self, a: &[Self::V; 5], b: &[Self::V; 5]) -> [Self::V; 5] {
        // The upper halves are added up first, then the lower ones to twice their sums.
        let mut x = [self.splat(0); 10];
        add_halves!(self, x, mul_add_high, a, b, 1; 0: 0 1 2 3 4, 1: 0 1 2 3 4, 2: 0 1 2 3 4, 3: 0 1 2 3 4, 4: 0 1 2 3 4);
        x = doubled(self, &x);
        add_halves!(self, x, mul_add_low, a, b, 0; 0: 0 1 2 3 4, 1: 0 1 2 3 4, 2: 0 1 2 3 4, 3: 0 1 2 3 4, 4: 0 1 2 3 4);
        fold(self, &x)
    }

    /// A square: products of different limbs are made once and doubled. The bounds are those of [`Lanes::product`].
    #[inline(always)]
    fn square(self, a: &[Self::V; 5]) -> [Self::V; 5] {
        let mut x = [self.splat(0); 10];
        add_halves!(self, x, mul_add_high, a, a, 1; 0: 1 2 3 4, 1: 2 3 4, 2: 3 4, 3: 4);
        x = doubled(self, &x);
        add_halves!(self, x, mul_add_low, a, a, 0; 0: 1 2 3 4, 1: 2 3 4, 2: 3 4, 3: 4);
        add_halves!(self, x, mul_add_high, a, a, 1; 0: 0, 1: 1, 2: 2, 3: 3, 4: 4);
        x = doubled(self, &x);
        add_halves!(self, x, mul_add_low, a, a, 0; 0: 0, 1: 1, 2: 2, 3: 3, 4: 4);
        fold(self, &x)
    }
}

/// 2x, limb by limb.
#[inline(always)]
fn doubled<L: Lanes>(l: L, x: &[L::V; 10]) -> [L::V; 10] {
    [
        x[0],
        l.add(x[1], x[1]),
        l.add(x[2], x[2]),
        l.add(x[3], x[3]),
        l.add(x[4], x[4]),
        l.add(x[5], x[5]),
        l.add(x[6], x[6]),
        l.add(x[7], x[7]),
        l.add(x[8], x[8]),
        l.add(x[9], x[9]),
    ]
}

/// Puts the upper five limbs of a product to the lower ones.
#[inline(always)]
fn fold<L: Lanes>(l: L, x: &[L::V; 10]) -> [L::V; 5] {
    let nineteen = l.splat(19);
    let fold = |i: usize| l.add(x[i], l.mul(x[i + 5], nineteen));
    [fold(0), fold(1), fold(2), fold(3), fold(4)]
}

/// Sixteen words that lie in two cache lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(128))]
pub(crate) struct Row(pub(crate) [u64; 16]);

/// Work in eight lanes.
pub(crate) trait Job {
    /// What comes out.
    type Output;

    /// Does the work. To be inlined always, as all that it calls with lanes: functions that are not are
    /// compiled without the instructions, and as slow as they are correct.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}
