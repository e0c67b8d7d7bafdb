//! Observes a stream that the other side opened from the outside: whether it is a gossip stream, and the claimed length of
//! its last frame. gossipsub silently ends a stream whose frame it cannot read.

use libp2p::PeerId;
use tokio::sync::mpsc;

/// Streams that were cut off and that nobody has heard of yet. Further ones are not told.
pub(in crate::net::libp2p) const CUT_OFFS_MAX: usize = 64;
/// How much of the beginning is looked at: the protocol is named there.
const HEAD_BYTES: usize = 64;
/// What names of gossip's protocols begin with.
const GOSSIP: &[u8] = b"/meshsub/";

/// gossipsub gave up the stream on which a peer sends, for a frame of this length.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::net::libp2p) struct CutOff {
    pub(in crate::net::libp2p) peer: PeerId,
    /// As it was announced; it need not have come.
    pub(in crate::net::libp2p) bytes: u64,
}

/// A stream as it is read. All of it is frames with their lengths, the choice of the protocol included.
#[derive(Debug)]
pub(super) struct Reading {
    peer: PeerId,
    told: mpsc::Sender<CutOff>,
    head: Vec<u8>,
    /// The length that is being read, and how many of its bits are there.
    next: u64,
    bits: u32,
    /// The last length that was read, and how much of its frame is still to come.
    length: u64,
    left: u64,
    /// The other side has ended it, or it broke, or it was cut off.
    is_over: bool,
}

impl Reading {
    pub(super) fn new(peer: PeerId, told: mpsc::Sender<CutOff>) -> Self {
        Self {
            peer,
            told,
            head: Vec::new(),
            next: 0,
            bits: 0,
            length: 0,
            left: 0,
            is_over: false,
        }
    }

    /// These bytes were read; none at the end.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        self.is_over |= bytes.is_empty();
        let room = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend(bytes.iter().take(room));
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let count = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.left -= count as u64;
                bytes = bytes.get(count..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            self.next |= u64::from(first & 0x7f).checked_shl(self.bits).unwrap_or_default();
            self.bits = self.bits.saturating_add(7);
            if first & 0x80 == 0 {
                self.length = std::mem::take(&mut self.next);
                self.left = self.length;
                self.bits = 0;
            }
        }
    }

    /// It broke.
    pub(super) fn broke(&mut self) {
        self.is_over = true;
    }

    /// Our side closes it. Whether gossip does so although the other side goes on, which is told.
    pub(super) fn is_cut_off(&mut self) -> bool {
        let is_gossip = self.head.windows(GOSSIP.len()).any(|part| part == GOSSIP);
        if !is_gossip || std::mem::replace(&mut self.is_over, true) {
            return false;
        }
        let (peer, bytes) = (self.peer, self.length);
        // Whoever cuts off so many is heard of often enough.
        let _ = self.told.try_send(CutOff { peer, bytes });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENING: &[u8] = b"\x13/multistream/1.0.0\n\x0f/meshsub/1.2.0\n";

    fn reading() -> (Reading, mpsc::Receiver<CutOff>) {
        let (told, heard) = mpsc::channel(1);
        (Reading::new(PeerId::random(), told), heard)
    }

    #[test]
    fn a_frame_that_is_not_read_to_its_end_tells_its_length() {
        for at_once in [1, 7, 1_000] {
            let (mut reading, mut heard) = reading();
            // A frame of three bytes, then the beginning of one of ten million.
            let bytes = [OPENING, b"\x03abc", b"\x80\xad\xe2\x04xyz"].concat();
            bytes.chunks(at_once).for_each(|chunk| reading.read(chunk));
            assert!(reading.is_cut_off());
            assert_eq!(heard.try_recv().unwrap().bytes, 10_000_000);
            assert!(!reading.is_cut_off(), "told once");
        }
    }

    #[test]
    fn what_ends_by_itself_or_is_not_gossip_is_not_cut_off() {
        for (bytes, is_ended, is_broken) in [
            (OPENING, true, false),
            (OPENING, false, true),
            (b"\x13/multistream/1.0.0\n\x11/ipfs/ping/1.0.0\n", false, false),
        ] {
            let (mut reading, mut heard) = reading();
            reading.read(bytes);
            if is_ended {
                reading.read(&[]);
            }
            if is_broken {
                reading.broke();
            }
            assert!(!reading.is_cut_off());
            assert!(heard.try_recv().is_err());
        }
    }
}
