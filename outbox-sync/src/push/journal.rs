//! What is about to be sent, noted before it is sent: so that a later run knows what was never answered, and asks again.
//!
//! The file lies beside the receipts, `RECEIPTS.sent`, one JSON document a line:
//!
//! ```json
//! {"sent":["68c04cc9-da4b-591d-a1b6-c96c3cdd4510"],"agent_id":"…","tenant_id":"…","store_id":"…"}
//! {"passed":[{"event_id":"…","why":"rejected: …","overtaken":true}],"agent_id":"…","tenant_id":"…","store_id":"…"}
//! ```
//!
//! An event that was *passed* was rejected or set aside, and later events of its agent may have gone on. As soon as one of
//! them did, the event is *overtaken*: sent again, it would be numbered behind what came after it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ves::{AgentId, EventId, StreamKey};

use super::GroupKey;
use crate::lines::for_each_line;

/// The longest line that is read: the ids of 1000 events, or what was said of them, are far below it.
const MAX_LINE_BYTES: usize = 4 << 20;

/// An event that was gone past.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Passed {
    pub event_id: EventId,
    /// Why.
    pub why: String,
    /// Whether a later event of the same agent and stream has a number already.
    pub overtaken: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sent: Vec<EventId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passed: Vec<Passed>,
    agent_id: AgentId,
    #[serde(flatten)]
    stream: StreamKey,
}

/// What earlier runs and this one have sent.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// `None` until something is to be noted: reading creates nothing.
    file: Option<File>,
    /// Sent, with neither a receipt nor a refusal.
    open: HashMap<EventId, GroupKey>,
    passed: HashMap<EventId, (GroupKey, Passed)>,
    /// The last note of something about to be sent: where it begins, and what nobody had sent before.
    last: Option<(u64, Vec<EventId>)>,
    /// Lines that are none of ours.
    pub broken: Vec<String>,
}

impl Journal {
    /// Where it lies.
    pub(super) fn path_beside(receipts: &Path) -> PathBuf {
        let mut name = receipts.as_os_str().to_owned();
        name.push(".sent");
        PathBuf::from(name)
    }

    /// Reads what earlier runs noted, if they did.
    pub(super) fn read(path: PathBuf) -> io::Result<Self> {
        let mut journal = Self {
            path,
            file: None,
            open: HashMap::new(),
            passed: HashMap::new(),
            last: None,
            broken: Vec::new(),
        };
        let file = match File::open(&journal.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(journal),
            Err(error) => return Err(error),
        };
        for_each_line(BufReader::new(file), MAX_LINE_BYTES, &mut |number, text| {
            let read = text
                .map_err(|e| e.to_string())
                .and_then(|text| serde_json::from_slice(text).map_err(|e| format!("line {number}: {e}")));
            match read {
                Ok(line) => journal.take(line),
                // The last one was being written when a run was killed: then its request was never sent.
                Err(what) => journal.broken.push(what),
            }
            ControlFlow::Continue(())
        })?;
        Ok(journal)
    }

    fn take(&mut self, line: Line) {
        let group = (line.agent_id, line.stream);
        if !line.sent.is_empty() {
            for id in &line.sent {
                self.passed.remove(id);
                self.open.insert(*id, group);
            }
            let of_group = self.passed.values_mut().filter(|(of, _)| *of == group);
            of_group.for_each(|(_, passed)| passed.overtaken = true);
        }
        for passed in line.passed {
            self.open.remove(&passed.event_id);
            self.passed.insert(passed.event_id, (group, passed));
        }
    }

    /// Forgets what has a receipt.
    pub(super) fn settle(&mut self, has_receipt: impl Fn(&EventId) -> bool) {
        self.open.retain(|id, _| !has_receipt(id));
        self.passed.retain(|id, _| !has_receipt(id));
    }

    /// This event has a receipt.
    pub(super) fn settled(&mut self, id: &EventId) {
        self.open.remove(id);
        self.passed.remove(id);
    }

    /// Whether it was sent and never answered.
    pub(super) fn is_open(&self, id: &EventId) -> bool {
        self.open.contains_key(id)
    }

    /// The events that were sent and never answered.
    pub(super) fn open_events(&self) -> impl Iterator<Item = (&EventId, &GroupKey)> {
        self.open.iter()
    }

    /// If it was gone past: how.
    pub(super) fn passed(&self, id: &EventId) -> Option<&Passed> {
        self.passed.get(id).map(|(_, passed)| passed)
    }

    /// Notes, on disk, what is about to be sent.
    pub(super) fn note_sent(&mut self, group: GroupKey, ids: &[EventId]) -> io::Result<()> {
        let line = Line {
            sent: ids.to_vec(),
            ..Line::of(group)
        };
        let at = self.write(&line)?;
        let fresh = ids.iter().filter(|id| !self.open.contains_key(id));
        self.last = Some((at, fresh.copied().collect()));
        self.take(line);
        Ok(())
    }

