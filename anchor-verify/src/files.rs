//! Files that are there as a whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use cli_common::{Access, partial_file};

/// Writes a file in place of what is there; if that fails, what was there is still there.
pub(crate) fn write_whole<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<T, io::Error>,
) -> io::Result<T> {
    // Nothing in it is secret.
    let mut temporary = partial_file(path, Access::Others)?;
    let mut out = BufWriter::new(temporary.as_file_mut());
    let result = write(&mut out)?;
    out.flush()?;
    drop(out);
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    Ok(result)
}
