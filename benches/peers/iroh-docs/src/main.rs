//! A node of iroh-docs that is driven by lines on its standard input, as `../hand.py` drives the others. `../compare.py` starts it.
//!
//! `iroh-docs-hand DIRECTORY ADDRESS`: its document, its blobs and its identity stay in the directory; the address is where it listens.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use futures_lite::StreamExt;
use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, RelayMode, SecretKey};
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{BlobsProtocol, Hash};
use iroh_docs::api::Doc;
use iroh_docs::api::protocol::{AddrInfoOptions, ShareMode};
use iroh_docs::engine::LiveEvent;
use iroh_docs::protocol::Docs;
use iroh_docs::store::Query;
use iroh_docs::{AuthorId, ContentStatus, DocTicket};
use iroh_gossip::net::Gossip;
use tokio::io::{AsyncBufReadExt, BufReader};

struct Hand {
    router: Router,
    blobs: FsStore,
    docs: Docs,
    author: AuthorId,
    doc: Option<Doc>,
    /// How many remote entries have come with their content.
    ready: Arc<AtomicU64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [directory, address] = &words[..] else {
        bail!("usage: iroh-docs-hand DIRECTORY ADDRESS");
    };
    let mut hand = Hand::start(Path::new(directory), address).await?;
    println!("ready -");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        println!("{}", hand.obey(&words).await?);
        if words == ["stop"] {
            break;
        }
    }
    Ok(())
}

impl Hand {
    async fn start(directory: &Path, address: &str) -> Result<Self> {
        let key = directory.join("key");
        let secret = match std::fs::read(&key) {
            Ok(bytes) => SecretKey::from_bytes(&bytes[..].try_into()?),
            Err(_) => {
                let made = SecretKey::generate();
                std::fs::write(&key, made.to_bytes())?;
                made
            }
        };
        let endpoint = Endpoint::builder(presets::Minimal)
            .secret_key(secret)
            .relay_mode(RelayMode::Disabled)
            .bind_addr(format!("{address}:4002"))?
            .bind()
            .await?;
        let gossip = Gossip::builder().spawn(endpoint.clone());
        let blobs = FsStore::load(directory.join("blobs")).await?;
        let docs = Docs::persistent(directory.to_path_buf())
            .spawn(endpoint.clone(), (*blobs).clone(), gossip.clone())
            .await?;
        let router = Router::builder(endpoint)
            .accept(iroh_blobs::ALPN, BlobsProtocol::new(&blobs, None))
            .accept(iroh_gossip::ALPN, gossip)
            .accept(iroh_docs::ALPN, docs.clone())
            .spawn();
        let author = docs.author_default().await?;
        let ready = Arc::default();
        Ok(Self {
            router,
            blobs,
            docs,
            author,
            doc: None,
            ready,
        })
    }

    fn doc(&self) -> Result<&Doc> {
        self.doc.as_ref().context("no document: create or join one")
    }

    async fn obey(&mut self, words: &[&str]) -> Result<String> {
        Ok(match words {
            ["create"] => {
                self.doc = Some(self.docs.create().await?);
                let ticket = self.doc()?.share(ShareMode::Write, AddrInfoOptions::Addresses).await?;
                format!("ok {ticket}")
            }
            ["open"] => {
                let (id, _) = self.docs.list().await?.next().await.context("no document")??;
                self.doc = self.docs.open(id).await?;
                let ticket = self.doc()?.share(ShareMode::Write, AddrInfoOptions::Addresses).await?;
                format!("ok {ticket}")
            }
            ["join", ticket] => {
                let ticket: DocTicket = ticket.parse()?;
                let (doc, events) = self.docs.import_and_subscribe(ticket).await?;
                self.doc = Some(doc);
                tokio::spawn(listen(events, self.ready.clone()));
                "ok".to_owned()
            }
            ["put", key, value] => {
                self.put(key, value).await?;
                format!("ok {}", now())
            }
            ["puts", count] => {
                let start = Instant::now();
                for number in 0..count.parse::<u64>()? {
                    self.put(&format!("put{number:08}"), &value(number)).await?;
                }
                format!("ok {}", start.elapsed().as_secs_f64())
            }
            ["fill", count] => {
                for number in 0..count.parse::<u64>()? {
                    self.put(&format!("key{number:08}"), &value(number)).await?;
                }
                "ok".to_owned()
            }
            ["count"] => format!("ok {}", self.ready.load(Ordering::Relaxed)),
            ["get", key] => format!("ok {}", self.get(key).await?),
            ["stop"] => {
                self.router.shutdown().await?;
                "ok".to_owned()
            }
            _ => bail!("not understood: {words:?}"),
        })
    }

    async fn put(&self, key: &str, value: &str) -> Result<Hash> {
        self.doc()?
            .set_bytes(self.author, key.to_owned(), value.to_owned())
            .await
    }

    /// The value of a key, or a dash.
    async fn get(&self, key: &str) -> Result<String> {
        let query = Query::single_latest_per_key().key_exact(key);
        let Some(entry) = self.doc()?.get_one(query).await? else {
            return Ok("-".to_owned());
        };
        let content = self.blobs.get_bytes(entry.content_hash()).await;
        Ok(content.map_or("-".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Counts what comes, and tells of each key whose content has come.
async fn listen(events: impl futures_lite::Stream<Item = Result<LiveEvent>>, ready: Arc<AtomicU64>) {
    let mut events = std::pin::pin!(events);
    let mut expected: HashMap<Hash, String> = HashMap::new();
    while let Some(Ok(event)) = events.next().await {
        let come = match event {
            LiveEvent::InsertRemote {
                entry, content_status, ..
            } => {
                let key = String::from_utf8_lossy(entry.key()).into_owned();
                if content_status == ContentStatus::Complete {
                    Some(key)
                } else {
                    expected.insert(entry.content_hash(), key);
                    None
                }
            }
            LiveEvent::ContentReady { hash } => expected.remove(&hash),
            _ => None,
        };
        if let Some(key) = come {
            ready.fetch_add(1, Ordering::Relaxed);
            if key.starts_with("live") {
                println!("event {key} {}", now());
            }
        }
    }
}

fn value(number: u64) -> String {
    format!("{number:0100}")
}

fn now() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
}