    /// Takes the last note of something about to be sent back.
    pub(super) fn withdraw(&mut self) {
        let (Some((at, ids)), Some(file)) = (self.last.take(), &self.file) else {
            return;
        };
        // If it stays, the next run asks in vain, and no harm is done.
        if file.set_len(at).is_ok() {
            for id in &ids {
                self.open.remove(id);
            }
        }
    }

    /// Notes, on disk, what is gone past.
    pub(super) fn note_passed(&mut self, group: GroupKey, passed: Vec<Passed>) -> io::Result<()> {
        let line = Line {
            passed,
            ..Line::of(group)
        };
        self.write(&line)?;
        self.take(line);
        Ok(())
    }

    /// Writes a line, and says where it begins.
    fn write(&mut self, line: &Line) -> io::Result<u64> {
        self.last = None;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open_to_append(&self.path)?),
        };
        let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
        text.push(b'\n');
        let before = file.metadata()?.len();
        let written = file.write_all(&text).and_then(|()| file.sync_data());
        if written.is_err() {
            // Half a line is of no use; what cannot be taken back is passed over by the next run.
            let _ = file.set_len(before);
        }
        written.map(|()| before)
    }

    /// Removes the file when it has nothing more to say. That it is still there says nothing new.
    pub(super) fn close(&mut self) {
        self.file = None;
        if self.open.is_empty() && self.passed.is_empty() && self.broken.is_empty() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Line {
    fn of(group: GroupKey) -> Self {
        Self {
            sent: Vec::new(),
            passed: Vec::new(),
            agent_id: group.0,
            stream: group.1,
        }
    }
}

/// Opens a file of lines to add to it. A line that a killed run left unfinished must not swallow the next one.
pub(super) fn open_to_append(path: &Path) -> io::Result<File> {
    let mut file = File::options().read(true).append(true).create(true).open(path)?;
    end_line(&mut file)?;
    Ok(file)
}

/// Ends the last line, if it is not.
pub(super) fn end_line(file: &mut File) -> io::Result<()> {
    let meta = file.metadata()?;
    if meta.is_file() && meta.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> EventId {
        EventId(uuid::Uuid::from_u128(n))
    }

    fn group(n: u128) -> GroupKey {
        let id = uuid::Uuid::from_u128(n);
        (AgentId(id), StreamKey::new(id.into(), id.into()))
    }

    fn passed(n: u128, overtaken: bool) -> Passed {
        Passed {
            event_id: id(n),
            why: "rejected".into(),
            overtaken,
        }
    }

    #[test]
    fn a_later_run_knows_what_was_not_answered_and_what_was_overtaken() {
        let dir = tempfile::tempdir().unwrap();
        let path = Journal::path_beside(&dir.path().join("r.ndjson"));
        let mut journal = Journal::read(path.clone()).unwrap();
        assert!(!path.exists(), "reading creates nothing");
        journal.note_sent(group(1), &[id(1), id(2), id(3)]).unwrap();
        journal.note_passed(group(1), vec![passed(2, false)]).unwrap();
        journal.note_sent(group(2), &[id(10)]).unwrap();
        let read = Journal::read(path.clone()).unwrap();
        assert!(read.is_open(&id(1)) && read.is_open(&id(10)) && !read.is_open(&id(2)));
        assert!(
            !read.passed(&id(2)).unwrap().overtaken,
            "events of others do not overtake"
        );

        journal.note_sent(group(3), &[id(1), id(20)]).unwrap();
        journal.withdraw();
        let again = Journal::read(path.clone()).unwrap();
        assert!(!journal.is_open(&id(20)) && !again.is_open(&id(20)) && again.is_open(&id(1)));

        // Asked again with what follows, it is not overtaken by it.
        journal.note_sent(group(1), &[id(2), id(4)]).unwrap();
        assert!(Journal::read(path.clone()).unwrap().is_open(&id(2)));
        journal.note_passed(group(1), vec![passed(2, false)]).unwrap();
        // What is sent after it overtakes it.
        journal.note_sent(group(1), &[id(5)]).unwrap();
        let mut read = Journal::read(path.clone()).unwrap();
        assert!(read.passed(&id(2)).unwrap().overtaken);
        read.settle(|event| *event != id(5));
        assert!(read.is_open(&id(5)) && read.passed(&id(2)).is_none());
        read.settled(&id(5));
        read.close();
        assert!(!path.exists());
    }

    #[test]
    fn half_a_line_is_named_and_the_next_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        std::fs::write(&path, "{\"sent\":[\"half").unwrap();
        let mut journal = Journal::read(path.clone()).unwrap();
        assert_eq!(journal.broken.len(), 1);
        journal.note_sent(group(1), &[id(1)]).unwrap();
        let read = Journal::read(path.clone()).unwrap();
        assert!(read.is_open(&id(1)) && read.broken.len() == 1);
        journal.close();
        assert!(path.exists());
    }
}
