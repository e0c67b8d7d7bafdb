//! The feeds that peers send us: pages of new writes go to the node as fast as it accepts them, and credit goes back.

use std::time::Instant;

use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use p2p_sync_core::admission::TooFarAhead;
use p2p_sync_core::sync::FeedReceiver;
use p2p_sync_core::{NodeId, Via};
use tokio::time;

use crate::net::FromPeers;
use crate::net::libp2p::streams::framing::{FrameReader, FrameWriter, StreamError};
use crate::net::libp2p::streams::{Common, Slot};
use crate::system;

/// Takes in a feed until the peer ends it.
pub(in crate::net::libp2p::streams) async fn receive<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    slot: &Slot,
    (peer, node): (PeerId, NodeId),
    reader: FrameReader<R>,
    writer: FrameWriter<W>,
) {
    let common = &slot.common;
    let replaced = common.places.feeds(slot.number);
    let ended = tokio::select! {
        ended = take_in(slot, (peer, node), reader, writer) => ended,
        _ = replaced => Err(StreamError::Replaced),
    };
    if let Err(error) = ended {
        common.note_end(peer, "feed", &error);
        // What was under way is lost.
        common.links.missed(node, Instant::now());
    }
}

async fn take_in<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    slot: &Slot,
    (peer, node): (PeerId, NodeId),
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
) -> Result<(), StreamError> {
    let common = &slot.common;
    let mut feed = FeedReceiver::new();
    // The peer closes an idle feed first. Only records count: single bytes, or frames of no use, would keep it open for ever.
    let patience = common.patience.feed_idle * 2 + common.patience.silence;
    let mut fed_last = time::Instant::now();
    loop {
        let next = time::timeout_at(fed_last + patience, reader.next()).await;
        let Some((frame, bytes)) = next.map_err(|_| StreamError::Silent(patience))?? else {
            break;
        };
        let (records, left_out) = feed.receive(frame, system::now())?;
        let has_fed = left_out.records > 0 || !records.is_empty();
        if left_out.records > 0 {
            complain_of_clock(common, peer, left_out);
        }
        if !records.is_empty() {
            let Some(permit) = common.permit_for(bytes).await else {
                return Ok(());
            };
            let via = Via::Feed { neighbour: node };
            if common
                .inbound
                .send(FromPeers::Records { via, records, permit })
                .await
                .is_err()
            {
                return Ok(());
            }
        }
        if has_fed {
            fed_last = time::Instant::now();
        }
        while let Some(credit) = feed.next_frame() {
            writer.write(&credit).await?;
            writer.flush().await?;
        }
    }
    writer.close().await
}

fn complain_of_clock(common: &Common, peer: PeerId, left_out: TooFarAhead) {
    if common.complain(
        peer,
        "too far ahead",
        usize::try_from(left_out.records).unwrap_or(usize::MAX),
    ) {
        tracing::warn!(
            "Changes from peer {} are dated {:.0} s ahead of this machine's clock; they are fetched again when they fall \
             due. Check the clocks of both machines",
            common.called(&peer),
            left_out.furthest.as_secs_f64()
        );
    }
}
