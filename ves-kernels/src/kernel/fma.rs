//! Eight lanes in two vectors of AVX2, with products of 52 bits by the fused multiplication of doubles: for machines without
//! AVX-512 IFMA.
//!
//! A double has 53 bits, and a fused multiplication and addition rounds once, at its end. So the product of two integers a
//! and b is had in two halves, both exact:
//!
//! - `high = a·b + 2^103`, of which a double keeps what is a multiple of 2^51: 2^103 + h·2^51, where h is the integer next
//!   to a·b / 2^51. Its bits are those of 2^103, plus h.
//! - `low = a·b + (2^103 + 3·2^51 − high)`: the bracket is exactly (3 − h)·2^51, and what comes out is 3·2^51 + r, where
//!   r = a·b − h·2^51 is between −2^50 and 2^50. Its bits are those of 3·2^51, plus r.
//!
//! Bits are added up as integers. What they have beside h and r is known, and is taken away at the end ([`REST`]).
//!
//! Two things were tried without success: all eight lanes at each step (slower by two fifths, most of it copying between registers
//! and memory), and products as functions of their own (no faster than that).

use std::arch::asm;
use std::arch::x86_64::*;

use super::eight::{Job, Lanes, Row};

/// Eight lanes: the first four, and the last.
type V = [__m256i; 2];

/// The proof that AVX2 and FMA were detected. Eight lanes are two vectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fma(());

impl Fma {
    /// `None` if this machine lacks the instructions.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// Does a job with these instructions.
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        #[target_feature(enable = "avx2,fma")]
        fn with_features<J: Job>(lanes: Fma, job: J) -> J::Output {
            job.run(lanes)
        }
        // SAFETY: there is a value of `Fma` only where `detect` has found these features.
        unsafe { with_features(self, job) }
    }
}

/// The exponent of 2^n in the bits of a double.
const fn exponent(n: u64) -> u64 {
    (1023 + n) << 52
}

/// 2^103, which leaves multiples of 2^51.
const HIGH: u64 = exponent(103);
/// 3·2^51.
const LOW: u64 = exponent(52) + (1 << 51);
/// 2^103 + 3·2^51.
const HIGH_AND_LOW: u64 = HIGH + 3;
/// 2^52: a double of integers up to 2^53.
const INTEGER: u64 = exponent(52);

/// How many upper and lower halves come to each limb of a product.
const HALVES: [(u64, u64); 10] = [
    (0, 1),
    (1, 2),
    (2, 3),
    (3, 4),
    (4, 5),
    (5, 4),
    (4, 3),
    (3, 2),
    (2, 1),
    (1, 0),
];

/// 2^6·p, limb by limb more than what lower halves may be below zero.
const BIAS: [u64; 5] = [
    ((1 << 51) - 19) << 6,
    ((1 << 51) - 1) << 6,
    ((1 << 51) - 1) << 6,
    ((1 << 51) - 1) << 6,
    ((1 << 51) - 1) << 6,
];

/// What is added to each limb of a product at its end: [`BIAS`], less what the bits of its halves have beside the halves. It is
/// the same for a square, which has as many of them.
const REST: [u64; 5] = {
    let mut rest = [0; 5];
    let mut i = 0;
    while i < 5 {
        let (high, low) = (
            HALVES[i].0 + 19 * HALVES[i + 5].0,
            HALVES[i].1 + 19 * HALVES[i + 5].1,
        );
        rest[i] = BIAS[i]
            .wrapping_sub(HIGH.wrapping_mul(high))
            .wrapping_sub(LOW.wrapping_mul(low));
        i += 1;
    }
    rest
};

#[target_feature(enable = "avx2")]
#[inline]
fn splat(x: u64) -> __m256i {
    _mm256_set1_epi64x(x.cast_signed())
}

#[target_feature(enable = "avx2")]
#[inline]
fn splat_double(bits: u64) -> __m256d {
    _mm256_set1_pd(f64::from_bits(bits))
}

