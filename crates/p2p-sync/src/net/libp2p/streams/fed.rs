//! The feeds that peers send us: pages of fresh writes go to the node as fast as it takes them, and credit goes back.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use p2p_sync_core::NodeId;
use p2p_sync_core::sync::{FeedReceiver, Frame};
use tokio::sync::oneshot;

use super::Common;
use super::framing::{FrameReader, FrameWriter, StreamError};
use crate::net::FromPeers;
use crate::system;

/// Who feeds us: one feed a peer. As many as there are streams.
#[derive(Debug, Default)]
pub(super) struct Receiving(Mutex<HashMap<PeerId, (u64, oneshot::Sender<()>)>>);

impl Receiving {
    /// A feed begins. The one that was before it from the same peer ends, as this one will when the receiver here fails.
    fn begin(&self, peer: PeerId, number: u64) -> oneshot::Receiver<()> {
        let (replace, replaced) = oneshot::channel();
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.insert(peer, (number, replace));
        replaced
    }

    fn end(&self, peer: PeerId, number: u64) {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if feeds.get(&peer).is_some_and(|(current, _)| *current == number) {
            feeds.remove(&peer);
        }
    }
}

/// Takes in a feed until the peer ends it.
pub(super) async fn receive<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    common: &Common,
    (peer, node): (PeerId, NodeId),
    reader: FrameReader<R>,
    writer: FrameWriter<W>,
) {
    let number = common.stream_id().0;
    let replaced = common.receiving.begin(peer, number);
    let ended = tokio::select! {
        ended = take_in(common, (peer, node), reader, writer) => ended,
        _ = replaced => Err(StreamError::Replaced),
    };
    common.receiving.end(peer, number);
    if let Err(error) = ended {
        common.note_end(peer, "feed", &error);
        // What was under way is lost.
        common.links.missed(node, Instant::now());
    }
}

async fn take_in<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    common: &Common,
    (peer, node): (PeerId, NodeId),
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
) -> Result<(), StreamError> {
    let mut feed = FeedReceiver::new();
    // The peer closes an idle feed first.
    let patience = common.patience.feed_idle * 2 + common.patience.silence;
    while let Some((frame, bytes)) = reader.next_within(patience).await? {
        let fed = match &frame {
            Frame::Records { records, .. } => records.len(),
            _ => 0,
        };
        let records = feed.receive(frame, system::now())?;
        let left_out = fed - records.len();
        if left_out > 0 {
            complain_of_clock(common, peer, left_out, &feed);
        }
        if !records.is_empty() {
            let Some(room) = common.room_for(bytes).await else {
                return Ok(());
            };
            let fed = FromPeers::Fed {
                peer: node,
                records,
                room,
            };
            if common.inbound.send(fed).await.is_err() {
                return Ok(());
            }
        }
        reader.pulse().beat();
        while let Some(credit) = feed.next_frame() {
            writer.write(&credit).await?;
            writer.flush().await?;
        }
    }
    writer.close().await
}

fn complain_of_clock(common: &Common, peer: PeerId, left_out: usize, feed: &FeedReceiver) {
    if common.complain(peer, "too far ahead", left_out) {
        tracing::warn!(
            "Changes fed by peer {peer} are dated {:.0} s ahead of this clock; left for later. Compare the clocks of both machines",
            feed.ahead().unwrap_or_default().as_secs_f64()
        );
    }
}
