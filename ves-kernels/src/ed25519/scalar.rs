//! Hashes of 512 bits modulo the order of the basepoint, eight side by side.
//!
//! The order ℓ is 2^252 + c, with c of 125 bits. Numbers are limbs of 52 bits here, so that products need no
//! doubling, and no limb ever goes below zero: what is subtracted is subtracted from a multiple of ℓ.

use crate::kernel::Lanes;

/// The bits of a limb.
const MASK: u64 = (1 << 52) - 1;

/// c.
const C: [u64; 3] = [0x2_631a_5cf5_d3ed, 0xd_ea2f_79cd_6581, 0x14_def9];

/// 256·c: 2^260 is −256·c modulo ℓ.
const C_256: [u64; 3] = [0x3_1a5c_f5d3_ed00, 0xa_2f79_cd65_8126, 0x14de_f9de];

/// ℓ.
const ORDER: [u64; 5] = [C[0], C[1], C[2], 0, 1 << 44];

/// 256·ℓ = 2^260 + 256·c, in limbs that are 2^52 − 1 at least, so that any limbs below 2^52 can be subtracted.
const ORDER_256: [u64; 5] = [
    C_256[0] + (1 << 52),
    C_256[1] + (1 << 52) - 1,
    C_256[2] + (1 << 52) - 1,
    (1 << 52) - 1,
    (1 << 52) - 1,
];

/// Moves what a limb has above 52 bits to the next one; the last limb keeps it.
#[inline(always)]
fn carry<V: Copy, L: Lanes<V = V>, const N: usize>(l: L, x: &mut [V; N]) {
    for i in 1..N {
        x[i] = l.add(x[i], l.shr::<52>(x[i - 1]));
        x[i - 1] = l.and(x[i - 1], l.splat(MASK));
    }
}

/// Adds `a · b` to limbs, lower and upper halves to their places; what would go beyond the last limb must be zero.
#[inline(always)]
fn add_product<V: Copy, L: Lanes<V = V>, const N: usize>(l: L, x: &mut [V; N], a: &[V], b: &[u64; 3]) {
    for (i, a) in a.iter().enumerate() {
        for (j, b) in b.iter().enumerate() {
            x[i + j] = l.mul_add_low(x[i + j], *a, l.splat(*b));
            if let Some(next) = x.get_mut(i + j + 1) {
                *next = l.mul_add_high(*next, *a, l.splat(*b));
            }
        }
    }
}

/// Eight words of 64 bits, lowest first, modulo ℓ: four words.
#[inline(always)]
pub(super) fn reduce<L: Lanes>(l: L, w: &[L::V; 8]) -> [L::V; 4] {
    let zero = l.splat(0);
    let mask = l.splat(MASK);
    let limb = |x| l.and(x, mask);
    let low = [
        limb(w[0]),
        limb(l.or(l.shr::<52>(w[0]), l.shl::<12>(w[1]))),
        limb(l.or(l.shr::<40>(w[1]), l.shl::<24>(w[2]))),
        limb(l.or(l.shr::<28>(w[2]), l.shl::<36>(w[3]))),
        limb(l.or(l.shr::<16>(w[3]), l.shl::<48>(w[4]))),
    ];
    let high = [
        limb(l.shr::<4>(w[4])),
        limb(l.or(l.shr::<56>(w[4]), l.shl::<8>(w[5]))),
        limb(l.or(l.shr::<44>(w[5]), l.shl::<20>(w[6]))),
        limb(l.or(l.shr::<32>(w[6]), l.shl::<32>(w[7]))),
        l.shr::<20>(w[7]),
    ];
    // low + 2^260 · high = low − y, where y = 256c · high is below 2^385.
    let mut y = [zero; 8];
    add_product(l, &mut y, &high, &C_256);
    carry(l, &mut y);
    // −y = −(y mod 2^260) + z, where z = 256c · (y / 2^260) is below 2^258.
    let mut x = low;
    for i in 0..5 {
        x[i] = l.sub(l.add(x[i], l.splat(ORDER_256[i])), y[i]);
    }
    add_product(l, &mut x, &y[5..], &C_256);
    carry(l, &mut x);
    // Between 0 and 2^262. With q = x / 2^252: x = (x mod 2^252) + q · 2^252 is (x mod 2^252) − q · c, which is more
    // than −ℓ and less than ℓ. With ℓ added it is t, between 0 and 2ℓ.
    let q = l.shr::<44>(x[4]);
    x[4] = l.and(x[4], l.splat((1 << 44) - 1));
    let mut qc = [zero; 5];
    add_product(l, &mut qc, &[q], &C);
    carry(l, &mut qc);
    // ℓ + 2^260, as limbs of 2^52 − 1 at least.
    let mut t = x;
    for i in 0..5 {
        let lent = ORDER[i] + (1 << 52) - u64::from(i > 0);
        t[i] = l.sub(l.add(t[i], l.splat(lent)), qc[i]);
    }
    carry(l, &mut t);
    t[4] = l.and(t[4], mask);
    // Less ℓ, if there is so much: then the 2^260 that are lent come out again.
    let mut less = t;
    for i in 0..5 {
        let lent = (1 << 52) - u64::from(i > 0) - ORDER[i];
        less[i] = l.add(less[i], l.splat(lent));
    }
    carry(l, &mut less);
    let reached = l.equal(l.shr::<52>(less[4]), l.splat(1));
    less[4] = l.and(less[4], mask);
    for i in 0..5 {
        t[i] = l.select(reached, t[i], less[i]);
    }
    [
        l.or(t[0], l.shl::<52>(t[1])),
        l.or(l.shr::<12>(t[1]), l.shl::<40>(t[2])),
        l.or(l.shr::<24>(t[2]), l.shl::<28>(t[3])),
        l.or(l.shr::<36>(t[3]), l.shl::<16>(t[4])),
    ]
}

#[cfg(test)]
mod tests;