/// Loads limb `$i` of a, whose products come next.
macro_rules! limb {
    ($i:literal) => {
        concat!("vmovapd {a}, [{a_limbs} + {STRIDE}*", $i, "]")
    };
}

/// Instructions for the product of the limb of a and limb `$j` of b: `halves!(3 => 4, 5)` adds its lower half to limb 4 and
/// its upper half to limb 5; `begin 5` is for a limb to which nothing was added yet.
macro_rules! halves {
    ($j:literal => begin $low:literal, begin $high:literal) => {
        halves!(@ $j, concat!("{x", $low, "}"), concat!("{x", $high, "}"), "", "")
    };
    ($j:literal => begin $low:literal, $high:literal) => {
        halves!(@ $j, concat!("{x", $low, "}"), "{high}", "", concat!("vpaddq {x", $high, "}, {x", $high, "}, {high}"))
    };
    ($j:literal => $low:literal, begin $high:literal) => {
        halves!(@ $j, "{low}", concat!("{x", $high, "}"), concat!("vpaddq {x", $low, "}, {x", $low, "}, {low}"), "")
    };
    ($j:literal => $low:literal, $high:literal) => {
        halves!(
            @ $j,
            "{low}",
            "{high}",
            concat!("vpaddq {x", $low, "}, {x", $low, "}, {low}"),
            concat!("vpaddq {x", $high, "}, {x", $high, "}, {high}")
        )
    };
    (@ $j:literal, $low:expr, $high:expr, $add_low:expr, $add_high:expr) => {
        concat!(
            "vmovapd ", $high, ", [{b_limbs} + {STRIDE}*", $j, "]\n",
            "vfmadd213pd ", $high, ", {a}, {HIGH}\n",
            "vsubpd ", $low, ", {HIGH_AND_LOW}, ", $high, "\n",
            "vfmadd231pd ", $low, ", {a}, [{b_limbs} + {STRIDE}*", $j, "]\n",
            $add_high, "\n",
            $add_low,
        )
    };
}

/// Doubles a limb.
macro_rules! double {
    ($i:literal) => {
        concat!("vpaddq {x", $i, "}, {x", $i, "}, {x", $i, "}")
    };
}

/// Runs instructions for the ten limbs of a product. They are given one by one, since the compiler would add up each limb's
/// halves in an order of its own, once all of them are made, and has no registers for so many: that took twice as long.
macro_rules! ten_limbs {
    ($a:ident, $b:ident: $($instructions:expr,)*) => {{
        let (x0, x1, x2, x3, x4, x5, x6, x7, x8, x9);
        // SAFETY: reads the five limbs of a and of b, 32 aligned bytes each, and changes nothing but the registers that are
        // named (and flags). The features are those of the functions that this stands in.
        unsafe {
            asm!(
                $($instructions,)*
                STRIDE = const 32,
                a_limbs = in(reg) $a.as_ptr(),
                b_limbs = in(reg) $b.as_ptr(),
                HIGH = in(ymm_reg) splat_double(HIGH),
                HIGH_AND_LOW = in(ymm_reg) splat_double(HIGH_AND_LOW),
                a = out(ymm_reg) _,
                low = out(ymm_reg) _,
                high = out(ymm_reg) _,
                x0 = out(ymm_reg) x0,
                x1 = out(ymm_reg) x1,
                x2 = out(ymm_reg) x2,
                x3 = out(ymm_reg) x3,
                x4 = out(ymm_reg) x4,
                x5 = out(ymm_reg) x5,
                x6 = out(ymm_reg) x6,
                x7 = out(ymm_reg) x7,
                x8 = out(ymm_reg) x8,
                x9 = out(ymm_reg) x9,
                options(pure, readonly, nostack),
            );
        }
        [x0, x1, x2, x3, x4, x5, x6, x7, x8, x9]
    }};
}

