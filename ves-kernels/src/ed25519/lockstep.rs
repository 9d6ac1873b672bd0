//! Eight signatures side by side, each lane with a key of its own.

use std::sync::OnceLock;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use sha2::{Digest, Sha512};

use super::field;
use super::point::{self, Comb, Projective, Running, TEETH, Table, WINDOWS};
use super::scalar;
use super::sha512;
use super::{SignatureInput, halves, words};
use crate::kernel::{Instructions, Job, Lanes, Row, prefetch};

/// A claim and the multiples of its key, negated: a [`Table`] or a [`Comb`].
pub(super) struct Case<'a, M> {
    pub(super) claim: SignatureInput<'a>,
    pub(super) negated: &'a M,
}

impl<M> Clone for Case<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Case<'_, M> {}

/// How many groups of eight share an inversion.
const GROUPS: usize = 32;

/// How many additions ahead the multiples are asked for.
const AHEAD: usize = 4;

/// The order of the basepoint: words, lowest first.
const ORDER: [u64; 4] = [0x5812_631a_5cf5_d3ed, 0x14de_f9de_a2f7_9cd6, 0, 1 << 60];

/// The verification of many claims.
pub(super) struct Verify<'a, M> {
    /// The multiples of the basepoint.
    pub(super) base: &'a Table,
    pub(super) cases: &'a [Case<'a, M>],
}

/// The most additions that a signature takes.
const MOST: usize = 3 * WINDOWS;

/// What is added up for eight signatures, in turn.
pub(super) struct Chosen<'a> {
    rows: [[&'a Row; 8]; MOST],
    /// The lanes in which it is subtracted.
    negative: [u8; MOST],
}

impl<'a> Chosen<'a> {
    fn put(&mut self, at: usize, lane: usize, row: &'a Row, negative: bool) {
        self.rows[at][lane] = row;
        self.negative[at] |= u8::from(negative) << lane;
    }

    /// The multiples of a table, by windows, with those for something else in between or before.
    fn put_windows(
        &mut self,
        lane: usize,
        table: &'a Table,
        scalar: [u64; 4],
        place: impl Fn(usize) -> usize,
    ) {
        for (window, digit) in digits(scalar).into_iter().enumerate() {
            let digit = i16::from(digit) - 128;
            let row = &table.multiples(window)[usize::from(digit.unsigned_abs())];
            self.put(place(window), lane, row, digit < 0);
        }
    }
}

/// Multiples of a key, by which s·B − k·A is added up.
pub(super) trait Multiples: Sized {
    /// How many additions that takes, at most [`MOST`].
    const STEPS: usize;

    /// Whether the sum is taken 16-fold before a step.
    fn times_16_before(step: usize) -> bool;

    /// Chooses what is added up in a lane.
    fn choose<'a>(&'a self, lane: usize, base: &'a Table, s: [u64; 4], k: [u64; 4], chosen: &mut Chosen<'a>);
}

impl Multiples for Table {
    const STEPS: usize = 2 * WINDOWS;

    #[inline(always)]
    fn times_16_before(_: usize) -> bool {
        false
    }

    fn choose<'a>(&'a self, lane: usize, base: &'a Table, s: [u64; 4], k: [u64; 4], chosen: &mut Chosen<'a>) {
        chosen.put_windows(lane, base, s, |window| 2 * window);
        chosen.put_windows(lane, self, k, |window| 2 * window + 1);
    }
}

/// The places of a word's digits of four bits.
const PLACES: usize = 16;

impl Multiples for Comb {
    const STEPS: usize = TEETH * PLACES + WINDOWS;

    #[inline(always)]
    fn times_16_before(step: usize) -> bool {
        step > 0 && step < TEETH * PLACES && step.is_multiple_of(TEETH)
    }

    fn choose<'a>(&'a self, lane: usize, base: &'a Table, s: [u64; 4], k: [u64; 4], chosen: &mut Chosen<'a>) {
        for (tooth, word) in plus_everywhere(k, 0x8888_8888_8888_8888).into_iter().enumerate() {
            for place in 0..PLACES {
                let digit = ((word >> (4 * place)) & 15) as i8 - 8;
                let row = self.multiple(tooth, usize::from(digit.unsigned_abs()));
                chosen.put((PLACES - 1 - place) * TEETH + tooth, lane, row, digit < 0);
            }
        }
        chosen.put_windows(lane, base, s, |window| TEETH * PLACES + window);
    }
}

