//! Manifests: text files that list outboxes, one a line.
//!
//! A line is `PATH`, or `SHA256  PATH` as `sha256sum` writes it; a tab and a name may follow. A path that is not absolute is
//! taken from the manifest's folder. Empty lines and lines that begin with `#` say nothing. A line that cannot be used is
//! handed back with its number: it may have been meant for a witness.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

/// A manifest may have so many bytes; what is behind them is not read.
const MAX_BYTES: u64 = 64 << 20;
/// A line may have so many.
const MAX_LINE: usize = 8 << 10;
/// So many outboxes are listed at most.
const MAX_LISTED: usize = 200_000;
/// So many lines that cannot be used are told one by one; the rest are counted.
const MAX_BAD: usize = 1000;
/// A name may have so many characters.
const MAX_NAME: usize = 200;

/// What a manifest lists.
#[derive(Debug, Default)]
pub(super) struct OutboxManifest {
    /// The outboxes, in their order.
    pub listed: Vec<Listed>,
    /// Lines that cannot be used, by their numbers, and why.
    pub bad: Vec<(u64, String)>,
    /// How many more of them there are.
    pub more_bad: u64,
    /// Why it was not read to its end.
    pub cut: Option<String>,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its number.
    pub line: u64,
    /// The file.
    pub path: PathBuf,
    /// What its bytes have to hash to.
    pub sha256: Option<[u8; 32]>,
    /// What reports call it.
    pub name: Option<String>,
}

impl OutboxManifest {
    /// Reads a manifest; memory is bounded, whatever is in it.
    ///
    /// # Errors
    /// It cannot be read, is a folder, or is UTF-16.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::of(cli_common::files::open_text(path)?, &folder_of(path))
    }

    /// Reads a manifest whose paths begin in a folder.
    ///
    /// # Errors
    /// The text cannot be read.
    pub fn of(text: impl BufRead, folder: &Path) -> io::Result<Self> {
        let mut text = text.take(MAX_BYTES);
        let mut manifest = Self::default();
        let mut line = Vec::new();
        let mut number = 0;
        while let Some(whole) = next_line(&mut text, &mut line)? {
            number += 1;
            if manifest.listed.len() == MAX_LISTED {
                manifest.cut = Some(format!(
                    "lists more than {MAX_LISTED} outboxes: line {number} and those after it were not looked at; give them in \
                     a manifest of their own"
                ));
                return Ok(manifest);
            }
            let taken = if whole {
                take(&line, number, folder)
            } else {
                Err(format!("has more than {MAX_LINE} bytes"))
            };
            match taken {
                Ok(listed) => manifest.listed.extend(listed),
                Err(what) => manifest.refuse(number, what),
            }
        }
        if text.limit() == 0 && !text.get_mut().fill_buf()?.is_empty() {
            // The last line may go on.
            manifest.listed.pop_if(|listed| listed.line == number);
            manifest.cut = Some(format!(
                "has more than {} MiB: line {number} and what is behind it were not looked at",
                MAX_BYTES >> 20
            ));
        }
        Ok(manifest)
    }

    fn refuse(&mut self, line: u64, what: String) {
        if self.bad.len() < MAX_BAD {
            self.bad.push((line, what));
        } else {
            self.more_bad += 1;
        }
    }
}

/// Where paths that are not absolute begin. What comes from a pipe has no folder but the one that this process is in.
fn folder_of(manifest: &Path) -> PathBuf {
    let is_file = manifest.metadata().is_ok_and(|meta| meta.is_file());
    let folder = manifest.parent().filter(|_| is_file);
    folder.unwrap_or(Path::new("")).to_owned()
}

/// The next line without its end; `false` if it is too long, and then it is passed over; `None` at the end of the text.
fn next_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let (mut any, mut whole) = (false, true);
    loop {
        let buffer = text.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        if line.len() + part.len() > MAX_LINE {
            whole = false;
        } else {
            line.extend_from_slice(part);
        }
        let taken = end.map_or(buffer.len(), |end| end + 1);
        text.consume(taken);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(any.then_some(whole))
}

/// What a line lists, if anything.
fn take(line: &[u8], number: u64, folder: &Path) -> Result<Option<Listed>, String> {
    if line.contains(&0) {
        return Err("holds a NUL character: is it a manifest at all?".into());
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Err("is no UTF-8".into());
    };
    let text = text.trim_end_matches(' ');
    if text.trim().is_empty() || text.trim_start().starts_with('#') {
        return Ok(None);
    }
    let (rest, name) = match text.split_once('\t') {
        None => (text, None),
        Some((_, name)) if name.contains('\t') => return Err("has more than one tab".into()),
        Some((rest, name)) => (rest, Some(checked_name(name)?)),
    };
    let (sha256, path) = split_hash(rest)?;
    if path.is_empty() {
        return Err("names no file".into());
    }
    if let Some((scheme, _)) = path.split_once("://")
        && !scheme.is_empty()
        && scheme
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
    {
        return Err(of_url(scheme));
    }
    Ok(Some(Listed {
        line: number,
        path: folder.join(path),
        sha256,
        name,
    }))
}

fn checked_name(name: &str) -> Result<String, String> {
    let name = name.trim();
    if name.is_empty() {
        return Err("has a tab and no name behind it".into());
    }
    if name.chars().count() > MAX_NAME {
        return Err(format!("has a name of more than {MAX_NAME} characters"));
    }
    Ok(name.to_owned())
}

