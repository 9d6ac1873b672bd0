//! ML-DSA-65 and hybrid signatures on one thread, beside `fips204` with the key expanded before: the check alone, and an
//! event's whole: its bundle read, and both of its halves checked.

use benches::{Clock, Options, Table, hashes, noise, signed};
use ed25519_dalek::Verifier as _;
use fips204::traits::{SerDes as _, Verifier as _};
use ves::key::EventSignature;
use ves::post_quantum::{MlDsa65Key, MlDsa65Signature, MlDsa65Signer, SignatureBundle};
use ves::{SignatureCheck, Signer};

const COUNT: usize = 64;

fn main() {
    let options = Options::from_args();
    let mut table = Table::new(&options, Clock::Thread, "`fips204`", "signature");
    let messages = hashes(COUNT);
    for count in [1, 30] {
        let signers: Vec<MlDsa65Signer> = (0..count).map(|i| MlDsa65Signer::from_seed(&seed(i))).collect();
        let keys: Vec<MlDsa65Key> = signers.iter().map(MlDsa65Signer::public_key).collect();
        let theirs: Vec<_> = keys.iter().map(expanded).collect();
        let signatures: Vec<Box<MlDsa65Signature>> = messages
            .iter()
            .zip(signers.iter().cycle())
            .map(|(message, signer)| signer.sign(message))
            .collect();
        table.compare(
            &format!("ML-DSA-65, {count} keys"),
            COUNT,
            None,
            || {
                let checks = messages.iter().zip(&signatures).zip(theirs.iter().cycle());
                checks
                    .map(|((message, signature), key)| key.verify(&message.0, signature, &[]))
                    .collect::<Vec<bool>>()
            },
            || {
                let checks = messages.iter().zip(&signatures).zip(keys.iter().cycle());
                checks
                    .map(|((message, signature), key)| key.verify(message, signature))
                    .collect()
            },
        );
    }
    bundles(&mut table);
    hybrids(&mut table);
}

fn seed(i: u64) -> [u8; 32] {
    let mut seed = [0; 32];
    noise(i, &mut seed);
    seed
}

fn expanded(key: &MlDsa65Key) -> fips204::ml_dsa_65::PublicKey {
    fips204::ml_dsa_65::PublicKey::try_from_bytes(*key.encoded()).expect("every text of that length is a key")
}

fn bundles(table: &mut Table) {
    let signer = MlDsa65Signer::from_seed(&seed(1));
    let jsons: Vec<Vec<u8>> = hashes(COUNT)
        .iter()
        .map(|message| SignatureBundle::new(None, &signer.sign(message)).to_json())
        .collect();
    table.compare(
        "a bundle read, beside serde_json",
        COUNT,
        None,
        || -> Vec<Option<SignatureBundle>> {
            jsons
                .iter()
                .map(|json| serde_json::from_slice(json).ok())
                .collect()
        },
        || jsons.iter().map(|json| SignatureBundle::read(json)).collect(),
    );
}

fn hybrids(table: &mut Table) {
    let ed25519 = ed25519_dalek::SigningKey::from_bytes(&seed(2));
    let signer = Signer::Hybrid(ed25519, MlDsa65Signer::from_seed(&seed(3)));
    let theirs = signer.ml_dsa_65().map(|key| expanded(&key.public_key()));
    let theirs = theirs.expect("a hybrid has both");
    let signers = [signer];
    let (registry, events) = signed::events(&signers, COUNT);
    let signatures = signed::signatures(&events);
    let parsed = signed::parsed(&signers)[0];
    table.compare(
        "hybrid events, beside serde_json, fips204 and ed25519-dalek",
        COUNT,
        None,
        || {
            let holds = |signature: &EventSignature<'_>| {
                let json = signature.event.agent_signature_bundle.as_deref()?;
                let bundle: SignatureBundle = serde_json::from_slice(json).ok()?;
                let ed25519 = ed25519_dalek::Signature::from_bytes(&bundle.ed25519()?.0);
                let message = &signature.signing_hash.0;
                parsed.verify(message, &ed25519).ok()?;
                Some(theirs.verify(message, bundle.ml_dsa_65()?, &[]))
            };
            let verdicts = signatures.iter().map(|signature| holds(signature) == Some(true));
            verdicts.collect::<Vec<bool>>()
        },
        || {
            let verdicts = registry.check_many(&signatures);
            verdicts.iter().map(SignatureCheck::is_valid).collect()
        },
    );
}