/// Digits of eight bits, −128 to 127, each with 128 added to it, lowest first: they are the bytes of the
/// scalar and of 128 in every place together. For scalars below 2^254, as all below the order
/// are; others get digits too, but not theirs. Digits of four bits, −8 to 7, are made alike.
fn digits(scalar: [u64; 4]) -> [u8; 32] {
    let mut digits = [0; 32];
    let sums = plus_everywhere(scalar, 0x8080_8080_8080_8080);
    for (sum, to) in sums.into_iter().zip(digits.as_chunks_mut::<8>().0) {
        *to = sum.to_le_bytes();
    }
    digits
}

/// A scalar and the same word in every place of it, modulo 2^256.
fn plus_everywhere(scalar: [u64; 4], more: u64) -> [u64; 4] {
    let mut carry = false;
    scalar.map(|word| {
        let (sum, over) = word.overflowing_add(more);
        let (sum, over_again) = sum.overflowing_add(carry.into());
        carry = over || over_again;
        sum
    })
}

/// Whether a scalar is below the order of the basepoint.
fn is_canonical(s: [u64; 4]) -> bool {
    s.iter().rev().lt(ORDER.iter().rev())
}

/// A message that fits into one block with R, the key, a byte and the length.
const SHORT: usize = 128 - 32 - 32 - 17;

