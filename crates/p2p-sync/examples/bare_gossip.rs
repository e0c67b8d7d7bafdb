//! A foreign program that takes part in p2p-sync's live changes: plain libp2p gossipsub over TCP, Noise and
//! Yamux, and nothing of p2p-sync's own code.
//!
//! It shows what another program needs in order to hear and to say changes: the topic `p2p-sync`, signed
//! messages under strict validation, and one JSON object a message. The tests use it as the stranger on the
//! network. It stores nothing, discovers nobody and takes no part in anything but gossip.
//!
//! ```text
//! cargo run --example bare_gossip -- --listen /ip4/127.0.0.1/tcp/0 --dial /ip4/127.0.0.1/tcp/4002
//! {"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z"}}
//! ```
//!
//! Options: `--listen MULTIADDR` and `--dial MULTIADDR` (both repeatable), `--topic NAME`, `--seed NUMBER` for
//! the same Ed25519 identity at each start (for tests: such a key is no secret), and `--key ecdsa`, `--key
//! secp256k1` or `--key FILE` for an identity of another type; the file holds an RSA key as PKCS #8 in DER. With `--agent TEXT`
//! it also says by Identify that this is its agent version.
//!
//! Each line of standard input is published as it is, except for:
//!
//! - `@file PATH`: the bytes of a file are published;
//! - `@repeat N TEXT`: `TEXT` is published `N` times, each time as a message of its own;
//! - `@dial MULTIADDR`: dials.
//!
//! Standard output has one JSON object per line: `{"peer_id":…}` first, then `{"listening":…}`,
//! `{"connected":…}`, `{"disconnected":…}`, `{"subscribed":…}` with a peer id or an address,
//! `{"received":{"source":…,"data":…}}`, and for each line of input `{"published":true,"times":N}` or
//! `{"published":false,"times":N,"error":…}`. The program ends with its input.

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::identity::Keypair;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, identify, noise, tcp, yamux};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc;

/// The largest message of the network, with room for the frame around it. Both sides must agree on it: a
/// frame above the receiver's limit ends the sender's gossip stream there.
const TRANSMIT_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// The longest line of input; longer ones end the program.
const LINE_BYTES_MAX: u64 = 2 << 20;
/// Lines of input that may wait.
const LINES_MAX: usize = 16;
/// How long the last messages get to leave after the end of input.
const FAREWELL: Duration = Duration::from_millis(300);

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug)]
struct Options {
    listen: Vec<Multiaddr>,
    dial: Vec<Multiaddr>,
    topic: String,
    seed: Option<u64>,
    key: Option<String>,
    agent: Option<String>,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    gossip: gossipsub::Behaviour,
    identify: Toggle<identify::Behaviour>,
}

impl Options {
    fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self {
            listen: Vec::new(),
            dial: Vec::new(),
            topic: "p2p-sync".to_owned(),
            seed: None,
            key: None,
            agent: None,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--listen" => options.listen.push(value.parse()?),
                "--dial" => options.dial.push(value.parse()?),
                "--topic" => options.topic = value,
                "--seed" => options.seed = Some(value.parse()?),
                "--key" => options.key = Some(value),
                "--agent" => options.agent = Some(value),
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(options)
    }

    fn identity(&self) -> Result<Keypair, Failure> {
        match self.key.as_deref() {
            None => {}
            Some("ecdsa") => return Ok(Keypair::generate_ecdsa()),
            Some("secp256k1") => return Ok(Keypair::generate_secp256k1()),
            Some(file) => return Ok(Keypair::rsa_from_pkcs8(&mut std::fs::read(file)?)?),
        }
        let Some(seed) = self.seed else {
            return Ok(Keypair::generate_ed25519());
        };
        let mut secret = [0; 32];
        for (byte, seed) in secret.iter_mut().zip(seed.to_be_bytes()) {
            *byte = seed;
        }
        Ok(Keypair::ed25519_from_bytes(secret)?)
    }
}

/// What one line of input asks for.
enum Order {
    Publish { times: u32, data: Vec<u8> },
    Dial(Multiaddr),
}

impl Order {
    fn parse(line: &[u8]) -> Result<Self, Failure> {
        let Some(text) = line.strip_prefix(b"@") else {
            let data = line.to_vec();
            return Ok(Self::Publish { times: 1, data });
        };
        let text = std::str::from_utf8(text)?;
        match text.split_once(' ') {
            Some(("file", path)) => {
                let data = std::fs::read(path)?;
                Ok(Self::Publish { times: 1, data })
            }
            Some(("repeat", rest)) => {
                let (times, data) = rest.split_once(' ').ok_or("@repeat N TEXT")?;
                let (times, data) = (times.parse()?, data.as_bytes().to_vec());
                Ok(Self::Publish { times, data })
            }
            Some(("dial", address)) => Ok(Self::Dial(address.parse()?)),
            _ => Err(format!("unknown order @{text}").into()),
        }
    }
}

