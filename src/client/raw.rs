//! One blocking connection: the handshake, then frames out and frames in, nothing decided.
//!
//! Thread: the caller's. Tests speak to a server through it where the library would hide what they
//! want to see (order of frames, headers, closes); the load generator sets its sessions up with it.
//! Not here: pings, reconnects, watches, chroots (the rest of `client/`).

use std::io::{self, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::wire::client::{ConnectRequest, ConnectResponse, Field, ReplyHeader};
use crate::wire::codes::OpCode;
use crate::wire::jute::{DecodeError, Reader, Write};

/// What a handshake asks for.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// Newest zxid seen; a server behind it closes without a word.
    pub last_zxid_seen: i64,
    /// Wanted session timeout.
    pub timeout_ms: i32,
    /// 0 for a new session.
    pub session_id: i64,
    /// Of the session; anything for a new one.
    pub passwd: Vec<u8>,
    /// `None` leaves the byte out, as clients up to 3.3 do.
    pub read_only: Option<bool>,
}

impl Default for Handshake {
    fn default() -> Self {
        Self {
            last_zxid_seen: 0,
            timeout_ms: 30_000,
            session_id: 0,
            passwd: vec![0; 16],
            read_only: Some(false),
        }
    }
}

impl Handshake {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame(out, |out| {
            ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: self.last_zxid_seen,
                timeout_ms: self.timeout_ms,
                session_id: self.session_id,
                passwd: Some(&self.passwd),
            }
            .encode(out);
            if let Some(read_only) = self.read_only {
                out.put_bool(read_only);
            }
        });
    }
}

/// What the server granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// 0 when refused.
    pub session_id: i64,
    /// Password for a re-attach.
    pub passwd: Vec<u8>,
    /// Negotiated; 0 when the session was refused (expired, unknown, wrong password).
    pub timeout_ms: i32,
    /// Whether the server is read-only; `None` when the byte was absent.
    pub read_only: Option<bool>,
}

impl Granted {
    /// Reads the frame of a ConnectResponse.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        let response = ConnectResponse::decode(&mut reader)?;
        Ok(Self {
            session_id: response.session_id,
            passwd: response.passwd.to_vec(),
            timeout_ms: response.timeout_ms,
            read_only: reader.bool().ok(),
        })
    }

    /// Whether the session exists.
    pub fn is_accepted(&self) -> bool {
        self.timeout_ms > 0
    }
}

/// Appends a frame whose payload `fill` writes.
pub fn frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.put_int(0);
    fill(out);
    let len = i32::try_from(out.len() - at - 4).expect("a request is far below 2 GiB");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends the frame of one request.
pub fn request<'a>(out: &mut Vec<u8>, xid: i32, op: OpCode, body: &impl Field<'a>) {
    frame(out, |out| {
        out.put_int(xid);
        out.put_int(op.to_wire());
        body.encode(out);
    });
}

/// A request without a body: ping, closeSession, whoAmI.
pub fn bare(out: &mut Vec<u8>, xid: i32, op: OpCode) {
    frame(out, |out| {
        out.put_int(xid);
        out.put_int(op.to_wire());
    });
}

