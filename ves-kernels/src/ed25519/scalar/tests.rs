use curve25519_dalek::Scalar;
use proptest::prelude::*;

use super::*;
use crate::ed25519::words;
use crate::kernel::over_all_lanes;

fn check_with<L: Lanes>(l: L, numbers: &[[u64; 8]; 8]) {
    let columns: [L::V; 8] = std::array::from_fn(|i| l.load(&numbers.map(|number| number[i])));
    let reduced = reduce(l, &columns).map(|word| l.store(word));
    for (lane, number) in numbers.iter().enumerate() {
        let mut bytes = [0; 64];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(number) {
            *to = word.to_le_bytes();
        }
        let expected = Scalar::from_bytes_mod_order_wide(&bytes);
        assert_eq!(
            reduced.map(|word| word[lane]),
            words(expected.as_bytes()),
            "{number:x?}"
        );
    }
}

fn check(numbers: &[[u64; 8]; 8]) {
    over_all_lanes!(l => check_with(l, numbers));
}

/// `factor · ℓ · 2^(64 shift) + more`, modulo 2^512.
fn near_multiple(factor: u64, shift: usize, more: i64) -> [u64; 8] {
    let order = [0x5812_631a_5cf5_d3ed_u64, 0x14de_f9de_a2f7_9cd6, 0, 1 << 60];
    let mut number = [0; 8];
    let mut carry = 0;
    for (i, to) in number.iter_mut().enumerate().skip(shift) {
        carry += u128::from(factor) * order.get(i - shift).map_or(0, |word| u128::from(*word));
        *to = carry as u64;
        carry >>= 64;
    }
    let mut carry = i128::from(more);
    for word in &mut number {
        carry += i128::from(*word);
        *word = carry as u64;
        carry >>= 64;
    }
    number
}

#[test]
fn around_multiples_of_the_order() {
    let mut numbers = vec![[0; 8], [u64::MAX; 8]];
    for factor in [
        0,
        1,
        2,
        3,
        255,
        256,
        257,
        511,
        512,
        1 << 32,
        u64::MAX - 1,
        u64::MAX,
    ] {
        for shift in 0..5 {
            for more in -2..=2 {
                numbers.push(near_multiple(factor, shift, more));
            }
        }
    }
    // Powers of two and what is one less: the limits of limbs and words among them.
    for bit in 0..512 {
        let mut power = [0_u64; 8];
        power[bit / 64] = 1 << (bit % 64);
        let mut less = [0; 8];
        less[..bit / 64].fill(u64::MAX);
        less[bit / 64] = (1 << (bit % 64)) - 1;
        numbers.extend([power, less, less.map(|word| !word)]);
    }
    while !numbers.len().is_multiple_of(8) {
        numbers.push([7; 8]);
    }
    for eight in numbers.as_chunks::<8>().0 {
        check(eight);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 1024 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn as_dalek_reduces(numbers in any::<[[u64; 8]; 8]>(), factors in any::<[u64; 8]>(), shift in 0usize..5, more in -2i64..3) {
        check(&numbers);
        check(&factors.map(|factor| near_multiple(factor, shift, more)));
    }
}
