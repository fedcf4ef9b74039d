//! The I/O thread of one client: connects, re-attaches, pings, sends and hears.
//!
//! Thread: its own, one a client; callers reach it through a queue and an eventfd. Invariants:
//! replies are matched with requests by order and xid; on every new connection credentials go out
//! first, then watches, then what callers queued; a request that was sent on a connection that
//! broke is answered with ConnectionLoss and never sent again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::clock;
use super::hosts::Hosts;
use super::raw::{self, Connection, FrameBuffer, Granted, Handshake};
use super::request::{Chroot, Reply, Request};
use super::watches::{EventKind, Kind, State, WatchedEvent, Watcher, Watches};
use super::{Error, Options};
use crate::wire::client::{Field, ReplyHeader, WatcherEvent};
use crate::wire::codes::{ErrorCode, EventType, OpCode, xids};
use crate::wire::jute::{DecodeError, Reader};

/// Where an answer goes; a caller that stopped waiting does not care.
pub(super) type Done = Sender<Result<Reply, Error>>;

/// What callers ask of the thread.
#[derive(Debug)]
pub(super) enum Command {
    Send(Request, Done),
    Close,
}

/// What callers may look at.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) state: State,
    pub(super) granted: Granted,
    /// Where the connection is, or was last.
    pub(super) server: String,
    pub(super) last_zxid: i64,
    /// Set once, at the end.
    pub(super) ended: Option<Error>,
}

/// What callers and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    info: Mutex<Info>,
    changed: Condvar,
    wake: OwnedFd,
    /// The thread is about to wait, or waits: whoever queues a command must wake it.
    asleep: AtomicBool,
    closing: AtomicBool,
    abandoned: AtomicBool,
}

impl Shared {
    pub(super) fn new(granted: Granted) -> io::Result<Self> {
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        Ok(Self {
            info: Mutex::new(Info {
                state: State::Disconnected,
                granted,
                server: String::new(),
                last_zxid: 0,
                ended: None,
            }),
            changed: Condvar::new(),
            wake: rustix::event::eventfd(0, flags)?,
            asleep: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        })
    }

    pub(super) fn info(&self) -> MutexGuard<'_, Info> {
        self.info.lock().expect("a panic ends the process before it can poison")
    }

    fn update(&self, change: impl FnOnce(&mut Info)) {
        change(&mut self.info());
        self.changed.notify_all();
    }

    /// Waits until the session is connected or ended.
    pub(super) fn wait_connected(&self, patience: Duration) -> Info {
        let pending = |info: &mut Info| !info.state.is_connected() && info.ended.is_none();
        let (info, _) = self
            .changed
            .wait_timeout_while(self.info(), patience, pending)
            .expect("a panic ends the process before it can poison");
        info.clone()
    }

    /// After a command was queued.
    pub(super) fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    fn ring(&self) {
        // A full counter means that a wake is on its way already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// No attempt to connect follows the present one.
    pub(super) fn begin_close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// End, and leave the session alive.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.begin_close();
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }
}

