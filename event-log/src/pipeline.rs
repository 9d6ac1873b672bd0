//! Work that comes in pieces, done on several threads, with the results in the order of the pieces.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// So many pieces for each thread are under way before [`Pipeline::push`] holds the reader up: enough that nobody waits
/// for the next one, few enough that memory stays small.
const AHEAD: usize = 3;

/// Does work on as many threads as rayon's current pool has, the calling one among them.
///
/// Whoever reads the pieces calls [`Pipeline::push`] for each: other threads work on them meanwhile. When they are far
/// behind, the calling thread works too instead of waiting, so that reading and working share all threads whichever
/// takes longer. At most three pieces (and as many results) for each thread are in memory, and two more.
pub struct Pipeline<I, O> {
    shared: Arc<Shared<I, O>>,
    /// Where each result will come out, oldest first.
    results: VecDeque<Receiver<O>>,
    workers: Vec<JoinHandle<()>>,
    limit: usize,
}

struct Shared<I, O> {
    work: Box<dyn Fn(I) -> O + Send + Sync>,
    queue: Mutex<Queue<I, O>>,
    /// There is a piece, or there will be none.
    changed: Condvar,
}

struct Queue<I, O> {
    pieces: VecDeque<(I, SyncSender<O>)>,
    closed: bool,
}

impl<I, O> Shared<I, O> {
    fn queue(&self) -> MutexGuard<'_, Queue<I, O>> {
        // Nothing that could panic happens under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn do_piece(&self, (piece, result): (I, SyncSender<O>)) {
        // Nobody wants the result of a pipeline that was given up.
        let _ = result.send((self.work)(piece));
    }

    fn serve(&self) {
        loop {
            let mut queue = self.queue();
            let piece = loop {
                match queue.pieces.pop_front() {
                    Some(piece) => break piece,
                    None if queue.closed => return,
                    None => queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(queue);
            self.do_piece(piece);
        }
    }
}

impl<I: Send + 'static, O: Send + 'static> Pipeline<I, O> {
    /// Starts the threads. If the system refuses one, those that there are do the work.
    pub fn new(work: impl Fn(I) -> O + Send + Sync + 'static) -> Self {
        let threads = rayon::current_num_threads().max(1);
        let shared = Arc::new(Shared {
            work: Box::new(work),
            queue: Mutex::new(Queue {
                pieces: VecDeque::new(),
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let worker = |_| {
            let shared = Arc::clone(&shared);
            let named = Builder::new().name("pipeline".into());
            named.spawn(move || shared.serve()).ok()
        };
        let workers: Vec<_> = (1..threads).map_while(worker).collect();
        Self {
            limit: AHEAD * (workers.len() + 1) + 2,
            shared,
            results: VecDeque::new(),
            workers,
        }
    }

    /// Takes the next piece, and gives the results that are there by now to `each`, in order.
    ///
    /// # Panics
    /// If the work on a piece has panicked.
    pub fn push(&mut self, piece: I, each: &mut dyn FnMut(O)) {
        if self.workers.is_empty() {
            return each((self.shared.work)(piece));
        }
        let (send, receive) = sync_channel(1);
        self.results.push_back(receive);
        self.shared.queue().pieces.push_back((piece, send));
        self.shared.changed.notify_one();
        self.collect(each);
        while self.results.len() >= self.limit {
            self.help(each);
        }
    }

    /// Waits for the rest, and gives the results to `each`, in order.
    ///
    /// # Panics
    /// If the work on a piece has panicked.
    pub fn finish(mut self, each: &mut dyn FnMut(O)) {
        while !self.results.is_empty() {
            self.help(each);
        }
    }

    /// Gives on what is there without waiting.
    fn collect(&mut self, each: &mut dyn FnMut(O)) {
        while let Some(oldest) = self.results.front()
            && let Ok(result) = oldest.try_recv()
        {
            self.results.pop_front();
            each(result);
        }
    }

    /// Works on a piece that nobody has begun, or waits for the oldest result.
    fn help(&mut self, each: &mut dyn FnMut(O)) {
        // A statement of its own: the queue is not to be held meanwhile.
        let piece = self.shared.queue().pieces.pop_front();
        if let Some(piece) = piece {
            self.shared.do_piece(piece);
        } else if let Some(oldest) = self.results.pop_front() {
            match oldest.recv() {
                Ok(result) => each(result),
                Err(_) => self.panic(),
            }
        }
        self.collect(each);
    }

    /// A result that will never come: its thread has panicked.
    fn panic(&mut self) -> ! {
        self.close();
        for worker in self.workers.drain(..) {
            if let Err(panic) = worker.join() {
                resume_unwind(panic);
            }
        }
        unreachable!("a result is dropped by a panic alone");
    }
}

impl<I, O> Pipeline<I, O> {
    fn close(&self) {
        let mut queue = self.shared.queue();
        queue.pieces.clear();
        queue.closed = true;
        drop(queue);
        self.shared.changed.notify_all();
    }
}

impl<I, O> Drop for Pipeline<I, O> {
    /// Gives up what was not begun.
    fn drop(&mut self) {
        self.close();
        for worker in self.workers.drain(..) {
            // Its panic was told, or is of no interest any more.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn on<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(run)
    }

    #[test]
    fn results_come_in_order_whatever_takes_how_long() {
        for threads in [1, 2, 3, 8] {
            for pieces in [0, 1, 2, 7, 200] {
                let found = on(threads, || {
                    let mut pipeline = Pipeline::new(|n: u64| {
                        std::thread::sleep(Duration::from_micros(n * 7919 % 300));
                        n * n
                    });
                    let mut found = Vec::new();
                    (0..pieces).for_each(|n| pipeline.push(n, &mut |square| found.push(square)));
                    pipeline.finish(&mut |square| found.push(square));
                    found
                });
                let expected: Vec<u64> = (0..pieces).map(|n| n * n).collect();
                assert_eq!(found, expected, "{threads} threads, {pieces} pieces");
            }
        }
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        static HELD: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        on(4, || {
            let mut pipeline = Pipeline::new(|n: usize| {
                std::thread::sleep(Duration::from_micros(50));
                n
            });
            for n in 0..500 {
                MOST.fetch_max(HELD.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                pipeline.push(n, &mut |_| {
                    HELD.fetch_sub(1, Ordering::Relaxed);
                });
            }
            pipeline.finish(&mut |_| {
                HELD.fetch_sub(1, Ordering::Relaxed);
            });
        });
        assert_eq!(HELD.load(Ordering::Relaxed), 0);
        assert!(MOST.load(Ordering::Relaxed) <= 4 * AHEAD + 2);
    }

    #[test]
    fn a_panic_is_passed_on_and_a_pipeline_that_is_given_up_ends() {
        for threads in [1, 2, 4] {
            let panicked = std::panic::catch_unwind(|| {
                on(threads, || {
                    let mut pipeline = Pipeline::new(|n: u64| {
                        assert!(n != 20, "as expected");
                        n
                    });
                    (0..100).for_each(|n| pipeline.push(n, &mut |_| {}));
                    pipeline.finish(&mut |_| {});
                });
            });
            assert!(panicked.is_err(), "{threads}");
            on(threads, || {
                let mut pipeline = Pipeline::new(|n: u64| n);
                (0..5).for_each(|n| pipeline.push(n, &mut |_| {}));
            });
        }
    }
}
