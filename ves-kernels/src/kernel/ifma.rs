//! Eight lanes in one vector, with the multiplications of AVX-512 IFMA.

use std::arch::x86_64::*;

use super::eight::{Job, Lanes, Row};

/// The proof that AVX-512 F, DQ and IFMA were detected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ifma(());

impl Ifma {
    /// `None` if this machine lacks the instructions.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512ifma"))
        .then_some(Self(()))
    }

    /// Does a job with these instructions.
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
        fn with_features<J: Job>(lanes: Ifma, job: J) -> J::Output {
            job.run(lanes)
        }
        // SAFETY: there is a value of `Ifma` only where `detect` has found these features.
        unsafe { with_features(self, job) }
    }
}

// SAFETY, for all calls below but those that name their own: the intrinsics touch no memory, and need
// only the features that a value of `Ifma` stands for.
impl Lanes for Ifma {
    type V = __m512i;
    type Part = Self;

    #[inline(always)]
    fn part(self) -> Self {
        self
    }

    #[inline(always)]
    fn put(self, x: &mut __m512i, _: usize, value: __m512i) {
        *x = value;
    }

    #[inline(always)]
    fn splat(self, x: u64) -> __m512i {
        unsafe { _mm512_set1_epi64(x.cast_signed()) }
    }

    #[inline(always)]
    fn load(self, x: &[u64; 8]) -> __m512i {
        // SAFETY: 64 readable bytes; the load asks for no alignment.
        unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, x: __m512i) -> [u64; 8] {
        let mut out = [0; 8];
        // SAFETY: 64 writable bytes; the store asks for no alignment.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), x) };
        out
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi64(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_sub_epi64(a, b) }
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn xor3(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        unsafe { _mm512_ternarylogic_epi64::<0x96>(a, b, c) }
    }

    #[inline(always)]
    fn choose(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        unsafe { _mm512_ternarylogic_epi64::<0xca>(a, b, c) }
    }

    #[inline(always)]
    fn majority(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        unsafe { _mm512_ternarylogic_epi64::<0xe8>(a, b, c) }
    }

    #[inline(always)]
    fn shr<const N: u32>(self, a: __m512i) -> __m512i {
        unsafe { _mm512_srli_epi64::<N>(a) }
    }

    #[inline(always)]
    fn shl<const N: u32>(self, a: __m512i) -> __m512i {
        unsafe { _mm512_slli_epi64::<N>(a) }
    }

    #[inline(always)]
    fn ror<const N: i32>(self, a: __m512i) -> __m512i {
        unsafe { _mm512_ror_epi64::<N>(a) }
    }

    #[inline(always)]
    fn mul(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_mullo_epi64(a, b) }
    }

    #[inline(always)]
    fn mul_add_low(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_madd52lo_epu64(sum, a, b) }
    }

    #[inline(always)]
    fn mul_add_high(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_madd52hi_epu64(sum, a, b) }
    }

    #[inline(always)]
    fn select(self, mask: u8, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_mask_blend_epi64(mask, a, b) }
    }

    #[inline(always)]
    fn equal(self, a: __m512i, b: __m512i) -> u8 {
        unsafe { _mm512_cmpeq_epi64_mask(a, b) }
    }

    #[inline(always)]
    fn columns(self, rows: [&Row; 8]) -> [__m512i; 16] {
        // SAFETY: the loads read the first and the last 64 bytes of a row, which is aligned to 128.
        let half = |row: &Row, which: usize| unsafe {
            _mm512_load_si512(row.0.as_ptr().add(8 * (which & 1)).cast())
        };
        let mut columns = [self.splat(0); 16];
        for which in 0..2 {
            let r = [
                half(rows[0], which),
                half(rows[1], which),
                half(rows[2], which),
                half(rows[3], which),
                half(rows[4], which),
                half(rows[5], which),
                half(rows[6], which),
                half(rows[7], which),
            ];
            let part = unsafe { transpose(&r) };
            columns[8 * which..8 * which + 8].copy_from_slice(&part);
        }
        columns
    }
}

/// Rows of eight words to columns.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(r: &[__m512i; 8]) -> [__m512i; 8] {
    // Quarters q of these: words 2q (low) or 2q + 1 (high) of two rows.
    let low01 = _mm512_unpacklo_epi64(r[0], r[1]);
    let high01 = _mm512_unpackhi_epi64(r[0], r[1]);
    let low23 = _mm512_unpacklo_epi64(r[2], r[3]);
    let high23 = _mm512_unpackhi_epi64(r[2], r[3]);
    let low45 = _mm512_unpacklo_epi64(r[4], r[5]);
    let high45 = _mm512_unpackhi_epi64(r[4], r[5]);
    let low67 = _mm512_unpacklo_epi64(r[6], r[7]);
    let high67 = _mm512_unpackhi_epi64(r[6], r[7]);
    // Of four rows, quarters 0 and 1 (front) or 2 and 3 (back).
    let low_front0 = _mm512_shuffle_i64x2::<0x44>(low01, low23);
    let low_back0 = _mm512_shuffle_i64x2::<0xee>(low01, low23);
    let low_front4 = _mm512_shuffle_i64x2::<0x44>(low45, low67);
    let low_back4 = _mm512_shuffle_i64x2::<0xee>(low45, low67);
    let high_front0 = _mm512_shuffle_i64x2::<0x44>(high01, high23);
    let high_back0 = _mm512_shuffle_i64x2::<0xee>(high01, high23);
    let high_front4 = _mm512_shuffle_i64x2::<0x44>(high45, high67);
    let high_back4 = _mm512_shuffle_i64x2::<0xee>(high45, high67);
    [
        _mm512_shuffle_i64x2::<0x88>(low_front0, low_front4),
        _mm512_shuffle_i64x2::<0x88>(high_front0, high_front4),
        _mm512_shuffle_i64x2::<0xdd>(low_front0, low_front4),
        _mm512_shuffle_i64x2::<0xdd>(high_front0, high_front4),
        _mm512_shuffle_i64x2::<0x88>(low_back0, low_back4),
        _mm512_shuffle_i64x2::<0x88>(high_back0, high_back4),
        _mm512_shuffle_i64x2::<0xdd>(low_back0, low_back4),
        _mm512_shuffle_i64x2::<0xdd>(high_back0, high_back4),
    ]
}
