//! The driver: one thread's sockets, completion-shaped, whatever the kernel offers.
//!
//! A turn is `wait` (the one system call that may block: it submits what was queued, then takes
//! what came), `harvest` (hands over what `wait` took), then sends and closes that the next `wait`
//! carries out.
//!
//! Thread: the one that called [`Driver::new`]; only a [`Waker`] crosses threads.
//! Invariants:
//! - Every byte that `harvest` delivers was taken from the kernel before `wait` returned. A shard
//!   loads the published zxid between the two, so a read that it serves afterwards was sent before
//!   that load; bytes that arrive later wait for the next `wait`.
//! - At most one send is outstanding for each connection, so its replies keep their order.
//! - A socket is closed only after its last completion, and a [`ConnId`] never names two
//!   connections: what comes late meets an older generation and is ignored.
//!
//! Not here: framing (`frame.rs`), deadlines (a connection that takes nothing is the caller's to
//! [`Driver::abort`]), the choice of the backend (`probe.rs`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::RecvFlags;
use rustix::time::{ClockId, clock_gettime};

use super::epoll::Epoll;
use super::probe::Backend;
use super::uring::Uring;
pub use crate::types::ConnId;

/// What [`Driver::harvest`] delivers.
#[derive(Debug)]
pub enum Event<'a> {
    /// A listener took a connection. It belongs to no driver yet: any thread may adopt it.
    Accepted {
        /// What [`Driver::listen`] answered.
        listener: usize,
        /// The connected socket.
        socket: OwnedFd,
        /// The client's address.
        peer: SocketAddr,
    },
    /// Bytes of the stream, in order; never empty.
    Received {
        /// Whose.
        conn: ConnId,
        /// Valid during the callback only.
        bytes: &'a [u8],
    },
    /// The peer sends no more (`None`: at most once, and sending may still work) or the connection
    /// failed (at most once, and last). The owner still calls [`Driver::close`].
    Closed {
        /// Whose.
        conn: ConnId,
        /// What broke it.
        error: Option<io::Error>,
    },
    /// The kernel took the whole buffer.
    Sent {
        /// Whose.
        conn: ConnId,
        /// The buffer of [`Driver::send`], cleared, for reuse.
        buffer: Vec<u8>,
    },
}

/// The sockets of one thread.
#[derive(Debug)]
pub enum Driver {
    /// Over io_uring.
    Uring(Box<Uring>),
    /// Over epoll, where io_uring is denied.
    Epoll(Box<Epoll>),
}

macro_rules! either {
    ($driver:expr, $face:ident => $call:expr) => {
        match $driver {
            Driver::Uring($face) => $call,
            Driver::Epoll($face) => $call,
        }
    };
}

impl Driver {
    /// A driver without sockets. Called on the thread that will use it: the ring refuses others.
    ///
    /// # Errors
    /// The kernel denies the backend (the probe asked before), or is out of descriptors or memory.
    pub fn new(backend: Backend) -> io::Result<Self> {
        Ok(match backend {
            Backend::Uring => Self::Uring(Box::new(Uring::new()?)),
            Backend::Epoll => Self::Epoll(Box::new(Epoll::new()?)),
        })
    }

    /// What other threads wake this one with.
    pub fn waker(&self) -> Waker {
        Waker { parker: Arc::clone(either!(self, face => face.parker())) }
    }

    /// Accepts from `listener` until the driver ends, and names it in [`Event::Accepted`]. An error
    /// of one accept stops nothing; one that would repeat (no descriptor left) pauses accepting for
    /// [`ACCEPT_BACKOFF`].
    ///
    /// # Errors
    /// Of the system calls that set it up.
    pub fn listen(&mut self, listener: TcpListener) -> io::Result<usize> {
        either!(self, face => face.listen(listener))
    }

    /// Takes a connected socket over, without Nagle's delay, and starts to receive.
    ///
    /// # Errors
    /// Of the system calls that set it up; the socket is then closed.
    pub fn adopt(&mut self, socket: OwnedFd) -> io::Result<ConnId> {
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        either!(self, face => face.adopt(socket))
    }

