//! SHA-256 of many short messages at once: the nodes and leaves of Merkle trees, and payloads.
//!
//! | kernel | how |
//! |---|---|
//! | [`Kernel::Avx512`] | 32 messages side by side: two states of 16 lanes, so that one waits while the other works |
//! | [`Kernel::ShaNi`] | two messages in turn, which hides the latency of the round instruction |
//! | [`Kernel::Avx2`] | 8 messages side by side |
//! | [`Kernel::Portable`] | the `sha2` crate, one message after the other |
//!
//! All of them give equal results; they differ in speed alone. Words of a preimage are built in
//! registers from the aligned words of hashes and signatures (the 11 bytes of a domain prefix put
//! them one byte off), and what is equal in all preimages (prefixes, stream, padding) is computed
//! once.
//!
//! Beside them are eight lanes of 64 bits with multiplications of 52 bits, by AVX-512 IFMA or by AVX2 and FMA, which the
//! arithmetic of [`crate::ed25519`] is written over.
//!
//! No other module of the workspace contains unsafe code: loads, stores and the step
//! into functions compiled for instructions that were detected at run time.
#![allow(unsafe_code)]

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::bytes::{Hash32, SignatureBytes};

/// Runs `$function` of the module of a kernel that is known to be available, or else the portable one.
macro_rules! dispatch {
    ($kernel:expr, $function:ident($($argument:expr),*)) => {
        match $kernel {
            // SAFETY (all three): `is_available` has detected every feature that the module's
            // functions are compiled for.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 if Kernel::Avx512.is_available() => unsafe { avx512::$function($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            Kernel::ShaNi if Kernel::ShaNi.is_available() => unsafe { shani::$function($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 if Kernel::Avx2.is_available() => unsafe { avx2::$function($($argument),*) },
            _ => portable::$function($($argument),*),
        }
    };
}

#[cfg(test)]
mod arrays;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch;
mod eight;
#[cfg(target_arch = "x86_64")]
mod fma;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod instructions;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod portable;
#[cfg(target_arch = "x86_64")]
mod scalar;
#[cfg(target_arch = "x86_64")]
mod shani;

#[cfg(test)]
pub(crate) use arrays::Arrays;
pub use batch::Batch;
pub(crate) use eight::{Job, Lanes, Row};
pub(crate) use instructions::Instructions;
#[cfg(test)]
pub(crate) use instructions::{over_all_lanes, over_instructions};

/// A way to compute SHA-256. With [`Kernel::Avx512`] signatures are checked side by side by AVX-512 IFMA, if the processor
/// has it; with that and others by AVX2 and FMA otherwise; with [`Kernel::Portable`] and without these, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// AVX-512 (F, BW and VBMI2).
    Avx512,
    /// The SHA extensions of x86.
    ShaNi,
    /// AVX2.
    Avx2,
    /// The `sha2` crate, which uses what it detects by itself.
    Portable,
}

impl Kernel {
    /// All kernels, fastest first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::ShaNi, Self::Avx2, Self::Portable];

    /// Whether this machine can run it.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        match self {
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vbmi2")
            }
            Self::ShaNi => {
                is_x86_feature_detected!("sha")
                    && is_x86_feature_detected!("sse4.1")
                    && is_x86_feature_detected!("ssse3")
            }
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Portable => true,
        }
    }

    /// Whether this machine can run it.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Self::Portable
    }

    /// The kernels that this machine can run, fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// The fastest kernel that this machine can run.
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }

    /// The kernel that this process uses: the forced one, or else the fastest.
    pub fn current() -> Self {
        *CURRENT.get_or_init(Self::detect)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::ShaNi => "shani",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

/// Why a kernel cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// A name that is none of the kernels'.
    #[error("no hash kernel is called {0:?}: avx512, shani, avx2 and portable are")]
    Unknown(String),
    /// The machine lacks the instructions.
    #[error("this machine cannot run the hash kernel {0}: its processor lacks the instructions")]
    Unavailable(Kernel),
    /// Another kernel is in use already.
    #[error("the hash kernel {0} is in use already")]
    InUse(Kernel),
}

impl FromStr for Kernel {
    type Err = KernelError;

    /// Reads what [`Kernel`] prints.
    fn from_str(s: &str) -> Result<Self, KernelError> {
        Self::ALL
            .into_iter()
            .find(|kernel| kernel.to_string() == s)
            .ok_or_else(|| KernelError::Unknown(s.to_owned()))
    }
}

static CURRENT: OnceLock<Kernel> = OnceLock::new();

