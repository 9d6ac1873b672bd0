//! The manifest of a closed incident: every file of its folder with its SHA-256, signed if a key is given.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cli_common::CliError;
use cli_common::provenance::Provenance;
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};
use ves::{Hash32, SignatureBytes, jcs};

use super::course::hash_of;

/// The document's name and version; described in docs/incident.md.
pub const SCHEMA: &str = "incident-manifest/1";

/// Its name in the folder.
pub const NAME: &str = "manifest.json";

/// The same as lines of `sha256sum`, for who has none of these tools.
pub const SUMS: &str = "SHA256SUMS";

/// Domain prefix of the signature.
const DOMAIN: &[u8] = b"SEQUENCER_RECOVERY_INCIDENT_V1";

/// A folder has no more files than this.
const MAX_FILES: usize = 1_000_000;

/// The files of an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentManifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// The incident's name.
    pub incident: String,
    /// When it was closed.
    pub closed_at: String,
    /// What made the manifest.
    pub provenance: Provenance,
    /// All files but the manifest and its sums, by name.
    pub files: Vec<ManifestFile>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its name within the folder.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// A manifest and who vouches for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignedManifest {
    /// The manifest.
    pub manifest: IncidentManifest,
    /// The signer's Ed25519 public key; absent if it is not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Hash32>,
    /// Ed25519 over `SEQUENCER_RECOVERY_INCIDENT_V1` ‖ the canonical JSON (RFC 8785) of `manifest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureBytes>,
}

impl SignedManifest {
    /// Signs a manifest, if there is a key.
    ///
    /// # Errors
    /// It has no canonical form, which none of a folder is without.
    pub fn new(manifest: IncidentManifest, key: Option<&SigningKey>) -> Result<Self, jcs::JcsError> {
        let signature = match key {
            Some(key) => Some(SignatureBytes(key.sign(&message(&manifest)?).to_bytes())),
            None => None,
        };
        Ok(Self {
            public_key: key.map(|key| Hash32(key.verifying_key().to_bytes())),
            signature,
            manifest,
        })
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn verifies(&self, key: &VerifyingKey) -> bool {
        let (Some(signature), Ok(message)) = (&self.signature, message(&self.manifest)) else {
            return false;
        };
        key.verify(&message, &Signature::from_bytes(&signature.0)).is_ok()
    }

    /// As `sha256sum --check` reads it.
    #[must_use]
    pub fn sums(&self) -> String {
        let lines = self.manifest.files.iter();
        lines
            .map(|file| format!("{}  {}\n", file.sha256, file.path))
            .collect()
    }
}

fn message(manifest: &IncidentManifest) -> Result<Vec<u8>, jcs::JcsError> {
    let json = serde_json::to_string(manifest)?;
    Ok([DOMAIN, jcs::canonicalize(&json)?.as_bytes()].concat())
}

/// The files of a folder with their hashes, by name.
///
/// # Errors
/// One cannot be read, or is no plain file.
pub fn files(folder: &Path) -> Result<Vec<ManifestFile>, CliError> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let failed = |path: &Path, error: io::Error| {
            CliError::io(format!("{}: cannot be read", folder.join(path).display())).with_source(error)
        };
        for entry in fs::read_dir(folder.join(&inner)).map_err(|e| failed(&inner, e))? {
            let entry = entry.map_err(|e| failed(&inner, e))?;
            let path = inner.join(entry.file_name());
            let kind = entry.file_type().map_err(|e| failed(&path, e))?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && found.len() < MAX_FILES {
                if [NAME, SUMS].contains(&path.to_string_lossy().as_ref()) {
                    continue;
                }
                let file = File::open(folder.join(&path)).map_err(|e| failed(&path, e))?;
                found.push(ManifestFile {
                    bytes: file.metadata().map_err(|e| failed(&path, e))?.len(),
                    sha256: hash_of(file).map_err(|e| failed(&path, e))?,
                    path: path.display().to_string(),
                });
            } else {
                let what = match kind.is_file() {
                    true => "there are too many files",
                    false => "it is no plain file, and is no evidence",
                };
                return Err(
                    CliError::input(format!("{}: {what}", folder.join(&path).display()))
                        .with_hint("take it out of the folder; nothing was written"),
                );
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// How a folder differs from its manifest: what was changed, is missing, or came later.
#[must_use]
pub fn differences(manifest: &IncidentManifest, found: &[ManifestFile]) -> Vec<String> {
    let by_name = |files: &[ManifestFile]| -> BTreeMap<String, ManifestFile> {
        files
            .iter()
            .map(|file| (file.path.clone(), file.clone()))
            .collect()
    };
    let (named, found) = (by_name(&manifest.files), by_name(found));
    let mut told = Vec::new();
    if named.len() != manifest.files.len() {
        told.push("the manifest names a file twice".to_owned());
    }
    for (path, file) in &named {
        match found.get(path) {
            None => told.push(format!("{path}: it is missing")),
            Some(there) if there.sha256 != file.sha256 || there.bytes != file.bytes => {
                told.push(format!("{path}: it was changed after the incident was closed"));
            }
            Some(_) => {}
        }
    }
    let later = found.keys().filter(|path| !named.contains_key(*path));
    told.extend(later.map(|path| format!("{path}: the manifest does not name it")));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_binds_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("evidence")).unwrap();
        for name in ["b", "a", "evidence/c", NAME, SUMS] {
            fs::write(at(name), name).unwrap();
        }
        let manifest = IncidentManifest {
            schema: SCHEMA.into(),
            incident: "i".into(),
            closed_at: "2026-11-28T00:00:00Z".into(),
            provenance: Provenance::now("t", Vec::new()),
            files: files(dir.path()).unwrap(),
        };
        let names: Vec<&str> = manifest.files.iter().map(|file| &*file.path).collect();
        assert_eq!(names, ["a", "b", "evidence/c"]);
        let differ = || differences(&manifest, &files(dir.path()).unwrap());
        assert_eq!(differ(), Vec::<String>::new());
        fs::write(at("a"), "A").unwrap();
        fs::remove_file(at("b")).unwrap();
        fs::write(at("evidence/d"), "").unwrap();
        let told = differ();
        assert!(
            told.len() == 3
                && told[0].starts_with("a:")
                && told[1].starts_with("b:")
                && told[2].starts_with("evidence/d:"),
            "{told:?}"
        );

        let key = SigningKey::from_bytes(&[7; 32]);
        let signed = SignedManifest::new(manifest.clone(), Some(&key)).unwrap();
        let text = serde_json::to_string(&signed).unwrap();
        let mut read: SignedManifest = serde_json::from_str(&text).unwrap();
        assert!(read.verifies(&key.verifying_key()));
        assert!(!read.verifies(&SigningKey::from_bytes(&[8; 32]).verifying_key()));
        read.manifest.files[0].bytes += 1;
        assert!(!read.verifies(&key.verifying_key()));
        assert!(
            !SignedManifest::new(manifest, None)
                .unwrap()
                .verifies(&key.verifying_key())
        );
        assert!(
            signed.sums().lines().nth(2).unwrap().ends_with("  evidence/c"),
            "{}",
            signed.sums()
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_leads_out_of_the_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("link")).unwrap();
        assert!(files(dir.path()).is_err());
    }
}
