//! Field arithmetic beside integers of 64-bit words, in all lanes, with plain lanes and the instructions.

use proptest::prelude::*;

use super::*;
use crate::kernel::Arrays;
use crate::kernel::Ifma;

/// p = 2^255 − 19.
const P: [u64; 4] = [0xffff_ffff_ffff_ffed, u64::MAX, u64::MAX, u64::MAX >> 1];

/// A number below p, in four words.
type Number = [u64; 4];

/// Any number of words modulo p: 2^256 is 38.
fn modulo(words: &[u64]) -> Number {
    let mut sum = [0; 4];
    for words in words.rchunks(1) {
        // sum · 2^64 + word, twice folded.
        let mut top = sum[3];
        sum = [words[0], sum[0], sum[1], sum[2]];
        for _ in 0..2 {
            let mut carry = u128::from(top) * 38;
            for word in &mut sum {
                carry += u128::from(*word);
                *word = carry as u64;
                carry >>= 64;
            }
            top = carry as u64;
        }
        assert_eq!(top, 0);
    }
    while sum.iter().rev().ge(P.iter().rev()) {
        let mut borrow = false;
        for (word, p) in sum.iter_mut().zip(P) {
            let (difference, under) = word.overflowing_sub(p);
            let (difference, under_again) = difference.overflowing_sub(borrow.into());
            (*word, borrow) = (difference, under || under_again);
        }
    }
    sum
}

fn product(a: &[u64], b: &[u64]) -> Number {
    let mut words = vec![0; a.len() + b.len()];
    for (i, a) in a.iter().enumerate() {
        let mut carry = 0;
        for (j, b) in b.iter().enumerate() {
            carry += u128::from(*a) * u128::from(*b) + u128::from(words[i + j]);
            words[i + j] = carry as u64;
            carry >>= 64;
        }
        words[i + b.len()] = carry as u64;
    }
    modulo(&words)
}

fn plus(a: &Number, b: &Number) -> Number {
    let mut words = [0; 5];
    let mut carry = 0;
    for i in 0..4 {
        carry += u128::from(a[i]) + u128::from(b[i]);
        words[i] = carry as u64;
        carry >>= 64;
    }
    words[4] = carry as u64;
    modulo(&words)
}

/// −a.
fn minus(a: &Number) -> Number {
    let mut less_one = P;
    less_one[0] -= 1;
    product(a, &less_one)
}

/// What limbs stand for.
fn value(limbs: &[u64; 5]) -> Number {
    limbs.iter().rev().fold([0; 4], |sum, limb| {
        plus(&product(&sum, &[1 << 51]), &modulo(&[*limb]))
    })
}

fn lane<L: Lanes>(l: L, limbs: &[L::V; 5], lane: usize) -> [u64; 5] {
    limbs.map(|limb| l.store(limb)[lane])
}

fn load<L: Lanes>(l: L, numbers: &[[u64; 5]; 8]) -> [L::V; 5] {
    std::array::from_fn(|i| l.load(&std::array::from_fn(|lane| numbers[lane][i])))
}

fn check<L: Lanes>(l: L, a: &[[u64; 5]; 8], b: &[[u64; 5]; 8], large: &[[u64; 5]; 8], mask: u8) {
    let (fa, fb) = (Factor(load(l, a)), Factor(load(l, b)));
    let products = mul(l, &fa, &fb);
    let squares = square(l, &fa);
    let sums = add(l, &products, &squares);
    let differences = sub(l, &squares, &products);
    let negated = negate_where(l, mask, &products);
    let selected = select(l, mask, &fa, &fb);
    let carried = carry(l, &Sum(load(l, large)));
    let reduced = reduce(l, &fa);
    let words = to_words(l, &reduced);
    let read = from_words(l, &words);
    for i in 0..8 {
        let (x, y) = (value(&a[i]), value(&b[i]));
        let xy = product(&x, &y);
        let xx = product(&x, &x);
        let negative = mask >> i & 1 == 1;
        let at = |limbs: &Sum<L::V>| lane(l, &limbs.0, i);
        for product in [at(&products), at(&squares)] {
            assert!(
                product
                    .iter()
                    .zip(BIAS)
                    .all(|(limb, bias)| *limb <= bias && *limb < 267 << 52)
            );
        }
        assert_eq!(value(&at(&products)), xy);
        assert_eq!(value(&at(&squares)), xx);
        assert_eq!(value(&at(&sums)), plus(&xy, &xx));
        assert_eq!(value(&at(&differences)), plus(&xx, &minus(&xy)));
        assert_eq!(value(&at(&negated)), if negative { minus(&xy) } else { xy });
        assert!(at(&negated).iter().zip(BIAS).all(|(limb, bias)| *limb <= bias));
        assert_eq!(lane(l, &selected.0, i), if negative { b[i] } else { a[i] });
        let carried = lane(l, &carried.0, i);
        assert_eq!(value(&carried), value(&large[i]));
        assert!(carried.iter().all(|limb| *limb < (1 << 51) + (1 << 17)));
        let reduced = lane(l, &reduced, i);
        assert!(reduced.iter().all(|limb| *limb <= MASK));
        let words = words.map(|word| l.store(word)[i]);
        assert_eq!(words, x);
        assert_eq!(lane(l, &read.0, i), reduced);
    }
}