/// A message that is being published, some more times.
struct Publishing {
    data: Vec<u8>,
    asked: u32,
    done: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let options = Options::from_arguments(std::env::args().skip(1))?;
    let topic = IdentTopic::new(options.topic.as_str());
    let mut swarm = build(options.identity()?, options.agent)?;
    say(&json!({ "peer_id": swarm.local_peer_id().to_string() }))?;
    swarm.behaviour_mut().gossip.subscribe(&topic)?;
    for address in &options.listen {
        swarm.listen_on(address.clone())?;
    }
    for address in options.dial {
        swarm.dial(address)?;
    }

    let (sender, mut lines) = mpsc::channel(LINES_MAX);
    let reader = tokio::spawn(read_lines(sender));
    let mut publishing: Option<Publishing> = None;
    loop {
        tokio::select! {
            // The network first: between two messages the swarm must have sent the one before.
            biased;
            event = swarm.select_next_some() => report(&event)?,
            () = std::future::ready(()), if publishing.is_some() => {
                publishing = match publishing.take() {
                    Some(message) => publish_once(&mut swarm, &topic, message)?,
                    None => None,
                };
            }
            line = lines.recv() => match line {
                Some(line) => publishing = obey(&mut swarm, &line)?,
                None => break,
            }
        }
    }
    // Ignored: the time being over is what we wait for.
    let _elapsed = tokio::time::timeout(FAREWELL, async {
        loop {
            swarm.select_next_some().await;
        }
    })
    .await;
    reader.await?
}

fn build(keypair: Keypair, agent: Option<String>) -> Result<Swarm<Behaviour>, Failure> {
    let config = gossipsub::ConfigBuilder::default()
        .max_transmit_size(TRANSMIT_BYTES_MAX)
        .validation_mode(ValidationMode::Strict)
        .build()?;
    let swarm = libp2p::SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|keypair| {
            let signed = MessageAuthenticity::Signed(keypair.clone());
            let said =
                |agent| identify::Config::new("bare-gossip/1".to_owned(), keypair.public()).with_agent_version(agent);
            Ok(Behaviour {
                gossip: gossipsub::Behaviour::new(signed, config)?,
                identify: agent.map(said).map(identify::Behaviour::new).into(),
            })
        })?
        .build();
    Ok(swarm)
}

/// Sends the lines of standard input, and stops at its end or at a line that is too long.
async fn read_lines(sender: mpsc::Sender<Vec<u8>>) -> Result<(), Failure> {
    let mut input = BufReader::new(tokio::io::stdin());
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Ok(());
        }
        if line.pop_if(|last| *last == b'\n').is_none() && read as u64 == LINE_BYTES_MAX {
            return Err("a line of input is too long".into());
        }
        if sender.send(line).await.is_err() {
            return Ok(());
        }
    }
}

fn obey(swarm: &mut Swarm<Behaviour>, line: &[u8]) -> Result<Option<Publishing>, Failure> {
    match Order::parse(line) {
        Ok(Order::Publish { times, data }) => Ok(Some(Publishing {
            data,
            asked: times,
            done: 0,
        })),
        Ok(Order::Dial(address)) => {
            swarm.dial(address)?;
            Ok(None)
        }
        Err(error) => {
            say(&json!({ "published": false, "times": 0, "error": error.to_string() }))?;
            Ok(None)
        }
    }
}

/// Publishes `message` one more time; returns it if that was not the last.
fn publish_once(
    swarm: &mut Swarm<Behaviour>,
    topic: &IdentTopic,
    mut message: Publishing,
) -> Result<Option<Publishing>, Failure> {
    if message.done < message.asked {
        if let Err(error) = swarm
            .behaviour_mut()
            .gossip
            .publish(topic.clone(), message.data.clone())
        {
            say(&json!({ "published": false, "times": message.done, "error": error.to_string() }))?;
            return Ok(None);
        }
        message.done += 1;
    }
    if message.done < message.asked {
        return Ok(Some(message));
    }
    say(&json!({ "published": true, "times": message.done }))?;
    Ok(None)
}

fn report(event: &SwarmEvent<BehaviourEvent>) -> Result<(), Failure> {
    match event {
        SwarmEvent::NewListenAddr { address, .. } => say(&json!({ "listening": address.to_string() })),
        SwarmEvent::ConnectionEstablished { peer_id, .. } => say(&json!({ "connected": peer_id.to_string() })),
        SwarmEvent::ConnectionClosed { peer_id, cause, .. } => {
            let cause = cause.as_ref().map(ToString::to_string);
            say(&json!({ "disconnected": peer_id.to_string(), "cause": cause }))
        }
        SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Subscribed { peer_id, .. })) => {
            say(&json!({ "subscribed": peer_id.to_string() }))
        }
        SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message { message, .. })) => {
            let source = message.source.map(|peer| peer.to_string());
            let data = String::from_utf8_lossy(&message.data);
            say(&json!({ "received": { "source": source, "data": data } }))
        }
        _ => Ok(()),
    }
}

fn say(object: &Value) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout().lock(), "{object}")?)
}
