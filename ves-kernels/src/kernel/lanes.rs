//! SHA-256 of several messages side by side, one in each lane of a vector.
//!
//! The code is the same for every width of vector. It is a macro rather than a generic function since
//! functions must be compiled for the vector's instructions to be inlined into each other. The module
//! that expands it brings the vector itself: `V`, `LANES`, `splat`, `zero`, `add`, `and`, `xor3`, `ror`,
//! `shr`, `shl8_or`, `shld8`, `ch`, `maj`, `load_pairs`, `load_leaves`, `load_blocks`, `store`,
//! `lane_mask`, and `GROUPS`, how many vectors run in turn.

/// Runs a macro once for each of the 16 words of a block.
macro_rules! each_word {
    ($m:ident) => {
        $m!(0);
        $m!(1);
        $m!(2);
        $m!(3);
        $m!(4);
        $m!(5);
        $m!(6);
        $m!(7);
        $m!(8);
        $m!(9);
        $m!(10);
        $m!(11);
        $m!(12);
        $m!(13);
        $m!(14);
        $m!(15);
    };
}
pub(super) use each_word;

macro_rules! sha256_lanes {
    ($features:literal) => {
        type State = [V; 8];
        type Words = [V; 16];

        /// Room for the words of messages. It is kept from group to group: clearing it for each took a fifth
        /// of the time.
        struct Scratch<const N: usize> {
            /// Of a leaf, the words of what it binds: sequence (2), hash (8), signature (16), and six to spare.
            leaves: [[V; 32]; N],
            /// Of a node, the words of its children.
            pairs: [Words; N],
            /// The words of a block, and those of the message schedule after them.
            w: [Words; N],
        }

        impl<const N: usize> Scratch<N> {
            #[target_feature(enable = $features)]
            #[inline]
            fn new() -> Self {
                Self { leaves: [[zero(); 32]; N], pairs: [[zero(); 16]; N], w: [[zero(); 16]; N] }
            }
        }

        /// One round. The working variables stay in place; which is which moves with the round.
        macro_rules! round {
            ($s:expr, $i:expr, $kw:expr) => {{
                const A: usize = (16 - $i) % 8;
                const B: usize = (17 - $i) % 8;
                const C: usize = (18 - $i) % 8;
                const D: usize = (19 - $i) % 8;
                const E: usize = (20 - $i) % 8;
                const F: usize = (21 - $i) % 8;
                const G: usize = (22 - $i) % 8;
                const H: usize = (23 - $i) % 8;
                let e = $s[E];
                let a = $s[A];
                let s1 = xor3(ror::<6, 26>(e), ror::<11, 21>(e), ror::<25, 7>(e));
                let t1 = add(add(add($s[H], $kw), ch(e, $s[F], $s[G])), s1);
                let s0 = xor3(ror::<2, 30>(a), ror::<13, 19>(a), ror::<22, 10>(a));
                $s[D] = add($s[D], t1);
                $s[H] = add(add(t1, maj(a, $s[B], $s[C])), s0);
            }};
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn sigma0(x: V) -> V {
            xor3(ror::<7, 25>(x), ror::<18, 14>(x), shr::<3>(x))
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn sigma1(x: V) -> V {
            xor3(ror::<17, 15>(x), ror::<19, 13>(x), shr::<10>(x))
        }

        /// Makes the compiler forget what it knows of the words. It would keep more of them in
        /// registers than there are, to no use, and spill the working variables.
        #[inline(always)]
        fn keep_in_memory<const N: usize>(w: &mut [Words; N]) {
            // Miri knows no assembly.
            #[cfg(miri)]
            let _ = w;
            #[cfg(not(miri))]
            // SAFETY: no instruction at all, so nothing is read or written.
            unsafe {
                std::arch::asm!("/* {} */", in(reg) w.as_mut_ptr(), options(nostack, preserves_flags));
            }
        }

        /// Where the working variables a to h are before round `at`, see `round`.
        #[target_feature(enable = $features)]
        #[inline]
        fn place(variables: &[u32; 8], at: usize) -> State {
            let mut s = [zero(); 8];
            for (i, v) in variables.iter().enumerate() {
                s[(16 - at % 8 + i) % 8] = splat(*v);
            }
            s
        }

        /// Rounds `SKIP` to 15, which take the words as they are.
        #[target_feature(enable = $features)]
        #[inline]
        fn rounds_0_15<const N: usize, const SKIP: usize>(s: &mut [State; N], w: &[Words; N]) {
            macro_rules! step {
                ($i:literal) => {
                    if $i >= SKIP {
                        let k = splat(K[$i]);
                        for n in 0..N {
                            round!(s[n], $i, add(w[n][$i], k));
                        }
                    }
                };
            }
            each_word!(step);
        }

        /// Rounds from `16 * from` to 63, in a function of its own so that all shapes of message run
        /// through the same few KiB of instructions.
        #[target_feature(enable = $features)]
        #[inline(never)]
        fn rounds_to_63<const N: usize>(state: &mut [State; N], w: &mut [Words; N], from: usize) {
            let mut s = *state;
            // The last two words, which the next ones wait for, do not take the way through memory.
            let mut recent = [[zero(); 2]; N];
            for n in 0..N {
                recent[n] = [w[n][14], w[n][15]];
            }
            for k in K.as_chunks::<16>().0.iter().skip(from) {
                macro_rules! step {
                    ($i:literal) => {{
                        let k = splat(k[$i]);
                        for n in 0..N {
                            let next = add(
                                add(w[n][$i], w[n][($i + 9) % 16]),
                                add(sigma0(w[n][($i + 1) % 16]), sigma1(recent[n][$i % 2])),
                            );
                            w[n][$i] = next;
                            recent[n][$i % 2] = next;
                            round!(s[n], $i, add(next, k));
                        }
                        keep_in_memory(w);
                    }};
                }
                each_word!(step);
            }
            *state = s;
        }

        /// Compresses a last block: five words of message (the later ones may be zero), zeros, and the
        /// message's length in bits. What follows from the zeros is left out. `w` is scratch space.
        #[target_feature(enable = $features)]
        #[inline(never)]
        fn compress_last<const N: usize>(
            state: &mut [State; N],
            head: &[[V; 5]; N],
            bits: u32,
            w: &mut [Words; N],
        ) {
            let mut s = *state;
            macro_rules! head_step {
                ($i:literal) => {
                    let k = splat(K[$i]);
                    for n in 0..N {
                        round!(s[n], $i, add(head[n][$i], k));
                    }
                };
            }
            macro_rules! zero_step {
                ($i:literal) => {
                    let k = splat(K[$i]);
                    for n in 0..N {
                        round!(s[n], $i, k);
                    }
                };
            }
            head_step!(0);
            head_step!(1);
            head_step!(2);
            head_step!(3);
            head_step!(4);
            zero_step!(5);
            zero_step!(6);
            zero_step!(7);
            zero_step!(8);
            zero_step!(9);
            zero_step!(10);
            zero_step!(11);
            zero_step!(12);
            zero_step!(13);
            zero_step!(14);
            let k = splat(K[15].wrapping_add(bits));
            for n in 0..N {
                round!(s[n], 15, k);
            }
            // Words 16 to 31, as words 5 to 14 are zero and 15 is `bits`.
            let length = splat(bits);
            let sigma1_length = splat(scalar::sigma1(bits));
            let sigma0_length = splat(scalar::sigma0(bits));
            macro_rules! expand {
                ($i:literal, $n:ident, $h:ident, $w:ident, $e:expr) => {
                    let k = splat(K[16 + $i]);
                    for $n in 0..N {
                        let $h = &head[$n];
                        let $w = &w[$n];
                        let next = $e;
                        w[$n][$i] = next;
                        round!(s[$n], $i, add(next, k));
                    }
                };
            }
            expand!(0, n, h, _w, add(h[0], sigma0(h[1])));
            expand!(1, n, h, _w, add(add(h[1], sigma1_length), sigma0(h[2])));
            expand!(2, n, h, w, add(add(h[2], sigma0(h[3])), sigma1(w[0])));
            expand!(3, n, h, w, add(add(h[3], sigma0(h[4])), sigma1(w[1])));
            expand!(4, n, h, w, add(h[4], sigma1(w[2])));
            expand!(5, n, _h, w, sigma1(w[3]));
            expand!(6, n, _h, w, add(length, sigma1(w[4])));
            expand!(7, n, _h, w, add(w[0], sigma1(w[5])));
            expand!(8, n, _h, w, add(w[1], sigma1(w[6])));
            expand!(9, n, _h, w, add(w[2], sigma1(w[7])));
            expand!(10, n, _h, w, add(w[3], sigma1(w[8])));
            expand!(11, n, _h, w, add(w[4], sigma1(w[9])));
            expand!(12, n, _h, w, add(w[5], sigma1(w[10])));
            expand!(13, n, _h, w, add(w[6], sigma1(w[11])));
            expand!(14, n, _h, w, add(add(w[7], sigma0_length), sigma1(w[12])));
            expand!(15, n, _h, w, add(add(add(w[8], length), sigma0(w[0])), sigma1(w[13])));
            rounds_to_63(&mut s, w, 2);
            add_states(state, &s);
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn add_states<const N: usize>(state: &mut [State; N], s: &[State; N]) {
            for n in 0..N {
                for i in 0..8 {
                    state[n][i] = add(state[n][i], s[n][i]);
                }
            }
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn iv<const N: usize>() -> [State; N] {
            [place(&IV, 0); N]
        }

        /// Parents of `N * LANES` pairs, from the pairs' words.
        #[target_feature(enable = $features)]
        #[inline]
        fn nodes<const N: usize>(data: &[Words; N], w: &mut [Words; N]) -> [State; N] {
            const PREFIX: [u32; 2] = [scalar::word(NODE_DOMAIN, 0), scalar::word(NODE_DOMAIN, 4)];
            const AFTER_PREFIX: [u32; 8] = scalar::first_rounds(&PREFIX);
            // The last three bytes of the prefix; the lowest byte is pushed out by the next word.
            const REST: u32 = scalar::word(NODE_DOMAIN, 7);
            for n in 0..N {
                w[n][0] = splat(PREFIX[0]);
                w[n][1] = splat(PREFIX[1]);
                w[n][2] = shld8(splat(REST), data[n][0]);
                for i in 1..14 {
                    w[n][2 + i] = shld8(data[n][i - 1], data[n][i]);
                }
            }
            let mut s = [place(&AFTER_PREFIX, 2); N];
            rounds_0_15::<N, 2>(&mut s, w);
            rounds_to_63(&mut s, w, 1);
            let mut state = iv::<N>();
            add_states(&mut state, &s);
            let mut last = [[zero(); 5]; N];
            for n in 0..N {
                let d = &data[n];
                last[n] =
                    [shld8(d[13], d[14]), shld8(d[14], d[15]), shl8_or(d[15], 0x80), zero(), zero()];
            }
            compress_last(&mut state, &last, 75 * 8, w);
            state
        }

        /// The leaves of a stream: what all of them share.
        struct Leaves {
            words: [u32; 11],
            after_words: [u32; 8],
        }

        impl Leaves {
            fn new(prefix: &LeafPrefix) -> Self {
                let mut words = [0; 11];
                for (i, word) in words.iter_mut().take(10).enumerate() {
                    *word = scalar::word(&prefix.bytes, 4 * i);
                }
                // Bytes 40 to 42 in the lower three bytes.
                words[10] = scalar::word(&prefix.bytes, 39);
                Self { words, after_words: scalar::first_rounds(&words[..10]) }
            }
        }

        /// Leaves of `N * LANES` events, from their words.
        #[target_feature(enable = $features)]
        #[inline]
        fn leaves<const N: usize>(leaves: &Leaves, data: &[[V; 32]; N], w: &mut [Words; N]) -> [State; N] {
            for n in 0..N {
                for i in 0..10 {
                    w[n][i] = splat(leaves.words[i]);
                }
                w[n][10] = shld8(splat(leaves.words[10]), data[n][0]);
                for i in 1..6 {
                    w[n][10 + i] = shld8(data[n][i - 1], data[n][i]);
                }
            }
            let mut s = [place(&leaves.after_words, 10); N];
            rounds_0_15::<N, 10>(&mut s, w);
            rounds_to_63(&mut s, w, 1);
            let mut state = iv::<N>();
            add_states(&mut state, &s);
            for n in 0..N {
                for i in 0..16 {
                    w[n][i] = shld8(data[n][i + 5], data[n][i + 6]);
                }
            }
            compress(&mut state, w);
            let mut last = [[zero(); 5]; N];
            for n in 0..N {
                let d = &data[n];
                last[n] = [
                    shld8(d[21], d[22]),
                    shld8(d[22], d[23]),
                    shld8(d[23], d[24]),
                    shld8(d[24], d[25]),
                    shl8_or(d[25], 0x80),
                ];
            }
            compress_last(&mut state, &last, 147 * 8, w);
            state
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn compress<const N: usize>(state: &mut [State; N], w: &mut [Words; N]) {
            let mut s = *state;
            rounds_0_15::<N, 0>(&mut s, w);
            rounds_to_63(&mut s, w, 1);
            add_states(state, &s);
        }

        /// Parents of exactly `N * LANES` pairs.
        #[target_feature(enable = $features)]
        #[inline]
        fn parents_of<const N: usize>(pairs: &[[Hash32; 2]], scratch: &mut Scratch<N>) -> [State; N] {
            for (words, pairs) in scratch.pairs.iter_mut().zip(pairs.as_chunks::<LANES>().0) {
                load_pairs(pairs, words);
            }
            nodes(&scratch.pairs, &mut scratch.w)
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn store_all<const N: usize>(states: &[State; N], out: &mut [Hash32]) {
            for (state, out) in states.iter().zip(out.as_chunks_mut::<LANES>().0) {
                store(state, out);
            }
        }

        /// Fewer pairs than lanes: the empty lanes work for nothing.
        #[target_feature(enable = $features)]
        fn remaining_nodes(pairs: &[[Hash32; 2]], out: &mut [Hash32]) {
            let mut padded = [[Hash32::ZERO; 2]; LANES];
            let mut hashes = [Hash32::ZERO; LANES];
            for (pairs, out) in pairs.chunks(LANES).zip(out.chunks_mut(LANES)) {
                if pairs.len() <= FEW {
                    Kernel::for_few().node_hashes(pairs.as_flattened(), out);
                    continue;
                }
                padded[..pairs.len()].copy_from_slice(pairs);
                store_all(&parents_of::<1>(&padded, &mut Scratch::new()), &mut hashes);
                out.copy_from_slice(&hashes[..out.len()]);
            }
        }

        #[target_feature(enable = $features)]
        pub(super) fn parents_in_place(level: &mut [Hash32]) {
            const STEP: usize = GROUPS * LANES;
            let count = level.len() / 2;
            let mut done = 0;
            if count >= STEP {
                let mut scratch = Scratch::<GROUPS>::new();
                while done + STEP <= count {
                    let pairs = level[2 * done..2 * (done + STEP)].as_chunks::<2>().0;
                    let states = parents_of(pairs, &mut scratch);
                    store_all(&states, &mut level[done..done + STEP]);
                    done += STEP;
                }
            }
            if done == count {
                return;
            }
            let mut rest = [[Hash32::ZERO; 2]; STEP];
            let rest = &mut rest[..count - done];
            rest.copy_from_slice(level[2 * done..2 * count].as_chunks::<2>().0);
            remaining_nodes(rest, &mut level[done..count]);
        }

        #[target_feature(enable = $features)]
        pub(super) fn node_hashes(level: &[Hash32], out: &mut [Hash32]) {
            const STEP: usize = GROUPS * LANES;
            let (groups, rest) = level.as_chunks::<2>().0.as_chunks::<STEP>();
            let (out_groups, out_rest) = out.as_chunks_mut::<STEP>();
            let mut scratch = Scratch::<GROUPS>::new();
            for (pairs, out) in groups.iter().zip(out_groups) {
                store_all(&parents_of(pairs, &mut scratch), out);
            }
            remaining_nodes(rest, out_rest);
        }

        /// Leaves of exactly `N * LANES` events.
        #[target_feature(enable = $features)]
        #[inline]
        fn leaves_of<const N: usize>(
            shared: &Leaves,
            inputs: &[LeafInput],
            scratch: &mut Scratch<N>,
        ) -> [State; N] {
            for (words, inputs) in scratch.leaves.iter_mut().zip(inputs.as_chunks::<LANES>().0) {
                load_leaves(inputs, words);
            }
            leaves(shared, &scratch.leaves, &mut scratch.w)
        }

        #[target_feature(enable = $features)]
        pub(super) fn leaf_hashes(prefix: &LeafPrefix, inputs: &[LeafInput], out: &mut [Hash32]) {
            const STEP: usize = GROUPS * LANES;
            let shared = Leaves::new(prefix);
            let (groups, rest) = inputs.as_chunks::<STEP>();
            let (out_groups, out_rest) = out.as_chunks_mut::<STEP>();
            let mut scratch = Scratch::<GROUPS>::new();
            for (inputs, out) in groups.iter().zip(out_groups) {
                store_all(&leaves_of(&shared, inputs, &mut scratch), out);
            }
            for (inputs, out) in rest.chunks(LANES).zip(out_rest.chunks_mut(LANES)) {
                let Some(last) = inputs.last().filter(|_| inputs.len() > FEW) else {
                    Kernel::for_few().leaves(prefix, inputs, out);
                    continue;
                };
                let mut padded = [*last; LANES];
                padded[..inputs.len()].copy_from_slice(inputs);
                let mut hashes = [Hash32::ZERO; LANES];
                store_all(&leaves_of::<1>(&shared, &padded, &mut Scratch::new()), &mut hashes);
                out.copy_from_slice(&hashes[..out.len()]);
            }
        }

        /// Hashes up to `N * LANES` messages, in order of their length; lanes whose message has ended
        /// keep their state.
        #[target_feature(enable = $features)]
        #[inline]
        fn batch_of<const N: usize>(bytes: &[u8], messages: &[Message], out: &mut [Hash32]) {
            let Some(longest) = messages.last() else { return };
            let mut state = iv::<N>();
            for block in 0..longest.blocks() {
                let mut w = [[zero(); 16]; N];
                let mut active = [[0; LANES]; N];
                for n in 0..N {
                    let mut blocks = [&[0; 64]; LANES];
                    for lane in 0..LANES {
                        let Some(message) = messages.get(n * LANES + lane) else { break };
                        if block < message.blocks() {
                            active[n][lane] = u32::MAX;
                            let at = message.start + 64 * block;
                            if let Some((found, _)) = bytes[at..].split_first_chunk() {
                                blocks[lane] = found;
                            }
                        }
                    }
                    w[n] = load_blocks(&blocks);
                }
                let mut s = state;
                rounds_0_15::<N, 0>(&mut s, &w);
                rounds_to_63(&mut s, &mut w, 1);
                for n in 0..N {
                    let mask = lane_mask(&active[n]);
                    for i in 0..8 {
                        s[n][i] = and(s[n][i], mask);
                    }
                }
                add_states(&mut state, &s);
            }
            for (state, messages) in state.iter().zip(messages.chunks(LANES)) {
                let mut hashes = [Hash32::ZERO; LANES];
                store(state, &mut hashes);
                for (message, hash) in messages.iter().zip(hashes) {
                    out[message.index] = hash;
                }
            }
        }

        #[target_feature(enable = $features)]
        pub(super) fn batch(bytes: &[u8], messages: &[Message], out: &mut [Hash32]) {
            const STEP: usize = GROUPS * LANES;
            for messages in messages.chunks(STEP) {
                match messages.len() {
                    n if n > LANES => batch_of::<GROUPS>(bytes, messages, out),
                    n if n > FEW => batch_of::<1>(bytes, messages, out),
                    _ => Kernel::for_few().batch(bytes, messages, out),
                }
            }
        }
    };
}
pub(super) use sha256_lanes;
