use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

/// Bytes that look random and are the same in every run.
fn hash(n: u64) -> Hash32 {
    Hash32(Sha256::digest(n.to_le_bytes()).into())
}

fn signature(n: u64) -> SignatureBytes {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&hash(n).0);
    bytes[32..].copy_from_slice(&hash(n ^ u64::MAX).0);
    SignatureBytes(bytes)
}

fn input(n: u64) -> LeafInput {
    LeafInput {
        sequence_number: n,
        event_signing_hash: hash(n),
        agent_signature: signature(n + 1),
    }
}

const TENANT: u128 = 0x0123_4567_89ab_cdef_u128 << 70 | 5;
const STORE: u128 = !9;

fn stream() -> LeafPrefix {
    LeafPrefix::new(&TENANT.to_be_bytes(), &STORE.to_be_bytes())
}

/// SHA-256 of the parts, one after the other.
fn sha256(parts: &[&[u8]]) -> Hash32 {
    Hash32(Sha256::digest(parts.concat()).into())
}

/// Kernels to be tried. Where one is missing the portable one stands in, which need not be tried twice under Miri.
fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL
        .into_iter()
        .filter(|kernel| !cfg!(miri) || kernel.is_available())
}

/// Under Miri, which takes a thousand times as long, only counts around what makes a difference: lanes, groups of
/// them, and remainders.
fn counts(all: std::ops::Range<usize>) -> Vec<usize> {
    let few = [0, 1, 2, 3, 8, 9, 16, 17, 32, 33, 43];
    all.filter(|n| !cfg!(miri) || few.contains(n)).collect()
}

/// Bytes at the very end of their allocation, which begins `offset` bytes before them: a read or write past either end of
/// what they are cast to is one past the allocation, which Miri and the address sanitizer see.
struct Exact {
    bytes: Box<[u8]>,
    offset: usize,
}

impl Exact {
    fn new(content: &[u8], offset: usize) -> Self {
        let mut bytes = vec![0xee; offset];
        bytes.extend_from_slice(content);
        Self {
            bytes: bytes.into_boxed_slice(),
            offset,
        }
    }

    fn hashes(&mut self) -> &mut [Hash32] {
        let bytes = &mut self.bytes[self.offset..];
        // SAFETY: `Hash32` is 32 bytes without alignment, and there are so many of them.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / 32) }
    }
}

#[test]
fn nothing_is_read_or_written_beside_the_buffers() {
    let bytes: Vec<u8> = (0..2 * 140).flat_map(|n| hash(n).0).collect();
    let all_inputs: Vec<LeafInput> = (0..140).map(input).collect();
    let offsets: &[usize] = if cfg!(miri) {
        &[0, 5]
    } else {
        &[0, 1, 3, 8, 31, 32, 63]
    };
    for kernel in Kernel::available() {
        for count in counts(0..140) {
            let mut expected = vec![Hash32::ZERO; count];
            let mut leaves = expected.clone();
            let inputs: Box<[LeafInput]> = all_inputs[..count].into();
            Kernel::Portable.leaf_hashes(stream(), &inputs, &mut leaves);
            for &offset in offsets {
                let mut level = Exact::new(&bytes[..64 * count], offset);
                Kernel::Portable.node_hashes(level.hashes(), &mut expected);
                let mut out = Exact::new(&vec![0; 32 * count], offset);
                kernel.node_hashes(level.hashes(), out.hashes());
                assert_eq!(out.hashes(), expected, "{kernel}, {count} at {offset}");
                kernel.leaf_hashes(stream(), &inputs, out.hashes());
                assert_eq!(out.hashes(), leaves, "{kernel}, {count} at {offset}");
                kernel.parents_in_place(level.hashes());
                assert_eq!(level.hashes()[..count], expected, "{kernel}, {count} at {offset}");
                for exact in [&level, &out] {
                    assert!(exact.bytes[..offset].iter().all(|byte| *byte == 0xee));
                }
            }
        }
    }
}

#[test]
fn names_read_back_and_the_best_kernel_is_available() {
    for kernel in Kernel::ALL {
        assert_eq!(kernel.to_string().parse(), Ok(kernel));
    }
    assert!("sse2".parse::<Kernel>().is_err());
    assert!(Kernel::detect().is_available());
    assert_eq!(Kernel::available().last(), Some(Kernel::Portable));
}

#[test]
fn one_kernel_is_in_use_and_stays_so() {
    let current = Kernel::current();
    assert_eq!(force(current), Ok(()));
    for other in Kernel::ALL.into_iter().filter(|kernel| *kernel != current) {
        assert!(force(other).is_err());
    }
    assert_eq!(Kernel::current(), current);
}