/// The hash that stands before a path: 64 hex digits, a space, and another one or a star, as `sha256sum` writes it.
fn split_hash(text: &str) -> Result<(Option<[u8; 32]>, &str), String> {
    if text.starts_with('\\') && text.len() > 65 && text.as_bytes()[1..65].iter().all(u8::is_ascii_hexdigit) {
        return Err(
            "has a name that sha256sum escaped (a backslash or a line break is in it): rename the file"
                .into(),
        );
    }
    let hashed = text
        .get(..64)
        .filter(|hash| hash.bytes().all(|c| c.is_ascii_hexdigit()));
    let Some((hash, rest)) = hashed.zip(text.get(64..)) else {
        return Ok((None, text));
    };
    let path = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *"));
    let Some(path) = path else {
        // A file may have such a name.
        return Ok((None, text));
    };
    let mut sha256 = [0; 32];
    hex::decode_to_slice(hash, &mut sha256).map_err(|error| error.to_string())?;
    Ok((Some(sha256), path))
}

/// Object stores are not read: what to do instead.
fn of_url(scheme: &str) -> String {
    let copy = match scheme {
        "s3" => "aws s3 sync s3://BUCKET/PREFIX FOLDER",
        "gs" => "gcloud storage rsync -r gs://BUCKET/PREFIX FOLDER",
        "az" | "abfs" | "abfss" => "azcopy copy URL FOLDER --recursive",
        "http" | "https" => "curl --fail --remote-name URL",
        _ => "with the store's own tool",
    };
    format!(
        "is a URL, and outboxes are read from files alone: copy them here first ({copy}; each with the -wal beside it), then list \
         the copies"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> OutboxManifest {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.txt");
        std::fs::write(&path, text).unwrap();
        let mut manifest = OutboxManifest::read(&path).unwrap();
        for listed in &mut manifest.listed {
            if let Ok(short) = listed.path.strip_prefix(dir.path()) {
                listed.path = short.to_owned();
            }
        }
        manifest
    }

    fn of(line: u64, path: &str) -> Listed {
        Listed {
            line,
            path: path.into(),
            sha256: None,
            name: None,
        }
    }

    #[test]
    fn lines_are_paths_with_a_hash_before_and_a_name_behind() {
        let hash = "Ab".repeat(32);
        let text = format!(
            "\u{feff}# the fleet\r\n\r\na.db\r\n  # a comment\n/abs/b c.db  \n{hash}  d.db\n{hash} *e.db\ttill 7\nf.db\tmobile\n\
             {hash}\n{hash} one-space.db"
        );
        let manifest = read(text.as_bytes());
        let hashed = |line, path| Listed {
            sha256: Some([0xab; 32]),
            ..of(line, path)
        };
        let expected = [
            of(3, "a.db"),
            of(5, "/abs/b c.db"),
            hashed(6, "d.db"),
            Listed {
                name: Some("till 7".into()),
                ..hashed(7, "e.db")
            },
            Listed {
                name: Some("mobile".into()),
                ..of(8, "f.db")
            },
            of(9, &hash),
            of(10, &format!("{hash} one-space.db")),
        ];
        assert_eq!(manifest.listed, expected);
        assert!(manifest.bad.is_empty() && manifest.more_bad == 0 && manifest.cut.is_none());
    }

    #[test]
    fn lines_that_cannot_be_used_are_told_by_their_numbers() {
        let hash = "0".repeat(64);
        let long = "x".repeat(MAX_LINE + 1);
        let lines: [&[u8]; 10] = [
            b"a\0.db",
            b"\xff\xfe.db",
            long.as_bytes(),
            b"a.db\tone\ttwo",
            b"a.db\t ",
            b"\tname",
            format!("{hash}  ").leak().as_bytes(),
            format!("\\{hash}  a\\nb.db").leak().as_bytes(),
            b"s3://fleet/a.db",
            b"good.db",
        ];
        let manifest = read(&lines.join(&b'\n'));
        let numbers: Vec<u64> = manifest.bad.iter().map(|(line, _)| *line).collect();
        // A hash without a file is a file of that name.
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 8, 9]);
        assert_eq!(manifest.listed, [of(7, &hash), of(10, "good.db")]);
        assert!(manifest.bad[7].1.contains("aws s3 sync"), "{:?}", manifest.bad);
        assert!(manifest.bad[2].1.contains("8192 bytes"), "{:?}", manifest.bad);
    }

    #[test]
    fn what_is_hostile_takes_bounded_memory() {
        // Lines that cannot be used.
        let manifest = read(&b"a\0\n".repeat(100_000));
        assert_eq!((manifest.bad.len(), manifest.more_bad), (MAX_BAD, 99_000));
        // Lines without end.
        let manifest = read(&b"x".repeat(8 << 20));
        assert_eq!((manifest.listed.len(), manifest.bad.len()), (0, 1));
        // Many lines.
        let manifest = read(&b"a.db\n".repeat(MAX_LISTED + 5));
        assert_eq!(manifest.listed.len(), MAX_LISTED);
        assert!(manifest.cut.unwrap().contains("line 200001"));
        // No end at all.
        #[cfg(target_os = "linux")]
        {
            let manifest = OutboxManifest::read(Path::new("/dev/zero")).unwrap();
            assert!(manifest.listed.is_empty() && manifest.cut.unwrap().contains("64 MiB"));
        }
    }
}
