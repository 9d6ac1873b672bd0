//! Tables and additions beside `curve25519-dalek`'s, with plain lanes and the instructions.

use curve25519_dalek::Scalar;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity;

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
        let combs = Comb::job(some).run(Arrays);
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
            let same = instructions.run(Comb::job(some));
            assert!(same.iter().zip(&combs).all(|(one, other)| one.0 == other.0));
        }
    }
    assert!(Comb::job(&[]).run(Arrays).is_empty());
}

/// A point that was doubled is the same as one that was added to itself, for points of small and mixed order too.
#[test]
fn sixteen_fold() {
    struct Sixteenfold<'a>(&'a [EdwardsPoint; 8]);
    impl Job for Sixteenfold<'_> {
        type Output = Vec<[u64; 16]>;
        fn run<L: Lanes>(self, l: L) -> Self::Output {
            let [y, ix] = coordinates::<8>(self.0.iter().copied());
            let point = Running::identity(l).plus(l, &affine(l, &y, &ix), 0);
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