#[test]
fn nodes_are_those_of_the_definition_for_every_count() {
    let level: Vec<Hash32> = (0..2 * 140).map(hash).collect();
    for kernel in kernels() {
        for count in counts(0..140) {
            let expected: Vec<Hash32> = level
                .chunks(2)
                .take(count)
                .map(|pair| sha256(&[b"VES_NODE_V1", &pair[0].0, &pair[1].0]))
                .collect();
            let mut out = vec![Hash32::ZERO; count];
            kernel.node_hashes(&level[..2 * count], &mut out);
            assert_eq!(out, expected, "{kernel}, {count}");
            let mut in_place = level[..2 * count + 1].to_vec();
            kernel.parents_in_place(&mut in_place);
            assert_eq!(in_place[..count], expected, "{kernel}, {count} in place");
        }
    }
}

#[test]
fn leaves_are_those_of_the_definition_for_every_count() {
    let inputs: Vec<LeafInput> = (0..140).map(|n| input(n << (n % 57))).collect();
    let expected: Vec<Hash32> = inputs
        .iter()
        .map(|i| {
            sha256(&[
                b"VES_LEAF_V1",
                &TENANT.to_be_bytes(),
                &STORE.to_be_bytes(),
                &i.sequence_number.to_be_bytes(),
                &i.event_signing_hash.0,
                &i.agent_signature.0,
            ])
        })
        .collect();
    for kernel in kernels() {
        for count in counts(0..140) {
            let mut out = vec![Hash32::ZERO; count];
            kernel.leaf_hashes(stream(), &inputs[..count], &mut out);
            assert_eq!(out, expected[..count], "{kernel}, {count}");
        }
    }
}

/// Lengths on both sides of every limit of padding, and mixed.
#[test]
fn batches_hash_messages_of_all_lengths_in_their_order() {
    for kernel in kernels() {
        let mut batch = Batch::default();
        for count in counts(0..100).into_iter().filter(|n| !cfg!(miri) || *n < 20) {
            let messages: Vec<Vec<u8>> = (0..count)
                .map(|i| (0..(i * 37 + count) % 260).map(|b| (b * 7 + i) as u8).collect())
                .collect();
            for message in &messages {
                batch.start().extend_from_slice(b"dropped");
                batch.start().extend_from_slice(message);
                batch.finish();
            }
            assert_eq!(batch.len(), count);
            let expected: Vec<Hash32> = messages
                .iter()
                .map(|m| Hash32(Sha256::digest(m).into()))
                .collect();
            assert_eq!(batch.hash_with(kernel), expected, "{kernel}, {count}");
            assert!(batch.is_empty());
        }
        let lengths: Vec<usize> = (0..200).step_by(if cfg!(miri) { 11 } else { 1 }).collect();
        for len in &lengths {
            let text = batch.start();
            let end = text.len() + len;
            text.resize(end, 0xa5);
            batch.finish();
        }
        let expected: Vec<Hash32> = lengths
            .iter()
            .map(|len| Hash32(Sha256::digest(vec![0xa5; *len]).into()))
            .collect();
        assert_eq!(batch.hash_with(kernel), expected, "{kernel}");
    }
}

/// FIPS 180-4's own examples.
#[test]
fn known_answers() {
    for kernel in kernels() {
        let mut batch = Batch::default();
        for text in [
            "abc",
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "",
        ]
        .repeat(7)
        {
            batch.start().extend_from_slice(text.as_bytes());
            batch.finish();
        }
        let hashes: Vec<String> = batch.hash_with(kernel).iter().map(ToString::to_string).collect();
        for three in hashes.chunks(3) {
            assert_eq!(
                three,
                [
                    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
                    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                ],
                "{kernel}"
            );
        }
    }
}

#[test]
#[should_panic(expected = "two nodes for each parent")]
fn a_level_that_does_not_fit_is_refused() {
    node_hashes(&[Hash32::ZERO; 3], &mut [Hash32::ZERO; 2]);
}

#[test]
#[should_panic(expected = "earlier messages are left alone")]
fn a_batch_does_not_lose_earlier_messages() {
    let mut batch = Batch::default();
    batch.start().push(1);
    batch.finish();
    batch.start().clear();
    batch.finish();
}

#[test]
#[should_panic(expected = "one place for each leaf")]
fn inputs_that_do_not_fit_are_refused() {
    leaf_hashes(stream(), &[input(1)], &mut []);
}

/// Every operation on lanes, with plain lanes and the instructions.
fn lanes_agree(a: [u64; 8], b: [u64; 8], c: [u64; 8], mask: u8) {
    over_instructions!(lanes => agree(lanes, a, b, c, mask));
}

