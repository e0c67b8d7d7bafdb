//! Settings that the replicas of a service share: each reads them when it starts, and reacts when they are changed on any of them.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use p2p_sync::{Event, Node, Record, Since};
use tokio::sync::watch;

/// What the service can be told. Anything that is not set, or not understood, has its default.
#[derive(Debug, Clone, PartialEq)]
struct Settings {
    greeting: String,
    workers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            greeting: "hello".to_owned(),
            workers: 1,
        }
    }
}

impl Settings {
    /// Takes over the new state of one key; a deleted one has its default again.
    fn apply(&mut self, record: &Record) {
        let default = Self::default();
        match record.key.as_str() {
            "settings/greeting" => self.greeting = record.text().map_or(default.greeting, str::to_owned),
            "settings/workers" => {
                let number = record.text().and_then(|text| text.parse().ok());
                self.workers = number.unwrap_or(default.workers);
            }
            _ => {}
        }
    }
}

/// The settings now, and whenever they change. A replica that was off hears what it missed as soon as it meets another one.
async fn follow(node: &Node) -> watch::Receiver<Settings> {
    let (tell, mut told) = watch::channel(Settings::default());
    let mut changes = node.watch("settings/", Since::Snapshot);
    tokio::spawn(async move {
        let mut settings = Settings::default();
        let mut is_complete = false;
        while let Some(event) = changes.next().await {
            match event {
                Ok(Event::Put(now) | Event::Delete(now)) => settings.apply(&now.record),
                Ok(Event::Ready { .. }) => is_complete = true,
                // The store was replaced: everything is told anew.
                Ok(Event::Reset) => (settings, is_complete) = (Settings::default(), false),
                Ok(_) => {}
                Err(error) => eprintln!("the settings stay as they are for now: {error}"),
            }
            // Half of a snapshot is nothing to act on.
            if is_complete && tell.send(settings.clone()).is_err() {
                break;
            }
        }
    });
    // If the node stops before that, the defaults are all there is.
    let _ = told.changed().await;
    told
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let replica = |name| Node::builder(directory.path().join(name)).name(name).port(0).lan(false);
    let first = replica("first").start().await?;
    first.put("settings/greeting", "good morning").await?;

    let address = format!("/ip4/127.0.0.1/tcp/{}", first.port());
    let second = replica("second").peer(address).start().await?;
    let mut settings = follow(&second).await;
    println!("second starts with {:?}", *settings.borrow_and_update());
    settings.wait_for(|now| now.greeting == "good morning").await?;
    println!("second heard from first: {:?}", *settings.borrow_and_update());

    first.put("settings/workers", "4").await?;
    settings.wait_for(|now| now.workers == 4).await?;
    println!("second works with {:?}", *settings.borrow_and_update());

    first.delete("settings/greeting").await?;
    settings.wait_for(|now| now.greeting == "hello").await?;
    println!("second is back to {:?}", *settings.borrow_and_update());
    first.stop().await;
    second.stop().await;
    Ok(())
}
