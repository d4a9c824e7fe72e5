//! Work that may take long and must not delay answers: reading zones, writing copies of them, freeing what was served.
//!
//! It is done on a thread of its own that gives way to all others, one piece after the other. Threads that a piece of work
//! begins itself give way too.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use rustix::process::{getpriority_process, setpriority_process};

/// By how much its thread is nicer than the others: beside one that always has work, it is left with a tenth of a core.
const NICER: i32 = 10;
/// The nicest that there is.
const NICEST: i32 = 19;

type Work = Box<dyn FnOnce() + Send>;

/// The thread, which ends when the last handle is dropped and all is done.
#[derive(Clone, Debug)]
pub struct Background {
    work: mpsc::Sender<Work>,
}

impl Background {
    /// Starts the thread, which does `begin` first: what else makes it give way.
    ///
    /// # Errors
    /// What the system says where it can't be had.
    pub fn start(begin: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (work, waiting) = mpsc::channel();
        let thread = move || {
            begin();
            run(&waiting);
        };
        std::thread::Builder::new().name("background".to_owned()).spawn(thread)?;
        Ok(Self { work })
    }

    /// Has `work` done when all before it is.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        // The thread ends only after the last handle: there is always somebody to take it.
        _ = self.work.send(Box::new(work));
    }
}

fn run(waiting: &mpsc::Receiver<Work>) {
    let nice = getpriority_process(None).map_or(NICER, |now| (now + NICER).min(NICEST));
    if let Err(error) = setpriority_process(None, nice) {
        tracing::warn!(%error, "reading zones again may delay answers: its thread can't give way");
    }
    for work in waiting {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("a panic in the background; what was to be done there is not");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_in_order_and_gives_way() {
        let background = Background::start(|| ()).unwrap();
        let (told, heard) = mpsc::channel();
        background.run(|| panic!("one that fails"));
        for number in 0..3 {
            let told = told.clone();
            background.run(move || told.send((number, getpriority_process(None).unwrap())).unwrap());
        }
        drop((told, background));
        let nice = (getpriority_process(None).unwrap() + NICER).min(NICEST);
        assert_eq!(heard.iter().collect::<Vec<_>>(), [(0, nice), (1, nice), (2, nice)]);
    }
}
