//! Changed inputs from a seed: the same seed gives the same ones on every machine.

use fixtures::Rng;

/// Numbers at which code goes wrong, as text writes them.
const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "-1",
    "255",
    "65536",
    "2147483647",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e16",
    "-0.0",
    "1e308",
];

/// Bytes that mean something to some format.
const BYTES: [u8; 16] = [
    0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'\n', b'\r', b'\t', b'{', b']', b',', b':', b'0', b' ',
];

/// An input that comes from `seeds` by one to six changes, of `longest` bytes at most.
pub fn mutated(seeds: &[Vec<u8>], rng: &mut Rng, longest: usize) -> Vec<u8> {
    let mut bytes = seeds.get(rng.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=rng.below(6) {
        change(&mut bytes, seeds, rng);
    }
    bytes.truncate(longest);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.below(bytes.len() + 1);
    match rng.below(12) {
        0 => flip(bytes, at, rng),
        1 => set(bytes, at, rng.pick(&BYTES)),
        2 => bytes.insert(at, rng.pick(&BYTES)),
        3 => {
            let stretch = stretch(bytes, at, rng);
            drop(bytes.drain(stretch));
        }
        4 => {
            let again = bytes[stretch(bytes, at, rng)].to_vec();
            let to = rng.below(bytes.len() + 1);
            put(bytes, to, &again);
        }
        5 => bytes.truncate(at),
        6 => integer(bytes, at, rng),
        7 | 8 => number(bytes, at, rng),
        9 => lines(bytes, rng),
        10 => value(bytes, at, rng),
        _ => {
            let other = &seeds[rng.below(seeds.len())];
            let from = rng.below(other.len() + 1);
            let part = other[stretch(other, from, rng)].to_vec();
            put(bytes, at, &part);
        }
    }
}

/// Some bytes from a place on: few, as a rule.
fn stretch(bytes: &[u8], at: usize, rng: &mut Rng) -> std::ops::Range<usize> {
    let most = if rng.chance(0.8) { 32 } else { bytes.len() };
    let length = rng.below(most.min(bytes.len() - at) + 1);
    at..at + length
}

fn flip(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << rng.below(8);
    }
}

fn set(bytes: &mut [u8], at: usize, to: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = to;
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    drop(bytes.splice(at..at, part.iter().copied()));
}

/// An integer of one to eight bytes, big-endian, at one of the ends of what it can be.
fn integer(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    let length = rng.pick(&[1, 2, 4, 8]);
    let value = rng.pick(&[
        0_u64,
        1,
        0x7f,
        0x80,
        0xffff,
        1 << 31,
        u64::MAX,
        u64::MAX - 1,
        1 << 63,
    ]);
    let value = value.to_be_bytes();
    for (to, from) in bytes.iter_mut().skip(at).zip(&value[8 - length..]) {
        *to = *from;
    }
}

/// The first number in text behind a place becomes another.
fn number(bytes: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + start;
    let length = bytes[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-'))
        .count();
    let other = rng.pick(&NUMBERS);
    drop(bytes.splice(start..start + length, other.bytes()));
}

/// One line is left out, comes twice, or elsewhere.
fn lines(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let mut lines: Vec<Vec<u8>> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    if lines.is_empty() {
        return;
    }
    let line = rng.below(lines.len());
    match rng.below(3) {
        0 => drop(lines.remove(line)),
        1 => {
            let again = lines[line].clone();
            lines.insert(rng.below(lines.len() + 1), again);
        }
        _ => {
            let other = rng.below(lines.len());
            lines.swap(line, other);
        }
    }
    *bytes = lines.concat();
}

/// What stands behind the next colon or comma of JSON becomes a value of another kind, or goes.
fn value(bytes: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let is_mark = |byte: &u8| matches!(byte, b':' | b',' | b'[');
    let Some(start) = bytes[at..].iter().position(is_mark) else {
        return;
    };
    let start = at + start + 1;
    let end = bytes[start..]
        .iter()
        .position(|byte| matches!(byte, b',' | b'}' | b']'))
        .map_or(bytes.len(), |length| start + length);
    let others: [&[u8]; 10] = [
        b"",
        b"null",
        b"true",
        b"[]",
        b"{}",
        b"\"\"",
        b"\"0x\"",
        b"\"\\u0000\"",
        b"[[[[[[[[[[[[]]]]]]]]]]]]",
        b"\"infinity\"",
    ];
    let other = rng.pick(&others);
    drop(bytes.splice(start..end, other.iter().copied()));
}