/// Makes this process use one kernel, for tests and measurements. To be called before the first hash.
///
/// # Errors
/// The machine cannot run it, or the process uses another one already.
pub fn force(kernel: Kernel) -> Result<(), KernelError> {
    if !kernel.is_available() {
        return Err(KernelError::Unavailable(kernel));
    }
    match *CURRENT.get_or_init(|| kernel) {
        current if current == kernel => Ok(()),
        current => Err(KernelError::InUse(current)),
    }
}

/// What a leaf binds, beside its stream.
// The kernels read hash and signature as 96 consecutive bytes, so the order of fields is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct LeafInput {
    /// The event's number in its stream.
    pub sequence_number: u64,
    /// The event's signing hash.
    pub event_signing_hash: Hash32,
    /// The agent's signature.
    pub agent_signature: SignatureBytes,
}

const NODE_DOMAIN: &[u8; 11] = b"VES_NODE_V1";
const LEAF_DOMAIN: &[u8; 11] = b"VES_LEAF_V1";

/// The part of a leaf's preimage that all leaves of a stream share: `VES_LEAF_V1` ‖ tenant ‖ store.
#[derive(Clone)]
pub struct LeafPrefix {
    bytes: [u8; 43],
}

impl LeafPrefix {
    /// The prefix for the stream of a tenant's store.
    pub fn new(tenant_id: &[u8; 16], store_id: &[u8; 16]) -> Self {
        let mut bytes = [0; 43];
        bytes[..11].copy_from_slice(LEAF_DOMAIN);
        bytes[11..27].copy_from_slice(tenant_id);
        bytes[27..].copy_from_slice(store_id);
        Self { bytes }
    }
}

impl Kernel {
    /// The kernel for a remainder of few messages, where lanes would stay empty.
    #[cfg(target_arch = "x86_64")]
    fn for_few() -> Self {
        if Self::ShaNi.is_available() {
            Self::ShaNi
        } else {
            Self::Portable
        }
    }

    /// Replaces the first half of `level` by the parents of its pairs; what the second half holds
    /// afterwards is not specified. A last node without a sibling is left alone.
    ///
    /// A kernel that this machine cannot run is replaced by the portable one.
    pub fn parents_in_place(self, level: &mut [Hash32]) {
        dispatch!(self, parents_in_place(level));
    }

    /// Writes the parents of the pairs in `level` to `out`: each the SHA-256 of 75 bytes,
    /// `VES_NODE_V1` ‖ left ‖ right.
    ///
    /// A kernel that this machine cannot run is replaced by the portable one.
    ///
    /// # Panics
    /// If `level` does not hold two nodes for each of `out`.
    pub fn node_hashes(self, level: &[Hash32], out: &mut [Hash32]) {
        assert_eq!(level.len(), 2 * out.len(), "two nodes for each parent");
        dispatch!(self, node_hashes(level, out));
    }

    /// Writes the leaves of events to `out`: each the SHA-256 of 147 bytes, `VES_LEAF_V1` ‖ tenant ‖
    /// store ‖ u64 sequence ‖ event_signing_hash ‖ agent_signature.
    ///
    /// A kernel that this machine cannot run is replaced by the portable one.
    ///
    /// # Panics
    /// If there are not as many inputs as places in `out`.
    pub fn leaf_hashes(self, stream: impl Into<LeafPrefix>, inputs: &[LeafInput], out: &mut [Hash32]) {
        assert_eq!(inputs.len(), out.len(), "one place for each leaf");
        self.leaves(&stream.into(), inputs, out);
    }

    fn leaves(self, prefix: &LeafPrefix, inputs: &[LeafInput], out: &mut [Hash32]) {
        dispatch!(self, leaf_hashes(prefix, inputs, out));
    }

    fn batch(self, bytes: &[u8], messages: &[batch::Message], out: &mut [Hash32]) {
        dispatch!(self, batch(bytes, messages, out));
    }
}

/// [`Kernel::node_hashes`] with the kernel in use.
///
/// # Panics
/// If `level` does not hold two nodes for each of `out`.
pub fn node_hashes(level: &[Hash32], out: &mut [Hash32]) {
    Kernel::current().node_hashes(level, out);
}

/// [`Kernel::leaf_hashes`] with the kernel in use.
///
/// # Panics
/// If there are not as many inputs as places in `out`.
pub fn leaf_hashes(stream: impl Into<LeafPrefix>, inputs: &[LeafInput], out: &mut [Hash32]) {
    Kernel::current().leaf_hashes(stream, inputs, out);
}

/// Asks for a value's cache lines to be brought near, for a table whose next place is known early.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    // Miri has no caches.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in (0..size_of::<T>()).step_by(64) {
        // SAFETY: the address is inside the value, and a prefetch reads nothing that a program could
        // see.
        unsafe {
            let address = std::ptr::from_ref(value).cast::<i8>().add(line);
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address);
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}

#[cfg(test)]
mod tests;
