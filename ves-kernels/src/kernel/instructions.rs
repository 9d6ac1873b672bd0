//! Which instructions do the arithmetic in lanes on this machine.

use super::Kernel;
use super::eight::Job;
#[cfg(target_arch = "x86_64")]
use super::{fma::Fma, ifma::Ifma};

/// The proof that this machine can work in eight lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Instructions {
    /// AVX-512 IFMA.
    #[cfg(target_arch = "x86_64")]
    Ifma(Ifma),
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Fma(Fma),
}

impl Instructions {
    /// Those that go with a kernel on this machine: AVX-512 IFMA with [`Kernel::Avx512`] alone, AVX2 and FMA with
    /// every kernel but [`Kernel::Portable`].
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn of(kernel: Kernel) -> Option<Self> {
        let fma = || Fma::detect().map(Self::Fma);
        match kernel {
            Kernel::Avx512 => Ifma::detect().map(Self::Ifma).or_else(fma),
            Kernel::ShaNi | Kernel::Avx2 => fma(),
            Kernel::Portable => None,
        }
    }

    /// `None`: only processors of x86 have any.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn of(_kernel: Kernel) -> Option<Self> {
        None
    }

    /// All that this machine has.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let mut available: Vec<Self> = Kernel::ALL.into_iter().filter_map(Self::of).collect();
        available.dedup_by_key(|instructions| std::mem::discriminant(instructions));
        available
    }

    /// What people call them.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Ifma(_) => "AVX-512 IFMA",
            #[cfg(target_arch = "x86_64")]
            Self::Fma(_) => "AVX2 and FMA",
        }
    }

    /// Does a job with these instructions.
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Ifma(ifma) => ifma.run(job),
            #[cfg(target_arch = "x86_64")]
            Self::Fma(fma) => fma.run(job),
        }
    }
}

/// Runs an expression over plain lanes, and over those of all instructions that this machine has.
#[cfg(test)]
macro_rules! over_all_lanes {
    ($lanes:ident => $run:expr) => {{
        {
            let $lanes = $crate::kernel::Arrays;
            $run;
        }
        $crate::kernel::over_instructions!($lanes => $run);
    }};
}

/// Runs an expression over the lanes of all instructions that this machine has.
#[cfg(test)]
macro_rules! over_instructions {
    ($lanes:ident => $run:expr) => {
        for instructions in $crate::kernel::Instructions::available() {
            match instructions {
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::Instructions::Ifma($lanes) => $run,
                #[cfg(target_arch = "x86_64")]
                $crate::kernel::Instructions::Fma($lanes) => $run,
            }
        }
    };
}

#[cfg(test)]
pub(crate) use {over_all_lanes, over_instructions};
