//! Where the report of a drill goes.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use cli_common::{Access, CliError, Existing, GlobalArgs, WholeFile, file_hint};
use html_report::{Page, ReportFile};
use sequencer_recovery::dr_report::DrReport;
use serde::Serialize;
use ves::Timestamp;

/// The files of a report, opened before the drill, so that it is not drilled in vain: documents, and pages for people by
/// their ending.
pub(super) struct Reports {
    documents: Vec<(PathBuf, WholeFile)>,
    pages: Vec<(PathBuf, ReportFile)>,
}

impl Reports {
    /// Opens the files that are named, or one by the day and the id. What has a name is replaced only if that is asked for.
    pub(super) fn begin(
        named: &[PathBuf],
        force: bool,
        id: &str,
        started_at: Timestamp,
    ) -> Result<Self, CliError> {
        let (pages, mut paths): (Vec<PathBuf>, Vec<PathBuf>) =
            named.iter().cloned().partition(|path| ReportFile::is_page(path));
        if named.is_empty() {
            let path = DrReport::default_path(id, started_at, |path| path.symlink_metadata().is_ok());
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|error| cannot(folder, error))?;
            }
            paths.push(path);
        }
        let open = |path: PathBuf| {
            let file = WholeFile::create(&path, Access::Owner, Existing::replaced_if(force));
            match file {
                Ok(file) => Ok((path, file)),
                Err(error) => Err(cannot(&path, error)),
            }
        };
        let page = |path: PathBuf| {
            let file = ReportFile::create(&path, Existing::replaced_if(force))?;
            Ok((path, file))
        };
        Ok(Self {
            documents: paths.into_iter().map(open).collect::<Result<_, CliError>>()?,
            pages: pages.into_iter().map(page).collect::<Result<_, CliError>>()?,
        })
    }

    /// Their names, for people.
    pub(super) fn shown(&self) -> String {
        let documents = self.documents.iter().map(|(path, _)| path);
        let pages = self.pages.iter().map(|(path, _)| path);
        let names: Vec<String> = documents
            .chain(pages)
            .map(|path| path.display().to_string())
            .collect();
        names.join(" and ")
    }

    /// Writes the report to all of them; `page` makes the page, once the documents are written.
    pub(super) fn write(
        self,
        report: &impl Serialize,
        page: impl Fn() -> Page,
        global: &GlobalArgs,
    ) -> Result<(), CliError> {
        for (path, mut file) in self.documents {
            let failed = |e: std::io::Error| CliError::cannot_write(&path, e);
            serde_json::to_writer_pretty(&mut file, report).map_err(|e| failed(e.into()))?;
            file.write_all(b"\n").map_err(failed)?;
            file.finish().map_err(failed)?;
        }
        for (_, file) in self.pages {
            file.write(&page(), global)?;
        }
        Ok(())
    }
}

fn cannot(path: &Path, error: std::io::Error) -> CliError {
    let hint = match error.kind() {
        ErrorKind::AlreadyExists => "give another name, or --force to replace it; nothing was drilled".into(),
        ErrorKind::InvalidInput => "give the name of a file; nothing was drilled".into(),
        _ => format!("{}; nothing was drilled", file_hint(path, &error)),
    };
    CliError::cannot_write(path, error).with_hint(hint)
}
