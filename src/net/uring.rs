//! The driver's face over io_uring: multishot accept and receive, and sends that are silent when
//! they succeed, so that a turn of receives and replies costs one system call.
//!
//! Operations are armed in `wait`, not where the need arises, so that a pause and a resume in one
//! turn cost nothing, and so that the buffers which a harvest gives back are the kernel's again
//! before a receive that ended for want of them is armed.
//!
//! Thread: the driver's.
//! Invariants: a receive is armed at most once for each connection; a socket is closed when neither
//! a receive nor a send of it is in the ring.
//! Not here: what is unsafe about it (`sys/ring.rs`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::driver::{
    ConnId, Event, Listening, Parker, Phase, QUIET_SEND_BYTES, Slots, discard_unread, end_pauses,
    reset_on_close,
};
use crate::sys::ring::{Completion, Op, Ring, Token};

/// Sockets over io_uring.
#[derive(Debug)]
pub struct Uring {
    ring: Ring,
    parker: Arc<Parker>,
    listeners: Vec<Listening>,
    conns: Slots<Conn>,
    /// Connections whose receive may have to be armed or cancelled at the next `wait`.
    dirty: Vec<ConnId>,
    /// A connection closes behind a send that is under way: the next `wait` must not block.
    closing: bool,
}

#[derive(Debug)]
struct Conn {
    socket: OwnedFd,
    recv: Recv,
    sending: bool,
    paused: bool,
    /// It failed: sending is in vain.
    broken: bool,
    /// In `Uring::dirty`.
    dirty: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recv {
    /// Not in the ring.
    Idle,
    /// In the ring.
    Armed,
    /// In the ring, and about to leave it.
    Cancelled,
    /// The peer sends no more.
    Ended,
}

impl Uring {
    pub(super) fn new() -> io::Result<Self> {
        let mut ring = Ring::new()?;
        ring.provide(BUFFERS_SPARE);
        let parker = Parker::new()?;
        ring.poll(parker.fd());
        Ok(Self {
            ring,
            parker,
            listeners: Vec::new(),
            conns: Slots::new(),
            dirty: Vec::new(),
            closing: false,
        })
    }

    pub(super) fn parker(&self) -> &Arc<Parker> {
        &self.parker
    }

    pub(super) fn listen(&mut self, listener: TcpListener) -> io::Result<usize> {
        listener.set_nonblocking(false)?;
        let index = self.listeners.len();
        self.ring.accept(listener.as_fd(), listener_slot(index));
        self.listeners.push(Listening::new(listener));
        Ok(index)
    }

    pub(super) fn adopt(&mut self, socket: OwnedFd) -> io::Result<ConnId> {
        // A socket that says EAGAIN by itself would never be armed by some kernels.
        rustix::io::ioctl_fionbio(&socket, false)?;
        let id = self.conns.insert(Conn {
            socket,
            recv: Recv::Idle,
            sending: false,
            paused: false,
            broken: false,
            dirty: true,
            phase: Phase::Open,
        });
        self.dirty.push(id);
        self.ring.provide(self.conns.len() + BUFFERS_SPARE);
        Ok(id)
    }

    pub(super) fn send(&mut self, id: ConnId, buffer: Vec<u8>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.broken || conn.phase != Phase::Open {
            return;
        }
        assert!(!conn.sending, "one send at a time");
        conn.sending = true;
        let socket = conn.socket.as_fd();
        self.ring.send(socket, id.slot, id.generation, buffer, QUIET_SEND_BYTES);
    }

    pub(super) fn pause(&mut self, id: ConnId) {
        self.set_paused(id, true);
    }

    pub(super) fn resume(&mut self, id: ConnId) {
        self.set_paused(id, false);
    }

    fn set_paused(&mut self, id: ConnId, paused: bool) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.paused = paused;
        touch(&mut self.dirty, conn, id);
    }

    pub(super) fn close(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.phase == Phase::Open {
            conn.phase = Phase::Closing;
            // A silent send would not end the wait, and the socket would stay open until then.
            self.closing |= conn.sending;
            self.settle(id);
        }
    }

    pub(super) fn abort(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.phase == Phase::Aborting {
            return;
        }
        conn.phase = Phase::Aborting;
        reset_on_close(conn.socket.as_fd());
        if conn.sending {
            self.ring.cancel(token(Op::Send, id));
        }
        self.settle(id);
    }

