//! Tables and additions beside `curve25519-dalek`'s, with plain lanes and the instructions.

use curve25519_dalek::Scalar;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::Identity;
use sha2::{Digest, Sha512};

use super::*;
use crate::kernel::{Arrays, Instructions};

/// The encoding of a table's entry.
fn encoding(entry: &Niels) -> [u8; 32] {
    struct Encode<'a>(&'a Niels);
    impl Job for Encode<'_> {
        type Output = [u8; 32];
        fn run<L: Lanes>(self, l: L) -> [u8; 32] {
            let columns = l.columns([self.0; 8]);
            let point = Running::identity(l).finally_plus(l, &columns, 0);
            let inverse = invert_all(l, &[point.z])[0];
            let affine = |a| field::reduce(l, &field::carry(l, &field::mul(l, a, &inverse)));
            let (x, y) = (affine(&point.x), field::to_words(l, &affine(&point.y)));
            let mut bytes = [0; 32];
            for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(y) {
                *to = l.store(word)[3].to_le_bytes();
            }
            bytes[31] |= (l.store(x[0])[3] as u8) << 7;
            bytes
        }
    }
    Encode(entry).run(Arrays)
}

fn points() -> Vec<EdwardsPoint> {
    let other = EdwardsPoint::mul_base(&Scalar::from(0x1234_5678_9abc_u64).invert());
    let mut points = vec![ED25519_BASEPOINT_POINT, -ED25519_BASEPOINT_POINT, other];
    points.extend(EIGHT_TORSION);
    points.extend(EIGHT_TORSION.map(|torsion| other + torsion));
    points
}

#[test]
fn tables_hold_the_multiples() {
    for point in points() {
        let table = Table::job(point).run(Arrays);
        let mut base = point;
        for window in 0..WINDOWS {
            let entries = table.multiples(window);
            let mut multiple = EdwardsPoint::identity();
            let step = 1 + 41 * usize::from(window % 5 > 0);
            for (times, entry) in entries.iter().enumerate() {
                if times % step == 0 {
                    assert_eq!(
                        encoding(entry),
                        multiple.compress().0,
                        "{times} in window {window}"
                    );
                }
                multiple += base;
            }
            // 129 times so far.
            base = multiple + multiple - base - base;
        }
        for instructions in Instructions::available() {
            assert!(instructions.run(Table::job(point)).0 == table.0);
        }
    }
}

#[test]
fn combs_hold_the_multiples_of_each_tooth() {
    let points = points();
    for count in [1, 2, 7, 8] {
        let some = &points[points.len() - count..];
        // A comb is of the opposite of what is encoded.
        let keys: Vec<[u8; 32]> = some.iter().map(|point| (-point).compress().0).collect();
        let combs: Vec<Comb> = Comb::job(&keys)
            .run(Arrays)
            .into_iter()
            .map(Option::unwrap)
            .collect();
        assert_eq!(combs.len(), count);
        for (point, comb) in some.iter().zip(&combs) {
            let mut base = *point;
            for tooth in 0..TEETH {
                let mut multiple = EdwardsPoint::identity();
                for digit in 0..=COMB_MULTIPLES {
                    let entry = comb.multiple(tooth, digit);
                    assert_eq!(encoding(entry), multiple.compress().0, "{digit} of tooth {tooth}");
                    multiple += base;
                }
                for _ in 0..64 {
                    base += base;
                }
            }
        }
        for instructions in Instructions::available() {
            let same = instructions.run(Comb::job(&keys));
            let mut pairs = same.iter().zip(&combs);
            assert!(pairs.all(|(one, other)| one.as_ref().unwrap().0 == other.0));
        }
    }
    assert!(Comb::job(&[]).run(Arrays).is_empty());
}

/// Encodings around everything that is special: y near 0, p and 2^255, of small order, with either sign, and any bytes.
fn encodings() -> Vec<[u8; 32]> {
    let mut all: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|point| point.compress().0).collect();
    for near in 0..40 {
        let mut low = [0; 32];
        low[0] = near;
        let mut high = [0xff; 32];
        high[0] = 0xff - near;
        high[31] = 0x7f;
        all.extend([low, high]);
    }
    let mut random = Sha512::digest(b"encodings");
    for _ in 0..500 {
        random = Sha512::digest(random);
        all.extend(random.as_chunks::<32>().0);
    }
    let other_sign = |encoded: &[u8; 32]| {
        let mut other = *encoded;
        other[31] ^= 0x80;
        other
    };
    let others: Vec<[u8; 32]> = all.iter().map(other_sign).collect();
    all.extend(others);
    all
}

/// What is a point and what is none, and which, as `curve25519-dalek` sees it.
#[test]
#[cfg_attr(miri, ignore = "takes hours there, and has no unsafe code")]
fn encodings_are_read_as_dalek_reads_them() {
    let encodings = encodings();
    let read = |eight: &[[u8; 32]], combs: Vec<Option<Comb>>| {
        assert_eq!(combs.len(), eight.len());
        let mut points = 0;
        for (encoded, comb) in eight.iter().zip(combs) {
            let point = CompressedEdwardsY(*encoded).decompress();
            let found = comb.map(|comb| encoding(comb.multiple(0, 1)));
            assert_eq!(found, point.map(|point| (-point).compress().0), "{encoded:x?}");
            points += usize::from(found.is_some());
        }
        points
    };
    let chunks = || encodings.chunks(8);
    let points: usize = chunks()
        .map(|eight| read(eight, Comb::job(eight).run(Arrays)))
        .sum();
    assert!((1000..1400).contains(&points), "{points} of {}", encodings.len());
    for instructions in Instructions::available() {
        let again = chunks().map(|eight| read(eight, instructions.run(Comb::job(eight))));
        assert_eq!(again.sum::<usize>(), points);
    }
}

/// A point that was doubled is the same as one that was added to itself, for points of small and mixed order too.
#[test]
fn sixteen_fold() {
    struct Sixteenfold<'a>(&'a [EdwardsPoint; 8]);
    impl Job for Sixteenfold<'_> {
        type Output = Vec<[u64; 16]>;
        fn run<L: Lanes>(self, l: L) -> Self::Output {
            let [y, ix] = coordinates::<8>(self.0.iter().copied());
            let x = field::times(l, &eight(l, &ix), &field::constant(l, &MINUS_I));
            let point = Running::identity(l).plus(l, &affine(l, &eight(l, &y), &x), 0);
            let mut points = Undivided::with_capacity(1);
            // 16 and 256 times.
            points.push(l, &point.times_16(l));
            points.push(l, &point.times_16(l).times_16(l));
            let divided = points.divide(l);
            let rows = divided.iter().flat_map(|columns| {
                let stored = columns.map(|column| l.store(column));
                (0..8).map(move |lane| stored.map(|column| column[lane]))
            });
            rows.collect()
        }
    }
    for eight in points().as_chunks::<8>().0 {
        let rows = Sixteenfold(eight).run(Arrays);
        let expected = [16_u64, 256].map(|times| eight.map(|point| point * Scalar::from(times)));
        for (row, point) in rows.iter().zip(expected.as_flattened()) {
            assert_eq!(encoding(&Row(*row)), point.compress().0);
        }
        for instructions in Instructions::available() {
            assert_eq!(instructions.run(Sixteenfold(eight)), rows);
        }
    }
}
