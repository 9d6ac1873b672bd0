//! What `pgbackrest info --output=json` tells.

use serde::{Deserialize, Serialize};

/// What kind of backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// Everything.
    Full,
    /// What changed since the last full one.
    Diff,
    /// What changed since the last one.
    Incr,
}

impl BackupType {
    /// As pgBackRest names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Diff => "diff",
            Self::Incr => "incr",
        }
    }
}

/// A stanza: one cluster's backups and archived WAL.
#[derive(Debug, Clone, Deserialize)]
pub struct StanzaInfo {
    /// Its name.
    pub name: String,
    /// Whether it is usable.
    pub status: StanzaStatus,
    /// The backups, the oldest first.
    #[serde(default)]
    pub backup: Vec<BackupInfo>,
    /// The archived WAL, for each history of the cluster.
    #[serde(default)]
    pub archive: Vec<ArchiveInfo>,
    /// The clusters that the stanza was made of, one after the other.
    #[serde(default)]
    pub db: Vec<ClusterInfo>,
}

/// A cluster of a stanza.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterInfo {
    /// Its number in the stanza.
    pub id: u64,
    /// The cluster's identity: copies and restores have that of the one they come from.
    #[serde(rename = "system-id")]
    pub system_id: u64,
}

/// Which cluster of a stanza.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterRef {
    /// Its number in the stanza.
    pub id: u64,
}

impl StanzaInfo {
    /// The identity of the cluster that a backup is of.
    #[must_use]
    pub fn system_of(&self, backup: &BackupInfo) -> Option<u64> {
        let id = backup.database.as_ref()?.id;
        self.db.iter().find(|db| db.id == id).map(|db| db.system_id)
    }

    /// The backup that was finished last.
    #[must_use]
    pub fn newest(&self) -> Option<&BackupInfo> {
        self.backup.iter().max_by_key(|backup| backup.timestamp.stop)
    }
}

impl BackupInfo {
    /// The timeline on which it was finished.
    #[must_use]
    pub fn timeline(&self) -> Option<u32> {
        let segment = self.archive.as_ref()?.stop.as_deref()?;
        u32::from_str_radix(segment.get(..8)?, 16).ok()
    }
}

/// Whether a stanza is usable; code 0 is.
#[derive(Debug, Clone, Deserialize)]
pub struct StanzaStatus {
    /// 0 is fine; 1 no such stanza, 2 no backup, others are told.
    pub code: i64,
    /// In words.
    pub message: String,
}

/// A backup.
#[derive(Debug, Clone, Deserialize)]
pub struct BackupInfo {
    /// Its name: `20261128-220000F`, `20261128-220000F_20261128-230000I`.
    pub label: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: BackupType,
    /// Whether pages with wrong checksums were found while it was taken; older releases do not say.
    #[serde(default)]
    pub error: Option<bool>,
    /// When it was taken.
    pub timestamp: Span<i64>,
    /// The WAL that it needs.
    #[serde(default)]
    pub archive: Option<Span<Option<String>>>,
    /// Its size.
    #[serde(default)]
    pub info: Option<SizeInfo>,
    /// Of which cluster it is.
    #[serde(default)]
    pub database: Option<ClusterRef>,
}

/// From where to where.
#[derive(Debug, Clone, Deserialize)]
pub struct Span<T> {
    /// The first: for times, seconds since 1970.
    pub start: T,
    /// The last.
    pub stop: T,
}

/// Sizes of a backup, in bytes.
#[derive(Debug, Clone, Deserialize)]
pub struct SizeInfo {
    /// Of the cluster.
    pub size: u64,
    /// Of what was copied for this backup.
    #[serde(default)]
    pub delta: Option<u64>,
}

/// Archived WAL.
#[derive(Debug, Clone, Deserialize)]
pub struct ArchiveInfo {
    /// Which history: `15-1`.
    pub id: String,
    /// The first segment.
    #[serde(default)]
    pub min: Option<String>,
    /// The last segment.
    #[serde(default)]
    pub max: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let text = r#"[{"archive":[{"database":{"id":1,"repo-key":1},"id":"15-1","max":"0000000100000000000000A1","min":"000000010000000000000001"}],
            "backup":[{"archive":{"start":"000000010000000000000003","stop":"000000010000000000000004"},"backrest":{"format":5,"version":"2.45"},
            "database":{"id":1,"repo-key":1},"error":false,"info":{"delta":23000000,"repository":{"delta":3,"size":3},"size":23000001},
            "label":"20261128-220000F","prior":null,"reference":null,"timestamp":{"start":1700000000,"stop":1700000009},"type":"full"}],
            "cipher":"none","db":[{"id":1,"repo-key":1,"system-id":7634590128834412211,"version":"15"}],"name":"drill","repo":[],"status":{"code":0,"lock":{"backup":{"held":false}},"message":"ok"}}]"#;
        let stanzas: Vec<StanzaInfo> = serde_json::from_str(text).unwrap();
        assert_eq!(stanzas[0].backup[0].kind, BackupType::Full);
        assert_eq!(stanzas[0].backup[0].timestamp.stop, 1_700_000_009);
        let newest = stanzas[0].newest().unwrap();
        assert_eq!(newest.timeline(), Some(1));
        assert_eq!(stanzas[0].system_of(newest), Some(7_634_590_128_834_412_211));
        assert_eq!(
            stanzas[0].archive[0].max.as_deref(),
            Some("0000000100000000000000A1")
        );
    }
}
