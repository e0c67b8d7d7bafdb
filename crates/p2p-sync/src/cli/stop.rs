//! The end of the program: who can request it, and how it happens within two seconds, whatever hangs.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Failure;
use super::logging::Logs;
use crate::command::Class;

#[cfg(unix)]
mod signals;

/// How long the node has for its end.
const NODE_STOPS_WITHIN: Duration = Duration::from_millis(1_700);
/// How long the whole process has. The rest of two seconds is for the operating system.
pub(super) const PROCESS_ENDS_WITHIN: Duration = Duration::from_millis(1_850);
/// Requests that are remembered. The first stops the program, and the second does it at once.
const REQUESTS_MAX: usize = 4;

/// Questions about the node's state that wait for their answer. More of them ask for the same.
const QUESTIONS_MAX: usize = 1;

/// What asks for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Somebody at a keyboard, who gets impatient.
    Interrupt,
    /// SIGQUIT, and Ctrl-Break on Windows: the same from keys that nobody hits by chance.
    Quit,
    /// The system.
    Terminate,
    /// The terminal was closed.
    HangUp,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "interrupted",
            Self::Quit => "asked to quit",
            Self::Terminate => "asked to terminate",
            Self::HangUp => "the terminal was closed",
        })
    }
}

impl Request {
    /// Whether somebody at a keyboard asks, who may get impatient.
    fn is_by_hand(self) -> bool {
        matches!(self, Self::Interrupt | Self::Quit)
    }
}

/// Asks for the end.
#[derive(Debug, Clone)]
pub(super) struct StopSwitch(mpsc::Sender<Request>);

impl StopSwitch {
    /// The user has pressed Ctrl-C.
    pub(super) fn interrupt(&self) {
        // A full queue holds enough requests for any end.
        let _ = self.0.try_send(Request::Interrupt);
    }
}

/// Hears who asks how the node is doing.
#[derive(Debug)]
pub(super) struct StatusRequests(mpsc::Receiver<()>);

impl StatusRequests {
    /// Waits until somebody asks.
    pub(super) async fn asked(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Hears who asks for the end.
#[derive(Debug)]
pub(super) struct StopRequests {
    switch: StopSwitch,
    requests: mpsc::Receiver<Request>,
}

impl StopRequests {
    /// Listens to the signals that end a process, from now on. A hang-up is one of them if the terminal of the process has been
    /// closed; otherwise it opens the log file again. Also listens to whoever asks how the node is doing.
    ///
    /// # Errors
    /// When the operating system does not allow it.
    pub(super) fn listen(logs: &Logs) -> io::Result<(Self, StatusRequests)> {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (ask, questions) = mpsc::channel(QUESTIONS_MAX);
        signals::forward(&sender, ask, logs)?;
        let stop = Self {
            switch: StopSwitch(sender),
            requests,
        };
        Ok((stop, StatusRequests(questions)))
    }

    pub(super) fn switch(&self) -> StopSwitch {
        self.switch.clone()
    }

    /// Waits until somebody asks for the end, and says who.
    pub(super) async fn requested(&mut self) -> Request {
        // It never closes: `self.switch` holds it open.
        self.requests.recv().await.unwrap_or(Request::Terminate)
    }

    /// The same, but for requests that `are_met` in another way.
    pub(super) async fn requested_unless(&mut self, mut are_met: impl FnMut(Request) -> bool) -> Request {
        loop {
            let request = self.requested().await;
            if !are_met(request) {
                return request;
            }
        }
    }

    /// Waits until somebody is impatient.
    async fn interrupted(&mut self) {
        while !self.requests.recv().await.is_some_and(Request::is_by_hand) {}
    }

    /// Waits until the node has left the network and then put its store in order, but not for long, and no longer if somebody
    /// interrupts. A disk that stalls makes no failure of it: nothing is lost, and nobody else waits for that.
    pub(super) async fn in_time(
        mut self,
        leaving: impl Future<Output = ()>,
        tidying: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + NODE_STOPS_WITHIN;
        let end = async {
            timeout_at(deadline, leaving).await.map_err(|_| cut_off())?;
            if timeout_at(deadline, tidying).await.is_err() {
                tracing::warn!(
                    "The disk is slow; the store will be recovered at the next start. Acknowledged writes are stored"
                );
            }
            Ok(())
        };
        tokio::select! {
            ended = end => ended,
            () = self.interrupted() => {
                Err(Failure::new(Class::Failed, "Stopped at once by a second interrupt. Acknowledged writes are \
                    stored."))
            }
        }
    }
}

/// That the time for a clean end was over.
pub(super) fn cut_off() -> Failure {
    Failure::new(
        Class::Failed,
        "The node did not stop in time and was terminated. Acknowledged writes are stored.",
    )
}

#[cfg(windows)]
mod signals {
    use std::io;

    use tokio::signal::windows;
    use tokio::sync::mpsc;

    use super::{Logs, Request};

    pub(super) fn forward(sender: &mpsc::Sender<Request>, _ask: mpsc::Sender<()>, _logs: &Logs) -> io::Result<()> {
        macro_rules! forward {
            ($signal:expr, $request:expr) => {
                let mut signals = $signal?;
                let sender = sender.clone();
                tokio::spawn(async move {
                    while signals.recv().await.is_some() {
                        let _ = sender.try_send($request);
                    }
                });
            };
        }
        forward!(windows::ctrl_c(), Request::Interrupt);
        forward!(windows::ctrl_break(), Request::Quit);
        forward!(windows::ctrl_close(), Request::HangUp);
        forward!(windows::ctrl_shutdown(), Request::Terminate);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::future::pending;

    use super::*;

    fn requests() -> StopRequests {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        StopRequests {
            switch: StopSwitch(sender),
            requests,
        }
    }

    #[tokio::test]
    async fn a_goodbye_that_is_said_is_a_clean_end() {
        assert!(requests().in_time(async {}, async {}).await.is_ok());
    }

    #[tokio::test]
    async fn a_goodbye_that_hangs_is_cut_off() {
        let failure = requests().in_time(pending(), async {}).await.unwrap_err();
        assert!(failure.text.contains("in time"), "{failure}");
    }

    #[tokio::test]
    async fn a_disk_that_stalls_is_not_waited_for_and_no_failure() {
        assert!(requests().in_time(async {}, pending()).await.is_ok());
    }

    #[tokio::test]
    async fn a_second_interrupt_ends_at_once_but_a_second_signal_of_the_system_does_not() {
        let mut requests = requests();
        let switch = requests.switch();
        switch.0.try_send(Request::Terminate).unwrap();
        requests.requested().await;
        switch.0.try_send(Request::Terminate).unwrap();
        switch.interrupt();
        let failure = requests.in_time(pending(), pending()).await.unwrap_err();
        assert!(failure.text.contains("second interrupt"), "{failure}");
    }
}
