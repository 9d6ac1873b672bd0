//! Many files, opened ahead of whoever reads them: on all threads, and handed over in their order.
//!
//! To open an outbox is to copy it and to look through the copy. With thousands of them that is most of the work, and none of it
//! depends on the others. What was opened and is not read yet is bounded by number (open files) and by size (room for the
//! copies): whatever the number of files, so many are open at once, and what is reported does not depend on the threads.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// So many files are open at most, whatever the number of threads: an outbox takes five handles.
const MOST: usize = 16;
/// The files that are open beside the first one have at most so many bytes together.
const BYTES: u64 = 256 << 20;

/// A file to open, and where to hand it.
type Job<T> = (PathBuf, SyncSender<T>);

/// See the module.
pub struct Ahead<T> {
    /// Files that nobody was told to open yet, the next one last.
    left: Vec<PathBuf>,
    /// Those that were, with their sizes.
    opening: VecDeque<(PathBuf, u64, Receiver<T>)>,
    bytes: u64,
    jobs: Option<Sender<Job<T>>>,
    workers: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Ahead<T> {
    /// Opens these files by `open`, on as many threads as rayon has.
    pub fn new(paths: &[PathBuf], open: impl Fn(&Path) -> T + Send + Sync + 'static) -> Self {
        let (send, receive) = channel::<Job<T>>();
        let (receive, open) = (Arc::new(Mutex::new(receive)), Arc::new(open));
        let threads = rayon::current_num_threads().clamp(1, MOST / 2).min(paths.len());
        let worker = || {
            let (receive, open) = (Arc::clone(&receive), Arc::clone(&open));
            thread::spawn(move || work(&receive, &*open))
        };
        Self {
            left: paths.iter().rev().cloned().collect(),
            opening: VecDeque::new(),
            bytes: 0,
            jobs: Some(send),
            workers: (0..threads).map(|_| worker()).collect(),
        }
    }

    /// Tells the workers of more files, as far as there is room.
    fn fill(&mut self) {
        let most = (self.workers.len() * 2).min(MOST);
        while self.opening.len() < most
            && let (Some(path), Some(jobs)) = (self.left.last(), &self.jobs)
        {
            let bytes = size(path);
            if !self.opening.is_empty() && self.bytes.saturating_add(bytes) > BYTES {
                return;
            }
            let (send, receive) = sync_channel(1);
            // A worker ends only with this sender.
            let _ = jobs.send((path.clone(), send));
            self.bytes = self.bytes.saturating_add(bytes);
            self.opening
                .extend(self.left.pop().map(|path| (path, bytes, receive)));
        }
    }
}

impl<T: Send + 'static> Iterator for Ahead<T> {
    type Item = (PathBuf, T);

    fn next(&mut self) -> Option<Self::Item> {
        self.fill();
        let (path, bytes, opened) = self.opening.pop_front()?;
        let opened = opened.recv();
        self.bytes -= bytes;
        match opened {
            Ok(opened) => Some((path, opened)),
            // A worker gives an answer, or it panicked.
            Err(_) => {
                for worker in self.workers.drain(..) {
                    drop(self.jobs.take());
                    if let Err(panic) = worker.join() {
                        std::panic::resume_unwind(panic);
                    }
                }
                None
            }
        }
    }
}

impl<T> Drop for Ahead<T> {
    /// Waits for what is being opened: a private copy that is half made would stay behind.
    fn drop(&mut self) {
        self.left.clear();
        self.opening.clear();
        drop(self.jobs.take());
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn work<T>(jobs: &Mutex<Receiver<Job<T>>>, open: &dyn Fn(&Path) -> T) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((path, send)) = job else { return };
        // Nobody waits for it any more if the work was given up.
        let _ = send.send(open(&path));
    }
}

/// How much room a copy of the file takes.
fn size(path: &Path) -> u64 {
    let length = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
    length(path).saturating_add(length(&crate::private_copy::beside(path, "-wal")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn files_come_in_their_order_and_few_are_open_at_once() {
        static OPEN: AtomicUsize = AtomicUsize::new(0);
        static HIGHEST: AtomicUsize = AtomicUsize::new(0);
        struct Opened(String);
        impl Drop for Opened {
            fn drop(&mut self) {
                OPEN.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let paths: Vec<PathBuf> = (0..500).map(|n| PathBuf::from(n.to_string())).collect();
        let ahead = Ahead::new(&paths, |path| {
            HIGHEST.fetch_max(OPEN.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let number: u64 = path.to_str().unwrap().parse().unwrap();
            thread::sleep(std::time::Duration::from_micros(number * 7919 % 300));
            Opened(number.to_string())
        });
        let read: Vec<PathBuf> = ahead
            .map(|(path, opened)| {
                assert_eq!(path.to_str().unwrap(), opened.0);
                path
            })
            .collect();
        assert_eq!(read, paths);
        assert_eq!(OPEN.load(Ordering::SeqCst), 0);
        assert!(HIGHEST.load(Ordering::SeqCst) <= MOST + 1);
    }

    #[test]
    fn big_files_wait_for_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..4).map(|n| dir.path().join(n.to_string())).collect();
        for path in &paths {
            // Without blocks on the disk.
            std::fs::File::create(path)
                .unwrap()
                .set_len(BYTES / 2 + 1)
                .unwrap();
        }
        let mut ahead = Ahead::new(&paths, |_| ());
        for left in (0..4).rev() {
            ahead.next().unwrap();
            assert_eq!(ahead.left.len(), left);
            assert!(ahead.opening.is_empty() && ahead.bytes == 0);
        }
        assert!(ahead.next().is_none());
    }

    #[test]
    fn work_that_is_given_up_leaves_nothing_open_and_a_panic_is_passed_on() {
        let paths: Vec<PathBuf> = (0..50).map(|n| PathBuf::from(n.to_string())).collect();
        let counted = Arc::new(());
        let held = Arc::clone(&counted);
        let mut ahead = Ahead::new(&paths, move |_| Arc::clone(&held));
        drop(ahead.next());
        drop(ahead);
        assert_eq!(Arc::strong_count(&counted), 1);
        let caught = std::panic::catch_unwind(|| {
            Ahead::new(&paths[..3], |path| {
                assert!(path.to_str() != Some("1"), "it broke");
            })
            .count()
        });
        let message = caught.unwrap_err();
        assert!(format!("{:?}", message.downcast_ref::<&str>()).contains("it broke"));
    }
}
