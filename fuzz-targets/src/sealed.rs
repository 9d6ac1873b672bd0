//! Files that end in their own digest: plans and undo bundles. Whoever changes one can change its digest too, so the target
//! sets the digests right, and the counts of lines half of the time.

use std::path::Path;

use sequencer_recovery::apply::undo_file::UndoFile;
use sequencer_recovery::plan::plan_file::{PlanFile, PlanWriter};
use sequencer_recovery::plan::planned::PlanLine;
use sequencer_recovery::report::loss;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::scratch;
use crate::words::hex;

/// The same lines, with the digest of those before in each line that has one. The number of lines that such a line tells stays
/// as it is: hostile numbers are tried.
pub(crate) fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut digest = Sha256::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let mut line = line.to_vec();
        if line.windows(8).any(|part| part == b"\"sha256\"")
            && let Ok(mut value) = serde_json::from_slice::<Value>(&line)
            && value.get("sha256").is_some()
        {
            value["sha256"] = hex(&digest.clone().finalize()).into();
            line = value.to_string().into_bytes();
            line.push(b'\n');
        }
        digest.update(&line);
        out.extend(line);
    }
    out
}

/// A plan as it is, and with its digest set right. A plan that is taken reads the same when it is written once more, and
/// gives a loss certificate.
pub(crate) fn plan(bytes: &[u8]) {
    for bytes in [bytes, &sealed(bytes)] {
        plan_file(&scratch::file("plan", bytes));
    }
}

fn plan_file(path: &Path) {
    let Ok(plan) = PlanFile::open(path) else { return };
    let lines = lines_of(&plan);
    let mut writer = PlanWriter::new(Vec::new(), plan.header()).expect("a header");
    for line in &lines {
        writer.line(line).expect("a line");
    }
    let (text, _) = writer.finish().expect("an end");
    let again = PlanFile::open(&scratch::file("plan-again", &text)).expect("what was written is a plan");
    assert_eq!(lines_of(&again), lines, "it says the same");
    let certificate = loss::certificate(&plan).expect("a plan that was opened can be read");
    let signed = loss::sign(certificate, None).expect("a certificate has a canonical form");
    let _ = loss::markdown(&signed);
}

fn lines_of(plan: &PlanFile) -> Vec<PlanLine> {
    let mut lines = Vec::new();
    let read = plan.read(|line| {
        lines.push(line);
        Ok(())
    });
    read.expect("a plan that was opened can be read");
    lines
}

/// An undo bundle as it is, and with its digests set right; whole, and as of an apply that was interrupted.
pub(crate) fn undo(bytes: &[u8]) {
    for bytes in [bytes, &sealed(bytes)] {
        let path = scratch::file("undo", bytes);
        for interrupted in [false, true] {
            let Ok(file) = UndoFile::open(&path, interrupted) else {
                continue;
            };
            for section in file.sections() {
                let mut rows = file.changes(section).expect("a section that was opened");
                while rows.next().expect("a section whose digest holds").is_some() {}
            }
        }
    }
}
