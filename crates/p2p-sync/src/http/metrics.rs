//! Figures for Prometheus, in its OpenMetrics text format. Labels have few values, and none of them is a key or a peer.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};

use super::Api;
use super::problem::Problem;
use super::query::Query;
use super::routes::typed;
use crate::report::{Class, Count, Status, SyncState};

/// The type of the format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What all names begin with.
const PREFIX: &str = "p2p_sync";
/// Causes in one metric, at most. The program has some twenty.
const CAUSES_MAX: usize = 64;

/// Requests by the class of their status: 2xx to 5xx.
#[derive(Debug, Default)]
pub(super) struct Answers([AtomicU64; 4]);

impl Answers {
    /// Another request was answered.
    pub(super) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(2);
        if let Some(counter) = self.0.get(class) {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn all(&self) -> impl Iterator<Item = (String, u64)> {
        let classes = self.0.iter().zip(2..);
        classes.map(|(counter, class)| (format!("{class}xx"), counter.load(Relaxed)))
    }
}

/// The figures.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "get_metrics",
    tag = "node",
    responses((status = 200, description = "Figures in the OpenMetrics text format", body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(State(api): State<Arc<Api>>, query: Query) -> Result<Response, Problem> {
    query.end()?;
    let figures = Figures {
        status: api.node.status().await?,
        connections: api.places.count(),
        answers: api.answers.all().collect(),
    };
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Class::Failed,
            "The figures cannot be written.",
        )
    })?;
    Ok(typed(OPENMETRICS, text))
}

#[derive(Debug)]
struct Figures {
    status: Status,
    connections: usize,
    answers: Vec<(String, u64)>,
}

/// Something in a word, and whether it applies.
type Words = [(&'static str, SyncState); 7];

/// The states of sync as labels.
const STATES: Words = [
    ("out_of_order", SyncState::OutOfOrder),
    ("rebuilding", SyncState::Rebuilding),
    ("no_peers", SyncState::NoPeers),
    ("no_room", SyncState::NoRoom),
    ("under_way", SyncState::UnderWay),
    ("waiting", SyncState::Waiting),
    ("in_sync", SyncState::InSync),
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.node(&mut encoder)?;
        self.data(&mut encoder)?;
        self.network(&mut encoder)?;
        self.api(&mut encoder)
    }
}

impl Figures {
    fn node(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let labels = [("version", self.status.version.as_str())];
        let info = prometheus_client::metrics::info::Info::new(labels);
        let about = "The version of the program.";
        info.encode(to.encode_descriptor("build", about, None, MetricType::Info)?)?;
        let uptime = self.status.uptime_seconds;
        gauge(to, "uptime", "How long the node has run", Some(Unit::Seconds), uptime)
    }

    fn data(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let status = &self.status;
        gauge(to, "keys", "Keys that have a value", None, status.keys)?;
        gauge(to, "deleted_keys", "Keys that are deleted", None, status.deleted)?;
        gauge(to, "conflicting_keys", "Keys in conflict", None, status.sync.conflicts)?;
        let ahead = status.sync.ahead.records;
        gauge(
            to,
            "records_ahead",
            "Records dated too far ahead for other nodes",
            None,
            ahead,
        )?;
        let store = [
            ("store", "The database file", status.store.bytes),
            ("store_log", "The write-ahead log of the store", status.store.log_bytes),
            (
                "volume_free",
                "Free space on the volume of the store",
                status.store.free_bytes,
            ),
        ];
        for (name, help, bytes) in store {
            if let Some(bytes) = bytes {
                gauge(to, name, help, Some(Unit::Bytes), bytes)?;
            }
        }
        let help = "Damaged records and wrong summaries that were repaired";
        counter(to, "repairs", help, status.sync.repaired)?;
        let help = "Records from sync that were refused, by cause";
        causes(to, "refused_records", help, &status.sync.refused)
    }

    fn network(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let status = &self.status;
        gauge(
            to,
            "connected_peers",
            "Peers that are connected",
            None,
            status.peers.len() as u64,
        )?;
        gauge(
            to,
            "known_peers",
            "Peers that are known, connected or not",
            None,
            status.known_peers as u64,
        )?;
        gauge(to, "mesh_peers", "Peers in the gossip mesh", None, status.mesh as u64)?;
        let troubles = status.troubles.len() as u64;
        gauge(to, "unreachable_peers", "Peers that cannot be reached", None, troubles)?;
        let messages = status.messages;
        counter(to, "messages_sent", "Gossip messages published", messages.sent)?;
        counter(to, "messages_received", "Gossip messages accepted", messages.received)?;
        counter(
            to,
            "changes_unheard",
            "Local changes that no peer was there to hear",
            messages.unheard,
        )?;
        let help = "Messages and records that were dropped, by cause";
        causes(to, "dropped", help, &status.dropped)?;
        let states = STATES.map(|(word, state)| (word, u64::from(state == status.sync.state)));
        let kind = ConstGauge::<u64>::TYPE;
        let mut family = to.encode_descriptor("sync_state", "The state of sync: 1 for the one it is in", None, kind)?;
        for (word, value) in states {
            ConstGauge::new(value).encode(family.encode_family(&[("state", word)])?)?;
        }
        Ok(())
    }

    fn api(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Connections to the local API";
        gauge(to, "api_connections", help, None, self.connections as u64)?;
        let help = "Requests to the local API that were answered, by class of status";
        family(to, "api_requests", help, "status", &self.answers)
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, unit: Option<Unit>, value: u64) -> Result<(), Error> {
    let metric = ConstGauge::new(value);
    metric.encode(to.encode_descriptor(name, help, unit.as_ref(), metric.metric_type())?)
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), Error> {
    let metric = ConstCounter::new(value);
    metric.encode(to.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn causes(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, counts: &[Count]) -> Result<(), Error> {
    let counts = counts.iter().take(CAUSES_MAX);
    let counts: Vec<_> = counts.map(|one| (one.cause.clone(), one.count)).collect();
    family(to, name, help, "cause", &counts)
}

fn family(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    counts: &[(String, u64)],
) -> Result<(), Error> {
    let kind = ConstCounter::<u64>::TYPE;
    let mut family = to.encode_descriptor(name, help, None, kind)?;
    for (text, count) in counts {
        ConstCounter::new(*count).encode(family.encode_family(&[(label, text.as_str())])?)?;
    }
    Ok(())
}
