//! The floor: an epoll server that answers every request with bytes of the right length and keeps
//! nothing. What it costs is what the kernel's sockets and the generator cost.
//!
//! Thread: main, until the process is ended. It trusts its input: it serves our generator alone.

use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};

use rustix::event::epoll;

use crate::client::raw::{FrameBuffer, frame};
use crate::wire::client::{ConnectResponse, Field, MultiHeader, ReplyHeader, Stat};
use crate::wire::codes::OpCode;
use crate::wire::jute::{Reader, Write};

struct Peer {
    stream: TcpStream,
    input: FrameBuffer,
    out: Vec<u8>,
    greeted: bool,
}

const LISTENER: u64 = u64::MAX;

/// Serves on `address` for ever; replies to getData carry `size_bytes`.
pub(super) fn serve(address: &str, size_bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let add = |stream: &TcpStream, slot: usize| {
        epoll::add(&epoll, stream, epoll::EventData::new_u64(slot as u64), epoll::EventFlags::IN)
    };
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let data = vec![b'x'; size_bytes];
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            if event.data.u64() == LISTENER {
                if let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    add(&stream, peers.len())?;
                    let input = FrameBuffer::default();
                    peers.push(Some(Peer { stream, input, out: Vec::new(), greeted: false }));
                }
                continue;
            }
            let slot = &mut peers[usize::try_from(event.data.u64()).expect("an index of ours")];
            // Dropping the peer closes its socket, which leaves the epoll set with it.
            if slot.as_mut().is_some_and(|peer| !peer.turn(&data).unwrap_or(false)) {
                *slot = None;
            }
        }
    }
}

impl Peer {
    /// Whether the connection goes on. The socket blocks on write: replies are small and read.
    fn turn(&mut self, data: &[u8]) -> io::Result<bool> {
        if self.input.fill(&mut self.stream)? == 0 {
            return Ok(false);
        }
        let mut goes_on = true;
        while let Some(bytes) = self.input.take() {
            if !self.greeted {
                self.greeted = true;
                frame(&mut self.out, |out| {
                    ConnectResponse {
                        protocol_version: 0,
                        timeout_ms: 30_000,
                        session_id: 1,
                        passwd: &[0; 16],
                    }
                    .encode(out);
                    out.put_bool(false);
                });
                continue;
            }
            let mut reader = Reader::new(bytes);
            let (Ok(xid), Ok(kind)) = (reader.int(), reader.int()) else {
                return Ok(false);
            };
            goes_on &= kind != OpCode::CloseSession.to_wire();
            frame(&mut self.out, |out| {
                ReplyHeader { xid, zxid: 1, err: 0 }.encode(out);
                body(kind, reader, data, out);
            });
        }
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(goes_on)
    }
}

fn body(kind: i32, mut request: Reader<'_>, data: &[u8], out: &mut Vec<u8>) {
    match OpCode::from_wire(kind) {
        Some(OpCode::GetData) => {
            out.put_some(data);
            Stat::default().encode(out);
        }
        Some(OpCode::SetData) => Stat::default().encode(out),
        Some(OpCode::Exists) => {
            // The preload asks whether nodes of this length are there: they are.
            let data_length = i32::try_from(data.len()).expect("a size of ours");
            Stat { data_length, ..Stat::default() }.encode(out);
        }
        Some(OpCode::Create) => out.put_some(request.some().unwrap_or_default()),
        Some(OpCode::GetChildren2) => {
            out.put_len(10);
            (0..10).for_each(|_| out.put_some(b"child0"));
            Stat::default().encode(out);
        }
        Some(OpCode::Multi) => {
            MultiHeader { kind: OpCode::Check.to_wire(), done: false, err: 0 }.encode(out);
            MultiHeader { kind: OpCode::SetData.to_wire(), done: false, err: 0 }.encode(out);
            Stat::default().encode(out);
            MultiHeader { kind: -1, done: true, err: -1 }.encode(out);
        }
        _ => {}
    }
}
