//! Jute primitives over a slice. Every length is checked here and nowhere else.
//!
//! Invariants: a reader never looks past its slice and never allocates by a length it was told.

use std::fmt;

/// Why bytes are not the record they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The slice ends inside a field.
    Short,
    /// A length is negative (other than -1 for null) or exceeds what is left.
    Length(i32),
    /// A field that must not be null is.
    Null,
    /// A type or mode that has no meaning in this place.
    Kind(i32),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "the record is cut short"),
            Self::Length(n) => write!(f, "length {n} is out of bounds"),
            Self::Null => write!(f, "a null where a value must be"),
            Self::Kind(n) => write!(f, "type {n} has no meaning here"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reads primitives off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read. Bytes behind the last field of a request are ignored by ZooKeeper.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Any non-zero byte is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.byte()? != 0)
    }

    /// 32 bits, big-endian.
    pub fn int(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// 64 bits, big-endian.
    pub fn long(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer or ustring; `None` is null (length -1). Text is not checked to be UTF-8.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let len = self.int()?;
        if len == -1 {
            return Ok(None);
        }
        let len_bytes = usize::try_from(len).map_err(|_| DecodeError::Length(len))?;
        if len_bytes > self.rest.len() {
            return Err(DecodeError::Length(len));
        }
        self.take(len_bytes).map(Some)
    }

    /// A buffer or ustring that must not be null.
    pub fn some(&mut self) -> Result<&'a [u8], DecodeError> {
        self.buffer()?.ok_or(DecodeError::Null)
    }

    /// A vector's count; `None` is null. A count that cannot fit what is left, at
    /// `min_item_bytes` each, is refused, so a hostile count costs nothing.
    pub fn count(&mut self, min_item_bytes: usize) -> Result<Option<usize>, DecodeError> {
        let count = self.int()?;
        if count == -1 {
            return Ok(None);
        }
        let items = usize::try_from(count).map_err(|_| DecodeError::Length(count))?;
        if items.checked_mul(min_item_bytes.max(1)).is_none_or(|bytes| bytes > self.rest.len()) {
            return Err(DecodeError::Length(count));
        }
        Ok(Some(items))
    }
}

/// Appends primitives to a byte vector.
pub trait Write {
    /// One byte.
    fn put_byte(&mut self, value: u8);
    /// Raw bytes without a length.
    fn put_raw(&mut self, bytes: &[u8]);

    /// 0 or 1.
    fn put_bool(&mut self, value: bool) {
        self.put_byte(u8::from(value));
    }
    /// 32 bits, big-endian.
    fn put_int(&mut self, value: i32) {
        self.put_raw(&value.to_be_bytes());
    }
    /// 64 bits, big-endian.
    fn put_long(&mut self, value: i64) {
        self.put_raw(&value.to_be_bytes());
    }
    /// A count or a length that a frame bounds.
    ///
    /// # Panics
    /// Above `i32::MAX`, which no frame or file of ours can hold.
    fn put_len(&mut self, len: usize) {
        self.put_int(i32::try_from(len).expect("bounded by the frame limit"));
    }
    /// A buffer or ustring.
    fn put_some(&mut self, bytes: &[u8]) {
        self.put_len(bytes.len());
        self.put_raw(bytes);
    }
    /// A buffer or ustring, null as -1.
    fn put_buffer(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.put_some(bytes),
            None => self.put_int(-1),
        }
    }
}

impl Write for Vec<u8> {
    fn put_byte(&mut self, value: u8) {
        self.push(value);
    }
    fn put_raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_differ() {
        let mut bytes = Vec::new();
        bytes.put_buffer(None);
        bytes.put_buffer(Some(b""));
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.buffer(), Ok(None));
        assert_eq!(reader.buffer(), Ok(Some(&b""[..])));
        assert_eq!(reader.byte(), Err(DecodeError::Short));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(Reader::new(&[0, 0, 0, 9, 1]).buffer(), Err(DecodeError::Length(9)));
        assert_eq!(Reader::new(&[255, 255, 255, 254]).buffer(), Err(DecodeError::Length(-2)));
        assert_eq!(
            Reader::new(&[0x7f, 255, 255, 255]).count(4),
            Err(DecodeError::Length(i32::MAX))
        );
    }
}
