//! Bundles: a part of a log with its keys, commitments and anchors in one compressed file, to be verified offline.
//! The form is described in `docs/bundle.md`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::ops::RangeInclusive;
use std::path::Path;

use cli_common::Progress;
use event_log::{ExportCounts, LogError, Scope, write_export};
use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use ves::{Hash32, StreamKey};

use crate::anchor::{Anchor, tenant_store_key};
use crate::anchors_file::{AnchorsFile, MAX_FILE_BYTES};
use crate::files::{Existing, write_whole};
use crate::partial::{MAX_PARTIAL, PartialBatch, prove_part};
use crate::verify::VerifyError;
use crate::verify::bounds::GivenInputs;
use crate::verify::source::{DbSource, ExportSource};

/// The form that this version writes, and the only one that it reads.
pub const SCHEMA: &str = "vesbundle/1";

/// So many bytes a bundle may unpack to. They are never held at once: this bounds time, not memory.
pub const MAX_UNPACKED: u64 = 64 << 30;

/// The longest first line.
const MAX_HEADER: u64 = 1 << 20;

/// The first bytes of a bundle: those of any gzip file.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "type")]
    kind: String,
    schema: String,
    /// How many bytes of anchors file follow this line.
    anchors_bytes: u64,
    /// The batches that are there in part, with the hashes that stand for the rest of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partial: Vec<PartialBatch>,
}

/// What goes into a bundle.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// The part of the log.
    pub scope: &'a Scope,
    /// The anchors, from which those of the part are taken.
    pub anchors: &'a AnchorsFile,
    /// What makes parts of batches verify: [`cut_batches`] finds it.
    pub partial: &'a [PartialBatch],
    /// Payloads are left out.
    pub redact: bool,
}

impl Contents<'_> {
    /// The anchors of the part, with all headers and receipts.
    fn chosen(&self) -> AnchorsFile {
        let keys: Vec<Hash32> = self.scope.streams.iter().map(tenant_store_key).collect();
        let within = |anchor: &Anchor, range: &RangeInclusive<u64>| {
            anchor.sequence_start <= *range.end() && anchor.sequence_end >= *range.start()
        };
        self.anchors.select(|anchor| {
            (keys.is_empty() || keys.contains(&anchor.tenant_store_key))
                && self
                    .scope
                    .range
                    .as_ref()
                    .is_none_or(|range| within(anchor, range))
        })
    }
}

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleContents {
    /// Of the log.
    #[serde(flatten)]
    pub log: ExportCounts,
    /// Anchors of the part.
    pub anchors: u64,
}

/// Writes a bundle of the log that `source` reads. The same input gives the same bytes.
///
/// # Errors
/// If the log cannot be read, a stream is not in it, the range cuts nothing out, there are no events, or the file cannot be
/// written or may not be replaced.
pub fn write_bundle(
    source: &mut DbSource,
    contents: &Contents<'_>,
    path: &Path,
    existing: Existing,
    progress: &dyn Progress,
) -> Result<BundleContents, VerifyError> {
    let chosen = contents.chosen();
    let mut anchors_json = Vec::new();
    let name = path.display().to_string();
    chosen
        .write_json(&mut anchors_json)
        .map_err(VerifyError::io(&name))?;
    let header = Header {
        kind: "bundle".into(),
        schema: SCHEMA.into(),
        anchors_bytes: anchors_json.len() as u64,
        partial: contents.partial.to_vec(),
    };
    let (runtime, view) = source.parts();
    let (mut failed, mut empty): (Option<LogError>, bool) = (None, false);
    let written = write_whole(path, existing, |out| {
        // No name and no time, and always the same system: nothing that is not in the content.
        let packed = GzBuilder::new()
            .mtime(0)
            .operating_system(255)
            .write(out, Compression::new(6));
        // The packer clears a buffer of its own at every call, however little it is given.
        let mut packed = BufWriter::with_capacity(1 << 18, packed);
        serde_json::to_writer(&mut packed, &header)?;
        packed.write_all(b"\n")?;
        packed.write_all(&anchors_json)?;
        match runtime.block_on(write_export(
            view,
            contents.scope,
            contents.redact,
            &mut packed,
            progress,
        )) {
            Ok(counts) if counts.events == 0 && counts.unreadable == 0 => {
                empty = true;
                Err(io::Error::other("there are no events"))
            }
            Ok(counts) => {
                packed.into_inner()?.finish()?;
                Ok(counts)
            }
            Err(LogError::Io { source, .. }) => Err(source),
            Err(error) => {
                failed = Some(error);
                Err(io::Error::other("the log cannot be read"))
            }
        }
    });
    if empty {
        let what = "the log has no events to put into a bundle, so none was written";
        return Err(VerifyError::Refused(what.into()));
    }
    match (written, failed) {
        (Ok(log), _) => Ok(BundleContents {
            log,
            anchors: chosen.anchors.len() as u64,
        }),
        (Err(_), Some(error)) => Err(error.into()),
        (Err(source), None) => Err(VerifyError::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The one line that names the fields of a bundle that nothing in it binds.
pub fn unbound() -> String {
    let given = GivenInputs {
        log: true,
        export: true,
        own_keys: true,
        anchors: true,
    };
    given.unbound().unwrap_or_default()
}

/// The batches that a range of a stream cuts in two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CutBatches {
    /// Those of which the log has all events: the part verifies, with the hashes that stand for the rest.
    pub partial: Vec<PartialBatch>,
    /// The others, as ranges: nobody can verify their part.
    pub unverifiable: Vec<(u64, u64)>,
}

/// Which batches a range of a stream cuts in two, with what makes their parts verify.
///
/// # Errors
/// If the log cannot be read.
pub fn cut_batches(
    source: &mut DbSource,
    stream: &StreamKey,
    range: &RangeInclusive<u64>,
    anchors: &AnchorsFile,
) -> Result<CutBatches, VerifyError> {
    let (runtime, view) = source.parts();
    let commitments = runtime.block_on(view.commitments(stream))?.rows;
    let key = tenant_store_key(stream);
    let anchored = anchors
        .anchors
        .iter()
        .filter(|anchor| anchor.tenant_store_key == key)
        .map(|anchor| (anchor.sequence_start, anchor.sequence_end));
    let mut cut: Vec<(u64, u64)> = commitments
        .iter()
        .map(|c| (c.sequence_start, c.sequence_end))
        .chain(anchored)
        .filter(|(start, end)| start <= range.end() && end >= range.start())
        .filter(|(start, end)| !(range.contains(start) && range.contains(end)))
        .collect();
    cut.sort_unstable();
    cut.dedup();
    let mut found = CutBatches::default();
    for batch in cut {
        let proven = match found.partial.len() {
            MAX_PARTIAL => None,
            _ => runtime.block_on(prove_part(view, stream, batch, range))?,
        };
        match proven {
            Some(partial) => found.partial.push(partial),
            None => found.unverifiable.push(batch),
        }
    }
    Ok(found)
}

/// Whether a file begins as a bundle does.
///
/// # Errors
/// If it cannot be read.
pub fn looks_like_bundle(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(2).read_to_end(&mut start)?;
    Ok(start == MAGIC)
}

/// An unpacked stream with a limit, which makes sure that nothing lies behind its end.
pub struct Unpacked<R> {
    packed: GzDecoder<R>,
    left: u64,
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.packed.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!(
                "unpacks to more than {} GiB; bundle smaller ranges",
                MAX_UNPACKED >> 30
            ))
        })?;
        if read == 0 && !buffer.is_empty() && !self.packed.get_mut().fill_buf()?.is_empty() {
            return Err(io::Error::other(
                "there is more behind the end of the packed data",
            ));
        }
        Ok(read)
    }
}

