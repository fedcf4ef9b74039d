//! One generator thread: many sessions on one epoll, closed or open loop.
//!
//! Thread: its own; nothing is shared but the plan. Invariants: replies come in the order of the
//! requests of a session, checked by xid; an open loop measures from the time a request was meant
//! to leave, so a stalled server cannot hide the requests it kept from being sent (coordinated
//! omission); nothing is allocated for an operation.
//! PERF: about 1 µs of user time an operation at depth 16; `perf/README.md` says how to see it.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use super::mix::{Frames, Mix, Op, Random};
use crate::client::clock;
use crate::client::raw::FrameBuffer;
use crate::types::Map;
use crate::wire::client::{Field, ReplyHeader};
use crate::wire::codes::xids;
use crate::wire::jute::Reader;

/// What every generator thread does; times are [`clock::nanos`].
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Weights.
    pub(super) mix: Mix,
    /// Preloaded nodes.
    pub(super) keys: u64,
    /// Requests in flight a session, at most.
    pub(super) depth: usize,
    /// Requests a second of this thread; `None` is a closed loop.
    pub(super) rate: Option<f64>,
    /// Random gaps instead of equal ones.
    pub(super) poisson: bool,
    /// Requests meant to leave from here on are measured.
    pub(super) begin_ns: u64,
    /// None are sent from here on.
    pub(super) end_ns: u64,
    /// None are sent beyond this count.
    pub(super) ops_max: u64,
    /// Different for each thread and run.
    pub(super) seed: u64,
    /// Nodes made under load carry numbers from here on; each session takes 2^24 of them.
    pub(super) first_created: u64,
}

/// What a thread saw.
#[derive(Debug)]
pub(super) struct Seen {
    /// Latencies in ns, one histogram an [`Op`].
    pub(super) latency: Vec<Histogram<u64>>,
    /// Replies that came in the measured time.
    pub(super) ops: u64,
    /// Replies with an error, by code, in the measured time.
    pub(super) errors: Map<i32, u64>,
    /// When the last reply came.
    pub(super) last_ns: u64,
    /// Names made and not deleted again: first number and one past the last, a session.
    pub(super) created: Vec<(u64, u64)>,
    /// The sessions, for whoever closes them.
    pub(super) streams: Vec<TcpStream>,
}

struct Flight {
    sent_ns: u64,
    xid: i32,
    op: Op,
}

struct Session {
    stream: TcpStream,
    input: FrameBuffer,
    out: Vec<u8>,
    /// Requests sent or about to be, oldest first.
    flights: VecDeque<Flight>,
    xid: i32,
    last_sent_ns: u64,
    /// Whether epoll reports room in the socket too.
    wants_room: bool,
    created: u64,
    deleted: u64,
    created_max: u64,
}

/// A ping keeps a session whose requests are rarer than this.
const PING_AFTER_NS: u64 = 5_000_000_000;
/// Names of one session.
pub(super) const CREATED_PER_SESSION: u64 = 1 << 24;
/// How long replies are waited for at the end.
const DRAIN_NS: u64 = 10_000_000_000;

/// Runs `plan` over `streams`, which have shaken hands.
pub(super) fn run(plan: &Plan, frames: &Frames, streams: Vec<TcpStream>) -> io::Result<Seen> {
    Generator::new(plan, frames, streams)?.run()
}