/// Four lanes of [`Lanes::product`].
#[target_feature(enable = "avx2,fma")]
#[inline]
fn product(a: &[__m256i; 5], b: &[__m256i; 5]) -> [__m256i; 5] {
    #[rustfmt::skip]
    let x = ten_limbs!(a, b:
        limb!(0), halves!(0 => begin 0, begin 1), halves!(1 => 1, begin 2), halves!(2 => 2, begin 3), halves!(3 => 3, begin 4), halves!(4 => 4, begin 5),
        limb!(1), halves!(0 => 1, 2), halves!(1 => 2, 3), halves!(2 => 3, 4), halves!(3 => 4, 5), halves!(4 => 5, begin 6),
        limb!(2), halves!(0 => 2, 3), halves!(1 => 3, 4), halves!(2 => 4, 5), halves!(3 => 5, 6), halves!(4 => 6, begin 7),
        limb!(3), halves!(0 => 3, 4), halves!(1 => 4, 5), halves!(2 => 5, 6), halves!(3 => 6, 7), halves!(4 => 7, begin 8),
        limb!(4), halves!(0 => 4, 5), halves!(1 => 5, 6), halves!(2 => 6, 7), halves!(3 => 7, 8), halves!(4 => 8, begin 9),
    );
    fold(&x)
}

/// Four lanes of [`Lanes::square`].
#[target_feature(enable = "avx2,fma")]
#[inline]
fn square(a: &[__m256i; 5]) -> [__m256i; 5] {
    #[rustfmt::skip]
    let x = ten_limbs!(a, a:
        limb!(0), halves!(1 => begin 1, begin 2), halves!(2 => 2, begin 3), halves!(3 => 3, begin 4), halves!(4 => 4, begin 5),
        limb!(1), halves!(2 => 3, 4), halves!(3 => 4, 5), halves!(4 => 5, begin 6),
        limb!(2), halves!(3 => 5, 6), halves!(4 => 6, begin 7),
        limb!(3), halves!(4 => 7, begin 8),
        double!(1), double!(2), double!(3), double!(4), double!(5), double!(6), double!(7), double!(8),
        limb!(0), halves!(0 => begin 0, 1),
        limb!(1), halves!(1 => 2, 3),
        limb!(2), halves!(2 => 4, 5),
        limb!(3), halves!(3 => 6, 7),
        limb!(4), halves!(4 => 8, begin 9),
    );
    fold(&x)
}

/// Puts the upper five limbs of a product, 19-fold, to the lower ones.
#[target_feature(enable = "avx2")]
#[inline]
fn fold(x: &[__m256i; 10]) -> [__m256i; 5] {
    let fold = |i: usize| {
        let (low, high) = (x[i], x[i + 5]);
        let thrice = _mm256_add_epi64(high, _mm256_add_epi64(high, high));
        let rest = _mm256_add_epi64(low, splat(REST[i]));
        _mm256_add_epi64(_mm256_add_epi64(rest, thrice), _mm256_slli_epi64::<4>(high))
    };
    [fold(0), fold(1), fold(2), fold(3), fold(4)]
}

/// Integers below 2^52 as doubles.
#[target_feature(enable = "avx2")]
#[inline]
fn to_double(x: __m256i) -> __m256d {
    let above = _mm256_castsi256_pd(_mm256_or_si256(x, splat(INTEGER)));
    _mm256_sub_pd(above, splat_double(INTEGER))
}

/// Both halves of the product of bits 0 to 51, rounded down: bits 0 to 51 and 52 to 103.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn halves(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    let mask = splat((1 << 52) - 1);
    let (a, b) = (
        to_double(_mm256_and_si256(a, mask)),
        to_double(_mm256_and_si256(b, mask)),
    );
    let magic = splat_double(exponent(104));
    let high = _mm256_fmadd_pd(a, b, magic);
    let low = _mm256_fmadd_pd(a, b, _mm256_sub_pd(magic, high));
    let low = _mm256_castpd_si256(_mm256_add_pd(low, splat_double(LOW)));
    let low = _mm256_sub_epi64(low, splat(LOW));
    let high = _mm256_sub_epi64(_mm256_castpd_si256(high), splat(exponent(104)));
    // Where the rest is below zero, one was too much.
    let under = _mm256_cmpgt_epi64(splat(0), low);
    (
        _mm256_add_epi64(low, _mm256_and_si256(under, splat(1 << 52))),
        _mm256_add_epi64(high, under),
    )
}

