//! The signals of Unix: which of them end the program, and which only request something.

use std::fs::OpenOptions;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{Logs, Request};

/// Forwards what ends the program to `sender`, whoever asks for its state to `ask`, and whoever has moved the log file to `logs`.
pub(super) fn forward(sender: &mpsc::Sender<Request>, ask: mpsc::Sender<()>, logs: &Logs) -> io::Result<()> {
    for (kind, request) in [
        (SignalKind::interrupt(), Request::Interrupt),
        (SignalKind::quit(), Request::Quit),
        (SignalKind::terminate(), Request::Terminate),
    ] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = sender.try_send(request);
            }
        });
    }
    if !is_ignored(libc::SIGHUP) {
        forward_hang_up(sender.clone(), logs.clone())?;
    }
    let mut signals = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            let _ = ask.try_send(());
        }
    });
    Ok(())
}

fn forward_hang_up(sender: mpsc::Sender<Request>, logs: Logs) -> io::Result<()> {
    let had_terminal = has_terminal();
    let mut signals = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            if had_terminal && !has_terminal() {
                let _ = sender.try_send(Request::HangUp);
            } else {
                logs.reopen();
            }
        }
    });
    Ok(())
}

/// Whether the process has a terminal that could be closed. When that happens the system takes it away from the process.
fn has_terminal() -> bool {
    OpenOptions::new().read(true).open("/dev/tty").is_ok()
}

/// Whether the process was started with the signal ignored, as by `nohup`. It stays so then.
#[expect(unsafe_code, reason = "the standard library does not tell")]
fn is_ignored(signal: libc::c_int) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, and the place for the old one is valid; all zeros is a valid value of it.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), found.as_mut_ptr());
        found.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
