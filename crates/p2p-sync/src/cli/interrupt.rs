//! Ctrl-C at the prompt: while a command is carried out it ends that; on a line it drops the line; only on an empty one does it
//! lead out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Notes whether there was something on the line when Ctrl-C was typed: the editor itself does not tell.
#[derive(Debug, Clone, Default)]
pub(super) struct WhereTyped(Arc<AtomicBool>);

impl WhereTyped {
    pub(super) fn line_was_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl ConditionalEventHandler for WhereTyped {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        self.0.store(context.line().is_empty(), Ordering::SeqCst);
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