    /// Sends all of `buffer`, however long it takes; it leaves with the next `wait`. Without effect
    /// on a connection that failed or is closed.
    ///
    /// # Panics
    /// When an earlier buffer of the connection did not come back as [`Event::Sent`] yet.
    pub fn send(&mut self, conn: ConnId, buffer: Vec<u8>) {
        either!(self, face => face.send(conn, buffer));
    }

    /// Stops to receive. Bytes that the kernel handed over before may still be delivered; a peer
    /// that goes away is noticed at the next send or after [`Driver::resume`].
    pub fn pause(&mut self, conn: ConnId) {
        either!(self, face => face.pause(conn));
    }

    /// Receives again.
    pub fn resume(&mut self, conn: ConnId) {
        either!(self, face => face.resume(conn));
    }

    /// Ends a connection: what was given to [`Driver::send`] goes out first, and nothing more is
    /// delivered for this id. A peer that does not read keeps the socket until [`Driver::abort`].
    pub fn close(&mut self, conn: ConnId) {
        either!(self, face => face.close(conn));
    }

    /// Ends a connection and drops what it has not taken; also after [`Driver::close`].
    pub fn abort(&mut self, conn: ConnId) {
        either!(self, face => face.abort(conn));
    }

    /// Sockets adopted and not closed yet, those included whose last bytes are still on their way.
    pub fn open_sockets(&self) -> usize {
        either!(self, face => face.open_sockets())
    }

    /// Announces that this thread is about to block. The caller looks at its queues once more and,
    /// if one has work, calls [`Driver::cancel_park`]; else it calls [`Driver::wait`].
    pub fn prepare_park(&self) {
        either!(self, face => face.parker().prepare());
    }

    /// Takes the announcement back.
    pub fn cancel_park(&self) {
        either!(self, face => face.parker().awake());
    }

    /// Submits all that was queued and waits for an event, a wake-up (see [`Driver::prepare_park`])
    /// or `timeout`, in one system call where the kernel allows; with a zero timeout it only takes
    /// what is there. Does not return early for a send of up to [`QUIET_SEND_BYTES`] that the
    /// kernel took at once: its [`Event::Sent`] comes with the same harvest. May return without any
    /// event.
    ///
    /// # Errors
    /// The ring or the epoll set itself failed: nothing of the kind is expected.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let result = either!(self, face => face.wait(timeout));
        self.cancel_park();
        result
    }

    /// Hands over what `wait` took. Events of one connection keep their order, except that
    /// [`Event::Sent`] may come before or after what was received in the same `wait`.
    pub fn harvest<F: FnMut(Event<'_>)>(&mut self, on_event: F) {
        either!(self, face => face.harvest(on_event));
    }
}

/// Wakes a driver's thread out of [`Driver::wait`].
#[derive(Clone, Debug)]
pub struct Waker {
    parker: Arc<Parker>,
}

impl Waker {
    /// Called after the push that the thread shall see. Costs a system call only when the thread
    /// announced to sleep and nobody woke it yet.
    pub fn wake(&self) {
        // Orders the caller's push before the look at `sleeping`; the fence in `Parker::prepare`
        // orders the store of `sleeping` before that thread's look at its queues. One of the two
        // sees the other.
        fence(Ordering::SeqCst);
        if self.parker.sleeping.load(Ordering::Relaxed) == 1
            && self.parker.sleeping.swap(0, Ordering::AcqRel) == 1
        {
            // The only error is EAGAIN, of a counter at its limit: 2^64 wake-ups away.
            let written = rustix::io::write(&self.parker.eventfd, &1u64.to_ne_bytes());
            debug_assert!(written.is_ok(), "eventfd: {written:?}");
        }
    }
}

/// The half of a [`Waker`] that the driver holds. Nobody reads the eventfd's counter: both backends
/// watch it edge-triggered, so that a wake-up costs no read.
#[derive(Debug)]
pub(super) struct Parker {
    sleeping: AtomicU32,
    eventfd: OwnedFd,
}

impl Parker {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self { sleeping: AtomicU32::new(0), eventfd }))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    fn prepare(&self) {
        self.sleeping.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    fn awake(&self) {
        self.sleeping.store(0, Ordering::Relaxed);
    }
}

