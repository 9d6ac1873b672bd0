//! What a verification says, for people, of signed checkpoints beside the anchors.

use std::collections::BTreeMap;

use crate::VerifyReport;
use crate::verify::report::VerifiedStream;
use cli_common::{CliError, Output};

/// So many streams are told with how far checkpoints reach.
const CHECKPOINTED: usize = 8;

/// How far checkpoints reach beyond the batches, and on whose word.
pub fn print<W: std::io::Write>(out: &mut Output<W>, report: &VerifyReport) -> Result<(), CliError> {
    let mut by_word: BTreeMap<&str, Vec<&VerifiedStream>> = BTreeMap::new();
    for stream in &report.streams {
        if let Some(held) = &stream.checkpointed {
            by_word.entry(&held.word).or_default().push(stream);
        }
    }
    for (word, streams) in by_word {
        out.line("")?;
        out.line(&format!("CHECKPOINTED, {word}"))?;
        let all = streams.len();
        let shown = if out.all() { all } else { all.min(CHECKPOINTED) };
        for stream in &streams[..shown] {
            let batches = match stream.last_batched {
                Some(last) => format!("batches to {last}"),
                None => "no batch".to_owned(),
            };
            let tail = match stream.checkpointed_tail() {
                Some((from, to)) => format!("{} CHECKPOINTED", numbers(from, to)),
                None => "nothing more CHECKPOINTED".to_owned(),
            };
            let rest = match stream.uncovered_tail() {
                Some((from, to)) => format!("no root for {}", numbers(from, to)),
                None => "all covered".to_owned(),
            };
            out.line(&format!("  {}: {batches}; {tail}; {rest}", stream.stream))?;
        }
        out.more(2, all - shown, "stream(s)")?;
    }
    Ok(())
}

/// One number, or from where to where.
fn numbers(from: u64, to: u64) -> String {
    match from == to {
        true => from.to_string(),
        false => format!("{from} to {to}"),
    }
}