fn agree<L: Lanes>(lanes: L, a: [u64; 8], b: [u64; 8], c: [u64; 8], mask: u8) {
    let plain = Arrays;
    let [x, y, z] = [a, b, c].map(|values| lanes.load(&values));
    assert_eq!([x, y, z].map(|vector| lanes.store(vector)), [a, b, c]);
    assert_eq!(lanes.store(lanes.splat(a[0])), plain.splat(a[0]));
    assert_eq!(lanes.store(lanes.add(x, y)), plain.add(a, b));
    assert_eq!(lanes.store(lanes.sub(x, y)), plain.sub(a, b));
    assert_eq!(lanes.store(lanes.and(x, y)), plain.and(a, b));
    assert_eq!(lanes.store(lanes.or(x, y)), plain.or(a, b));
    assert_eq!(lanes.store(lanes.xor3(x, y, z)), plain.xor3(a, b, c));
    assert_eq!(lanes.store(lanes.choose(x, y, z)), plain.choose(a, b, c));
    assert_eq!(lanes.store(lanes.majority(x, y, z)), plain.majority(a, b, c));
    assert_eq!(lanes.store(lanes.shr::<51>(x)), plain.shr::<51>(a));
    assert_eq!(lanes.store(lanes.shl::<13>(x)), plain.shl::<13>(a));
    assert_eq!(lanes.store(lanes.ror::<41>(x)), plain.ror::<41>(a));
    assert_eq!(lanes.store(lanes.mul(x, y)), plain.mul(a, b));
    assert_eq!(
        lanes.store(lanes.mul_add_low(x, y, z)),
        plain.mul_add_low(a, b, c)
    );
    assert_eq!(
        lanes.store(lanes.mul_add_high(x, y, z)),
        plain.mul_add_high(a, b, c)
    );
    assert_eq!(lanes.store(lanes.select(mask, x, y)), plain.select(mask, a, b));
    let small = c.map(|c| c >> 32);
    assert_eq!(
        lanes.store(lanes.add_19_times(x, lanes.load(&small))),
        plain.add_19_times(a, small)
    );
    let factor = a.map(|a| a % L::FACTOR_END);
    let taken = lanes.limb(lanes.factor(lanes.load(&factor)));
    assert_eq!(lanes.store(taken), factor);
    let mut put = x;
    let part = lanes.part();
    for number in 0..L::PARTS {
        let mut turned = b;
        turned.rotate_left(number * 8 / L::PARTS);
        lanes.put(&mut put, number, part.load(&turned));
    }
    assert_eq!(lanes.store(put), b);
    let some_equal = plain.select(mask, a, b);
    assert_eq!(
        lanes.equal(x, lanes.load(&some_equal)),
        plain.equal(a, some_equal)
    );
    // Rows at the very ends of their allocations.
    let rows: [Box<Row>; 8] = std::array::from_fn(|i| {
        Box::new(Row(std::array::from_fn(|j| {
            a[(i + j) % 8].wrapping_mul(b[j % 8]) ^ c[i]
        })))
    });
    let rows: [&Row; 8] = std::array::from_fn(|i| &*rows[i]);
    assert_eq!(
        lanes.columns(rows).map(|column| lanes.store(column)),
        plain.columns(rows)
    );
}

#[test]
fn lanes_agree_at_their_limits() {
    let limits = [
        0,
        1,
        (1 << 51) - 1,
        1 << 51,
        (1 << 52) - 1,
        1 << 52,
        u64::MAX - 1,
        u64::MAX,
    ];
    for i in 0..8 {
        for j in 0..8 {
            let turned = |by: usize| std::array::from_fn(|lane| limits[(lane + by) % 8]);
            lanes_agree(turned(0), turned(i), turned(j), 1 << i | 1 << j);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        // Miri lets no test look for a file of earlier failures.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn all_lanes_agree(a in any::<[u64; 8]>(), b in any::<[u64; 8]>(), c in any::<[u64; 8]>(), mask in any::<u8>()) {
        lanes_agree(a, b, c, mask);
    }

    #[test]
    fn kernels_agree(seed in any::<u64>(), tenant in any::<u128>(), store in any::<u128>(), count in 0usize..100) {
        let stream = LeafPrefix::new(&tenant.to_be_bytes(), &store.to_be_bytes());
        let inputs: Vec<LeafInput> = (0..count as u64).map(|n| input(seed.wrapping_mul(n + 1))).collect();
        let mut expected = vec![Hash32::ZERO; count];
        Kernel::Portable.leaf_hashes(stream.clone(), &inputs, &mut expected);
        for kernel in Kernel::available() {
            let mut leaves = vec![Hash32::ZERO; count];
            kernel.leaf_hashes(stream.clone(), &inputs, &mut leaves);
            prop_assert_eq!(&leaves, &expected, "{}", kernel);
            let mut parents = expected.clone();
            Kernel::Portable.parents_in_place(&mut parents);
            kernel.parents_in_place(&mut leaves);
            prop_assert_eq!(&leaves[..count / 2], &parents[..count / 2], "{}", kernel);
        }
    }
}
