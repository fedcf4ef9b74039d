//! Watches under load: every session watches every path, one writer sets them in turn.
//!
//! A path is set again only when every session has seen its notification and watches it anew, so
//! no two sets share a notification and all can be counted.

use std::io::{self, Write as _};
use std::net::TcpStream;

use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};

use super::mix::{Frames, Op, key_path};
use super::setup;
use crate::client::clock;
use crate::client::raw::{self, Connection, FrameBuffer};
use crate::wire::client::{Field, PathWatch, ReplyHeader, WatcherEvent};
use crate::wire::codes::{OpCode, xids};
use crate::wire::jute::Reader;

/// What the run saw.
#[derive(Debug)]
pub(super) struct Seen {
    /// From a set's departure to a notification's arrival, ns.
    pub(super) latency: Histogram<u64>,
    /// Notifications in the measured time.
    pub(super) notifications: u64,
    /// Sets in the measured time.
    pub(super) sets: u64,
    /// The sessions, for whoever closes them.
    pub(super) streams: Vec<TcpStream>,
}

fn get(path: &str) -> PathWatch<'_> {
    PathWatch { path: Some(path.as_bytes()), watch: true }
}

/// Leaves a watch on each of `paths` preloaded nodes.
pub(super) fn arm(connection: &mut Connection, prefix: &str, paths: u64) -> io::Result<()> {
    let errors = setup::pipeline(connection, paths, |i, xid, out| {
        raw::request(out, xid, OpCode::GetData, &get(&key_path(prefix, i)));
    })?;
    match errors.keys().next() {
        Some(code) => Err(io::Error::other(format!("getData failed with error {code}"))),
        None => Ok(()),
    }
}

struct Socket {
    stream: TcpStream,
    input: FrameBuffer,
    out: Vec<u8>,
}

/// A path between its set and the last renewed watch.
#[derive(Clone, Copy, Default)]
struct Path {
    set_ns: u64,
    renewals_left: usize,
}

/// Sets paths, `depth` at a time, between `begin_ns` and `end_ns` (measured) and before (not).
/// `watchers` are armed; the first of `streams` becomes the writer.
pub(super) fn run(
    prefix: &str,
    paths: u64,
    depth: usize,
    frames: &Frames,
    (begin_ns, end_ns): (u64, u64),
    writer: TcpStream,
    watchers: Vec<TcpStream>,
) -> io::Result<Seen> {
    let sessions = watchers.len();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut sockets = Vec::with_capacity(sessions + 1);
    for (i, stream) in std::iter::once(writer).chain(watchers).enumerate() {
        // Writes may block: what is in flight is bounded by `depth` and is read all the time.
        epoll::add(&epoll, &stream, epoll::EventData::new_u64(i as u64), epoll::EventFlags::IN)?;
        sockets.push(Socket { stream, input: FrameBuffer::default(), out: Vec::new() });
    }
    let mut state = vec![Path::default(); usize::try_from(paths).expect("memory holds them")];
    let mut latency =
        Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("these bounds are valid");
    let (mut notifications, mut sets, mut busy) = (0, 0, 0);
    let mut next = 0;
    let mut events = Vec::with_capacity(256);
    loop {
        let now = clock::nanos();
        while now < end_ns && busy < depth && state[next].renewals_left == 0 {
            state[next] = Path { set_ns: clock::nanos(), renewals_left: sessions };
            frames.append(Op::Set, &mut sockets[0].out, 1, next as u64);
            busy += 1;
            sets += u64::from(now >= begin_ns);
            next = (next + 1) % state.len();
        }
        for socket in &mut sockets {
            if !socket.out.is_empty() {
                socket.stream.write_all(&socket.out)?;
                socket.out.clear();
            }
        }
        if busy == 0 && now >= end_ns {
            let streams = sockets.into_iter().map(|socket| socket.stream).collect();
            return Ok(Seen { latency, notifications, sets, streams });
        }
        if now > end_ns.saturating_add(10_000_000_000) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "notifications are missing"));
        }
        events.clear();
        let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let index = usize::try_from(event.data.u64()).expect("an index of ours");
            let Socket { stream, input, out } = &mut sockets[index];
            if input.fill(stream)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let now = clock::nanos();
            while let Some(frame) = input.take() {
                let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                let mut reader = Reader::new(frame);
                let header = ReplyHeader::decode(&mut reader).map_err(invalid)?;
                if header.xid == xids::NOTIFICATION {
                    let event = WatcherEvent::decode(&mut reader).map_err(invalid)?;
                    let number = number(event.path, prefix, paths)?;
                    if now >= begin_ns && now < end_ns {
                        notifications += 1;
                        latency.saturating_record((now - state[number].set_ns).max(1));
                    }
                    // The xid names the path, so that the reply tells which watch is new.
                    let xid = i32::try_from(number).expect("fewer paths than 2^31") + 1;
                    let path = key_path(prefix, number as u64);
                    raw::request(out, xid, OpCode::GetData, &get(&path));
                } else if header.err != 0 {
                    return Err(io::Error::other(format!("error {} under load", header.err)));
                } else if index > 0 && header.xid > 0 {
                    let path = &mut state[usize::try_from(header.xid).expect("positive") - 1];
                    path.renewals_left -= 1;
                    busy -= usize::from(path.renewals_left == 0);
                }
            }
        }
    }
}

fn number(path: &[u8], prefix: &str, paths: u64) -> io::Result<usize> {
    std::str::from_utf8(path)
        .ok()
        .and_then(|path| path.strip_prefix(prefix)?.strip_prefix("/k"))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .filter(|number| *number < paths)
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a notification for no path"))
}
