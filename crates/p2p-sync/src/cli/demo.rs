//! `demo`: three nodes in this process show what the program does.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use p2p_sync_core::text::printable;
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use super::{Failure, cannot_begin, cannot_write, descriptors};
use crate::command::{Class, CommandError};
use crate::node::watch::{Event, Since};
use crate::node::{DataDir, Dating, Node, NodeBuilder, NodeError, StartError};
use crate::report::{DemoNode, DemoStep, Last, line};

/// How a program ends that was interrupted.
const INTERRUPTED: u8 = 130;
/// The nodes; the last one is cut off.
const NAMES: [&str; 3] = ["kitchen", "desk", "attic"];
/// Keys written while it is.
const WRITTEN_THERE: u64 = 1_000;
const WRITTEN_HERE: u64 = 20;
/// The key that both sides write.
const DISPUTED: &str = "price";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(12);
/// How often it is looked whether all hold the same.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the nodes may take to end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Shows what nodes do, with three of them in this process
///
/// They run on this machine only, in a network of their own and with data in a temporary directory, and nothing is left of them. It takes
/// some seconds: a write arrives on the others, one is cut off, both sides write, and it catches up.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Demo {
    /// Shows the steps as JSON, one object per line
    #[arg(long)]
    json: bool,
}

impl Demo {
    /// Shows it.
    ///
    /// # Errors
    /// When something of it does not work here.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        descriptors::claim()?;
        let directory = Directory::new().map_err(|error| cannot_begin(&error))?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| cannot_begin(&error))?;
        let begun = Instant::now();
        let done = runtime.block_on(async {
            tokio::select! {
                shown = self.show(&directory.path) => shown.map(|()| ExitCode::SUCCESS),
                () = interrupted() => Ok(ExitCode::from(INTERRUPTED)),
            }
        });
        // Nodes that were interrupted close their stores before these are removed.
        runtime.shutdown_timeout(END_WITHIN);
        drop(directory);
        let code = done?;
        if code == ExitCode::SUCCESS {
            let seconds = begun.elapsed().as_secs_f64();
            self.tell(&DemoStep::Ended { seconds })?;
        }
        Ok(code)
    }

    async fn show(&self, directory: &Path) -> Result<(), Failure> {
        let network = format!("demo-{:016x}", rand::random::<u64>());
        let settings = |name: &str| {
            let node = Node::builder(directory.join(name)).name(name).port(0).lan(false);
            node.network(network.as_str())
        };
        let [first, second, last] = NAMES;
        let kitchen = settings(first).start().await?;
        let to_kitchen = format!("/ip4/127.0.0.1/tcp/{}", kitchen.port());
        let desk = settings(second).peer(to_kitchen.as_str()).start().await?;
        let attic_settings = settings(last).peer(to_kitchen.as_str());
        let attic = attic_settings.clone().start().await?;
        let described = [(first, &kitchen), (second, &desk), (last, &attic)].map(|(name, node)| DemoNode {
            name: name.to_owned(),
            peer_id: node.id().to_string(),
            port: node.port(),
        });
        self.tell(&DemoStep::Started {
            nodes: described.into(),
            directory: directory.display().to_string(),
        })?;
        within(async {
            while kitchen.peers().await?.len() < 2 {
                sleep(PAUSE).await;
            }
            Ok(())
        })
        .await?;
        self.arrival(&kitchen, [(second, &desk), (last, &attic)]).await?;
        let attic = self.apart(&kitchen, attic, &attic_settings, directory).await?;
        self.together(&[&kitchen, &desk, &attic], Instant::now()).await?;
        self.conflict(&kitchen, &[&kitchen, &desk, &attic]).await?;
        for node in [kitchen, desk, attic] {
            node.stop().await;
        }
        Ok(())
    }

    /// A write, and when the others have it.
    async fn arrival(&self, writer: &Node, others: [(&str, &Node); 2]) -> Result<(), Failure> {
        let mut watches = others.map(|(name, node)| (name, node.watch("greeting", Since::Now)));
        for (_, watch) in &mut watches {
            // From here on it hears what changes.
            within(async {
                while !matches!(watch.next().await, Some(Ok(Event::Ready { .. })) | None) {}
                Ok(())
            })
            .await?;
        }
        within(async { writer.put("greeting", "hello").await.map(drop) }).await?;
        let written = Instant::now();
        let waits = watches.map(|(name, mut watch)| async move {
            while !matches!(watch.next().await, Some(Ok(Event::Put(_))) | None) {}
            (name, written.elapsed())
        });
        let arrived = within(async { Ok(futures::future::join_all(waits).await) }).await?;
        for (name, took) in arrived {
            self.tell(&DemoStep::Arrived {
                node: name.to_owned(),
                milliseconds: milliseconds(took),
            })?;
        }
        Ok(())
    }

    /// Writes on both sides while a node reaches nobody, and starts it again.
    async fn apart(
        &self,
        kitchen: &Node,
        attic: Node,
        settings: &NodeBuilder,
        directory: &Path,
    ) -> Result<Node, Failure> {
        let name = NAMES.last().copied().unwrap_or_default();
        attic.stop().await;
        drop(attic);
        let network = settings.clone().config().map_err(StartError::from)?.network;
        let data = DataDir::open(&directory.join(name)).map_err(StartError::from)?;
        let alone = Node::start_offline(data, network, false).await?;
        let write = async |node: &Node, prefix: &str, count: u64, price: &str| {
            let keys = (0..count).map(|number| format!("{prefix}/{number:04}"));
            let writes = keys.map(|key| async move { node.put(key, "written while apart").await.map(drop) });
            for written in futures::future::join_all(writes).await {
                written?;
            }
            node.put(DISPUTED, price).await.map(drop)
        };
        within(write(kitchen, "there", WRITTEN_THERE, "10")).await?;
        within(write(&alone, "here", WRITTEN_HERE, "12")).await?;
        alone.stop().await;
        drop(alone);
        self.tell(&DemoStep::Apart {
            node: name.to_owned(),
            there: WRITTEN_THERE + 1,
            here: WRITTEN_HERE + 1,
        })?;
        Ok(settings.clone().start().await?)
    }

    /// Waits until all hold the same.
    async fn together(&self, nodes: &[&Node; 3], begun: Instant) -> Result<(), Failure> {
        // The disputed key is one, and so is the greeting.
        let keys = WRITTEN_THERE + WRITTEN_HERE + 2;
        within(async {
            for node in nodes {
                while node.counts().await?.live < keys || node.conflicts("", None, 1).await?.keys.is_empty() {
                    sleep(PAUSE).await;
                }
            }
            Ok(())
        })
        .await?;
        let took = begun.elapsed();
        let session = within(async {
            loop {
                if let Some(found) = session(nodes).await? {
                    return Ok(found);
                }
                sleep(PAUSE).await;
            }
        })
        .await?;
        let (with, last) = session;
        self.tell(&DemoStep::Together {
            milliseconds: milliseconds(took),
            keys,
            round_trips: last.round_trips,
            bytes_sent: last.bytes_sent,
            bytes_received: last.bytes_received,
            with,
        })
    }

    /// Shows the conflict, and ends it.
    async fn conflict(&self, kitchen: &Node, nodes: &[&Node; 3]) -> Result<(), Failure> {
        let versions = within(kitchen.versions(DISPUTED)).await?;
        let text = |record: &p2p_sync_core::Record| record.text().unwrap_or_default().to_owned();
        let value = versions.winner().map(text).unwrap_or_default();
        self.tell(&DemoStep::Conflict {
            key: DISPUTED.to_owned(),
            value: value.clone(),
            kept: versions.shown().next_back().map(text).unwrap_or_default(),
        })?;
        within(async {
            kitchen.resolve(DISPUTED, None, Dating::AfterHeld).await?;
            for node in nodes {
                while !node.conflicts("", None, 1).await?.keys.is_empty() {
                    sleep(PAUSE).await;
                }
            }
            Ok(())
        })
        .await?;
        self.tell(&DemoStep::Resolved {
            key: DISPUTED.to_owned(),
            value,
        })
    }

    fn tell(&self, step: &DemoStep) -> Result<(), Failure> {
        let text = if self.json { line(step) } else { text(step) };
        let mut out = io::stdout();
        let told = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        told.map_err(|error| cannot_write(&error))
    }
}

