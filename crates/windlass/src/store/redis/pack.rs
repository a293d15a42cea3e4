//! msgpack, in which scripts take and give what there is much of: one argument and one answer cost Redis a fraction of
//! what a hundred do.

use bytes::{Buf, Bytes};

use super::reply::odd;
use crate::store::Result;

/// Writes values one behind the other. Texts are bytes: Lua knows no other.
#[derive(Default)]
pub(super) struct Pack(Vec<u8>);

// A `Vec` takes whatever is written to it, so no write can fail.
impl Pack {
    pub(super) fn list(&mut self, length: usize) -> &mut Self {
        let _ = rmp::encode::write_array_len(&mut self.0, u32::try_from(length).unwrap_or(u32::MAX));
        self
    }

    pub(super) fn map(&mut self, length: usize) -> &mut Self {
        let _ = rmp::encode::write_map_len(&mut self.0, u32::try_from(length).unwrap_or(u32::MAX));
        self
    }

    pub(super) fn text(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        let text = text.as_ref();
        let _ = rmp::encode::write_str_len(&mut self.0, u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text);
        self
    }

    pub(super) fn number(&mut self, number: impl Into<i64>) -> &mut Self {
        let _ = rmp::encode::write_sint(&mut self.0, number.into());
        self
    }

    /// Something that is packed already.
    pub(super) fn packed(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// Reads what a script has packed. Texts share the answer's memory.
pub(super) struct Unpack(Bytes);

impl Unpack {
    pub(super) fn new(packed: impl Into<Bytes>) -> Self {
        Self(packed.into())
    }

    pub(super) fn list(&mut self) -> Result<usize> {
        self.read(|rest| rmp::decode::read_array_len(rest).ok()).map(|length| length as usize)
    }

    pub(super) fn map(&mut self) -> Result<usize> {
        self.read(|rest| rmp::decode::read_map_len(rest).ok()).map(|length| length as usize)
    }

    pub(super) fn number(&mut self) -> Result<i64> {
        self.read(|rest| rmp::decode::read_int(rest).ok())
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes> {
        let length = self.read(|rest| rmp::decode::read_str_len(rest).ok())? as usize;
        if length > self.0.len() {
            return Err(odd("packed values"));
        }
        Ok(self.0.split_to(length))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut &[u8]) -> Option<T>) -> Result<T> {
        let mut rest = &*self.0;
        let value = read(&mut rest).ok_or_else(|| odd("packed values"))?;
        let taken = self.0.len() - rest.len();
        self.0.advance(taken);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_read() {
        let mut pack = Pack::default();
        pack.list(3).number(-7).number(1_690_000_000_000_000_i64).text([0xff, 0]);
        let mut read = Unpack::new(pack.bytes());
        assert_eq!(read.list().unwrap(), 3);
        assert_eq!((read.number().unwrap(), read.number().unwrap()), (-7, 1_690_000_000_000_000));
        assert_eq!(read.bytes().unwrap(), &[0xff, 0][..]);
        assert!(read.is_empty() && read.number().is_err());
    }

    #[test]
    fn a_text_that_ends_too_early_is_damage() {
        assert!(Unpack::new(&b"\xa5ab"[..]).bytes().is_err());
    }
}
