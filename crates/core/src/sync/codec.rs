//! Numbers and byte strings as encoded in frames. Reading never goes past the end, and never allocates memory for a length
//! that the data does not back.

use super::wire::InvalidFrame;

/// Appends to a frame.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Bytes whose number the reader knows.
    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A number in groups of seven bits, lowest first; every byte but the last has its top bit set (LEB128).
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A number that may be negative: numbers near zero are short.
    pub(crate) fn signed(&mut self, number: i64) {
        self.number((number.wrapping_shl(1) ^ (number >> 63)).cast_unsigned());
    }

    /// A count or a length.
    pub(crate) fn length(&mut self, length: usize) {
        self.number(length as u64);
    }

    /// Bytes, preceded by their length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.fixed(bytes);
    }
}

/// Reads what a [`Writer`] wrote.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn byte(&mut self) -> Result<u8, InvalidFrame> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidFrame> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(InvalidFrame::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(crate) fn number(&mut self) -> Result<u64, InvalidFrame> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(InvalidFrame::Malformed("a number longer than 64 bits"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, InvalidFrame> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A count of at most `max` elements, each of which takes at least `bytes_each` of the following bytes.
    pub(crate) fn count(&mut self, bytes_each: usize, max: usize) -> Result<usize, InvalidFrame> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > max {
            return Err(InvalidFrame::Malformed("a count above its limit"));
        }
        if count.saturating_mul(bytes_each) > self.0.len() {
            return Err(InvalidFrame::Short);
        }
        Ok(count)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], InvalidFrame> {
        let length = self.count(1, usize::MAX)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(InvalidFrame::Short)?;
        self.0 = rest;
        Ok(bytes)
    }
}
