//! Finds whoever has the data, for what is no single command: the node that runs on the directory, or, where none does, the store
//! itself.

use std::time::Instant;

use tokio::time::sleep;

use super::direct::{Direct, Opened, Wants, open_for};
use super::patience::Patience;
use super::{PAUSE, unreachable};
use crate::cli::place::Place;
use crate::cli::{Failure, output};
use crate::client::{Client, ClientError};

/// Whoever has the data.
pub(in crate::cli) enum Reached {
    /// A node that runs.
    Node(Client),
    /// The store, which is to be closed at the end.
    Store(Box<Direct>),
}

/// Finds it. A node that is just starting or stopping is waited for, and so are commands of other shells. Where `makes`, a store is made
/// if there is none.
///
/// # Errors
/// When nobody can be reached.
pub(in crate::cli) async fn reach_data(place: &Place, makes: bool) -> Result<Reached, Failure> {
    let paths = place.paths()?;
    let wants = Wants {
        makes,
        needs_node: false,
        what: None,
    };
    let mut patience = Patience::new(Instant::now());
    loop {
        let mut why = None;
        let client = Client::of(&paths)?;
        if let Some(client) = client {
            match client.greet().await {
                Ok(()) => {
                    let running = client.running();
                    if place.verbose {
                        output::say(&format!("(by the node at {}, process {})", running.api, running.pid));
                    }
                    return Ok(Reached::Node(client));
                }
                Err(ClientError::Refused(error)) => return Err(error.into()),
                Err(error) => why = Some(error.to_string()),
            }
        }
        let opened = open_for(&wants, &paths, place).await?;
        let holder = match opened {
            Opened::Direct(direct) => return Ok(Reached::Store(Box::new(direct))),
            Opened::Held { holder } => holder,
        };
        if patience.is_over(holder, Instant::now()) {
            return Err(unreachable(&paths, holder, why, patience.waited()));
        }
        sleep(PAUSE).await;
    }
}