/// A bundle that was opened: its anchors, and its log still to be read.
pub struct Bundle<R> {
    /// The anchors in it.
    pub anchors: AnchorsFile,
    /// The log in it.
    pub log: ExportSource<BufReader<Unpacked<R>>>,
}

impl Bundle<BufReader<File>> {
    /// Opens a bundle and reads all that is before the events.
    ///
    /// # Errors
    /// If it cannot be read or is not a bundle.
    pub fn open(path: &Path) -> Result<Self, VerifyError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(VerifyError::io(&name))?;
        Self::read(&name, BufReader::with_capacity(1 << 18, file), MAX_UNPACKED)
    }
}

impl<R: BufRead> Bundle<R> {
    /// Reads a bundle from anywhere; `name` is for messages, `limit` for what it may unpack to.
    ///
    /// # Errors
    /// If it is not a bundle.
    pub fn read(name: &str, packed: R, limit: u64) -> Result<Self, VerifyError> {
        let bad = |what: String| VerifyError::Bundle {
            name: name.to_owned(),
            what,
        };
        let unpacked = Unpacked {
            packed: GzDecoder::new(packed),
            left: limit,
        };
        let mut input = BufReader::with_capacity(1 << 18, unpacked);
        let mut line = Vec::new();
        input
            .by_ref()
            .take(MAX_HEADER)
            .read_until(b'\n', &mut line)
            .map_err(|e| bad(format!("is not a bundle: {e}")))?;
        #[derive(Deserialize)]
        struct SchemaOnly {
            schema: String,
        }
        let schema: SchemaOnly =
            serde_json::from_slice(&line).map_err(|e| bad(format!("is not a bundle: {e}")))?;
        if schema.schema != SCHEMA {
            let found: String = schema.schema.chars().take(60).collect();
            return Err(bad(format!(
                "has the schema {found:?}; this version reads {SCHEMA:?}"
            )));
        }
        let header: Header = serde_json::from_slice(&line).map_err(|e| bad(format!("line 1: {e}")))?;
        if header.kind != "bundle"
            || header.anchors_bytes > MAX_FILE_BYTES
            || header.partial.len() > MAX_PARTIAL
        {
            return Err(bad("line 1 is not that of a bundle that can be read".into()));
        }
        let mut anchors = Vec::new();
        input
            .by_ref()
            .take(header.anchors_bytes)
            .read_to_end(&mut anchors)
            .map_err(|e| bad(format!("its anchors cannot be read: {e}")))?;
        if anchors.len() as u64 != header.anchors_bytes {
            return Err(bad("is cut off among its anchors".into()));
        }
        let anchors = AnchorsFile::from_json(&anchors).map_err(|e| bad(format!("its anchors: it {e}")))?;
        let log = ExportSource::new(&format!("{name}, the log in it:"), input)?.with_partial(header.partial);
        Ok(Self { anchors, log })
    }
}
