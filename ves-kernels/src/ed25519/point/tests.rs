//! Tables and additions beside `curve25519-dalek`'s, with plain lanes and the instructions.

use curve25519_dalek::Scalar;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity;

use super::*;
use crate::kernel::Arrays;
use crate::kernel::Ifma;

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
        if let Some(ifma) = Ifma::detect() {
            assert!(ifma.run(Table::job(point)).0 == table.0);
        }
    }
}
