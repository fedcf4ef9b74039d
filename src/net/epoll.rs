//! The driver's face where io_uring is denied: epoll, made to look like completions.
//!
//! `wait` sends what was queued, asks epoll, and receives from everything that is readable, all
//! before it returns; `harvest` makes no system call. The bytes of a turn lie in one buffer that
//! is used again.
//!
//! Level-triggered, so that a connection with more to read than one turn takes simply comes back.
//! A socket with nothing to watch (paused, or after its end) leaves the set, since the kernel would
//! report its hang-up in every turn.
//!
//! Thread: the driver's.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::Timespec;

use super::driver::{
    ConnId, Event, Listening, Parker, Phase, QUIET_SEND_BYTES, SLOTS_MAX, Slots, discard_unread,
    end_pauses, reset_on_close,
};

/// Sockets over epoll.
pub struct Epoll {
    set: OwnedFd,
    parker: Arc<Parker>,
    listeners: Vec<Listening>,
    conns: Slots<Conn>,
    /// Connections with a send to try or an interest to settle at the next `wait`.
    dirty: Vec<ConnId>,
    ready: Vec<epoll::Event>,
    taken: Vec<Taken>,
    /// Whether something in `taken` is worth returning from `wait` at once.
    urgent: bool,
    /// What `Taken::Received` points into.
    arena: Vec<u8>,
    arena_used: usize,
}

#[derive(Debug)]
struct Conn {
    socket: OwnedFd,
    sending: Option<Sending>,
    /// What the set watches; empty: it is not in the set.
    watched: EventFlags,
    /// The kernel's send buffer is full.
    blocked: bool,
    paused: bool,
    /// The peer sends no more, or it broke: nothing to receive.
    ended: bool,
    /// Sending is in vain.
    broken: bool,
    /// In `Epoll::dirty`.
    dirty: bool,
    phase: Phase,
}

#[derive(Debug)]
struct Sending {
    buffer: Vec<u8>,
    sent_bytes: usize,
}

