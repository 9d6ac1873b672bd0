//! `--report FILE.html`: the file is opened before the work begins, and gets its name when it is whole.

use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use cli_common::{Access, CliError, Existing, GlobalArgs, WholeFile};

use crate::{Page, render};

/// A page takes no more than this: so much room is taken on the disk before the work begins. The largest, of thousands
/// of streams, have some megabytes.
const ROOM: usize = 1 << 20;

/// `--report FILE.html`.
#[derive(Debug, Default, Args)]
pub struct ReportArg {
    /// Write the report as a page for people too: one HTML file that needs no script and no network. It must not exist
    #[arg(long, value_name = "FILE.html", value_parser = html_path)]
    report: Option<PathBuf>,

    /// Replace the file of --report if it exists
    #[arg(long, requires = "report")]
    force: bool,
}

impl ReportArg {
    /// Begins the file, if one was asked for: whether it can be written is known before the work.
    ///
    /// # Errors
    /// As [`ReportFile::create`].
    pub fn begin(&self) -> Result<Option<ReportFile>, CliError> {
        self.report
            .as_deref()
            .map(|path| ReportFile::create(path, Existing::replaced_if(self.force)))
            .transpose()
    }

    /// Where the page goes, if one was asked for.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.report.as_deref()
    }
}

/// A path that ends in `.html`: what opens with a click.
fn html_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if is_html(&path) {
        Ok(path)
    } else {
        Err("give a name that ends in .html".to_owned())
    }
}

/// Whether a file's name says that it is a page.
pub(crate) fn is_html(path: &Path) -> bool {
    let named = path.file_stem().is_some();
    let ending = path.extension().and_then(|ending| ending.to_str());
    named
        && ending
            .is_some_and(|ending| ending.eq_ignore_ascii_case("html") || ending.eq_ignore_ascii_case("htm"))
}

/// A page that is to be written. Until then its file lies beside its name, and dropping it removes that.
#[derive(Debug)]
pub struct ReportFile {
    file: WholeFile,
    path: PathBuf,
}

impl ReportFile {
    /// Whether a file's name says that it is a page: it ends in `.html`.
    #[must_use]
    pub fn is_page(path: &Path) -> bool {
        is_html(path)
    }

    /// Begins a page, and takes room for it on the disk.
    ///
    /// # Errors
    /// The name is taken, its folder is not there or cannot be written to, or the disk is full.
    pub fn create(path: &Path, existing: Existing) -> Result<Self, CliError> {
        let failed = |error: io::Error| {
            let taken = error.kind() == io::ErrorKind::AlreadyExists;
            let hint = if taken {
                "nothing was done; give another name, or --force to replace it"
            } else {
                "nothing was done; is its folder there, may you write to it, and has its disk room?"
            };
            CliError::cannot_write(path, error).with_hint(hint)
        };
        let mut file = WholeFile::create(path, Access::Others, existing).map_err(failed)?;
        // Bytes in earnest: not every file system can promise room.
        file.write_all(&vec![b'\n'; ROOM]).map_err(failed)?;
        file.as_file().rewind().map_err(failed)?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Writes the page; an incident keeps a copy.
    ///
    /// # Errors
    /// The disk fails, or the name was taken meanwhile; then what has it stays.
    pub fn write(mut self, page: &Page, global: &GlobalArgs) -> Result<(), CliError> {
        let html = render(page);
        let mut write = || -> io::Result<()> {
            self.file.write_all(html.as_bytes())?;
            self.file.as_file().set_len(html.len() as u64)
        };
        let written = write().and_then(|()| self.file.finish());
        written.map_err(|error| {
            CliError::cannot_write(&self.path, error)
                .with_hint("the report on stdout is whole; only this page of it is not there")
        })?;
        global.recorder.file("page", &self.path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cli_common::Tone;

    use super::*;

    #[test]
    fn a_page_is_there_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.html");
        drop(ReportFile::create(&path, Existing::Keep).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let page = Page::new("Audit", "log.db", Tone::Good, "No problem was found.");
        ReportFile::create(&path, Existing::Keep)
            .unwrap()
            .write(&page, &GlobalArgs::default())
            .unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(written, render(&page));
        // Nothing is replaced that nobody asked to.
        assert!(ReportFile::create(&path, Existing::Keep).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), written);
        ReportFile::create(&path, Existing::Replace)
            .unwrap()
            .write(&page, &GlobalArgs::default())
            .unwrap();
        // Taken meanwhile.
        let late = dir.path().join("late.html");
        let file = ReportFile::create(&late, Existing::Keep).unwrap();
        fs::write(&late, "another's").unwrap();
        assert!(file.write(&page, &GlobalArgs::default()).is_err());
        assert_eq!(fs::read(&late).unwrap(), b"another's");
    }

    #[test]
    fn what_cannot_be_written_is_told_before_the_work() {
        let missing = ReportFile::create(Path::new("/nowhere/at/all/x.html"), Existing::Keep);
        assert!(
            missing
                .unwrap_err()
                .to_string()
                .contains("/nowhere/at/all/x.html")
        );
        for (name, is) in [
            ("a.html", true),
            ("b.HTML", true),
            ("c.htm", true),
            ("d.json", false),
            (".html", false),
        ] {
            assert_eq!(html_path(name).is_ok(), is, "{name}");
        }
    }
}
