//! Metrics as Prometheus reads them: its text format, as a page or as a file for node_exporter's textfile collector.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>: `# HELP`, `# TYPE`, then a line for each value; label values
//! escape backslash, quote and line feed.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::{Access, CliError, Existing, ExitStatus, GlobalArgs, WholeFile};

/// What the values of a metric are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only grows, while the process lives. Its name ends with `_total`.
    Counter,
}

/// Metrics in the order in which they were added.
#[derive(Debug, Default)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// A metric with one value.
    pub fn one(&mut self, name: &str, kind: MetricKind, help: &str, value: f64) {
        self.family(name, kind, help, [(&[][..], value)]);
    }

    /// A metric with a value for each set of labels. Without a value it is not told at all.
    pub fn family<'a>(
        &mut self,
        name: &str,
        kind: MetricKind,
        help: &str,
        values: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], f64)>,
    ) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        let kind = match kind {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
        };
        // Writing to a String cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in values {
            self.text.push_str(name);
            for (number, (label, value)) in labels.iter().enumerate() {
                self.text.push(if number == 0 { '{' } else { ',' });
                let _ = write!(self.text, "{label}=\"");
                escape(value, &mut self.text);
                self.text.push('"');
            }
            if !labels.is_empty() {
                self.text.push('}');
            }
            let _ = writeln!(self.text, " {value}");
        }
    }

    /// The page.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    /// Puts the page where a collector reads it: whole, or as it was.
    ///
    /// # Errors
    /// The folder cannot be written, or something is there that is no regular file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = WholeFile::create(path, Access::Others, Existing::Replace)?;
        file.write_all(self.text.as_bytes())?;
        file.finish()
    }
}

/// Now, in seconds since 1970, by the clock of the host.
#[must_use]
pub fn now() -> f64 {
    jiff::Timestamp::now().as_microsecond() as f64 / 1e6
}

fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// `--metrics`.
#[derive(Debug, Args)]
pub struct MetricsArg {
    /// Write what came of it for Prometheus, too: a file in the folder of node_exporter's textfile collector (*.prom)
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
}

impl MetricsArg {
    /// Whether the file can be written: before the work begins.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(&self) -> Result<(), CliError> {
        let Some(path) = &self.metrics else { return Ok(()) };
        WholeFile::check(path, Existing::Replace).map_err(|e| failed(path, e))
    }

    /// Writes the file, if one was asked for. That it cannot be written is said and is in the status; the report comes out all
    /// the same.
    pub fn told(&self, global: &GlobalArgs, metrics: impl FnOnce() -> Metrics) -> ExitStatus {
        let Some(path) = &self.metrics else {
            return ExitStatus::OK;
        };
        match metrics().write(path) {
            Ok(()) => ExitStatus::OK,
            Err(error) => {
                let error = failed(path, error);
                error.report(global);
                error.exit_status()
            }
        }
    }
}

fn failed(path: &Path, error: io::Error) -> CliError {
    CliError::io(format!("--metrics {}: {error}", path.display()))
        .with_hint("is its folder there, and may you write to it?")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_prometheus_reads_it() {
        let mut metrics = Metrics::default();
        metrics.one("a_total", MetricKind::Counter, "How many.", 3.0);
        metrics.family("none", MetricKind::Gauge, "Nothing.", []);
        let labels = [("tenant", "a\"b\\c\nd"), ("store", "s")];
        metrics.family("b", MetricKind::Gauge, "Of each.", [(&labels[..], 0.5)]);
        assert_eq!(
            metrics.into_text(),
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n# HELP b Of each.\n# TYPE b gauge\n\
             b{tenant=\"a\\\"b\\\\c\\nd\",store=\"s\"} 0.5\n"
        );
    }

    #[test]
    fn a_file_is_replaced_and_a_link_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.prom");
        let arg = MetricsArg {
            metrics: Some(path.clone()),
        };
        for value in [1.0, 2.0] {
            arg.check().unwrap();
            let mut metrics = Metrics::default();
            metrics.one("x", MetricKind::Gauge, "X.", value);
            assert_eq!(arg.told(&GlobalArgs::default(), || metrics), ExitStatus::OK);
        }
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("x 2\n"));
        #[cfg(unix)]
        {
            let link = dir.path().join("link.prom");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            assert!(MetricsArg { metrics: Some(link) }.check().is_err());
        }
    }
}
