//! The desk between the shell and its interpreter: steps lie here on their way in, output
//! on its way out. Both sides run in the same `poll`, one after the other; the lock is
//! there because the interpreter's types ask for it and is never contended.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use emulator_protocol::TerminalSize;

use crate::limits::OUTPUT_HIGH_WATER;

/// What the prompt shows and completion needs, as the interpreter last knew it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Situation {
    pub(crate) prompt: String,
    pub(crate) home: String,
    pub(crate) directory: PathBuf,
    pub(crate) variables: Vec<String>,
}

/// What lies on the desk.
#[derive(Debug, Default)]
pub(crate) struct Papers {
    /// Bytes for the terminal, line ends already as it wants them.
    pub(crate) output: VecDeque<u8>,
    /// Whether the terminal's cursor is in the first column behind `output`.
    pub(crate) at_line_start: bool,
    /// Commands to run, in order.
    pub(crate) steps: VecDeque<String>,
    /// Set while the interpreter waits for steps.
    pub(crate) idle: Option<Situation>,
    /// `$?` for the next step.
    pub(crate) status: i32,
    /// `status` was set from outside; what the interpreter says about it is stale.
    pub(crate) status_is_set: bool,
    /// The history as `history` prints it, and whether `history -c` was called.
    pub(crate) history: String,
    pub(crate) forget_history: bool,
    pub(crate) terminal: TerminalSize,
    /// Steps that the interpreter has taken.
    pub(crate) taken: u64,
    /// Whoever waits for steps or for room.
    waiting: Vec<Waker>,
}

impl Papers {
    /// Adds output of a program: `\n` becomes `\r\n`.
    pub(crate) fn print(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.output.push_back(b'\r');
            }
            self.output.push_back(*byte);
        }
        if let Some(last) = bytes.last() {
            // `clear` ends by going home.
            self.at_line_start = *last == b'\n' || bytes.ends_with(b"\x1b[H");
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.output.len() >= OUTPUT_HIGH_WATER
    }

    /// Wakes the interpreter after there is room or a step.
    pub(crate) fn call(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }
}

/// A handle to the desk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desk(Arc<Mutex<Papers>>);

impl Desk {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Papers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` finds what it looks for.
    pub(crate) async fn wait<T>(&self, mut ready: impl FnMut(&mut Papers) -> Option<T>) -> T {
        poll_fn(|context| {
            let mut papers = self.lock();
            match ready(&mut papers) {
                Some(value) => Poll::Ready(value),
                None => {
                    if !papers.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                        papers.waiting.push(context.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits until the output has room again.
    pub(crate) async fn room(&self) {
        self.wait(|papers| (!papers.is_full()).then_some(())).await;
    }
}

/// Gives the other futures of the interpreter a turn.
pub(crate) async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    #[test]
    fn line_ends_are_those_of_a_terminal() {
        let mut papers = Papers::default();
        papers.print(b"a\nb");
        assert_eq!(papers.output, b"a\r\nb");
        assert!(!papers.at_line_start);
        papers.print(b"\n");
        papers.print(b"");
        assert!(papers.at_line_start);
    }

    #[test]
    fn a_full_desk_holds_the_writer_until_it_is_called() {
        let desk = Desk::default();
        desk.lock().print(&[b'y'; OUTPUT_HIGH_WATER]);
        let mut room = pin!(desk.room());
        let mut context = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut context).is_pending());
        desk.lock().output.clear();
        desk.lock().call();
        assert!(room.as_mut().poll(&mut context).is_ready());
    }
}
