//! `sequencer-recovery certify`: what a plan could not bring back, as a document.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use cli_common::keys::read_signing_key;
use cli_common::{Access, CliError, ExitStatus, Frame, GlobalArgs, Next, Output, partial_file};
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::plan::plan_file::PlanFile;
use sequencer_recovery::report::loss::{LossCertificate, SignedLossCertificate, certificate, markdown, sign};

use super::made_from;

/// Draw up a loss certificate from a plan
///
/// It names the positions that stay open, what is known of each, and where was searched.
///
/// Ends with 0 if nothing is open, 4 otherwise.
#[derive(Debug, Args)]
pub struct CertifyArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    plan: PathBuf,

    /// Where the certificate goes (JSON); it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Where its form for people goes (Markdown); it must not exist
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Sign it with this key: a file with an Ed25519 seed in hex
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &CertifyArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let plan = PlanFile::open(&args.plan).map_err(RecoveryError::from)?;
    let key = args.key.as_deref().map(read_signing_key).transpose()?;
    let provenance = made_from("plan", &args.plan);
    let mut certificate = certificate(&plan).map_err(RecoveryError::from)?;
    certificate.provenance = Some(provenance.clone());
    let signed = sign(certificate, key.as_ref())
        .map_err(|e| CliError::io("the certificate has no canonical form").with_source(e))?;
    let json = serde_json::to_string_pretty(&signed)
        .map_err(|e| CliError::io("the certificate cannot be written").with_source(e))?;
    // Both are written before either is there.
    let certificate = written(&args.out, &(json + "\n"))?;
    let for_people = args
        .markdown
        .as_deref()
        .map(|path| written(path, &markdown(&signed)));
    let for_people = for_people.transpose()?;
    certificate.keep()?;
    if let Some(for_people) = for_people {
        for_people.keep()?;
    }
    global.recorder.file("loss-certificate", &args.out);
    global.recorder.files("loss-certificate", &args.markdown);
    let SignedLossCertificate { certificate: c, .. } = &signed;
    let frame = Frame {
        schema: &c.schema,
        provenance: &provenance,
        next: &Next::nothing("hand the certificate to those who rely on the log"),
    };
    frame.print(
        global,
        &signed,
        |out| print_table(out, c, &args.out),
        |lines| lines.one("certificate", &signed),
    )?;
    Ok(if c.lost + c.undecided == 0 && c.not_planned.is_empty() {
        ExitStatus::OK
    } else {
        ExitStatus::PROBLEMS
    })
}

pub(super) fn print_table<W: Write>(
    out: &mut Output<W>,
    c: &LossCertificate,
    path: &Path,
) -> Result<(), CliError> {
    out.label_streams(c.not_planned.iter().map(|left| left.stream));
    out.line(&format!(
        "{} position(s) lost, {} undecided, in {} stream(s){}. The certificate is in {}.",
        c.lost,
        c.undecided,
        c.streams.len(),
        match c.filled {
            0 => String::new(),
            filled => format!("; {filled} of them are filled with tombstones"),
        },
        path.display()
    ))?;
    let shown = out.shown(c.not_planned.len());
    for left in &c.not_planned[..shown] {
        out.line(&format!("{}: nothing is certified: {}", left.stream, left.why))?;
    }
    out.more(0, c.not_planned.len() - shown, "stream(s)")
}

/// A file that is written and not yet there.
struct Written<'a> {
    path: &'a Path,
    file: tempfile::NamedTempFile,
}

fn written<'a>(path: &'a Path, text: &str) -> Result<Written<'a>, CliError> {
    let failed = |e: std::io::Error| CliError::cannot_write(path, e);
    if path.symlink_metadata().is_ok() {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    let mut file = partial_file(path, Access::Owner).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    Ok(Written { path, file })
}

impl Written<'_> {
    fn keep(self) -> Result<(), CliError> {
        let kept = self.file.persist_noclobber(self.path);
        kept.map(drop)
            .map_err(|e| CliError::cannot_write(self.path, e.error))
    }
}