fn check_all(a: &[[u64; 5]; 8], b: &[[u64; 5]; 8], large: &[[u64; 5]; 8], mask: u8) {
    check(Arrays, a, b, large, mask);
    if let Some(ifma) = Ifma::detect() {
        check(ifma, a, b, large, mask);
    }
}

const TOP: u64 = (1 << 52) - 1;

/// Around p and its multiples, and the limits of limbs.
fn edges() -> Vec<[u64; 5]> {
    let mut edges = vec![
        [0; 5],
        [1, 0, 0, 0, 0],
        [TOP; 5],
        [1 << 51; 5],
        [(1 << 51) + (1 << 17); 5],
    ];
    for lowest in (MASK - 60..=MASK).chain(0..40) {
        edges.push([lowest, MASK, MASK, MASK, MASK]);
        // Once more p.
        edges.push([lowest, TOP - 1, TOP - 1, TOP - 1, TOP - 1]);
        edges.push([(lowest << 1) & TOP, TOP - 1, TOP - 1, TOP - 1, TOP - 1]);
        edges.push([lowest, 0, 0, 0, 0]);
        edges.push([lowest, 0, 0, 0, 1 << 51]);
    }
    for i in 0..5 {
        for limb in [1, MASK, 1 << 51, TOP] {
            let mut one = [0; 5];
            one[i] = limb;
            edges.push(one);
            let mut other = [TOP; 5];
            other[i] = limb;
            edges.push(other);
        }
    }
    edges
}

#[test]
fn extremes() {
    let edges = edges();
    let largest = (1 << 63) - 1;
    for (n, a) in edges.iter().enumerate() {
        // Every edge in every lane in the end, beside others.
        let these: [_; 8] = std::array::from_fn(|lane| {
            if n % 8 == lane {
                *a
            } else {
                edges[(n + 3 * lane) % edges.len()]
            }
        });
        let those = std::array::from_fn(|lane| edges[(7 * n + lane) % edges.len()]);
        let large = these.map(|limbs| limbs.map(|limb| (limb << 11) | (largest - limb)));
        check_all(
            &these,
            &those,
            &large.map(|limbs| limbs.map(|limb| limb & largest)),
            n as u8,
        );
    }
    check_all(&[[TOP; 5]; 8], &[[TOP; 5]; 8], &[[largest; 5]; 8], 0xa5);
}

fn inverses<L: Lanes>(l: L, a: &[[u64; 5]; 8]) {
    let inverse = reduce(l, &invert(l, &Factor(load(l, a))));
    for (i, a) in a.iter().enumerate() {
        let (x, inverse) = (value(a), value(&lane(l, &inverse, i)));
        let one = if x == [0; 4] { [0; 4] } else { [1, 0, 0, 0] };
        assert_eq!(product(&x, &inverse), one);
    }
}

#[test]
fn inverses_of_extremes() {
    for numbers in edges()
        .as_chunks::<8>()
        .0
        .iter()
        .step_by(if cfg!(miri) { 100 } else { 1 })
    {
        inverses(Arrays, numbers);
        if let Some(ifma) = Ifma::detect() {
            inverses(ifma, numbers);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn as_integers_do(
        a in any::<[[u64; 5]; 8]>(),
        b in any::<[[u64; 5]; 8]>(),
        large in any::<[[u64; 5]; 8]>(),
        mask in any::<u8>(),
    ) {
        let cut = |numbers: &[[u64; 5]; 8], bits: u32| numbers.map(|limbs| limbs.map(|limb| limb >> (64 - bits)));
        check_all(&cut(&a, 52), &cut(&b, 52), &cut(&large, 63), mask);
        inverses(Arrays, &cut(&a, 52));
        if let Some(ifma) = Ifma::detect() {
            inverses(ifma, &cut(&a, 52));
        }
    }
}
