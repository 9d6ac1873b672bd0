//! Many Ed25519 signatures by few keys.
//!
//! Whoever checks a log meets the same keys again and again. For such a key a table of its multiples is
//! worth making once: every window of eight bits of a scalar has its 128 multiples ready, so that
//! `R′ = s·B − k·A` is 64 additions and no doubling, and a whole batch of R′ is brought into its
//! encoding with one inversion. Where the machine has AVX-512 IFMA, or AVX2 and FMA, eight signatures are checked side by
//! side; `docs/ed25519-lockstep.md` tells how. There a key that is met but a few times, or one of thousands, has a
//! comb: a hundredth of a table in size, made eight at once, with which a signature takes twice as long.
//!
//! What is accepted is exactly what [`VerifyingKey`]'s (non-strict) `verify` accepts, since the same
//! value is compared: s must be canonical, k is the reduced hash of R, A and message with A encoded
//! as it was given, and R′ is compared with R as bytes. The integers s and k are multiplied as they
//! are, so points of small or mixed order come out the same. Equations over a whole batch would accept
//! more than that, so none are used.

#![forbid(unsafe_code)]
// On other processors only the tests run the arithmetic in lanes.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

mod field;
mod in_turn;
mod lockstep;
mod point;
mod scalar;
mod sha512;

use std::fmt;

use ed25519_dalek::VerifyingKey;

use crate::bytes::SignatureBytes;
use crate::kernel::{Instructions, Kernel};

/// From so many signatures on, preparing a key costs less than it brings, if it has no comb.
pub fn worth_preparing_from() -> usize {
    match Instructions::of(Kernel::current()) {
        None => 48,
        #[cfg(target_arch = "x86_64")]
        Some(Instructions::Ifma(_)) => 8,
        #[cfg(target_arch = "x86_64")]
        Some(Instructions::Fma(_)) => 16,
    }
}

/// From so many signatures on, a table costs less than it brings to a key that has a comb. By AVX2 and FMA a table was made
/// in the time that it saves in some 140 signatures.
pub const WORTH_MORE_THAN_A_COMB: usize = 256;

/// The multiples of a key, for the way that they were made for.
enum Multiples {
    InTurn(in_turn::Multiples),
    Lockstep(Instructions, point::Table),
    Comb(Instructions, point::Comb),
}

/// A public key with its multiples.
///
/// For lockstep they take 516 KiB and are made in the time of some five verifications by `ed25519-dalek` (AVX-512 IFMA), or
/// some 14 (AVX2 and FMA); otherwise 640 KiB and some twenty. A comb takes 4 KiB, and is made in less than half of one
/// verification.
pub struct PreparedKey {
    encoded: [u8; 32],
    negated: Multiples,
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PreparedKey").field(&self.encoded).finish()
    }
}

impl PreparedKey {
    /// Prepares a key for the kernel in use.
    pub fn new(key: &VerifyingKey) -> Self {
        Self::for_kernel(key, Kernel::current())
    }

    /// Prepares a key for one kernel, whichever is in use: signatures are checked side by side by AVX-512 IFMA with
    /// [`Kernel::Avx512`] on a machine that has it, else by AVX2 and FMA with every kernel but [`Kernel::Portable`], and
    /// one after the other otherwise. The verdicts are the same.
    pub fn for_kernel(key: &VerifyingKey, kernel: Kernel) -> Self {
        let negated = -key.to_edwards();
        Self {
            encoded: key.to_bytes(),
            negated: match Instructions::of(kernel) {
                None => Multiples::InTurn(in_turn::Multiples::new(negated)),
                Some(instructions) => {
                    Multiples::Lockstep(instructions, instructions.run(point::Table::job(negated)))
                }
            },
        }
    }

    /// Makes combs of encoded keys, in their order, with the kernel in use; `None` inside for a key that
    /// [`VerifyingKey::from_bytes`] refuses, and as a whole where signatures are not checked side by side. Eight at once cost
    /// little more than one.
    pub fn combs(keys: &[[u8; 32]]) -> Option<Vec<Option<Self>>> {
        Self::combs_for_kernel(keys, Kernel::current())
    }

    /// [`PreparedKey::combs`] for one kernel, whichever is in use.
    pub fn combs_for_kernel(keys: &[[u8; 32]], kernel: Kernel) -> Option<Vec<Option<Self>>> {
        let instructions = Instructions::of(kernel)?;
        let combs = keys
            .chunks(8)
            .flat_map(|eight| eight.iter().zip(instructions.run(point::Comb::job(eight))));
        let prepared = combs.map(|(encoded, comb)| {
            Some(Self {
                encoded: *encoded,
                negated: Multiples::Comb(instructions, comb?),
            })
        });
        Some(prepared.collect())
    }

    /// Whether signatures by this key are checked side by side.
    pub fn in_lockstep(&self) -> bool {
        self.instructions().is_some()
    }

    /// What signatures by this key are checked side by side with, as people call it; `None` if they are checked in turn.
    pub fn instructions(&self) -> Option<&'static str> {
        match &self.negated {
            Multiples::InTurn(_) => None,
            Multiples::Lockstep(with, _) | Multiples::Comb(with, _) => Some(with.name()),
        }
    }

    /// The key as it was given.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.encoded
    }
}

/// R and s of a signature.
fn halves(signature: &SignatureBytes) -> (&[u8; 32], &[u8; 32]) {
    match signature.0.as_chunks::<32>().0 {
        [r, s] => (r, s),
        _ => (&[0; 32], &[0xff; 32]),
    }
}

/// The words of 32 bytes, lowest first.
fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// A signature to be checked: by which key, over what.
#[derive(Debug, Clone, Copy)]
pub struct SignatureInput<'a> {
    /// The key.
    pub key: &'a PreparedKey,
    /// The message: the bytes of a signing hash or of a receipt hash.
    pub message: &'a [u8],
    /// The signature.
    pub signature: &'a SignatureBytes,
}

/// Whether each of these signatures holds, exactly as `ed25519-dalek`'s `verify` would say.
pub fn verify_many(claims: &[SignatureInput<'_>]) -> Vec<bool> {
    let (mut in_turn, mut tables, mut combs) = (Vec::new(), Vec::new(), Vec::new());
    let mut instructions = None;
    for claim in claims {
        let claim = *claim;
        match &claim.key.negated {
            Multiples::InTurn(negated) => in_turn.push(in_turn::Case { claim, negated }),
            Multiples::Lockstep(with, negated) => {
                instructions = Some(*with);
                tables.push(lockstep::Case { claim, negated });
            }
            Multiples::Comb(with, negated) => {
                instructions = Some(*with);
                combs.push(lockstep::Case { claim, negated });
            }
        }
    }
    let mut in_turn = in_turn::verify(&in_turn).into_iter();
    let lockstep = instructions.map(|with| (lockstep::verify(with, &tables), lockstep::verify(with, &combs)));
    let (tables, combs) = lockstep.unwrap_or_default();
    let (mut tables, mut combs) = (tables.into_iter(), combs.into_iter());
    let verdict = |claim: &SignatureInput<'_>| match &claim.key.negated {
        Multiples::InTurn(_) => in_turn.next(),
        Multiples::Lockstep(..) => tables.next(),
        Multiples::Comb(..) => combs.next(),
    };
    claims
        .iter()
        .map(verdict)
        .map(|holds| holds == Some(true))
        .collect()
}

#[cfg(test)]
mod tests;
