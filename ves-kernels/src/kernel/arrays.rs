//! Lanes in plain code: what the arithmetic is tested with beside the instructions.

use super::{Lanes, Row};

/// Needs no proof.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrays;

fn zip(a: [u64; 8], b: [u64; 8], f: impl Fn(u64, u64) -> u64) -> [u64; 8] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

fn zip3(a: [u64; 8], b: [u64; 8], c: [u64; 8], f: impl Fn(u64, u64, u64) -> u64) -> [u64; 8] {
    std::array::from_fn(|i| f(a[i], b[i], c[i]))
}

/// The product of the lower 52 bits.
fn product(a: u64, b: u64) -> u128 {
    const MASK: u64 = (1 << 52) - 1;
    u128::from(a & MASK) * u128::from(b & MASK)
}

impl Lanes for Arrays {
    type V = [u64; 8];
    type Part = Self;

    const APART: bool = true;

    fn part(self) -> Self {
        self
    }

    fn put(self, x: &mut [u64; 8], _: usize, value: [u64; 8]) {
        *x = value;
    }

    fn splat(self, x: u64) -> [u64; 8] {
        [x; 8]
    }

    fn load(self, x: &[u64; 8]) -> [u64; 8] {
        *x
    }

    fn store(self, x: [u64; 8]) -> [u64; 8] {
        x
    }

    fn add(self, a: [u64; 8], b: [u64; 8]) -> [u64; 8] {
        zip(a, b, u64::wrapping_add)
    }

    fn sub(self, a: [u64; 8], b: [u64; 8]) -> [u64; 8] {
        zip(a, b, u64::wrapping_sub)
    }

    fn and(self, a: [u64; 8], b: [u64; 8]) -> [u64; 8] {
        zip(a, b, |a, b| a & b)
    }

    fn or(self, a: [u64; 8], b: [u64; 8]) -> [u64; 8] {
        zip(a, b, |a, b| a | b)
    }

    fn xor3(self, a: [u64; 8], b: [u64; 8], c: [u64; 8]) -> [u64; 8] {
        zip3(a, b, c, |a, b, c| a ^ b ^ c)
    }

    fn choose(self, a: [u64; 8], b: [u64; 8], c: [u64; 8]) -> [u64; 8] {
        zip3(a, b, c, |a, b, c| (a & b) | (!a & c))
    }

    fn majority(self, a: [u64; 8], b: [u64; 8], c: [u64; 8]) -> [u64; 8] {
        zip3(a, b, c, |a, b, c| (a & b) | (a & c) | (b & c))
    }

    fn shr<const N: u32>(self, a: [u64; 8]) -> [u64; 8] {
        a.map(|a| a >> N)
    }

    fn shl<const N: u32>(self, a: [u64; 8]) -> [u64; 8] {
        a.map(|a| a << N)
    }

    fn ror<const N: i32>(self, a: [u64; 8]) -> [u64; 8] {
        a.map(|a| a.rotate_right(N.unsigned_abs()))
    }

    fn mul(self, a: [u64; 8], b: [u64; 8]) -> [u64; 8] {
        zip(a, b, u64::wrapping_mul)
    }

    fn mul_add_low(self, sum: [u64; 8], a: [u64; 8], b: [u64; 8]) -> [u64; 8] {
        zip3(sum, a, b, |sum, a, b| {
            sum.wrapping_add(product(a, b) as u64 & ((1 << 52) - 1))
        })
    }

    fn mul_add_high(self, sum: [u64; 8], a: [u64; 8], b: [u64; 8]) -> [u64; 8] {
        zip3(sum, a, b, |sum, a, b| {
            sum.wrapping_add((product(a, b) >> 52) as u64)
        })
    }

    fn select(self, mask: u8, a: [u64; 8], b: [u64; 8]) -> [u64; 8] {
        std::array::from_fn(|i| if mask >> i & 1 == 1 { b[i] } else { a[i] })
    }

    fn equal(self, a: [u64; 8], b: [u64; 8]) -> u8 {
        (0..8).map(|i| u8::from(a[i] == b[i]) << i).sum()
    }

    fn columns(self, rows: [&Row; 8]) -> [[u64; 8]; 16] {
        std::array::from_fn(|c| std::array::from_fn(|r| rows[r].0[c]))
    }
}
