//! The tree over a stream as `tlog_tiles` computes it.

use ves::Hash32;

/// What `tlog_tiles` keeps of a log.
#[derive(Default)]
struct Stored(Vec<tlog_tiles::Hash>);

impl tlog_tiles::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

/// The root of the log over leaves, appended one by one.
pub fn root(leaves: &[Hash32]) -> Hash32 {
    let mut stored = Stored::default();
    for (n, leaf) in leaves.iter().enumerate() {
        let new = tlog_tiles::stored_hashes(n as u64, &leaf.0, &stored).expect("hashes before it");
        stored.0.extend(new);
    }
    let root = tlog_tiles::tree_hash(leaves.len() as u64, &stored).expect("hashes of all leaves");
    Hash32(root.0)
}
