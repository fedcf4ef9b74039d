//! Frames of a byte stream: a 4-byte big-endian length, then so many bytes.
//!
//! A frame that lies whole in what was received is borrowed from there; only the part of a frame at
//! the end, or what the caller puts aside, is copied.
//!
//! Thread: the connection's.
//! Invariants: memory grows with bytes that arrived, never with a length that was announced; a
//! reader between two frames holds next to none.
//! Not here: what a frame says (`wire/`), which four-letter words there are (`admin/`).

use std::fmt;

/// Why a stream has no further frame: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The announced length, negative or above the limit.
    Length(i32),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Length(length) = self;
        write!(f, "a frame of {length} bytes is malformed or too large")
    }
}

impl std::error::Error for FrameError {}

/// Finds the frames of one stream.
///
/// ```
/// use ringkeeper::wire::frame::FrameReader;
///
/// let mut reader = FrameReader::new();
/// let mut bytes: &[u8] = &[0, 0, 0, 2, b'h', b'i', 0, 0, 0];
/// while let Some(frame) = reader.next(&mut bytes, 100)? {
///     assert_eq!(frame, b"hi");
/// }
/// assert!(bytes.is_empty(), "the reader keeps the rest");
/// # Ok::<(), ringkeeper::wire::frame::FrameError>(())
/// ```
#[derive(Debug, Default)]
pub struct FrameReader {
    /// Bytes that precede the next received ones.
    held: Vec<u8>,
    /// Of them, those that were handed out.
    used: usize,
}

impl FrameReader {
    /// At the start of a stream.
    pub const fn new() -> Self {
        Self { held: Vec::new(), used: 0 }
    }

    /// The next frame, of up to `max_len` bytes, from what is held and then from `bytes`, which
    /// moves forward. With `None` all of `bytes` was taken, and more has to be received.
    ///
    /// # Errors
    /// A length that no frame may have. The stream cannot be read on.
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        bytes: &mut &'b [u8],
        max_len: usize,
    ) -> Result<Option<&'a [u8]>, FrameError> {
        if self.used == self.held.len() {
            self.forget();
            let Some(end) = frame_end(bytes, max_len)? else {
                self.hold(bytes, bytes.len());
                *bytes = &[];
                return Ok(None);
            };
            if let Some((frame, rest)) = bytes.split_at_checked(end) {
                *bytes = rest;
                return Ok(Some(&frame[LENGTH_BYTES..]));
            }
            self.hold(bytes, end);
            *bytes = &[];
            return Ok(None);
        }
        if self.held.len() - self.used < LENGTH_BYTES {
            self.take(bytes, LENGTH_BYTES);
        }
        let Some(end) = frame_end(&self.held[self.used..], max_len)? else { return Ok(None) };
        if self.held.len() - self.used < end {
            self.take(bytes, end);
        }
        let start = self.used + LENGTH_BYTES;
        let end = self.used + end;
        if self.held.len() < end {
            return Ok(None);
        }
        self.used = end;
        Ok(Some(&self.held[start..end]))
    }

    /// Puts `rest`, the bytes that [`FrameReader::next`] left, behind what is held already: the
    /// caller stops in the middle of what it received, and goes on with empty `bytes` later.
    pub fn stash(&mut self, rest: &[u8]) {
        if self.used == self.held.len() {
            self.forget();
        }
        self.held.drain(..self.used);
        self.used = 0;
        self.held.extend_from_slice(rest);
    }

    /// The first word of a stream before it counts as a length, or `None` until four bytes arrived
    /// (then [`FrameReader::stash`] what came). Takes nothing.
    pub fn first_word(&self, bytes: &[u8]) -> Option<[u8; 4]> {
        self.first_bytes(bytes)
    }

    /// As [`FrameReader::first_word`], for words with an operand.
    pub fn first_bytes<const N: usize>(&self, bytes: &[u8]) -> Option<[u8; N]> {
        let held = &self.held[self.used..];
        let mut first = held.iter().chain(bytes).copied();
        let mut word = [0; N];
        for byte in &mut word {
            *byte = first.next()?;
        }
        Some(word)
    }

    /// Bytes held, of an unfinished frame or stashed.
    pub fn held_bytes(&self) -> usize {
        self.held.len() - self.used
    }

    /// Moves bytes over until `want` are held that were not handed out, or all are.
    fn take(&mut self, bytes: &mut &[u8], want: usize) {
        self.held.drain(..self.used);
        self.used = 0;
        let (taken, rest) = bytes.split_at(bytes.len().min(want - self.held.len()));
        self.hold(taken, want);
        *bytes = rest;
    }

    /// Appends `bytes`. Room grows by doubling, but not beyond the `end` of the frame.
    fn hold(&mut self, bytes: &[u8], end: usize) {
        let needed = self.held.len() + bytes.len();
        if needed > self.held.capacity() {
            let room = needed.max((2 * self.held.len()).min(end));
            self.held.reserve_exact(room - self.held.len());
        }
        self.held.extend_from_slice(bytes);
    }

    fn forget(&mut self) {
        self.held.clear();
        self.used = 0;
        if self.held.capacity() > KEPT_BYTES {
            self.held = Vec::new();
        }
    }
}

/// Where the first frame in `bytes` ends, wherever that is; `None` without its length.
fn frame_end(bytes: &[u8], max_len: usize) -> Result<Option<usize>, FrameError> {
    let Some(length) = bytes.first_chunk() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    match usize::try_from(length) {
        Ok(len) if len <= max_len => Ok(Some(LENGTH_BYTES + len)),
        Ok(_) | Err(_) => Err(FrameError::Length(length)),
    }
}

const LENGTH_BYTES: usize = 4;

