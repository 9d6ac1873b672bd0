//! Ed25519 signatures by few keys on one thread, beside `ed25519-dalek` with the keys parsed before: eight side by side
//! where the machine has AVX-512 IFMA, and one after the other.

use benches::{Clock, Options, Table, hashes, noise};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier};
use ves::SignatureBytes;
use ves::ed25519::{Claim, PreparedKey, verify_many};
use ves::kernel::Kernel;

const COUNT: usize = 512;

fn main() {
    let options = Options::from_args();
    let mut table = Table::new(&options, Clock::Thread, "`ed25519-dalek`", "signature");
    // So many keys, so many signatures at once, and what is asked for in lockstep and in turn.
    for (count, batch, lockstep, in_turn) in [
        (1, COUNT, Some(10.0), Some(2.5)),
        (3, COUNT, Some(10.0), Some(2.5)),
        (30, COUNT, Some(10.0), None),
        (100, 16 * COUNT, None, None),
        (3, 8, None, None),
        (1, 1, None, None),
    ] {
        let messages = hashes(batch);
        let keys: Vec<SigningKey> = (0..count)
            .map(|i| {
                let mut seed = [0; 32];
                noise(i, &mut seed);
                SigningKey::from_bytes(&seed)
            })
            .collect();
        let parsed: Vec<_> = keys.iter().map(SigningKey::verifying_key).collect();
        let signatures: Vec<SignatureBytes> = messages
            .iter()
            .zip(keys.iter().cycle())
            .map(|(message, key)| SignatureBytes(key.sign(&message.0).to_bytes()))
            .collect();
        for (kernel, at_least) in [(Kernel::Avx512, lockstep), (Kernel::Portable, in_turn)] {
            let prepared: Vec<_> = parsed
                .iter()
                .map(|key| PreparedKey::for_kernel(key, kernel))
                .collect();
            let way = if prepared[0].in_lockstep() {
                "lockstep"
            } else {
                "in turn"
            };
            if kernel == Kernel::Avx512 && way != "lockstep" {
                continue;
            }
            let claims: Vec<Claim<'_>> = messages
                .iter()
                .zip(&signatures)
                .zip(prepared.iter().cycle())
                .map(|((message, signature), key)| Claim {
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
}
