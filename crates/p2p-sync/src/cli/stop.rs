//! The end of the program: who can ask for it, and how it comes within two seconds, whatever hangs.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Failure;
use crate::command::Class;

/// How long the node has for its end.
const NODE_STOPS_WITHIN: Duration = Duration::from_millis(1_700);
/// How long the whole process has. The rest of two seconds is for the operating system.
pub(super) const PROCESS_ENDS_WITHIN: Duration = Duration::from_millis(1_850);
/// Requests that are remembered. The first stops the program, and the second does it at once.
const REQUESTS_MAX: usize = 4;

/// What asks for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// Somebody at a keyboard, who gets impatient.
    Interrupt,
    /// The system, or the terminal that was closed.
    Terminate,
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

/// Hears who asks for the end.
#[derive(Debug)]
pub(super) struct StopRequests {
    switch: StopSwitch,
    requests: mpsc::Receiver<Request>,
}

impl StopRequests {
    /// Listens to the signals that end a process, from now on. The hang-up of a terminal is one of them if `at_terminal`;
    /// otherwise it is left to whoever started the process, who may have chosen to ignore it.
    ///
    /// # Errors
    /// When the operating system does not allow it.
    pub(super) fn listen(at_terminal: bool) -> io::Result<Self> {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        signals::forward(&sender, at_terminal)?;
        Ok(Self {
            switch: StopSwitch(sender),
            requests,
        })
    }

    pub(super) fn switch(&self) -> StopSwitch {
        self.switch.clone()
    }

    /// Waits until somebody asks for the end.
    pub(super) async fn requested(&mut self) {
        // It never closes: `self.switch` holds it open.
        let _ = self.requests.recv().await;
    }

    /// Waits until somebody is impatient.
    async fn interrupted(&mut self) {
        while self.requests.recv().await != Some(Request::Interrupt) {}
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
                    "The disk is slow: the store is put in order at the next start. What was acknowledged is stored"
                );
            }
            Ok(())
        };
        tokio::select! {
            ended = end => ended,
            () = self.interrupted() => {
                Err(Failure::new(Class::Failed, "Cut off by a second interrupt. What was acknowledged is stored."))
            }
        }
    }
}

/// That the time for a clean end was over.
pub(super) fn cut_off() -> Failure {
    Failure::new(
        Class::Failed,
        "The node did not stop in time and was cut off. What was acknowledged is stored.",
    )
}

#[cfg(unix)]
mod signals {
    use std::io;

    use tokio::signal::unix::{SignalKind, signal};
    use tokio::sync::mpsc;

    use super::Request;

    pub(super) fn forward(sender: &mpsc::Sender<Request>, at_terminal: bool) -> io::Result<()> {
        let mut kinds = vec![
            (SignalKind::interrupt(), Request::Interrupt),
            (SignalKind::terminate(), Request::Terminate),
        ];
        if at_terminal {
            kinds.push((SignalKind::hangup(), Request::Terminate));
        }
        for (kind, request) in kinds {
            let mut signals = signal(kind)?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    let _ = sender.try_send(request);
                }
            });
        }
        Ok(())
    }
}

#[cfg(windows)]
mod signals {
    use std::io;

    use tokio::signal::windows;
    use tokio::sync::mpsc;

    use super::Request;

    pub(super) fn forward(sender: &mpsc::Sender<Request>, _at_terminal: bool) -> io::Result<()> {
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
        forward!(windows::ctrl_break(), Request::Terminate);
        forward!(windows::ctrl_close(), Request::Terminate);
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