/// Waits until somebody asks for the end.
async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// The session of the last node that brought what it had missed.
async fn session(nodes: &[&Node; 3]) -> Result<Option<(String, Last)>, NodeError> {
    let [.., attic] = nodes;
    let peers = attic.status().await?.sync.peers.into_iter();
    let sessions = peers.filter_map(|peer| Some((peer.synced.display_name, peer.synced.last?)));
    let of_all = sessions.filter(|(_, last)| last.records_changed + last.records_sent > 0);
    Ok(of_all.max_by_key(|(_, last)| last.bytes_received + last.bytes_sent))
}

async fn within<T>(work: impl Future<Output = Result<T, NodeError>>) -> Result<T, Failure> {
    match timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| CommandError::from(error).into()),
        Err(_) => Err(Failure::new(
            Class::TimedOut,
            format!(
                "This step has not come to its end within {} s. A firewall on this machine may keep its programs apart",
                PATIENCE.as_secs()
            ),
        )),
    }
}

fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e5).round() / 100.0
}

fn text(step: &DemoStep) -> String {
    match step {
        DemoStep::Started { nodes, directory } => {
            let mut text = format!(
                "Three nodes on this machine, with their data in {}:\n",
                shown(directory)
            );
            for node in nodes {
                text.push_str(&format!("  {:<8} port {:<5}  {}\n", node.name, node.port, node.peer_id));
            }
            text + "\nA write on kitchen: add greeting hello\n"
        }
        DemoStep::Arrived { node, milliseconds } => {
            format!("  {node} has it {milliseconds:.1} ms after it was on the disk\n")
        }
        DemoStep::Apart { node, there, here } => format!(
            "\n{node} is cut off. Meanwhile {there} keys are written on kitchen, and {here} on {node}.\n{node} is back.\n"
        ),
        DemoStep::Together {
            milliseconds,
            keys,
            round_trips,
            bytes_sent,
            bytes_received,
            with,
        } => format!(
            "  After {:.2} s all three hold the same {keys} keys. A session with {}: round trips {round_trips}, sent {}, \
             received {}\n",
            milliseconds / 1e3,
            shown(with),
            ByteSize(*bytes_sent).display().si(),
            ByteSize(*bytes_received).display().si()
        ),
        DemoStep::Conflict { key, value, kept } => format!(
            "\nBoth sides wrote {key}. It is {value} everywhere, the later write; {kept} is kept as a conflict, until somebody \
             chooses.\n"
        ),
        DemoStep::Resolved { key, value } => {
            format!("  kitchen: resolve {key}. It is {value}, and no node has a conflict.\n")
        }
        DemoStep::Ended { seconds } => {
            format!("\nThat took {seconds:.1} s, and nothing is left of it. Yours begins with: p2p-sync start\n")
        }
    }
}

fn shown(text: &str) -> String {
    printable(text.as_bytes())
}

/// A directory for this demonstration, which ends with it.
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn new() -> io::Result<Self> {
        let name = format!("p2p-sync-demo-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
