//! Where the redial table has its chance from.

/// Where chance comes from: a number from 0 to below 1.
#[derive(Debug, Clone, Copy)]
pub(in crate::net::libp2p) struct Chance(pub(in crate::net::libp2p) fn() -> f64);

impl Chance {
    /// A factor near one for a pause.
    pub(super) fn jitter(self) -> f64 {
        0.75 + (self.0)() / 2.0
    }

    /// Any bits. Two numbers are needed, for one has not that many.
    pub(super) fn bits(self) -> u64 {
        (self.0)().to_bits() ^ (self.0)().to_bits().rotate_left(32)
    }

    /// A number below `bound`; 0 if that is 0.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    pub(super) fn below(self, bound: usize) -> usize {
        (((self.0)() * bound as f64) as usize).min(bound.saturating_sub(1))
    }
}