/// The lower 64 bits of a product.
#[target_feature(enable = "avx2")]
#[inline]
fn mul(a: __m256i, b: __m256i) -> __m256i {
    let (a_up, b_up) = (_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b));
    let cross = _mm256_add_epi64(_mm256_mul_epu32(a_up, b), _mm256_mul_epu32(a, b_up));
    _mm256_add_epi64(_mm256_mul_epu32(a, b), _mm256_slli_epi64::<32>(cross))
}

/// Lanes of ones and zeros for each mask of four bits.
static MASKS: [[u64; 4]; 16] = {
    let mut masks = [[0; 4]; 16];
    let mut i = 0;
    while i < 64 {
        if ((i / 4) >> (i % 4)) & 1 == 1 {
            masks[i / 4][i % 4] = u64::MAX;
        }
        i += 1;
    }
    masks
};

/// The first or the last four of eight lanes, in one vector: where eight are given or asked for, the other four are ignored,
/// or zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Four(Fma);

// SAFETY, for all calls below but those that name their own: the intrinsics touch no memory, and need
// only the features that a value of `Fma` stands for.
impl Lanes for Four {
    type V = __m256i;
    type Part = Self;

    const LANES: usize = 4;
    /// Products are below 2^103, so that 2^103 and a product are below 2^104, where doubles leave multiples of 2^52.
    #[cfg(test)]
    const FACTOR_END: u64 = 0xb_504f_333f_9de7;

    #[inline(always)]
    fn part(self) -> Self {
        self
    }

    #[inline(always)]
    fn put(self, x: &mut __m256i, _: usize, part: __m256i) {
        *x = part;
    }

    #[inline(always)]
    fn splat(self, x: u64) -> __m256i {
        unsafe { splat(x) }
    }

    #[inline(always)]
    fn load(self, x: &[u64; 8]) -> __m256i {
        // SAFETY: 32 readable bytes; the load asks for no alignment.
        unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, x: __m256i) -> [u64; 8] {
        let mut out = [0; 8];
        // SAFETY: 32 writable bytes; the store asks for no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), x) };
        out
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi64(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_sub_epi64(a, b) }
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_and_si256(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn xor3(self, a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        unsafe { _mm256_xor_si256(_mm256_xor_si256(a, b), c) }
    }

    #[inline(always)]
    fn choose(self, a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(_mm256_and_si256(a, b), _mm256_andnot_si256(a, c)) }
    }

    #[inline(always)]
    fn majority(self, a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(_mm256_and_si256(_mm256_or_si256(a, b), c), _mm256_and_si256(a, b)) }
    }

    #[inline(always)]
    fn shr<const N: u32>(self, a: __m256i) -> __m256i {
        unsafe { _mm256_srl_epi64(a, _mm_cvtsi32_si128(N.cast_signed())) }
    }

    #[inline(always)]
    fn shl<const N: u32>(self, a: __m256i) -> __m256i {
        unsafe { _mm256_sll_epi64(a, _mm_cvtsi32_si128(N.cast_signed())) }
    }

    #[inline(always)]
    fn ror<const N: i32>(self, a: __m256i) -> __m256i {
        unsafe {
            let right = _mm256_srl_epi64(a, _mm_cvtsi32_si128(N));
            _mm256_or_si256(right, _mm256_sll_epi64(a, _mm_cvtsi32_si128(64 - N)))
        }
    }

    #[inline(always)]
    fn mul(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { mul(a, b) }
    }

