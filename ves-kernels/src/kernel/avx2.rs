//! 8 lanes in a vector. There are registers for one state only.

use std::arch::x86_64::*;

use super::batch::Message;
use super::lanes::{each_word, sha256_lanes};
use super::scalar::{self, IV, K};
use super::*;

type V = __m256i;
const LANES: usize = 8;
const GROUPS: usize = 1;
/// Up to so many messages, the lanes that stay empty cost more than messages in turn.
const FEW: usize = 3;

#[target_feature(enable = "avx2")]
#[inline]
fn splat(x: u32) -> V {
    _mm256_set1_epi32(x.cast_signed())
}

#[target_feature(enable = "avx2")]
#[inline]
fn zero() -> V {
    _mm256_setzero_si256()
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(a: V, b: V) -> V {
    _mm256_add_epi32(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn and(a: V, b: V) -> V {
    _mm256_and_si256(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor3(a: V, b: V, c: V) -> V {
    _mm256_xor_si256(_mm256_xor_si256(a, b), c)
}

#[target_feature(enable = "avx2")]
#[inline]
fn ch(e: V, f: V, g: V) -> V {
    _mm256_xor_si256(_mm256_and_si256(_mm256_xor_si256(f, g), e), g)
}

#[target_feature(enable = "avx2")]
#[inline]
fn maj(a: V, b: V, c: V) -> V {
    _mm256_or_si256(_mm256_and_si256(_mm256_or_si256(a, b), c), _mm256_and_si256(a, b))
}

/// Rotates right by `R`; `L` is 32 − `R`.
#[target_feature(enable = "avx2")]
#[inline]
fn ror<const R: i32, const L: i32>(x: V) -> V {
    _mm256_or_si256(_mm256_srli_epi32::<R>(x), _mm256_slli_epi32::<L>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn shr<const N: i32>(x: V) -> V {
    _mm256_srli_epi32::<N>(x)
}

/// The upper word of `high ‖ low` shifted left by a byte.
#[target_feature(enable = "avx2")]
#[inline]
fn shld8(high: V, low: V) -> V {
    _mm256_or_si256(_mm256_slli_epi32::<8>(high), _mm256_srli_epi32::<24>(low))
}

#[target_feature(enable = "avx2")]
#[inline]
fn shl8_or(x: V, low: u32) -> V {
    _mm256_or_si256(_mm256_slli_epi32::<8>(x), splat(low))
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(bytes: &[u8; 32]) -> V {
    // SAFETY: 32 readable bytes; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn lane_mask(mask: &[u32; LANES]) -> V {
    // SAFETY: 32 readable bytes; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(mask.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn swap_words(x: V) -> V {
    let order = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(order))
}

/// Rows of 8 words to columns, and back.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(rows: &[V; 8]) -> [V; 8] {
    // quads[g][c]: in its half q, the words of column 4q + c in rows 4g to 4g + 3.
    let mut quads = [[zero(); 4]; 2];
    for (quad, r) in quads.iter_mut().zip(rows.as_chunks::<4>().0) {
        let low01 = _mm256_unpacklo_epi32(r[0], r[1]);
        let high01 = _mm256_unpackhi_epi32(r[0], r[1]);
        let low23 = _mm256_unpacklo_epi32(r[2], r[3]);
        let high23 = _mm256_unpackhi_epi32(r[2], r[3]);
        *quad = [
            _mm256_unpacklo_epi64(low01, low23),
            _mm256_unpackhi_epi64(low01, low23),
            _mm256_unpacklo_epi64(high01, high23),
            _mm256_unpackhi_epi64(high01, high23),
        ];
    }
    let mut columns = [zero(); 8];
    for c in 0..4 {
        columns[c] = _mm256_permute2x128_si256::<0x20>(quads[0][c], quads[1][c]);
        columns[4 + c] = _mm256_permute2x128_si256::<0x31>(quads[0][c], quads[1][c]);
    }
    columns
}

/// The words of 32 bytes in each lane.
#[target_feature(enable = "avx2")]
#[inline]
fn load_rows<'a>(rows: impl Iterator<Item = &'a [u8; 32]>) -> [V; 8] {
    let mut loaded = [zero(); 8];
    for (to, row) in loaded.iter_mut().zip(rows) {
        *to = swap_words(load(row));
    }
    transpose(&loaded)
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_blocks(blocks: &[&[u8; 64]; LANES]) -> [V; 16] {
    let mut words = [zero(); 16];
    words[..8].copy_from_slice(&load_rows(blocks.iter().map(|b| half(b, 0))));
    words[8..].copy_from_slice(&load_rows(blocks.iter().map(|b| half(b, 1))));
    words
}

fn half(bytes: &[u8; 64], which: usize) -> &[u8; 32] {
    &bytes.as_chunks::<32>().0[which]
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_pairs(pairs: &[[Hash32; 2]; LANES], words: &mut [V; 16]) {
    words[..8].copy_from_slice(&load_rows(pairs.iter().map(|pair| &pair[0].0)));
    words[8..].copy_from_slice(&load_rows(pairs.iter().map(|pair| &pair[1].0)));
}

/// The 26 words of each input; the others are not specified.
#[target_feature(enable = "avx2")]
#[inline]
fn load_leaves(inputs: &[LeafInput; LANES], words: &mut [V; 32]) {
    let high = inputs
        .each_ref()
        .map(|input| (input.sequence_number >> 32) as u32);
    let low = inputs.each_ref().map(|input| input.sequence_number as u32);
    words[0] = lane_mask(&high);
    words[1] = lane_mask(&low);
    words[2..10].copy_from_slice(&load_rows(inputs.iter().map(|i| &i.event_signing_hash.0)));
    words[10..18].copy_from_slice(&load_rows(inputs.iter().map(|i| half(&i.agent_signature.0, 0))));
    words[18..26].copy_from_slice(&load_rows(inputs.iter().map(|i| half(&i.agent_signature.0, 1))));
}

/// Writes each lane's hash to its place.
#[target_feature(enable = "avx2")]
#[inline]
fn store(state: &[V; 8], out: &mut [Hash32; LANES]) {
    for (row, out) in transpose(state).into_iter().zip(out) {
        // SAFETY: 32 writable bytes; the store asks for no alignment.
        unsafe { _mm256_storeu_si256(out.0.as_mut_ptr().cast(), swap_words(row)) };
    }
}

sha256_lanes!("avx2");
