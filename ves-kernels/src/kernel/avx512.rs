//! 16 lanes in a vector, two vectors in turn.

use std::arch::x86_64::*;

use super::batch::Message;
use super::lanes::{each_word, sha256_lanes};
use super::scalar::{self, IV, K};
use super::*;

type V = __m512i;
const LANES: usize = 16;
/// A state has chains of dependent instructions as long as it has work: two fill each other's gaps.
const GROUPS: usize = 2;
/// Up to so many messages, the lanes that stay empty cost more than messages in turn.
const FEW: usize = 8;

#[target_feature(enable = "avx512f")]
#[inline]
fn splat(x: u32) -> V {
    _mm512_set1_epi32(x.cast_signed())
}

#[target_feature(enable = "avx512f")]
#[inline]
fn zero() -> V {
    _mm512_setzero_si512()
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(a: V, b: V) -> V {
    _mm512_add_epi32(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn and(a: V, b: V) -> V {
    _mm512_and_si512(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor3(a: V, b: V, c: V) -> V {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn ch(e: V, f: V, g: V) -> V {
    _mm512_ternarylogic_epi32::<0xca>(e, f, g)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn maj(a: V, b: V, c: V) -> V {
    _mm512_ternarylogic_epi32::<0xe8>(a, b, c)
}

/// Rotates right by `R`; `L` is 32 − `R`, for vectors without rotation.
#[target_feature(enable = "avx512f")]
#[inline]
fn ror<const R: i32, const L: i32>(x: V) -> V {
    _mm512_ror_epi32::<R>(x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn shr<const N: u32>(x: V) -> V {
    _mm512_srli_epi32::<N>(x)
}

/// The upper word of `high ‖ low` shifted left by a byte.
#[target_feature(enable = "avx512f,avx512vbmi2")]
#[inline]
fn shld8(high: V, low: V) -> V {
    _mm512_shldi_epi32::<8>(high, low)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn shl8_or(x: V, low: u32) -> V {
    _mm512_or_si512(_mm512_slli_epi32::<8>(x), splat(low))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; 64]) -> V {
    // SAFETY: 64 readable bytes; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn lane_mask(mask: &[u32; LANES]) -> V {
    // SAFETY: 64 readable bytes; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(mask.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn swap_words(x: V) -> V {
    let order = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(order))
}

/// Rows of 16 words to columns.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(rows: &[V; 16]) -> [V; 16] {
    // quads[g][c]: in its quarter q, the words of column 4q + c in rows 4g to 4g + 3.
    let mut quads = [[zero(); 4]; 4];
    for (g, quad) in quads.iter_mut().enumerate() {
        let r = &rows[4 * g..4 * g + 4];
        let low01 = _mm512_unpacklo_epi32(r[0], r[1]);
        let high01 = _mm512_unpackhi_epi32(r[0], r[1]);
        let low23 = _mm512_unpacklo_epi32(r[2], r[3]);
        let high23 = _mm512_unpackhi_epi32(r[2], r[3]);
        *quad = [
            _mm512_unpacklo_epi64(low01, low23),
            _mm512_unpackhi_epi64(low01, low23),
            _mm512_unpacklo_epi64(high01, high23),
            _mm512_unpackhi_epi64(high01, high23),
        ];
    }
    let mut columns = [zero(); 16];
    for c in 0..4 {
        let front01 = _mm512_shuffle_i32x4::<0x44>(quads[0][c], quads[1][c]);
        let back01 = _mm512_shuffle_i32x4::<0xee>(quads[0][c], quads[1][c]);
        let front23 = _mm512_shuffle_i32x4::<0x44>(quads[2][c], quads[3][c]);
        let back23 = _mm512_shuffle_i32x4::<0xee>(quads[2][c], quads[3][c]);
        columns[c] = _mm512_shuffle_i32x4::<0x88>(front01, front23);
        columns[4 + c] = _mm512_shuffle_i32x4::<0xdd>(front01, front23);
        columns[8 + c] = _mm512_shuffle_i32x4::<0x88>(back01, back23);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(back01, back23);
    }
    columns
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_blocks(blocks: &[&[u8; 64]; LANES]) -> [V; 16] {
    let mut rows = [zero(); 16];
    for (row, block) in rows.iter_mut().zip(blocks) {
        *row = swap_words(load(block));
    }
    transpose(&rows)
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_pairs(pairs: &[[Hash32; 2]; LANES], words: &mut [V; 16]) {
    for (row, pair) in words.iter_mut().zip(pairs) {
        // SAFETY: two hashes are 64 consecutive bytes, since `Hash32` is transparent.
        let pair = unsafe { _mm512_loadu_si512(pair.as_ptr().cast()) };
        *row = swap_words(pair);
    }
    *words = transpose(words);
}

/// The 26 words of each input; the others are not specified.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_leaves(inputs: &[LeafInput; LANES], words: &mut [V; 32]) {
    let [front, back] = words.as_chunks_mut::<16>().0 else {
        return;
    };
    // The sequence number is in the machine's order: only its two words change places.
    let words = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    let first = _mm_setr_epi8(4, 5, 6, 7, 0, 1, 2, 3, 11, 10, 9, 8, 15, 14, 13, 12);
    let order = _mm512_inserti32x4::<0>(_mm512_broadcast_i32x4(words), first);
    for (i, input) in inputs.iter().enumerate() {
        let start: *const LeafInput = input;
        // SAFETY: the struct has the layout of C without padding, 8 + 32 + 64 = 104 readable bytes:
        // 64 from its start, and 40 after them (the mask keeps the load to ten words).
        let (head, tail) = unsafe {
            (
                _mm512_loadu_si512(start.cast()),
                _mm512_maskz_loadu_epi32(0x3ff, start.cast::<i32>().add(16)),
            )
        };
        front[i] = _mm512_shuffle_epi8(head, order);
        back[i] = swap_words(tail);
    }
    *front = transpose(front);
    *back = transpose(back);
}

/// Writes each lane's hash to its place.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store(state: &[V; 8], out: &mut [Hash32; LANES]) {
    let mut halves = [[zero(); 4]; 2];
    for (half, s) in halves.iter_mut().zip(state.as_chunks::<4>().0) {
        let low01 = _mm512_unpacklo_epi32(s[0], s[1]);
        let high01 = _mm512_unpackhi_epi32(s[0], s[1]);
        let low23 = _mm512_unpacklo_epi32(s[2], s[3]);
        let high23 = _mm512_unpackhi_epi32(s[2], s[3]);
        // half[c]: in its quarter q, four words of lane 4q + c.
        *half = [
            swap_words(_mm512_unpacklo_epi64(low01, low23)),
            swap_words(_mm512_unpackhi_epi64(low01, low23)),
            swap_words(_mm512_unpacklo_epi64(high01, high23)),
            swap_words(_mm512_unpackhi_epi64(high01, high23)),
        ];
    }
    let front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for c in 0..4 {
        let rows = [
            _mm512_permutex2var_epi64(halves[0][c], front, halves[1][c]),
            _mm512_permutex2var_epi64(halves[0][c], back, halves[1][c]),
        ];
        for (i, row) in rows.into_iter().enumerate() {
            let low = _mm512_castsi512_si256(row);
            let high = _mm512_extracti64x4_epi64::<1>(row);
            // SAFETY: 32 writable bytes each; the stores ask for no alignment.
            unsafe {
                _mm256_storeu_si256(out[8 * i + c].0.as_mut_ptr().cast(), low);
                _mm256_storeu_si256(out[8 * i + 4 + c].0.as_mut_ptr().cast(), high);
            }
        }
    }
}

sha256_lanes!("avx512f,avx512bw,avx512vbmi2");