    #[inline(always)]
    fn mul_add_low(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi64(sum, halves(a, b).0) }
    }

    #[inline(always)]
    fn mul_add_high(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi64(sum, halves(a, b).1) }
    }

    #[inline(always)]
    fn select(self, mask: u8, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: 32 readable bytes; the load asks for no alignment.
        let mask = unsafe { _mm256_loadu_si256(MASKS[usize::from(mask & 15)].as_ptr().cast()) };
        unsafe { _mm256_blendv_epi8(a, b, mask) }
    }

    #[inline(always)]
    fn equal(self, a: __m256i, b: __m256i) -> u8 {
        unsafe { _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a, b))) as u8 }
    }

    #[inline(always)]
    fn columns(self, rows: [&Row; 8]) -> [__m256i; 16] {
        // SAFETY: the loads read words 2i and 2i + 1 of a row, which is aligned to 128 bytes.
        let words =
            |row: usize, i: usize| unsafe { _mm_load_si128(rows[row].0.as_ptr().add(2 * (i % 8)).cast()) };
        let mut columns = [self.splat(0); 16];
        for (i, columns) in columns.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            unsafe {
                let even = _mm256_set_m128i(words(2, i), words(0, i));
                let odd = _mm256_set_m128i(words(3, i), words(1, i));
                *columns = [_mm256_unpacklo_epi64(even, odd), _mm256_unpackhi_epi64(even, odd)];
            }
        }
        columns
    }

    #[inline(always)]
    fn add_19_times(self, sum: __m256i, a: __m256i) -> __m256i {
        unsafe { _mm256_add_epi64(sum, _mm256_mul_epu32(a, splat(19))) }
    }

    /// As a double.
    #[inline(always)]
    fn factor(self, limb: __m256i) -> __m256i {
        unsafe { _mm256_castpd_si256(to_double(limb)) }
    }

    #[inline(always)]
    fn limb(self, factor: __m256i) -> __m256i {
        unsafe {
            let above = _mm256_add_pd(_mm256_castsi256_pd(factor), splat_double(INTEGER));
            _mm256_xor_si256(_mm256_castpd_si256(above), splat(INTEGER))
        }
    }

    /// Bounds, in units of 2^50, for limbs below 2^51.5: upper halves are 0 to 4 each, lower halves −1 to 1. Limb by limb there are 0, 1, 2, 3, 4,
    /// 5, 4, 3, 2 and 1 upper and 1, 2, 3, 4, 5, 4, 3, 2, 1 and 0 lower ones ([`HALVES`]), so that the ten limbs are from
    /// −1, −2, −3, −4, −5, −4, −3, −2, −1 and 0 to 1, 6, 11, 16, 21, 24, 19, 14, 9 and 4. Limb i + 5 goes 19-fold to limb i:
    /// from −77, −59, −41, −23 and −5 to 457, 367, 277, 187 and 97. With [`BIAS`], just below 128 in each limb, all five
    /// are above zero and below 585 · 2^50, which is less than the 267 · 2^52 of [`Lanes::product`].
    #[inline(always)]
    fn product(self, a: &[__m256i; 5], b: &[__m256i; 5]) -> [__m256i; 5] {
        unsafe { product(a, b) }
    }

    #[inline(always)]
    fn square(self, a: &[__m256i; 5]) -> [__m256i; 5] {
        unsafe { square(a) }
    }
}

/// An operation on the first and on the last four lanes.
macro_rules! both {
    ($self:ident.$operation:ident$(::<$n:ident>)?($($argument:ident),*)) => {{
        let four = $self.part();
        [
            four.$operation$(::<$n>)?($($argument[0]),*),
            four.$operation$(::<$n>)?($($argument[1]),*),
        ]
    }};
}

/// One half of all limbs.
#[inline(always)]
fn half(a: &[V; 5], which: usize) -> [__m256i; 5] {
    [a[0][which], a[1][which], a[2][which], a[3][which], a[4][which]]
}

/// Limbs from their halves.
#[inline(always)]
fn joined(low: [__m256i; 5], high: [__m256i; 5]) -> [V; 5] {
    [
        [low[0], high[0]],
        [low[1], high[1]],
        [low[2], high[2]],
        [low[3], high[3]],
        [low[4], high[4]],
    ]
}

impl Lanes for Fma {
    type V = V;
    type Part = Four;

    const PARTS: usize = 2;
    #[cfg(test)]
    const FACTOR_END: u64 = Four::FACTOR_END;

