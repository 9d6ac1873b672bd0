//! Ed25519 signatures by few keys on one thread, beside `ed25519-dalek` with the keys parsed before.

use benches::{Clock, Options, Table, hashes, noise};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier};
use ves::SignatureBytes;
use ves::ed25519::{Claim, PreparedKey, verify_many};

const COUNT: usize = 512;

fn main() {
    let options = Options::from_args();
    let messages = hashes(COUNT);
    let mut table = Table::new(&options, Clock::Thread, "`ed25519-dalek`", "signature");
    for (count, at_least) in [(1, Some(2.5)), (3, Some(2.5)), (30, None)] {
        let keys: Vec<SigningKey> = (0..count)
            .map(|i| {
                let mut seed = [0; 32];
                noise(i, &mut seed);
                SigningKey::from_bytes(&seed)
            })
            .collect();
        let parsed: Vec<_> = keys.iter().map(SigningKey::verifying_key).collect();
        let prepared: Vec<_> = parsed.iter().map(PreparedKey::new).collect();
        let signatures: Vec<SignatureBytes> = messages
            .iter()
            .zip(keys.iter().cycle())
            .map(|(message, key)| SignatureBytes(key.sign(&message.0).to_bytes()))
            .collect();
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
            &format!("verification, {count} keys"),
            COUNT,
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
