//! Ed25519 signatures by few keys on one thread, beside `ed25519-dalek` with the keys parsed before: eight side by side by
//! AVX-512 IFMA and by AVX2 and FMA, where the machine has them, and one after the other.

use benches::{Clock, Options, Table, hashes, noise, signed};
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier};
use ves::ed25519::{PreparedKey, SignatureInput, verify_many};
use ves::kernel::Kernel;
use ves::{KeyRegistry, SignatureBytes, Signer};

const COUNT: usize = 512;

/// Events that are checked together.
const CHUNK: usize = 1024;

fn main() {
    let options = Options::from_args();
    let mut table = Table::new(&options, Clock::Thread, "`ed25519-dalek`", "signature");
    // So many keys, so many signatures at once, and what is asked for: in lockstep by AVX-512 IFMA, by AVX2 and FMA, and in turn.
    for (count, batch, asked_for) in [
        (1, COUNT, [Some(10.0), Some(7.0), Some(2.5)]),
        (3, COUNT, [Some(10.0), Some(7.0), Some(2.5)]),
        (30, COUNT, [Some(10.0), Some(7.0), None]),
        (100, 16 * COUNT, [None; 3]),
        (3, 8, [None; 3]),
        (1, 1, [None; 3]),
    ] {
        let messages = hashes(batch);
        let keys: Vec<SigningKey> = (0..count).map(signing_key).collect();
        let parsed: Vec<_> = keys.iter().map(SigningKey::verifying_key).collect();
        let signatures: Vec<SignatureBytes> = messages
            .iter()
            .zip(keys.iter().cycle())
            .map(|(message, key)| SignatureBytes(key.sign(&message.0).to_bytes()))
            .collect();
        // Without AVX-512 IFMA, the first of these would be what the second is.
        let kernels = [Kernel::Avx512, Kernel::Avx2, Kernel::Portable];
        for (kernel, at_least) in kernels.into_iter().zip(asked_for) {
            let prepared: Vec<_> = parsed
                .iter()
                .map(|key| PreparedKey::for_kernel(key, kernel))
                .collect();
            let way = match (kernel, prepared[0].instructions()) {
                (Kernel::Avx512, Some("AVX-512 IFMA")) => "lockstep, AVX-512 IFMA",
                (Kernel::Avx2, Some(_)) => "lockstep, AVX2 and FMA",
                (Kernel::Portable, None) => "in turn",
                _ => continue,
            };
            let claims: Vec<SignatureInput<'_>> = messages
                .iter()
                .zip(&signatures)
                .zip(prepared.iter().cycle())
                .map(|((message, signature), key)| SignatureInput {
                    key,
                    message: &message.0,
                    signature,
                })
                .collect();
            table.compare(
                &format!("{way}, {count} keys, {batch} at once"),
                batch,
                at_least,
                || {
                    let checks = messages.iter().zip(&signatures).zip(parsed.iter().cycle());
                    checks
                        .map(|((message, signature), key)| {
                            key.verify(&message.0, &Signature::from_bytes(&signature.0))
                                .is_ok()
                        })
                        .collect::<Vec<bool>>()
                },
                || verify_many(&claims),
            );
        }
    }
    for (keys, times) in [(1000, 20), (10_000, 2), (10_000, 10), (10_000, 30), (40_000, 1)] {
        many_keys(&mut table, keys, times);
    }
}

/// A log by thousands of keys, as the registry checks it: from the first signature on, all preparations included.
fn many_keys(table: &mut Table, keys: u64, times: usize) {
    let name = format!("{keys} keys, {times} events each, by a fresh registry");
    if !table.selects(&name) {
        return;
    }
    let signers: Vec<Signer> = (0..keys).map(|i| Signer::Ed25519(signing_key(i))).collect();
    let (registry, events) = signed::events(&signers, times);
    let signatures = signed::signatures(&events);
    let parsed = signed::parsed(&signers);
    table.compare(
        &name,
        events.len(),
        None,
        || {
            let checks = signatures.iter().zip(parsed.iter().cycle());
            let holds = checks.map(|(signature, key)| {
                let ed25519 = Signature::from_bytes(&signature.event.agent_signature.0);
                key.verify(&signature.signing_hash.0, &ed25519).is_ok()
            });
            holds.collect::<Vec<bool>>()
        },
        || {
            // Nothing that was prepared in the round before.
            let registry = KeyRegistry::new(registry.iter().cloned());
            let verdicts = signatures
                .chunks(CHUNK)
                .flat_map(|chunk| registry.check_many(chunk));
            verdicts.map(|verdict| verdict.is_valid()).collect()
        },
    );
}

fn signing_key(i: u64) -> SigningKey {
    let mut seed = [0; 32];
    noise(i, &mut seed);
    SigningKey::from_bytes(&seed)
}
