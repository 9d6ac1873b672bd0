//! The SHA extensions: two rounds in one instruction, whose result takes twice as long to come as
//! the next one could be begun. So two messages run in turn.

use std::arch::x86_64::*;

use super::batch::Message;
use super::scalar::{self, IV, K};
use super::*;

type V = __m128i;

/// How many messages run in turn.
const GROUPS: usize = 2;

/// The working variables as the instructions want them: a, b, e, f and c, d, g, h, highest word first.
#[derive(Clone, Copy)]
struct State {
    abef: V,
    cdgh: V,
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn state(v: &[u32; 8]) -> State {
    let [a, b, c, d, e, f, g, h] = v.map(u32::cast_signed);
    State {
        abef: _mm_set_epi32(a, b, e, f),
        cdgh: _mm_set_epi32(c, d, g, h),
    }
}

/// The 16 bytes at `at`.
#[target_feature(enable = "sse2")]
#[inline]
fn load(bytes: &[u8], at: usize) -> V {
    let bytes: &[u8; 16] = match bytes[at..].split_first_chunk() {
        Some((bytes, _)) => bytes,
        None => &[0; 16],
    };
    // SAFETY: 16 readable bytes; the load asks for no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "ssse3")]
#[inline]
fn swap_words(x: V) -> V {
    _mm_shuffle_epi8(
        x,
        _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12),
    )
}

#[target_feature(enable = "sse2")]
#[inline]
fn round_constants(i: usize) -> V {
    // SAFETY: K has 64 words and `i` is below 16; the load asks for no alignment.
    unsafe { _mm_loadu_si128(K.as_ptr().add(4 * (i & 15)).cast()) }
}

/// Rounds from `4 * FROM` on the words of a block, begun at `begun`; then adds to `state`.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn compress<const N: usize, const FROM: usize>(
    state: &mut [State; N],
    begun: &[State; N],
    words: &[[V; 4]; N],
) {
    let mut s = *begun;
    let mut w = *words;
    macro_rules! step {
        ($i:literal) => {
            if $i >= FROM {
                for n in 0..N {
                    if $i >= 4 {
                        let two_back = w[n][($i + 2) % 4];
                        let one_back = w[n][($i + 3) % 4];
                        let partial = _mm_add_epi32(
                            _mm_sha256msg1_epu32(w[n][$i % 4], w[n][($i + 1) % 4]),
                            _mm_alignr_epi8::<4>(one_back, two_back),
                        );
                        w[n][$i % 4] = _mm_sha256msg2_epu32(partial, one_back);
                    }
                    let kw = _mm_add_epi32(w[n][$i % 4], round_constants($i));
                    s[n].cdgh = _mm_sha256rnds2_epu32(s[n].cdgh, s[n].abef, kw);
                    s[n].abef = _mm_sha256rnds2_epu32(s[n].abef, s[n].cdgh, _mm_shuffle_epi32::<0x0e>(kw));
                }
            }
        };
    }
    super::lanes::each_word!(step);
    for n in 0..N {
        state[n].abef = _mm_add_epi32(state[n].abef, s[n].abef);
        state[n].cdgh = _mm_add_epi32(state[n].cdgh, s[n].cdgh);
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn store(state: &State, out: &mut Hash32) {
    let feba = _mm_shuffle_epi32::<0x1b>(state.abef);
    let dchg = _mm_shuffle_epi32::<0xb1>(state.cdgh);
    let dcba = _mm_blend_epi16::<0xf0>(feba, dchg);
    let hgfe = _mm_alignr_epi8::<8>(dchg, feba);
    let to = out.0.as_mut_ptr();
    // SAFETY: 32 writable bytes, in two halves; the stores ask for no alignment.
    unsafe {
        _mm_storeu_si128(to.cast(), swap_words(dcba));
        _mm_storeu_si128(to.add(16).cast(), swap_words(hgfe));
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn nodes<const N: usize>(pairs: &[[Hash32; 2]; N]) -> [State; N] {
    let iv = [state(&IV); N];
    let mut first = [[_mm_setzero_si128(); 4]; N];
    let mut last = first;
    let domain = load(b"VES_NODE_V1\0\0\0\0\0", 0);
    let end = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -0x80, 0, 0, 0, 0);
    for n in 0..N {
        let start: *const [Hash32; 2] = &pairs[n];
        // SAFETY: two hashes are 64 consecutive bytes, since `Hash32` is transparent; the loads stay
        // inside (48 + 16 = 64) and ask for no alignment.
        let at = |offset: usize| unsafe { _mm_loadu_si128(start.cast::<u8>().add(offset.min(48)).cast()) };
        first[n] = [
            swap_words(_mm_or_si128(_mm_slli_si128::<11>(at(0)), domain)),
            swap_words(at(5)),
            swap_words(at(21)),
            swap_words(at(37)),
        ];
        last[n] = [
            swap_words(_mm_or_si128(_mm_srli_si128::<5>(at(48)), end)),
            _mm_setzero_si128(),
            _mm_setzero_si128(),
            _mm_set_epi32(75 * 8, 0, 0, 0),
        ];
    }
    let mut s = iv;
    compress::<N, 0>(&mut s, &iv, &first);
    let begun = s;
    compress::<N, 0>(&mut s, &begun, &last);
    s
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(super) fn parents_in_place(level: &mut [Hash32]) {
    let count = level.len() / 2;
    let mut done = 0;
    while done < count {
        let pairs = level[2 * done..2 * count].as_chunks::<2>().0;
        if let Some((pairs, _)) = pairs.split_first_chunk::<GROUPS>() {
            let states = nodes(pairs);
            for (state, out) in states.iter().zip(&mut level[done..]) {
                store(state, out);
            }
            done += GROUPS;
        } else {
            let [state] = nodes(&[pairs[0]]);
            store(&state, &mut level[done]);
            done += 1;
        }
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(super) fn node_hashes(level: &[Hash32], out: &mut [Hash32]) {
    let (groups, rest) = level.as_chunks::<2>().0.as_chunks::<GROUPS>();
    let (out_groups, out_rest) = out.as_chunks_mut::<GROUPS>();
    for (pairs, out) in groups.iter().zip(out_groups) {
        for (state, out) in nodes(pairs).iter().zip(out) {
            store(state, out);
        }
    }
    for (pair, out) in rest.iter().zip(out_rest) {
        let [state] = nodes(&[*pair]);
        store(&state, out);
    }
}

/// The leaves of a stream: what all of them share.
struct Leaves {
    /// Bytes 0 to 31 of the preimage.
    words: [V; 2],
    /// The working variables after those eight words.
    after_words: State,
    /// Bytes 32 to 42, then zeros.
    rest: V,
}

impl Leaves {
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn new(prefix: &LeafPrefix) -> Self {
        let bytes = &prefix.bytes;
        let words: [u32; 8] = std::array::from_fn(|i| scalar::word(bytes, 4 * i));
        Self {
            words: [swap_words(load(bytes, 0)), swap_words(load(bytes, 16))],
            after_words: state(&scalar::first_rounds(&words)),
            rest: _mm_srli_si128::<5>(load(bytes, 27)),
        }
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn leaves<const N: usize>(shared: &Leaves, inputs: &[LeafInput; N]) -> [State; N] {
    let iv = [state(&IV); N];
    let mut blocks = [[[_mm_setzero_si128(); 4]; N]; 3];
    let [first, second, third] = &mut blocks;
    let end = _mm_setr_epi8(0, 0, 0, -0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    for n in 0..N {
        let input: *const LeafInput = &inputs[n];
        // SAFETY: the struct has the layout of C without padding, so that hash and signature are 96
        // consecutive bytes from byte 8 on; the loads stay inside (80 + 16 = 96) and ask for no
        // alignment.
        let at =
            |offset: usize| unsafe { _mm_loadu_si128(input.cast::<u8>().add(8 + offset.min(80)).cast()) };
        let sequence = _mm_cvtsi64_si128(inputs[n].sequence_number.swap_bytes().cast_signed());
        first[n] = [
            shared.words[0],
            shared.words[1],
            swap_words(_mm_or_si128(shared.rest, _mm_slli_si128::<11>(sequence))),
            swap_words(_mm_or_si128(
                _mm_srli_si128::<5>(sequence),
                _mm_slli_si128::<3>(at(0)),
            )),
        ];
        second[n] = [
            swap_words(at(13)),
            swap_words(at(29)),
            swap_words(at(45)),
            swap_words(at(61)),
        ];
        third[n] = [
            swap_words(at(77)),
            swap_words(_mm_or_si128(_mm_srli_si128::<13>(at(80)), end)),
            _mm_setzero_si128(),
            _mm_set_epi32(147 * 8, 0, 0, 0),
        ];
    }
    let mut s = iv;
    compress::<N, 2>(&mut s, &[shared.after_words; N], first);
    let begun = s;
    compress::<N, 0>(&mut s, &begun, second);
    let begun = s;
    compress::<N, 0>(&mut s, &begun, third);
    s
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(super) fn leaf_hashes(prefix: &LeafPrefix, inputs: &[LeafInput], out: &mut [Hash32]) {
    let shared = Leaves::new(prefix);
    let (groups, rest) = inputs.as_chunks::<GROUPS>();
    let (out_groups, out_rest) = out.as_chunks_mut::<GROUPS>();
    for (inputs, out) in groups.iter().zip(out_groups) {
        for (state, out) in leaves(&shared, inputs).iter().zip(out) {
            store(state, out);
        }
    }
    for (input, out) in rest.iter().zip(out_rest) {
        let [state] = leaves(&shared, &[*input]);
        store(&state, out);
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn words_of(bytes: &[u8], message: &Message, block: usize) -> [V; 4] {
    let at = message.start + 64 * block;
    [0, 16, 32, 48]
        .map(|offset| at + offset)
        .map(|at| swap_words(load(bytes, at)))
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(super) fn batch(bytes: &[u8], messages: &[Message], out: &mut [Hash32]) {
    let iv = state(&IV);
    let (groups, rest) = messages.as_chunks::<GROUPS>();
    for group in groups {
        // In order of length: the first of the two never has more blocks than the second.
        let common = group[0].blocks();
        let mut s = [iv; GROUPS];
        for block in 0..common {
            let words = [
                words_of(bytes, &group[0], block),
                words_of(bytes, &group[1], block),
            ];
            let begun = s;
            compress::<GROUPS, 0>(&mut s, &begun, &words);
        }
        let mut longer = [s[1]];
        for block in common..group[1].blocks() {
            let begun = longer;
            compress::<1, 0>(&mut longer, &begun, &[words_of(bytes, &group[1], block)]);
        }
        store(&s[0], &mut out[group[0].index]);
        store(&longer[0], &mut out[group[1].index]);
    }
    for message in rest {
        let mut s = [iv];
        for block in 0..message.blocks() {
            let begun = s;
            compress::<1, 0>(&mut s, &begun, &[words_of(bytes, message, block)]);
        }
        store(&s[0], &mut out[message.index]);
    }
}
