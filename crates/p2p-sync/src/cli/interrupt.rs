//! Ctrl-C and Ctrl-Z at the prompt. While a command runs, Ctrl-C interrupts it; on a line, it discards the line; only on an
//! empty line does it exit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::{Cmd, ConditionalEventHandler, Event, EventContext, RepeatCount};
use tokio::sync::Notify;

/// Interrupts that come as a signal: the terminal sends one while no line is being edited.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// One came, and nobody has done anything about it yet.
    is_pending: AtomicBool,
    came: Notify,
}

impl Interrupts {
    /// One has come. Whether somebody will do something about it: not if the one before still waits for that.
    pub(super) fn interrupt(&self) -> bool {
        let is_heard = !self.0.is_pending.swap(true, Ordering::SeqCst);
        self.0.came.notify_one();
        is_heard
    }

    /// Waits for one.
    pub(super) async fn came(&self) {
        self.0.came.notified().await;
        self.0.is_pending.store(false, Ordering::SeqCst);
    }

    /// Does something that an interrupt may end; none if one did.
    pub(super) async fn allow<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.came() => None,
        }
    }
}

/// The keys that take the line away from the editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Interrupt,
    /// Ctrl-Z.
    #[cfg(unix)]
    Suspend,
}

/// What was on the line when one of these was typed: the editor itself does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) key: Key,
    /// In front of the cursor, and behind it.
    pub(super) line: (String, String),
}

impl Taken {
    pub(super) fn line_was_empty(&self) -> bool {
        self.line.0.is_empty() && self.line.1.is_empty()
    }
}

/// Notes it, and ends the editing of the line.
#[derive(Debug, Clone)]
pub(super) struct Takes {
    key: Key,
    taken: Arc<Mutex<Option<Taken>>>,
}

impl Takes {
    /// For this key; what was on the line is put there.
    pub(super) fn new(key: Key, taken: &Arc<Mutex<Option<Taken>>>) -> Self {
        Self {
            key,
            taken: Arc::clone(taken),
        }
    }
}

impl ConditionalEventHandler for Takes {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        let (before, behind) = context
            .line()
            .split_at_checked(context.pos())
            .unwrap_or((context.line(), ""));
        let taken = Taken {
            key: self.key,
            line: (before.to_owned(), behind.to_owned()),
        };
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        Some(Cmd::Interrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_is_ended_and_an_interrupt_that_nobody_heeds_is_told() {
        let interrupts = Interrupts::default();
        assert_eq!(interrupts.allow(async { 5 }).await, Some(5));
        assert!(interrupts.interrupt());
        assert!(!interrupts.interrupt(), "nobody did anything about the first one");
        assert_eq!(interrupts.allow(std::future::pending::<()>()).await, None);
        let (ended, heard) = tokio::join!(interrupts.allow(std::future::pending::<()>()), async {
            interrupts.interrupt()
        });
        assert_eq!((ended, heard), (None, true));
    }
}