    pub(super) fn open_sockets(&self) -> usize {
        self.conns.len()
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout =
            if std::mem::take(&mut self.closing) { Some(Duration::ZERO) } else { timeout };
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            conn.dirty = false;
            if conn.phase != Phase::Open {
                continue;
            }
            match conn.recv {
                Recv::Idle if !conn.paused => {
                    conn.recv = Recv::Armed;
                    self.ring.recv(conn.socket.as_fd(), id.slot, id.generation);
                }
                Recv::Armed if conn.paused => {
                    conn.recv = Recv::Cancelled;
                    self.ring.cancel(token(Op::Recv, id));
                }
                Recv::Idle | Recv::Armed | Recv::Cancelled | Recv::Ended => {}
            }
        }
        self.dirty = dirty;
        let timeout = end_pauses(&mut self.listeners, timeout, |index, socket| {
            self.ring.accept(socket.as_fd(), listener_slot(index));
            Ok(())
        });
        self.ring.enter(timeout)
    }

    pub(super) fn harvest<F: FnMut(Event<'_>)>(&mut self, mut on_event: F) {
        let mut completions = self.ring.completions();
        for completion in completions.drain(..) {
            match completion.token.op {
                Op::Recv => self.on_recv(completion, &mut on_event),
                Op::Send => self.on_send(&completion, &mut on_event),
                Op::Accept => self.on_accept(completion, &mut on_event),
                Op::Poll if completion.more => {}
                Op::Poll => self.ring.poll(self.parker.fd()),
                Op::Cancel => unreachable!("the ring keeps these to itself"),
            }
        }
        self.ring.reuse(completions);
    }

    fn on_recv(&mut self, completion: Completion, on_event: &mut impl FnMut(Event<'_>)) {
        let id = conn_id(completion.token);
        let more = completion.more;
        let conn = self.conns.get_mut(id).expect("a socket outlives its receive");
        let open = conn.phase == Phase::Open;
        match completion.count() {
            Ok(0) => {
                conn.recv = Recv::Ended;
                if open && !conn.broken {
                    on_event(Event::Closed { conn: id, error: None });
                }
            }
            Ok(_) => {
                if open && !conn.broken {
                    let bytes = self.ring.bytes(&completion);
                    on_event(Event::Received { conn: id, bytes });
                }
            }
            Err(error) => match Errno::from_io_error(&error) {
                // No buffer was left, or we paused it: it is armed again when it may.
                Some(Errno::NOBUFS | Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
                Some(_) | None => {
                    conn.recv = Recv::Ended;
                    if open && !conn.broken {
                        on_event(Event::Closed { conn: id, error: Some(error) });
                    }
                    conn.broken = true;
                }
            },
        }
        self.ring.release(completion);
        if more {
            return;
        }
        if conn.recv != Recv::Ended {
            conn.recv = Recv::Idle;
        }
        if open {
            touch(&mut self.dirty, conn, id);
        } else {
            self.settle(id);
        }
    }

    fn on_send(&mut self, completion: &Completion, on_event: &mut impl FnMut(Event<'_>)) {
        let id = conn_id(completion.token);
        let conn = self.conns.get_mut(id).expect("a socket outlives its send");
        let failed = completion.count().err().filter(|error| {
            !matches!(Errno::from_io_error(error), Some(Errno::AGAIN | Errno::INTR))
        });
        let gives_up = failed.is_some() || conn.phase == Phase::Aborting || conn.broken;
        if !gives_up && self.ring.send_rest(conn.socket.as_fd(), id.slot, id.generation) {
            return;
        }
        conn.sending = false;
        let mut buffer = self.ring.take_buffer(id.slot);
        if conn.phase != Phase::Open {
            return self.settle(id);
        }
        match failed {
            None if gives_up => {}
            None => {
                buffer.clear();
                on_event(Event::Sent { conn: id, buffer });
            }
            Some(error) => {
                if !conn.broken {
                    conn.broken = true;
                    on_event(Event::Closed { conn: id, error: Some(error) });
                }
            }
        }
    }

    fn on_accept(&mut self, completion: Completion, on_event: &mut impl FnMut(Event<'_>)) {
        let slot = completion.token.slot;
        let index = slot as usize;
        let more = completion.more;
        let mut goes_on = true;
        match completion.into_socket() {
            Ok(socket) => {
                // A client that is gone already has no address any more.
                if let Some(peer) = peer_of(&socket) {
                    on_event(Event::Accepted { listener: index, socket, peer });
                }
            }
            Err(error) => goes_on = self.listeners[index].go_on_after(&error),
        }
        if !more && goes_on {
            self.ring.accept(self.listeners[index].socket.as_fd(), slot);
        }
    }

    /// Takes a closing connection as far as it gets: first its send, then its receive, then its
    /// socket.
    fn settle(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.sending {
            return;
        }
        match conn.recv {
            Recv::Armed => {
                conn.recv = Recv::Cancelled;
                self.ring.cancel(token(Op::Recv, id));
            }
            Recv::Cancelled => {}
            Recv::Idle | Recv::Ended => {
                if conn.recv == Recv::Idle && conn.phase == Phase::Closing {
                    discard_unread(conn.socket.as_fd());
                }
                self.conns.remove(id);
            }
        }
    }
}

fn touch(dirty: &mut Vec<ConnId>, conn: &mut Conn, id: ConnId) {
    if !conn.dirty {
        conn.dirty = true;
        dirty.push(id);
    }
}

fn token(op: Op, id: ConnId) -> Token {
    Token { op, slot: id.slot, generation: id.generation }
}

fn conn_id(token: Token) -> ConnId {
    ConnId { slot: token.slot, generation: token.generation }
}

fn listener_slot(index: usize) -> u32 {
    u32::try_from(index).expect("a few listeners")
}

fn peer_of(socket: &OwnedFd) -> Option<SocketAddr> {
    SocketAddr::try_from(rustix::net::getpeername(socket).ok()??).ok()
}

/// Receive buffers beyond one for each connection: a few who send much get further in a turn.
const BUFFERS_SPARE: usize = 64;

const _: () = {
    assert!(size_of::<(u32, Option<Conn>)>() <= 24, "a session that idles shall cost little");
};