/// What a reader between two frames may keep: requests cut in two are mostly small, and a session
/// that idles shall cost little.
const KEPT_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const MAX: usize = 1 << 20;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = i32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    fn all(reader: &mut FrameReader, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = reader.next(&mut bytes, MAX)? {
            frames.push(frame.to_vec());
        }
        assert!(bytes.is_empty(), "None means that all was taken");
        Ok(frames)
    }

    #[test]
    fn whole_frames_are_borrowed_from_what_was_received() {
        let received = [frame(b"one"), frame(b""), frame(b"two")].concat();
        let mut bytes: &[u8] = &received;
        let mut reader = FrameReader::new();
        let within = |frame: &[u8]| received.as_ptr_range().contains(&frame.as_ptr());
        assert!(within(reader.next(&mut bytes, MAX).unwrap().unwrap()));
        assert_eq!(reader.next(&mut bytes, MAX), Ok(Some(&b""[..])));
        assert!(within(reader.next(&mut bytes, MAX).unwrap().unwrap()));
        assert_eq!(reader.next(&mut bytes, MAX), Ok(None));
        assert_eq!(reader.held.capacity(), 0);
    }

    #[test]
    fn a_length_below_zero_or_above_the_limit_is_refused_as_soon_as_it_is_there() {
        let mut reader = FrameReader::new();
        let mut bytes: &[u8] = &[0, 0, 0, 4];
        assert_eq!(reader.next(&mut bytes, 3), Err(FrameError::Length(4)));
        assert_eq!(FrameReader::new().next(&mut &[0, 0, 0, 4, 1, 2, 3, 4][..], 4), {
            Ok(Some(&[1, 2, 3, 4][..]))
        });
        let mut reader = FrameReader::new();
        assert_eq!(all(&mut reader, &[0xff, 0xff]), Ok(vec![]));
        assert_eq!(all(&mut reader, &[0xff, 0xff]), Err(FrameError::Length(-1)));
        assert_eq!(all(&mut FrameReader::new(), b"GET "), Err(FrameError::Length(0x4745_5420)));
    }

    #[test]
    fn memory_follows_the_bytes_that_arrived_not_the_length() {
        let mut reader = FrameReader::new();
        assert_eq!(all(&mut reader, &[0, 0x0f, 0, 0, 1, 2, 3]), Ok(vec![]));
        assert!(reader.held.capacity() < 64, "{}", reader.held.capacity());
        assert_eq!(all(&mut reader, &[9; 5000]), Ok(vec![]));
        assert!(reader.held.capacity() < 11_000, "{}", reader.held.capacity());
        assert_eq!(all(&mut reader, &vec![9; 0x0f_0000 - 5003]).unwrap().len(), 1);
        assert!(reader.held.capacity() <= 0x0f_0004, "{}", reader.held.capacity());
        assert_eq!(all(&mut reader, &[]), Ok(vec![]));
        assert_eq!(reader.held.capacity(), 0, "a big buffer is released");
    }

    #[test]
    fn a_stashed_rest_comes_first() {
        let received = [frame(b"one"), frame(b"two"), frame(b"three")].concat();
        let (now, later) = received.split_at(received.len() - 2);
        let mut reader = FrameReader::new();
        let mut bytes = now;
        assert_eq!(reader.next(&mut bytes, MAX), Ok(Some(&b"one"[..])));
        reader.stash(bytes);
        reader.stash(later);
        assert_eq!(all(&mut reader, &frame(b"four")).unwrap(), [&b"two"[..], b"three", b"four"]);
        assert_eq!(reader.held_bytes(), 0);
    }

    #[test]
    fn the_first_word_is_seen_before_it_is_a_length() {
        let mut reader = FrameReader::new();
        assert_eq!(reader.first_word(b"ru"), None);
        reader.stash(b"ru");
        assert_eq!(reader.first_word(b"o"), None);
        reader.stash(b"o");
        assert_eq!(reader.first_word(b"k\n"), Some(*b"ruok"));
        assert_eq!(reader.first_bytes(b"k\n"), Some(*b"ruok\n"));
        assert_eq!(reader.first_bytes::<12>(b"k\n"), None);
        assert_eq!(reader.held_bytes(), 3, "looking takes nothing");
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_yields_the_same_frames(
            bodies in vec(vec(any::<u8>(), 0..600), 0..20),
            cuts in vec((1..900usize, any::<bool>()), 1..60),
            tail in 0..700usize,
        ) {
            let mut stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
            let mut rest = frame(&[7; 800]);
            rest.truncate(tail);
            stream.extend(&rest);
            let mut left: &[u8] = &stream;
            let mut frames = Vec::new();
            let mut reader = FrameReader::new();
            for (len, stashes) in cuts.into_iter().cycle() {
                let (chunk, after) = left.split_at(len.min(left.len()));
                left = after;
                let mut bytes = chunk;
                if stashes {
                    if let Some(frame) = reader.next(&mut bytes, MAX).unwrap() {
                        frames.push(frame.to_vec());
                    }
                    reader.stash(bytes);
                    bytes = &[];
                }
                while let Some(frame) = reader.next(&mut bytes, MAX).unwrap() {
                    frames.push(frame.to_vec());
                }
                prop_assert!(bytes.is_empty());
                if left.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(frames, bodies);
            prop_assert_eq!(reader.held_bytes(), rest.len());
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in vec(any::<u8>(), 0..100), max in 0..50usize) {
            let mut reader = FrameReader::new();
            let mut left: &[u8] = &bytes;
            let mut seen = 0;
            while let Ok(Some(frame)) = reader.next(&mut left, max) {
                prop_assert!(frame.len() <= max);
                seen += LENGTH_BYTES + frame.len();
            }
            prop_assert!(seen <= bytes.len());
        }
    }
}
