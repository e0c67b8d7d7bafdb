//! What a service manager that starts the node is told, in the way of sd_notify(3): that the node has started, that it is about to
//! stop, and, where it has a watchdog, that the parts of the node still do their work. Others than systemd are told nothing.

use std::convert::Infallible;
#[cfg(target_os = "linux")]
use std::time::Duration;

#[cfg(target_os = "linux")]
use sd_notify::NotifyState;

use crate::node::Node;

/// The node takes commands and knows its peers.
#[cfg(target_os = "linux")]
pub(super) fn started(node: &Node) {
    let status = format!("Peer id {}, {}", node.id(), node.listening().join(", "));
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The node is about to stop.
#[cfg(target_os = "linux")]
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog for as long as the network, the thread that writes and the store answer. While one of them does not, it gets nothing,
/// and the manager ends the node and starts it again.
#[cfg(target_os = "linux")]
pub(super) async fn feed_watchdog(node: &Node) -> Infallible {
    let Some(timeout) = sd_notify::watchdog_enabled().filter(|timeout| *timeout >= TIMEOUT_MIN) else {
        return std::future::pending().await;
    };
    let pause = timeout / FEEDS_WITHIN_TIMEOUT;
    let mut is_well = true;
    loop {
        let hindrances = node.hindrances(pause.min(ANSWER_WITHIN)).await;
        if hindrances.is_empty() {
            tell(&[NotifyState::Watchdog]);
        } else if is_well {
            tracing::error!(
                "The node does not do its work, so the watchdog will end it within {} s: {}",
                timeout.as_secs(),
                hindrances.join(". ")
            );
        }
        is_well = hindrances.is_empty();
        tokio::time::sleep(pause).await;
    }
}

/// A shorter timeout would be no watchdog, but work without end.
#[cfg(target_os = "linux")]
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// How often the watchdog is fed within its timeout: an answer that takes long once does not end the node.
#[cfg(target_os = "linux")]
const FEEDS_WITHIN_TIMEOUT: u32 = 4;
/// How long each part of the node has for its answer.
#[cfg(target_os = "linux")]
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Tells the service manager. Without one, nobody is told.
#[cfg(target_os = "linux")]
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("Cannot tell the service manager: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn started(_node: &Node) {}

#[cfg(not(target_os = "linux"))]
pub(super) fn stopping() {}

#[cfg(not(target_os = "linux"))]
pub(super) async fn feed_watchdog(_node: &Node) -> Infallible {
    std::future::pending().await
}
