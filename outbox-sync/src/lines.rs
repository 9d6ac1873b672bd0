//! Reading NDJSON line by line, each within a bound.

use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;

/// A line that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct LineError {
    /// Counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

/// Receives lines with their numbers, counted from 1.
pub(crate) type EachLine<'a> = &'a mut dyn FnMut(u64, Result<&[u8], LineError>) -> ControlFlow<()>;

/// Hands over every line that is not empty, with its number; one that is longer than `limit` as an error.
pub(crate) fn for_each_line(mut input: impl BufRead, limit: usize, each: EachLine<'_>) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if (&mut input).take(limit as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let flow = if line.len() > limit {
            skip_line(&mut input, line.ends_with(b"\n"))?;
            let what = format!("longer than {limit} bytes");
            each(number, Err(LineError { line: number, what }))
        } else if line.trim_ascii().is_empty() {
            continue;
        } else {
            each(number, Ok(&line))
        };
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

fn skip_line(input: &mut impl BufRead, at_end: bool) -> io::Result<()> {
    let mut done = at_end;
    while !done {
        let buffer = input.fill_buf()?;
        let end = buffer.iter().position(|b| *b == b'\n');
        done = end.is_some() || buffer.is_empty();
        let used = end.map_or(buffer.len(), |at| at + 1);
        input.consume(used);
    }
    Ok(())
}
