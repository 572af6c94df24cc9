//! The thread that writes the log: lines gather while a write is under way, and go out together.
//!
//! When the destination is slower than the log for long, lines are dropped rather than kept
//! without end; how many is said as soon as there is room. Decisions are safe all the same: they
//! are on record.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::syslog;

/// Most octets that wait to be written.
const CAPACITY: usize = 8 << 20;

/// How long the first line may wait for others: one write then serves a few milliseconds of
/// decisions. (Without it each line costs a write and a change of threads, which is more than all
/// else that a request takes.)
const GATHER: Duration = Duration::from_millis(5);

/// How long the last lines may take at the end: a pipe that nobody reads takes none, ever.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the lines go.
pub(super) enum Destination {
    StandardError,
    Syslog(syslog::Socket),
    #[cfg(test)]
    Pipe(io::PipeWriter),
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    dropped: u64,
    closed: bool,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Lines are appended whole or not at all, so a poisoned lock is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout_while(state, time, |state| !state.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Takes lines. As a writer it gathers what is written until it is flushed.
pub(super) struct Lines {
    shared: Arc<Shared>,
    line: Vec<u8>,
}

impl Lines {
    /// Starts the thread.
    pub(super) fn start(destination: Destination) -> (Lines, Flush) {
        let shared = Arc::new(Shared::default());
        let for_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                write_all(&for_thread, destination);
                for_thread.lock().ended = true;
                for_thread.changed.notify_all();
            })
            .ok();
        (Lines { shared: shared.clone(), line: Vec::new() }, Flush { shared, thread })
    }

    /// Adds whole lines, or drops them when too much waits already.
    pub(super) fn add(&self, lines: &[u8]) {
        let mut state = self.shared.lock();
        if state.waiting.len() + lines.len() > CAPACITY {
            state.dropped += 1;
            return;
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(lines);
        drop(state);
        if was_empty {
            self.shared.changed.notify_one();
        }
    }
}

impl Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(octets);
        Ok(octets.len())
    }

    /// The line is one of JSON, whose own characters are all US-ASCII: what is dangerous stands in
    /// texts, where it can be written as an escape of JSON.
    fn flush(&mut self) -> io::Result<()> {
        match std::str::from_utf8(&self.line).ok().and_then(super::safe_json) {
            Some(safe) => self.add(safe.as_bytes()),
            None => self.add(&self.line),
        }
        self.line.clear();
        Ok(())
    }
}

/// Waits, when dropped, until everything is written, or until that takes too long.
pub struct Flush {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Flush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flush").finish_non_exhaustive()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        let Some(thread) = self.thread.take() else { return };
        let waited = self.shared.changed.wait_timeout_while(
            self.shared.lock(),
            PATIENCE,
            // A log thread that panicked has nothing more to write.
            |state| !state.ended && !thread.is_finished(),
        );
        drop(waited);
    }
}

fn write_all(shared: &Shared, mut destination: Destination) {
    let mut lines = Vec::new();
    loop {
        let mut state = shared.lock();
        while state.waiting.is_empty() && !state.closed {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.waiting.is_empty() {
            return;
        }
        if !state.closed {
            state = shared.wait(state, GATHER);
        }
        std::mem::swap(&mut lines, &mut state.waiting);
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        if dropped > 0 {
            lines.extend_from_slice(format!("log lines dropped: {dropped}\n").as_bytes());
        }
        // There is nowhere left to report that the log can't be written.
        let _lost = match &mut destination {
            Destination::StandardError => io::stderr().write_all(&lines),
            Destination::Syslog(socket) => socket.send_lines(&lines),
            #[cfg(test)]
            Destination::Pipe(pipe) => pipe.write_all(&lines),
        };
        lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_destination_that_takes_nothing_does_not_keep_the_program_from_ending() {
        // The other end is never read, so that the pipe is full for ever.
        let (_reader, mut full) = io::pipe().unwrap();
        let (lines, flush) = Lines::start(Destination::Pipe(full.try_clone().unwrap()));
        lines.add(&vec![b'x'; 1 << 20]);
        let began = Instant::now();
        drop(flush);
        assert!(began.elapsed() < 2 * PATIENCE);
        full.flush().unwrap();
    }

    #[test]
    fn everything_is_written_before_the_program_ends() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (lines, flush) = Lines::start(Destination::Pipe(writer));
        lines.add(b"one\n");
        lines.add(b"two\n");
        drop(flush);
        let mut written = String::new();
        io::Read::read_to_string(&mut reader, &mut written).unwrap();
        assert_eq!(written, "one\ntwo\n");
    }
}