/// What a `wait` took for the next `harvest`.
#[derive(Debug)]
enum Taken {
    Accepted { listener: usize, socket: OwnedFd, peer: SocketAddr },
    Received { conn: ConnId, start: usize, end: usize },
    Closed { conn: ConnId, error: Option<io::Error> },
    Sent { conn: ConnId, buffer: Vec<u8> },
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoll")
            .field("set", &self.set)
            .field("conns", &self.conns)
            .finish_non_exhaustive()
    }
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let parker = Parker::new()?;
        epoll::add(
            &set,
            parker.fd(),
            EventData::new_u64(u64::from(WAKE)),
            EventFlags::IN | EventFlags::ET,
        )?;
        Ok(Self {
            set,
            parker,
            listeners: Vec::new(),
            conns: Slots::new(),
            dirty: Vec::new(),
            ready: Vec::with_capacity(READY_MAX),
            taken: Vec::new(),
            urgent: false,
            arena: Vec::new(),
            arena_used: 0,
        })
    }

    pub(super) fn parker(&self) -> &Arc<Parker> {
        &self.parker
    }

    pub(super) fn listen(&mut self, listener: TcpListener) -> io::Result<usize> {
        listener.set_nonblocking(true)?;
        let index = self.listeners.len();
        epoll::add(&self.set, &listener, listener_data(index), EventFlags::IN)?;
        self.listeners.push(Listening::new(listener));
        Ok(index)
    }

    pub(super) fn adopt(&mut self, socket: OwnedFd) -> io::Result<ConnId> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let id = self.conns.insert(Conn {
            socket,
            sending: None,
            watched: EventFlags::empty(),
            blocked: false,
            paused: false,
            ended: false,
            broken: false,
            dirty: false,
            phase: Phase::Open,
        });
        let conn = self.conns.get_mut(id).expect("it was just inserted");
        if let Err(error) = conn.watch(&self.set, id) {
            self.conns.remove(id);
            return Err(error);
        }
        Ok(id)
    }

    pub(super) fn send(&mut self, id: ConnId, buffer: Vec<u8>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.broken || conn.phase != Phase::Open {
            return;
        }
        assert!(conn.sending.is_none(), "one send at a time");
        conn.sending = Some(Sending { buffer, sent_bytes: 0 });
        touch(&mut self.dirty, conn, id);
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
        if conn.sending.is_some() {
            conn.phase = Phase::Closing;
            return;
        }
        if !conn.ended {
            discard_unread(conn.socket.as_fd());
        }
        self.conns.remove(id);
    }

    pub(super) fn abort(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.remove(id) {
            reset_on_close(conn.socket.as_fd());
        }
    }

    pub(super) fn open_sockets(&self) -> usize {
        self.conns.len()
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // What an earlier turn left undelivered must not wait behind the kernel.
        self.urgent = !self.taken.is_empty();
        self.work_off_dirty();
        let set = &self.set;
        let timeout = end_pauses(&mut self.listeners, timeout, |index, socket| {
            // It left the set when the pause began.
            Ok(epoll::add(set, socket, listener_data(index), EventFlags::IN)?)
        });
        let timeout = if self.urgent { Some(Duration::ZERO) } else { timeout };
        let timeout = timeout.map(|timeout| {
            Timespec::try_from(timeout.min(TIMEOUT_MAX)).expect("a day is within its range")
        });
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let result = match epoll::wait(&self.set, spare_capacity(&mut ready), timeout.as_ref()) {
            Ok(_) => Ok(()),
            Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        };
        for event in &ready {
            self.on_ready(event.data.u64(), event.flags);
        }
        self.ready = ready;
        result
    }

    pub(super) fn harvest<F: FnMut(Event<'_>)>(&mut self, mut on_event: F) {
        for taken in self.taken.drain(..) {
            match taken {
                Taken::Accepted { listener, socket, peer } => {
                    on_event(Event::Accepted { listener, socket, peer });
                }
                Taken::Received { conn, start, end } => {
                    if self.conns.get_mut(conn).is_some_and(|conn| conn.phase == Phase::Open) {
                        on_event(Event::Received { conn, bytes: &self.arena[start..end] });
                    }
                }
                Taken::Closed { conn, error } => {
                    if self.conns.get_mut(conn).is_some_and(|conn| conn.phase == Phase::Open) {
                        on_event(Event::Closed { conn, error });
                    }
                }
                Taken::Sent { conn, buffer } => {
                    if self.conns.get_mut(conn).is_some_and(|conn| conn.phase == Phase::Open) {
                        on_event(Event::Sent { conn, buffer });
                    }
                }
            }
        }
        self.arena_used = 0;
        if self.arena.len() > ARENA_KEPT_BYTES {
            self.arena.truncate(ARENA_KEPT_BYTES);
            self.arena.shrink_to_fit();
        }
    }

    fn work_off_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            conn.dirty = false;
            if !conn.blocked {
                self.try_send(id);
            }
            self.settle(id);
        }
        self.dirty = dirty;
    }

    /// Gives the kernel what it takes of the connection's send.
    fn try_send(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Some(sending) = &mut conn.sending else { return };
        conn.blocked = false;
        while sending.sent_bytes < sending.buffer.len() {
            let rest = &sending.buffer[sending.sent_bytes..];
            match rustix::net::send(&conn.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent_bytes) => sending.sent_bytes += sent_bytes,
                Err(Errno::AGAIN) => {
                    conn.blocked = true;
                    return;
                }
                Err(Errno::INTR) => {}
                Err(error) => return self.fail(id, error.into()),
            }
        }
        let Some(Sending { mut buffer, .. }) = conn.sending.take() else { return };
        self.urgent |= buffer.len() > QUIET_SEND_BYTES;
        buffer.clear();
        self.taken.push(Taken::Sent { conn: id, buffer });
    }

    /// Closes what is to be closed, and tells the set what else to watch.
    fn settle(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.phase == Phase::Closing && conn.sending.is_none() {
            return self.close(id);
        }
        if let Err(error) = conn.watch(&self.set, id) {
            // The kernel is out of memory or watches: this connection cannot be served.
            self.fail(id, error);
        }
    }

    fn fail(&mut self, id: ConnId, error: io::Error) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.sending = None;
        conn.ended = true;
        if !conn.broken {
            conn.broken = true;
            self.urgent = true;
            self.taken.push(Taken::Closed { conn: id, error: Some(error) });
        }
    }

    fn on_ready(&mut self, data: u64, flags: EventFlags) {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is the slot")]
        let slot = data as u32;
        if slot == WAKE {
            return;
        }
        if slot >= LISTENERS {
            return self.accept((slot - LISTENERS) as usize);
        }
        let generation = (data >> 32) as u32;
        let id = ConnId { slot, generation };
        let gone = EventFlags::HUP | EventFlags::ERR;
        let Some(conn) = self.conns.get_mut(id) else { return };
        let (reads, writes) =
            (conn.watched.contains(EventFlags::IN), conn.watched.contains(EventFlags::OUT));
        if writes && flags.intersects(EventFlags::OUT | gone) {
            self.try_send(id);
        }
        if reads && flags.intersects(EventFlags::IN | gone) {
            self.receive(id);
        }
        self.settle(id);
    }

    /// One recv a turn: who sends much takes turns with the others.
    fn receive(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.ended {
            return;
        }
        let start = self.arena_used;
        if self.arena.len() < start + RECV_BYTES {
            self.arena.resize((start + RECV_BYTES).max(2 * self.arena.len()), 0);
        }
        let room = &mut self.arena[start..start + RECV_BYTES];
        match rustix::net::recv(&conn.socket, room, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => {
                conn.ended = true;
                self.taken.push(Taken::Closed { conn: id, error: None });
            }
            Ok((_, received_bytes)) => {
                self.arena_used = start + received_bytes;
                if conn.phase == Phase::Open {
                    let end = self.arena_used;
                    self.taken.push(Taken::Received { conn: id, start, end });
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => self.fail(id, error.into()),
        }
    }

    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS_A_TURN_MAX {
            let listening = &mut self.listeners[index];
            match listening.socket.accept() {
                Ok((socket, peer)) => {
                    let socket = OwnedFd::from(socket);
                    self.taken.push(Taken::Accepted { listener: index, socket, peer });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if listening.go_on_after(&error) => {}
                Err(_) => {
                    epoll::delete(&self.set, &listening.socket)
                        .expect("a listener that was ready is in the epoll set");
                    return;
                }
            }
        }
    }
}

impl Conn {
    fn watch(&mut self, set: &OwnedFd, id: ConnId) -> io::Result<()> {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, !self.ended && !self.paused);
        wanted.set(EventFlags::OUT, self.blocked && self.sending.is_some());
        if wanted == self.watched {
            return Ok(());
        }
        let data = EventData::new_u64((u64::from(id.generation) << 32) | u64::from(id.slot));
        if wanted.is_empty() {
            epoll::delete(set, &self.socket)?;
        } else if self.watched.is_empty() {
            epoll::add(set, &self.socket, data, wanted)?;
        } else {
            epoll::modify(set, &self.socket, data, wanted)?;
        }
        self.watched = wanted;
        Ok(())
    }
}

fn touch(dirty: &mut Vec<ConnId>, conn: &mut Conn, id: ConnId) {
    if !conn.dirty {
        conn.dirty = true;
        dirty.push(id);
    }
}

fn listener_data(index: usize) -> EventData {
    let index = u32::try_from(index).expect("a few listeners");
    EventData::new_u64(u64::from(LISTENERS + index))
}

/// Data words from here on name listeners, below it connections.
const LISTENERS: u32 = SLOTS_MAX;

/// The data word of the eventfd.
const WAKE: u32 = u32::MAX;

/// Events of one turn; the rest comes with the next.
const READY_MAX: usize = 1024;

/// BOUND: a burst of connects shares the thread with those who are connected.
const ACCEPTS_A_TURN_MAX: usize = 64;

/// Room for one recv.
const RECV_BYTES: usize = 64 << 10;

/// What the arena keeps from turn to turn: a busy turn of small requests.
const ARENA_KEPT_BYTES: usize = 1 << 20;

/// epoll_wait counts milliseconds in 31 bits; an early return does no harm.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

const _: () = {
    assert!(size_of::<(u32, Option<Conn>)>() <= 64, "a session that idles shall cost little");
};