struct Generator<'a> {
    plan: &'a Plan,
    frames: &'a Frames,
    sessions: Vec<Session>,
    epoll: OwnedFd,
    random: Random,
    sent: u64,
    received: u64,
    /// When the next request is meant to leave; open loop only.
    next_ns: f64,
    /// Where the search for a session with room begins; open loop only.
    turn: usize,
    seen: Seen,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a Plan, frames: &'a Frames, streams: Vec<TcpStream>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut sessions = Vec::with_capacity(streams.len());
        for (i, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            epoll::add(
                &epoll,
                &stream,
                epoll::EventData::new_u64(i as u64),
                epoll::EventFlags::IN,
            )?;
            let created = plan.first_created + i as u64 * CREATED_PER_SESSION;
            sessions.push(Session {
                stream,
                input: FrameBuffer::default(),
                out: Vec::with_capacity(16 << 10),
                flights: VecDeque::with_capacity(plan.depth),
                xid: 0,
                last_sent_ns: clock::nanos(),
                wants_room: false,
                created,
                deleted: created,
                created_max: created + CREATED_PER_SESSION,
            });
        }
        let histogram =
            || Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("these bounds are valid");
        let seen = Seen {
            latency: Op::ALL.iter().map(|_| histogram()).collect(),
            ops: 0,
            errors: Map::default(),
            last_ns: 0,
            created: Vec::new(),
            streams: Vec::new(),
        };
        Ok(Self {
            plan,
            frames,
            sessions,
            epoll,
            random: Random::new(plan.seed),
            sent: 0,
            received: 0,
            next_ns: 0.0,
            turn: 0,
            seen,
        })
    }

    fn run(mut self) -> io::Result<Seen> {
        self.next_ns = clock::nanos() as f64;
        if self.plan.rate.is_none() {
            for i in 0..self.sessions.len() {
                self.refill(i, clock::nanos())?;
            }
        }
        let mut events = Vec::with_capacity(256);
        let mut pings_ns = clock::nanos();
        loop {
            let now = clock::nanos();
            let sending = now < self.plan.end_ns && self.sent < self.plan.ops_max;
            if !sending && self.sent == self.received {
                break;
            }
            if now > self.plan.end_ns.saturating_add(DRAIN_NS) {
                let missing = self.sent - self.received;
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{missing} replies are missing 10 s after the end"),
                ));
            }
            if now > pings_ns + 1_000_000_000 {
                pings_ns = now;
                self.ping(now)?;
            }
            let wait_ns =
                if self.plan.rate.is_some() && sending { self.send_due()? } else { 100_000_000 };
            self.wait(wait_ns, &mut events)?;
            for event in &events {
                let index = usize::try_from(event.data.u64()).expect("an index of ours");
                let flags = event.flags; // A copy: the kernel's struct is packed.
                if flags.contains(epoll::EventFlags::OUT) {
                    self.flush(index)?;
                }
                if flags.intersects(!epoll::EventFlags::OUT) {
                    self.receive(index)?;
                }
            }
        }
        self.seen.created = self.sessions.iter().map(|s| (s.deleted, s.created)).collect();
        self.seen.streams = self.sessions.into_iter().map(|session| session.stream).collect();
        Ok(self.seen)
    }

    /// Waits for readiness, in an open loop no longer than until the next request is due. epoll's
    /// own timeout counts milliseconds, ppoll's nanoseconds.
    fn wait(&self, wait_ns: u64, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        events.clear();
        let mut timeout = Timespec {
            tv_sec: (wait_ns / 1_000_000_000).cast_signed(),
            tv_nsec: (wait_ns % 1_000_000_000).cast_signed(),
        };
        if self.plan.rate.is_some() {
            let mut fds = [PollFd::from_borrowed_fd(self.epoll.as_fd(), PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
                Ok(_) => timeout = Timespec { tv_sec: 0, tv_nsec: 0 },
                Err(error) => return Err(error.into()),
            }
        }
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Open loop: sends what is due while a session has room; the rest keeps its intended time.
    /// Returns how long the next request has to wait.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and far below 2^53 ns"
    )]
    fn send_due(&mut self) -> io::Result<u64> {
        let gap_ns = 1e9 / self.plan.rate.expect("an open loop has a rate");
        let count = self.sessions.len();
        loop {
            let now = clock::nanos();
            if self.next_ns > now as f64 {
                return Ok((self.next_ns - now as f64) as u64);
            }
            if self.next_ns as u64 >= self.plan.end_ns || self.sent >= self.plan.ops_max {
                return Ok(100_000_000);
            }
            let room = (0..count)
                .map(|i| (self.turn + i) % count)
                .find(|i| self.sessions[*i].flights.len() < self.plan.depth);
            let Some(index) = room else {
                return Ok(100_000_000); // A reply makes room and wakes us.
            };
            self.turn = index + 1;
            self.push(index, self.next_ns as u64, now);
            self.flush(index)?;
            self.next_ns +=
                if self.plan.poisson { -gap_ns * self.random.unit().ln() } else { gap_ns };
        }
    }

    /// Closed loop: brings a session back to its depth.
    fn refill(&mut self, index: usize, now: u64) -> io::Result<()> {
        if now >= self.plan.end_ns {
            return Ok(());
        }
        while self.sessions[index].flights.len() < self.plan.depth && self.sent < self.plan.ops_max
        {
            self.push(index, now, now);
        }
        self.flush(index)
    }

    /// Appends one request to a session's output.
    fn push(&mut self, index: usize, intended_ns: u64, now: u64) {
        let session = &mut self.sessions[index];
        let mut op = self.plan.mix.pick(self.random.draw());
        if op == Op::Delete && session.deleted == session.created {
            op = Op::Create;
        }
        let number = match op {
            Op::Create => {
                session.created += 1;
                assert!(session.created < session.created_max, "a session used up its names");
                session.created - 1
            }
            Op::Delete => {
                session.deleted += 1;
                session.deleted - 1
            }
            Op::Get | Op::Set | Op::Exists | Op::Multi => self.random.draw() % self.plan.keys,
            Op::Children => 0,
        };
        session.xid = session.xid.checked_add(1).unwrap_or(1);
        self.frames.append(op, &mut session.out, session.xid, number);
        session.flights.push_back(Flight { sent_ns: intended_ns, xid: session.xid, op });
        session.last_sent_ns = now;
        self.sent += 1;
    }

    fn flush(&mut self, index: usize) -> io::Result<()> {
        let session = &mut self.sessions[index];
        let mut sent = 0;
        while sent < session.out.len() {
            match session.stream.write(&session.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        session.out.drain(..sent);
        if session.wants_room == session.out.is_empty() {
            session.wants_room = !session.out.is_empty();
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, session.wants_room);
            let data = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &session.stream, data, flags)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        let session = &mut self.sessions[index];
        match session.input.fill(&mut session.stream) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let now = clock::nanos();
        let counted = now >= self.plan.begin_ns && now < self.plan.end_ns;
        while let Some(frame) = session.input.take() {
            let mut reader = Reader::new(frame);
            let header = ReplyHeader::decode(&mut reader)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if header.xid == xids::PING {
                continue;
            }
            let flight = session.flights.pop_front().filter(|flight| flight.xid == header.xid);
            let Some(flight) = flight else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a reply with xid {} out of order", header.xid),
                ));
            };
            self.received += 1;
            let failed_multi = flight.op == Op::Multi && reader.rest().starts_with(&[255; 4]);
            let err = if failed_multi { -2 } else { header.err };
            if counted {
                self.seen.ops += 1;
                if err != 0 {
                    *self.seen.errors.entry(err).or_default() += 1;
                }
            }
            if flight.sent_ns >= self.plan.begin_ns {
                let latency = now.saturating_sub(flight.sent_ns).max(1);
                self.seen.latency[flight.op as usize].saturating_record(latency);
            }
        }
        self.seen.last_ns = now;
        if self.plan.rate.is_none() { self.refill(index, now) } else { Ok(()) }
    }

    fn ping(&mut self, now: u64) -> io::Result<()> {
        for index in 0..self.sessions.len() {
            let session = &mut self.sessions[index];
            if now > session.last_sent_ns + PING_AFTER_NS {
                session.last_sent_ns = now;
                session.out.extend_from_slice(&self.frames.ping);
                self.flush(index)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::client::raw::frame;

    fn plan(mix: &str) -> Plan {
        let begin_ns = clock::nanos();
        Plan {
            mix: mix.parse().unwrap(),
            keys: 10,
            depth: 4,
            rate: None,
            poisson: false,
            begin_ns,
            end_ns: u64::MAX,
            ops_max: 1000,
            seed: 1,
            first_created: 0,
        }
    }

    /// Runs `plan` on one session whose server answers every request, and sleeps once, before the
    /// hundredth.
    fn run_on_slow_server(plan: &Plan, err: i32, stall: Duration) -> Seen {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut peer = listener.accept().unwrap().0;
        thread::scope(|scope| {
            scope.spawn(move || {
                let (mut input, mut out) = (FrameBuffer::default(), Vec::new());
                let mut count = 0;
                while input.fill(&mut peer).unwrap() > 0 {
                    while let Some(bytes) = input.take() {
                        count += 1;
                        if count == 100 {
                            thread::sleep(stall);
                        }
                        let xid = i32::from_be_bytes(bytes[..4].try_into().unwrap());
                        frame(&mut out, |out| ReplyHeader { xid, zxid: 1, err }.encode(out));
                    }
                    peer.write_all(&out).unwrap();
                    out.clear();
                }
            });
            let mut seen = run(plan, &Frames::new("/b", 10), vec![stream]).unwrap();
            seen.streams.clear(); // The server ends with its connection.
            seen
        })
    }

    #[test]
    fn a_closed_loop_sends_what_was_asked_and_counts_errors() {
        let seen = run_on_slow_server(&plan("get:1,create:1,delete:1"), -101, Duration::ZERO);
        let recorded: u64 = seen.latency.iter().map(Histogram::len).sum();
        assert_eq!((seen.ops, recorded, seen.errors[&-101]), (1000, 1000, 1000));
        let created = seen.latency[Op::Create as usize].len();
        let deleted = seen.latency[Op::Delete as usize].len();
        assert_eq!(seen.created, [(deleted, created)]);
    }

    #[test]
    fn a_stall_is_seen_by_every_request_that_it_held_up() {
        let plan = Plan { rate: Some(1000.0), depth: 1, ops_max: 600, ..plan("get") };
        let seen = run_on_slow_server(&plan, 0, Duration::from_millis(300));
        let latency = &seen.latency[Op::Get as usize];
        let slow = latency.count_between(100_000_000, u64::MAX);
        // In 300 ms some 300 requests were meant to leave; 200 of them waited 100 ms or longer.
        assert!(slow >= 150, "{slow} of {} were slow", latency.len());
        assert_eq!(latency.len(), 600);
    }
}