    #[inline(always)]
    fn part(self) -> Four {
        Four(self)
    }

    #[inline(always)]
    fn put(self, x: &mut V, part: usize, value: __m256i) {
        x[part] = value;
    }

    #[inline(always)]
    fn splat(self, x: u64) -> V {
        [self.part().splat(x); 2]
    }

    #[inline(always)]
    fn load(self, x: &[u64; 8]) -> V {
        let [a, b, c, d, e, f, g, h] = *x;
        let low = self.part().load(x);
        [low, self.part().load(&[e, f, g, h, a, b, c, d])]
    }

    #[inline(always)]
    fn store(self, x: V) -> [u64; 8] {
        let [a, b, c, d, ..] = self.part().store(x[0]);
        let [e, f, g, h, ..] = self.part().store(x[1]);
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        both!(self.add(a, b))
    }

    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        both!(self.sub(a, b))
    }

    #[inline(always)]
    fn and(self, a: V, b: V) -> V {
        both!(self.and(a, b))
    }

    #[inline(always)]
    fn or(self, a: V, b: V) -> V {
        both!(self.or(a, b))
    }

    #[inline(always)]
    fn xor3(self, a: V, b: V, c: V) -> V {
        both!(self.xor3(a, b, c))
    }

    #[inline(always)]
    fn choose(self, a: V, b: V, c: V) -> V {
        both!(self.choose(a, b, c))
    }

    #[inline(always)]
    fn majority(self, a: V, b: V, c: V) -> V {
        both!(self.majority(a, b, c))
    }

    #[inline(always)]
    fn shr<const N: u32>(self, a: V) -> V {
        both!(self.shr::<N>(a))
    }

    #[inline(always)]
    fn shl<const N: u32>(self, a: V) -> V {
        both!(self.shl::<N>(a))
    }

    #[inline(always)]
    fn ror<const N: i32>(self, a: V) -> V {
        both!(self.ror::<N>(a))
    }

    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        both!(self.mul(a, b))
    }

    #[inline(always)]
    fn mul_add_low(self, sum: V, a: V, b: V) -> V {
        both!(self.mul_add_low(sum, a, b))
    }

    #[inline(always)]
    fn mul_add_high(self, sum: V, a: V, b: V) -> V {
        both!(self.mul_add_high(sum, a, b))
    }

    #[inline(always)]
    fn select(self, mask: u8, a: V, b: V) -> V {
        let four = self.part();
        [four.select(mask, a[0], b[0]), four.select(mask >> 4, a[1], b[1])]
    }

    #[inline(always)]
    fn equal(self, a: V, b: V) -> u8 {
        let [low, high] = both!(self.equal(a, b));
        low | high << 4
    }

    #[inline(always)]
    fn columns(self, rows: [&Row; 8]) -> [V; 16] {
        let [a, b, c, d, e, f, g, h] = rows;
        let low = self.part().columns(rows);
        let high = self.part().columns([e, f, g, h, a, b, c, d]);
        let mut columns = [self.splat(0); 16];
        for (column, halves) in columns.iter_mut().zip(low.into_iter().zip(high)) {
            *column = [halves.0, halves.1];
        }
        columns
    }

    #[inline(always)]
    fn add_19_times(self, sum: V, a: V) -> V {
        both!(self.add_19_times(sum, a))
    }

    #[inline(always)]
    fn factor(self, limb: V) -> V {
        both!(self.factor(limb))
    }

    #[inline(always)]
    fn limb(self, factor: V) -> V {
        both!(self.limb(factor))
    }

    #[inline(always)]
    fn product(self, a: &[V; 5], b: &[V; 5]) -> [V; 5] {
        let four = self.part();
        joined(
            four.product(&half(a, 0), &half(b, 0)),
            four.product(&half(a, 1), &half(b, 1)),
        )
    }

    #[inline(always)]
    fn square(self, a: &[V; 5]) -> [V; 5] {
        let four = self.part();
        joined(four.square(&half(a, 0)), four.square(&half(a, 1)))
    }
}