/// How a connection ended.
enum Ended {
    /// Try the next server.
    Lost,
    /// For good.
    Final(State, Error),
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

impl From<DecodeError> for Ended {
    /// A server that talks nonsense is as good as gone; the next one may be better.
    fn from(_: DecodeError) -> Self {
        Self::Lost
    }
}

/// A request that waits for its reply.
struct Flight {
    xid: i32,
    /// None for closeSession.
    request: Option<(Request, Done)>,
}

/// The thread's state.
pub(super) struct Session {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    events: Watcher,
    options: Options,
    chroot: Chroot,
    hosts: Hosts,
    watches: Watches,
    /// Credentials to repeat on every connection.
    auth: Vec<(String, Vec<u8>)>,
    session_id: i64,
    passwd: Vec<u8>,
    timeout: Duration,
    last_zxid: i64,
    xid: i32,
    /// A session that only read-only servers know is none for the others.
    seen_read_write: bool,
}

/// One connection that has shaken hands.
struct Link {
    stream: TcpStream,
    input: FrameBuffer,
    out: Vec<u8>,
    flights: VecDeque<Flight>,
    /// auth packets on their way; None for one that is repeated.
    auths: VecDeque<Option<(String, Vec<u8>, Done)>>,
    heard: Duration,
    sent: Duration,
}

/// BOUND: requests in flight and bytes not yet sent; beyond, commands stay in their bounded queue
/// and callers wait.
const FLIGHTS_MAX: usize = 16_384;
const OUT_BYTES_MAX: usize = 1 << 20;

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        events: Watcher,
        options: Options,
        chroot: String,
        hosts: Hosts,
    ) -> Self {
        let (session_id, passwd) = options.session.clone().unwrap_or((0, vec![0; 16]));
        Self {
            shared,
            commands,
            events,
            chroot: Chroot(chroot),
            hosts,
            watches: Watches::default(),
            auth: options.auth.clone(),
            session_id,
            passwd,
            timeout: options.timeout,
            last_zxid: 0,
            xid: 0,
            seen_read_write: session_id != 0,
            options,
        }
    }

    /// Until the session has ended.
    pub(super) fn run(mut self) {
        let mut first = true;
        let (state, error) = loop {
            if !first && let Some(end) = self.rest() {
                break end;
            }
            first = false;
            match self.connection() {
                Ended::Lost => {}
                Ended::Final(state, error) => break (state, error),
            }
            let was_connected = self.shared.info().state.is_connected();
            if was_connected {
                self.tell(State::Disconnected);
            }
            self.fail_queued();
        };
        self.shared.update(|info| info.ended = Some(error));
        self.tell(state);
        // Dropping the queue answers what is left in it: `Pending::wait` finds the sender gone.
    }

    /// Tells everyone how the session stands.
    fn tell(&mut self, state: State) {
        self.shared.update(|info| {
            info.state = state;
            info.last_zxid = self.last_zxid;
        });
        let event = WatchedEvent { kind: EventKind::State, state, path: None, zxid: -1 };
        self.events.tell(&event);
        for watcher in self.watches.everyone() {
            if !watcher.is(&self.events) {
                watcher.tell(&event);
            }
        }
    }

    /// The pause before the next attempt; ends early, with the end, when the caller closes.
    /// Requests wait in their queue.
    fn rest(&mut self) -> Option<(State, Error)> {
        let until = clock::elapsed() + self.hosts.pause();
        loop {
            if self.shared.closing.load(Ordering::SeqCst) {
                return Some((State::Closed, Error::Closed));
            }
            let left = until.saturating_sub(clock::elapsed());
            if left.is_zero() {
                return None;
            }
            self.sleep(None, left);
        }
    }

    /// Waits for bytes, for room when there is output, or for a caller. Without a link only
    /// `begin_close` wakes it.
    fn sleep(&self, link: Option<&Link>, patience: Duration) {
        let takes_commands = link.is_some_and(Link::takes_commands);
        self.shared.asleep.store(takes_commands, Ordering::SeqCst);
        // A command queued before the store did not wake us, and one after it will.
        if !takes_commands || self.commands.is_empty() {
            let timeout = Timespec::try_from(patience).ok();
            let mut fds = vec![PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN)];
            if let Some(link) = link {
                let mut flags = PollFlags::IN;
                flags.set(PollFlags::OUT, !link.out.is_empty());
                fds.push(PollFd::from_borrowed_fd(link.stream.as_fd(), flags));
            }
            // Interrupted or not: whoever called looks again.
            if poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0) {
                let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
            }
        }
        self.shared.asleep.store(false, Ordering::SeqCst);
    }

    /// Requests that no server took.
    fn fail_queued(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Send(_, done) => {
                    let _ = done.try_send(Err(Error::ConnectionLoss));
                }
                // `begin_close` came before it, and ends the next pause.
                Command::Close => {}
            }
        }
    }

    /// From a server's name to the end of the connection.
    fn connection(&mut self) -> Ended {
        let mut link = match self.attach() {
            Ok(link) => link,
            Err(ended) => return ended,
        };
        let Err(mut ended) = self.turns(&mut link);
        if matches!(ended, Ended::Lost) && self.shared.closing.load(Ordering::SeqCst) {
            ended = Ended::Final(State::Closed, Error::Closed);
        }
        let error = match &ended {
            Ended::Lost => Error::ConnectionLoss,
            Ended::Final(_, error) => error.clone(),
        };
        let flights = link.flights.into_iter().filter_map(|flight| flight.request);
        let auths = link.auths.into_iter().flatten();
        for done in flights.map(|(_, done)| done).chain(auths.map(|(_, _, done)| done)) {
            let _ = done.try_send(Err(error.clone()));
        }
        ended
    }

    /// Shakes hands with the next server and queues what must come before requests.
    fn attach(&mut self) -> Result<Link, Ended> {
        let server = self.hosts.next_server();
        let handshake = Handshake {
            last_zxid_seen: self.last_zxid,
            timeout_ms: i32::try_from(self.options.timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: if self.seen_read_write { self.session_id } else { 0 },
            passwd: self.passwd.clone(),
            read_only: Some(self.options.read_only),
        };
        // The servers share the time that the session has left, as far as we know it.
        let share = self.timeout / u32::try_from(self.hosts.count()).unwrap_or(u32::MAX);
        let patience = share.clamp(Duration::from_millis(100), Duration::from_secs(10));
        let connection = Connection::open(&server, &handshake, patience)?;
        let granted = connection.granted().clone();
        if !granted.is_accepted() {
            return Err(if handshake.session_id == 0 {
                Ended::Lost
            } else {
                Ended::Final(State::Expired, Error::SessionExpired)
            });
        }
        let read_only = granted.read_only == Some(true);
        self.seen_read_write |= !read_only;
        self.session_id = granted.session_id;
        self.passwd.clone_from(&granted.passwd);
        self.timeout = Duration::from_millis(u64::try_from(granted.timeout_ms).unwrap_or(0));
        let (stream, input) = connection.into_parts();
        stream.set_nonblocking(true)?;
        let now = clock::elapsed();
        let mut link = Link {
            stream,
            input,
            out: Vec::new(),
            flights: VecDeque::new(),
            auths: VecDeque::new(),
            heard: now,
            sent: now,
        };
        for (scheme, auth) in &self.auth {
            let request = Request::AddAuth { scheme: scheme.clone(), auth: auth.clone() };
            request.encode(xids::AUTH, &self.chroot, &mut link.out);
            link.auths.push_back(None);
        }
        self.watches.restore(self.last_zxid, &mut link.out);
        self.shared.update(|info| {
            info.granted = granted;
            info.server = server;
        });
        self.tell(if read_only { State::ConnectedReadOnly } else { State::Connected });
        Ok(link)
    }

    fn turns(&mut self, link: &mut Link) -> Result<Infallible, Ended> {
        // Two lost pings are a lost server, with a third of the session left to find another one.
        let third = self.timeout / 3;
        loop {
            self.take_commands(link);
            let now = clock::elapsed();
            if now >= link.heard + third * 2 {
                return Err(Ended::Lost);
            }
            if now >= link.sent + third {
                link.sent = now;
                raw::bare(&mut link.out, xids::PING, OpCode::Ping);
            }
            link.flush()?;
            let until = (link.heard + third * 2).min(link.sent + third);
            self.sleep(Some(link), until.saturating_sub(now));
            if self.shared.is_abandoned() {
                return Err(Ended::Final(State::Closed, Error::Closed));
            }
            self.receive(link)?;
        }
    }

    fn take_commands(&mut self, link: &mut Link) {
        while link.takes_commands() {
            let Ok(command) = self.commands.try_recv() else {
                return;
            };
            link.sent = clock::elapsed();
            if let Command::Send(Request::AddAuth { scheme, auth }, done) = command {
                let request = Request::AddAuth { scheme: scheme.clone(), auth: auth.clone() };
                request.encode(xids::AUTH, &self.chroot, &mut link.out);
                link.auths.push_back(Some((scheme, auth, done)));
                continue;
            }
            self.xid = self.xid.checked_add(1).unwrap_or(1);
            let request = match command {
                Command::Send(request, done) => {
                    request.encode(self.xid, &self.chroot, &mut link.out);
                    Some((request, done))
                }
                Command::Close => {
                    raw::bare(&mut link.out, self.xid, OpCode::CloseSession);
                    None
                }
            };
            link.flights.push_back(Flight { xid: self.xid, request });
        }
    }

    fn receive(&mut self, link: &mut Link) -> Result<(), Ended> {
        match link.input.fill(&mut link.stream) {
            Ok(0) => return Err(Ended::Lost),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        link.heard = clock::elapsed();
        while let Some(frame) = link.input.take() {
            let mut reader = Reader::new(frame);
            let header = ReplyHeader::decode(&mut reader)?;
            match header.xid {
                xids::NOTIFICATION => {
                    let event = WatcherEvent::decode(&mut reader)?;
                    self.notify(header.zxid, &event);
                }
                xids::PING => {}
                // No server refuses watches it granted before, and there is nobody to tell.
                xids::SET_WATCHES => {}
                xids::AUTH => {
                    let auth = link.auths.pop_front().ok_or(Ended::Lost)?;
                    if header.err != 0 {
                        link.auths.push_front(auth);
                        return Err(Ended::Final(State::AuthFailed, Error::AuthFailed));
                    }
                    if let Some((scheme, auth, done)) = auth {
                        self.auth.push((scheme, auth));
                        let _ = done.try_send(Ok(Reply::Done));
                    }
                }
                _ => {
                    let flight = link.flights.pop_front().filter(|it| it.xid == header.xid);
                    self.answer(flight.ok_or(Ended::Lost)?, &header, reader.rest())?;
                }
            }
            self.hosts.worked();
        }
        Ok(())
    }

    fn notify(&mut self, zxid: i64, event: &WatcherEvent<'_>) {
        let Some(kind) = EventType::from_wire(event.kind) else {
            return; // An event of a later protocol, for a watch that we cannot have set.
        };
        let path = String::from_utf8_lossy(event.path);
        let told = WatchedEvent {
            kind: EventKind::Node(kind),
            state: self.shared.info().state,
            path: Some(self.chroot.strip(&path)),
            zxid,
        };
        for watcher in self.watches.fire(kind, &path) {
            watcher.tell(&told);
        }
    }

    fn answer(&mut self, flight: Flight, header: &ReplyHeader, body: &[u8]) -> Result<(), Ended> {
        self.last_zxid = self.last_zxid.max(header.zxid);
        let Some((request, done)) = flight.request else {
            return Err(Ended::Final(State::Closed, Error::Closed));
        };
        let reply = if header.err == 0 {
            request.decode(&self.chroot, body).map_err(Error::from)
        } else {
            Err(Error::from_wire(header.err))
        };
        self.keep_watch(&request, reply.as_ref().map(|_| ()));
        let broken = matches!(reply, Err(Error::Decode(_)));
        self.shared.info().last_zxid = self.last_zxid;
        let _ = done.try_send(reply);
        if broken { Err(Ended::Lost) } else { Ok(()) }
    }

    /// Does to our table what the server did to its own.
    #[expect(clippy::wildcard_enum_match_arm, reason = "few requests leave watches")]
    fn keep_watch(&mut self, request: &Request, outcome: Result<(), &Error>) {
        let no_node = outcome == Err(&Error::Code(ErrorCode::NoNode));
        if let Request::RemoveWatches { path, kind } = request
            && outcome.is_ok()
        {
            let told = WatchedEvent {
                kind: EventKind::WatchRemoved,
                state: self.shared.info().state,
                path: Some(path.clone()),
                zxid: -1,
            };
            for watcher in self.watches.remove(*kind, &self.chroot.full(path)) {
                watcher.tell(&told);
            }
        }
        let (kind, path, watcher) = match request {
            Request::Exists { path, watcher: Some(watcher) } if no_node => {
                (Kind::Exist, path, watcher)
            }
            Request::Exists { path, watcher: Some(watcher) }
            | Request::GetData { path, watcher: Some(watcher) } => (Kind::Data, path, watcher),
            Request::GetChildren { path, watcher: Some(watcher) } => (Kind::Child, path, watcher),
            Request::AddWatch { path, mode, watcher } => (Kind::from(*mode), path, watcher),
            _ => return, // The others leave none.
        };
        if outcome.is_ok() || kind == Kind::Exist {
            self.watches.add(kind, &self.chroot.full(path), watcher);
        }
    }
}

impl Link {
    fn takes_commands(&self) -> bool {
        self.flights.len() < FLIGHTS_MAX && self.out.len() < OUT_BYTES_MAX
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }
}
