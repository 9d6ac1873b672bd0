//! Field arithmetic beside integers of 64-bit words, in all lanes, with plain lanes and the instructions.

use proptest::prelude::*;

use super::*;
use crate::kernel::over_all_lanes;

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

/// Numbers with limbs that can be multiplied in these lanes: the largest, where they are too large.
fn fit<L: Lanes>(_: L, numbers: &[[u64; 5]; 8]) -> [[u64; 5]; 8] {
    numbers.map(|limbs| limbs.map(|limb| limb.min(L::FACTOR_END - 1)))
}

fn factor<L: Lanes>(l: L, numbers: &[[u64; 5]; 8]) -> Factor<L::V> {
    trusted(l, &load(l, numbers))
}

fn check<L: Lanes>(l: L, a: &[[u64; 5]; 8], b: &[[u64; 5]; 8], large: &[[u64; 5]; 8], mask: u8) {
    let (a, b) = (&fit(l, a), &fit(l, b));
    let (fa, fb) = (factor(l, a), factor(l, b));
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
        assert_eq!(
            lane(l, &limbs(l, &selected), i),
            if negative { b[i] } else { a[i] }
        );
        let carried = lane(l, &limbs(l, &carried), i);
        assert_eq!(value(&carried), value(&large[i]));
        assert!(carried.iter().all(|limb| *limb < (1 << 51) + (1 << 17)));
        let reduced = lane(l, &reduced, i);
        assert!(reduced.iter().all(|limb| *limb <= MASK));
        let words = words.map(|word| l.store(word)[i]);
        assert_eq!(words, x);
        assert_eq!(lane(l, &limbs(l, &read), i), reduced);
    }
}

fn check_all(a: &[[u64; 5]; 8], b: &[[u64; 5]; 8], large: &[[u64; 5]; 8], mask: u8) {
    over_all_lanes!(l => check(l, a, b, large, mask));
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

/// Products and squares alone: their values and bounds.
fn check_products<L: Lanes>(l: L, a: &[[u64; 5]; 8], b: &[[u64; 5]; 8]) {
    let (fa, fb) = (factor(l, a), factor(l, b));
    let (products, squares) = (mul(l, &fa, &fb), square(l, &fa));
    for i in 0..8 {
        for (found, other) in [(&products, &b[i]), (&squares, &a[i])] {
            let found = lane(l, &found.0, i);
            assert!(found.iter().all(|limb| *limb < 267 << 52), "{found:x?}");
            assert_eq!(
                value(&found),
                product(&value(&a[i]), &value(other)),
                "{:x?} {other:x?}",
                a[i]
            );
        }
    }
}

/// Limbs at their limits, each with each in all places of two numbers. Among them are those whose products lie half-way
/// between two multiples of 2^51 (3 · 2^25 and 2^25 and their like) and of 2^52, where it matters which way is rounded: all
/// lower halves are as large as they can be then, or as far below zero.
fn products_of_extremes<L: Lanes>(l: L) {
    let end = L::FACTOR_END;
    let limits = [
        0,
        1,
        3 << 24,
        1 << 25,
        3 << 25,
        (1 << 26) - 1,
        1 << 26,
        3 << 26,
        7 << 25,
        (1 << 51) - 1,
        1 << 51,
        (1 << 51) + 1,
        (1 << 51) + (1 << 17) - 1,
        (1 << 51) - (1 << 25),
        (1 << 51) + (1 << 25),
        end - 2,
        end - 1,
    ];
    let mut pairs = Vec::new();
    for limit in limits {
        for other in limits {
            pairs.push(([limit; 5], [other; 5]));
            for place in 0..25 {
                // One limb of each that is not as the others, at its limit or one less.
                let (mut a, mut b) = ([other; 5], [limit; 5]);
                a[place / 5] = limit;
                b[place % 5] = other;
                pairs.push((a, b));
                let less = |limb: u64| limb.saturating_sub(1);
                pairs.push((a.map(less), b));
            }
        }
    }
    while !pairs.len().is_multiple_of(8) {
        pairs.push(pairs[0]);
    }
    for eight in pairs
        .as_chunks::<8>()
        .0
        .iter()
        .step_by(if cfg!(miri) { 500 } else { 1 })
    {
        check_products(l, &eight.map(|pair| pair.0), &eight.map(|pair| pair.1));
    }
}

/// By the 100,000, with limbs over the whole range and few bits among them.
fn products_at_random<L: Lanes>(l: L) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut limb = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state >> 60 {
            // Many zeros at the end, so that halves come out even.
            0..4 => (state % L::FACTOR_END) & (u64::MAX << (state >> 32 & 31)),
            4 => L::FACTOR_END - 1 - (state & 0xff),
            _ => state % L::FACTOR_END,
        }
    };
    let mut numbers = || std::array::from_fn(|_| std::array::from_fn(|_| limb()));
    for _ in 0..if cfg!(miri) { 10 } else { 100_000 / 8 } {
        check_products(l, &numbers(), &numbers());
    }
}

#[test]
fn products_at_their_limits() {
    over_all_lanes!(l => products_of_extremes(l));
}

#[test]
fn products_of_any_numbers() {
    over_all_lanes!(l => products_at_random(l));
}

fn inverses<L: Lanes>(l: L, a: &[[u64; 5]; 8]) {
    let a = &fit(l, a);
    let inverse = reduce(l, &invert(l, &factor(l, a)));
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
        over_all_lanes!(l => inverses(l, numbers));
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
        over_all_lanes!(l => inverses(l, &cut(&a, 52)));
    }
}
