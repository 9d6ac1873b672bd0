//! The ES6 number file that RFC 8785 points to (appendix B), without the file: its doubles follow from a few of their own, and
//! checksums of its first lines are published beside it (`testdata` of cyberphone/json-canonicalization).
#![allow(clippy::unwrap_used)]

use sha2::{Digest, Sha256};

/// Doubles by their bits: those that the file begins with, then 2000 from the smallest normal one on, then a chain of
/// SHA-256 from 32 zero bytes, of which each hash gives four.
fn doubles() -> impl Iterator<Item = u64> {
    let first = include_str!("data/es6_numbers.txt").lines();
    let first = first.map(|bits| u64::from_str_radix(bits, 16).unwrap());
    let serial = (0..2000).map(|i| 0x0010_0000_0000_0000 + i);
    let chain = std::iter::successors(Some([0; 32]), |hash| Some(Sha256::digest(hash).into()));
    let random = chain.skip(1).flat_map(|hash: [u8; 32]| {
        let eights = hash.as_chunks::<8>().0.to_vec();
        eights.into_iter().map(u64::from_le_bytes)
    });
    let usable = |bits: &u64| f64::from_bits(*bits) != 0.0 && f64::from_bits(*bits).is_finite();
    first.chain(serial).chain(random.filter(usable))
}

#[test]
fn the_first_hundred_thousand_lines_have_the_published_checksums() {
    let published = [
        (
            1_000,
            "be18b62b6f69cdab33a7e0dae0d9cfa869fda80ddc712221570f9f40a5878687",
        ),
        (
            10_000,
            "b9f7a8e75ef22a835685a52ccba7f7d6bdc99e34b010992cbc5864cd12be6892",
        ),
        (
            100_000,
            "22776e6d4b49fa294a0d0f349268e5c28808fe7e0cb2bcbe28f63894e494d4c7",
        ),
    ];
    // The plain way, and the one pass over the text.
    let (mut plain, mut direct) = (Sha256::new(), Sha256::new());
    let mut canonicalizer = ves::jcs::Canonicalizer::default();
    let mut checksums = published.iter();
    for (number, bits) in (1..=100_000).zip(doubles()) {
        let text = format!("{:e}", f64::from_bits(bits));
        plain.update(format!("{bits:x},{}\n", ves::jcs::canonicalize(&text).unwrap()));
        let mut line = format!("{bits:x},").into_bytes();
        canonicalizer.append(&text, &mut line).unwrap();
        line.push(b'\n');
        direct.update(line);
        if published.iter().any(|(lines, _)| *lines == number) {
            let (lines, expected) = checksums.next().unwrap();
            assert_eq!(hex::encode(plain.clone().finalize()), *expected, "{lines} lines");
            assert_eq!(hex::encode(direct.clone().finalize()), *expected, "{lines} lines");
        }
    }
    assert!(checksums.next().is_none());
}