/// A listener and whether accepting from it is paused.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) socket: TcpListener,
    /// Accepting starts again at this time of the monotonic clock.
    paused_until: Option<Duration>,
}

impl Listening {
    pub(super) fn new(socket: TcpListener) -> Self {
        Self { socket, paused_until: None }
    }

    /// Whether accepting shall go on at once after `error`, which concerned one connection only.
    /// Otherwise it is paused, since the same error would come back in a tight loop.
    pub(super) fn go_on_after(&mut self, error: &io::Error) -> bool {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
            return true;
        }
        self.paused_until = Some(monotonic() + ACCEPT_BACKOFF);
        false
    }
}

/// Shortens `timeout` to the end of the next pause, and calls `restart` for each listener whose
/// pause is over. Reads the clock only while one is paused.
pub(super) fn end_pauses(
    listeners: &mut [Listening],
    timeout: Option<Duration>,
    mut restart: impl FnMut(usize, &TcpListener) -> io::Result<()>,
) -> Option<Duration> {
    if listeners.iter().all(|listening| listening.paused_until.is_none()) {
        return timeout;
    }
    let now = monotonic();
    let mut timeout = timeout;
    for (index, listening) in listeners.iter_mut().enumerate() {
        let Some(until) = listening.paused_until else { continue };
        if until <= now && restart(index, &listening.socket).is_ok() {
            listening.paused_until = None;
            continue;
        }
        let until = if until <= now { now + ACCEPT_BACKOFF } else { until };
        listening.paused_until = Some(until);
        let left = until - now;
        timeout = Some(timeout.map_or(left, |timeout| timeout.min(left)));
    }
    timeout
}

/// The pause of a listener is the only time that a driver keeps by itself.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).expect("the monotonic clock counts from boot")
}

/// The connections of a driver, by [`ConnId`].
#[derive(Debug)]
pub(super) struct Slots<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> ConnId {
        if let Some(slot) = self.free.pop() {
            let (generation, place) = &mut self.entries[slot as usize];
            debug_assert!(place.is_none(), "a free slot is empty");
            *place = Some(value);
            return ConnId { slot, generation: *generation };
        }
        let slot = u32::try_from(self.entries.len()).expect("descriptors are far fewer");
        assert!(slot < SLOTS_MAX, "more connections than a process can have descriptors");
        self.entries.push((0, Some(value)));
        ConnId { slot, generation: 0 }
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut T> {
        let (generation, value) = self.entries.get_mut(conn.slot as usize)?;
        if *generation == conn.generation { value.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<T> {
        let (generation, value) = self.entries.get_mut(conn.slot as usize)?;
        if *generation != conn.generation {
            return None;
        }
        let value = value.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(conn.slot);
        Some(value)
    }
}

/// How far a connection is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In use.
    Open,
    /// The owner is done; the last send is still on its way.
    Closing,
    /// The owner gave up: nothing is sent any more.
    Aborting,
}

/// Throws away what was received and not read, since closing a socket with unread bytes resets the
/// connection and takes from the peer what was sent last.
pub(super) fn discard_unread(socket: BorrowedFd<'_>) {
    let mut scratch = [0; 16 << 10];
    for _ in 0..DISCARD_RECVS_MAX {
        match rustix::net::recv(socket, &mut scratch[..], RecvFlags::DONTWAIT) {
            Ok((_, received_bytes)) if received_bytes == scratch.len() => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Makes the close of `socket` a reset, which frees what the kernel still holds for the peer.
pub(super) fn reset_on_close(socket: BorrowedFd<'_>) {
    // It can only fail for a socket that is no TCP socket, where closing is enough.
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// A pause after an accept error that would repeat: ten tries a second cost nothing.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Above this many bytes the end of a send is an event that ends `wait`: who sends a long reply in
/// slices needs it for the next slice. Below, an early return would double the kernel entries of
/// every request.
pub const QUIET_SEND_BYTES: usize = 64 << 10;

/// Slots fit into 24 bits beside the kind of an operation.
pub(super) const SLOTS_MAX: u32 = 1 << 24;

/// BOUND: a peer that sends faster than it is read must not keep a closing connection.
const DISCARD_RECVS_MAX: usize = 64;