/// SHA-512 of R, key and message, modulo the order.
#[inline(always)]
fn challenges<L: Lanes, M>(l: L, group: &[Case<'_, M>; 8]) -> [[u64; 4]; 8] {
    // The hashes' words, which are read from bytes with the lowest first: eight columns of lanes.
    let mut hashes = [[0; 8]; 8];
    if group.iter().all(|case| case.claim.message.len() <= SHORT) {
        let mut rows = [Row([0; 16]); 8];
        for (row, Case { claim, .. }) in rows.iter_mut().zip(group) {
            let mut block = [0; 128];
            let len = 64 + claim.message.len();
            block[..32].copy_from_slice(halves(claim.signature).0);
            block[32..64].copy_from_slice(claim.key.as_bytes());
            block[64..len].copy_from_slice(claim.message);
            block[len] = 0x80;
            for (word, bytes) in row.0.iter_mut().zip(block.as_chunks::<8>().0) {
                *word = u64::from_be_bytes(*bytes);
            }
            row.0[15] = 8 * len as u64;
        }
        let block = l.columns([
            &rows[0], &rows[1], &rows[2], &rows[3], &rows[4], &rows[5], &rows[6], &rows[7],
        ]);
        for (column, word) in hashes.iter_mut().zip(sha512::one_block(l, &block)) {
            *column = l.store(word).map(u64::swap_bytes);
        }
    } else {
        for (lane, Case { claim, .. }) in group.iter().enumerate() {
            let hash = Sha512::new_with_prefix(halves(claim.signature).0)
                .chain_update(claim.key.as_bytes())
                .chain_update(claim.message)
                .finalize();
            for (column, word) in hashes.iter_mut().zip(hash.as_chunks::<8>().0) {
                column[lane] = u64::from_le_bytes(*word);
            }
        }
    }
    let mut columns = [l.splat(0); 8];
    for (column, lanes) in columns.iter_mut().zip(&hashes) {
        *column = l.load(lanes);
    }
    let mut challenges = [[0; 4]; 8];
    for (i, word) in scalar::reduce(l, &columns).into_iter().enumerate() {
        for (challenge, word) in challenges.iter_mut().zip(l.store(word)) {
            challenge[i] = word;
        }
    }
    challenges
}

/// s·B − k·A of each case, or of so many.
#[inline(always)]
fn expected_r<L: Lanes, M: Multiples>(
    l: L,
    base: &Table,
    group: &[Case<'_, M>; 8],
    filled: usize,
) -> Projective<L::V> {
    let k = challenges(l, group);
    let mut chosen = Chosen {
        rows: [[&base.multiples(0)[0]; 8]; MOST],
        negative: [0; MOST],
    };
    for (lane, (Case { claim, negated }, k)) in group.iter().zip(k).enumerate() {
        let s = words(halves(claim.signature).1);
        negated.choose(lane, base, s, k, &mut chosen);
    }
    let mut sum = Projective::none(l);
    let lanes = L::Part::LANES;
    // Parts of nothing but lanes that stay empty are left out.
    for part in 0..filled.div_ceil(lanes).min(L::PARTS) {
        sum.put(l, part, &added_up::<_, M>(l.part(), &chosen, part * lanes));
    }
    sum
}

/// What is chosen for a part of the lanes, added up. Rows of other lanes follow those of the part.
#[inline(always)]
fn added_up<L: Lanes, M: Multiples>(l: L, chosen: &Chosen<'_>, first: usize) -> Projective<L::V> {
    let rows = |at: usize| -> [&Row; 8] { std::array::from_fn(|lane| chosen.rows[at][(first + lane) % 8]) };
    for at in 0..AHEAD {
        for row in &rows(at)[..L::LANES] {
            prefetch(*row);
        }
    }
    let mut sum = Running::identity(l);
    let last = M::STEPS - 1;
    for at in 0..last {
        if at + AHEAD < M::STEPS {
            for row in &rows(at + AHEAD)[..L::LANES] {
                prefetch(*row);
            }
        }
        if M::times_16_before(at) {
            sum = sum.times_16(l);
        }
        sum = sum.plus(l, &l.columns(rows(at)), chosen.negative[at] >> first);
    }
    sum.finally_plus(l, &l.columns(rows(last)), chosen.negative[last] >> first)
}

impl<M: Multiples> Job for Verify<'_, M> {
    type Output = Vec<bool>;

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> Vec<bool> {
        let mut verdicts = Vec::with_capacity(self.cases.len());
        for cases in self.cases.chunks(8 * GROUPS) {
            let groups = cases.len().div_ceil(8);
            let mut points = Vec::with_capacity(groups);
            let mut z = Vec::with_capacity(groups);
            for group in cases.chunks(8) {
                // Lanes that stay empty repeat the first case.
                let mut eight = [group[0]; 8];
                eight[..group.len()].copy_from_slice(group);
                let point = expected_r(l, self.base, &eight, group.len());
                points.push((point.x, point.y));
                z.push(point.z);
            }
            let inverses = point::invert_all(l, &z);
            for ((group, (x, y)), inverse) in cases.chunks(8).zip(&points).zip(&inverses) {
                let x = field::reduce(l, &field::times(l, x, inverse));
                let y = field::reduce(l, &field::times(l, y, inverse));
                // The encoding: y, and in its uppermost bit whether x is odd.
                let mut encoded = field::to_words(l, &y);
                encoded[3] = l.or(encoded[3], l.shl::<63>(x[0]));
                let mut r = [[0; 8]; 4];
                for (lane, case) in group.iter().enumerate() {
                    for (i, word) in words(halves(case.claim.signature).0).into_iter().enumerate() {
                        r[i][lane] = word;
                    }
                }
                let mut equal = 0xff;
                for (encoded, r) in encoded.into_iter().zip(&r) {
                    equal &= l.equal(encoded, l.load(r));
                }
                verdicts.extend(group.iter().enumerate().map(|(lane, case)| {
                    equal >> lane & 1 == 1 && is_canonical(words(halves(case.claim.signature).1))
                }));
            }
        }
        verdicts
    }
}

/// Whether each of these signatures holds.
pub(super) fn verify<M: Multiples>(instructions: Instructions, cases: &[Case<'_, M>]) -> Vec<bool> {
    static BASEPOINT: OnceLock<Table> = OnceLock::new();
    let base = BASEPOINT.get_or_init(|| instructions.run(Table::job(ED25519_BASEPOINT_POINT)));
    instructions.run(Verify { base, cases })
}

#[cfg(test)]
mod tests;