/// Bytes that came in and are not yet whole frames.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameBuffer {
    const MIN_SPACE_BYTES: usize = 16 << 10;
    /// BOUND: a longer frame is no reply of a sane server; without this its length would be allocated.
    const FRAME_BYTES_MAX: usize = 256 << 20;

    /// Reads once; 0 bytes is the end of the stream.
    pub fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        if self.frame_len().is_some_and(|len| len > Self::FRAME_BYTES_MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame above 256 MiB"));
        }
        let wanted = self.frame_len().map_or(0, |len| (len + 4).saturating_sub(self.pending()));
        let space = wanted.max(Self::MIN_SPACE_BYTES);
        if self.bytes.len() - self.end < space {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.bytes.len() - self.end < space {
                self.bytes.resize(self.end + space, 0);
            }
        }
        let count = from.read(&mut self.bytes[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// Bytes not yet taken.
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    fn frame_len(&self) -> Option<usize> {
        let prefix = self.bytes[self.start..self.end].first_chunk::<4>()?;
        usize::try_from(u32::from_be_bytes(*prefix)).ok()
    }

    /// Takes the next whole frame, without its length.
    pub fn take(&mut self) -> Option<&[u8]> {
        let len = self.frame_len()?;
        if self.pending() < len + 4 {
            return None;
        }
        let at = self.start + 4;
        self.start = at + len;
        if self.start == self.end {
            // The bytes stay where they are until the next `fill`.
            (self.start, self.end) = (0, 0);
        }
        Some(&self.bytes[at..at + len])
    }
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    input: FrameBuffer,
    granted: Granted,
}

impl Connection {
    /// Connects to the first address of `server` that answers and shakes hands. A refused session is
    /// a value (`granted().is_accepted()`), a closed connection an error of kind `UnexpectedEof`.
    pub fn open(server: &str, handshake: &Handshake, patience: Duration) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in server.to_socket_addrs()? {
            match Self::open_address(address, handshake, patience) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// As [`Self::open`], to one address.
    pub fn open_address(
        address: SocketAddr,
        handshake: &Handshake,
        patience: Duration,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut out = Vec::with_capacity(64);
        handshake.encode(&mut out);
        stream.write_all(&out)?;
        let mut input = FrameBuffer::default();
        let granted = loop {
            if let Some(frame) = input.take() {
                break Granted::decode(frame).map_err(invalid)?;
            }
            match input.fill(&mut stream) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                // With a timeout the kernel does not go on by itself.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        Ok(Self { stream, input, granted })
    }

    /// The answer to the handshake.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// How long [`Self::read_frame`] waits; `None` for ever.
    pub fn set_patience(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(patience)
    }

    /// Sends bytes as they are, framed or broken.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one request and does not wait.
    pub fn send<'a>(&mut self, xid: i32, op: OpCode, body: &impl Field<'a>) -> io::Result<()> {
        let mut out = Vec::new();
        request(&mut out, xid, op, body);
        self.send_bytes(&out)
    }

    /// Sends one request without a body.
    pub fn send_bare(&mut self, xid: i32, op: OpCode) -> io::Result<()> {
        let mut out = Vec::new();
        bare(&mut out, xid, op);
        self.send_bytes(&out)
    }

    /// Waits for the next frame; `None` when the server closed the connection between frames.
    pub fn read_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(frame) = self.input.take() {
                return Ok(Some(frame.to_vec()));
            }
            match self.input.fill(&mut self.stream) {
                Ok(0) if self.input.pending() == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the next frame and splits its header off. The end of the stream is an error.
    pub fn read_reply(&mut self) -> io::Result<(ReplyHeader, Vec<u8>)> {
        let frame = self.read_frame()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut reader = Reader::new(&frame);
        let header = ReplyHeader::decode(&mut reader).map_err(invalid)?;
        Ok((header, reader.rest().to_vec()))
    }

    /// Sends one request and waits for the next frame, which is its reply unless a notification or
    /// the replies of requests sent before come first.
    pub fn call<'a>(
        &mut self,
        xid: i32,
        op: OpCode,
        body: &impl Field<'a>,
    ) -> io::Result<(ReplyHeader, Vec<u8>)> {
        self.send(xid, op, body)?;
        self.read_reply()
    }

    /// Closes the session and waits for the server to close the connection.
    pub fn close(mut self) -> io::Result<()> {
        self.send_bare(i32::MAX, OpCode::CloseSession)?;
        while self.read_frame()?.is_some() {}
        Ok(())
    }

    /// Ends the connection and leaves the session alive.
    pub fn abandon(self) {
        // A connection that the peer has reset is as gone as one we shut down.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The socket and what was read from it, for a caller that goes on without blocking.
    pub fn into_parts(self) -> (TcpStream, FrameBuffer) {
        (self.stream, self.input)
    }

    /// The socket alone. Frames that came with the handshake
    /// are lost: there are none, since nothing was asked yet.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_the_captured_one() {
        let mut bytes = Vec::new();
        Handshake { timeout_ms: 10_000, ..Handshake::default() }.encode(&mut bytes);
        assert_eq!(bytes.len(), 4 + 45);
        assert_eq!(bytes[..20], *b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x27\x10");
        let mut old = Vec::new();
        Handshake { read_only: None, ..Handshake::default() }.encode(&mut old);
        assert_eq!(old.len(), 4 + 44);
    }

    #[test]
    fn frames_come_whole_however_the_stream_is_cut() {
        let mut bytes = Vec::new();
        let payloads: Vec<Vec<u8>> = [0, 1, 7, 20_000, 3]
            .iter()
            .map(|len| vec![u8::try_from(len % 251).unwrap(); *len])
            .collect();
        for payload in &payloads {
            frame(&mut bytes, |out| out.put_raw(payload));
        }
        for piece in [1, 3, 5, 1000, 50_000] {
            let mut buffer = FrameBuffer::default();
            let mut seen = Vec::new();
            for mut chunk in bytes.chunks(piece) {
                while !chunk.is_empty() {
                    buffer.fill(&mut chunk).unwrap();
                }
                while let Some(frame) = buffer.take() {
                    seen.push(frame.to_vec());
                }
            }
            assert_eq!(seen, payloads);
        }
    }
}
