//! One thread of the data path: a driver and the parts that run on it.
//!
//! A loop without opinions: it enters the kernel once, gives every part its turn, executes what
//! they want. The same code serves every placement: `[shard0, pipeline]`, a shard alone, the
//! pipeline alone.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crossbeam::channel::Sender;
use crossbeam::queue::ArrayQueue;

use super::acceptor::{Acceptor, canonical};
use super::clock::Clock;
use super::disk::DiskJob;
use super::flusher::{FlushJob, fatal};
use super::words::Words;
use crate::net::driver::{Driver, Event, Waker};
use crate::parts::pipeline::{Done, Job, Outbox, Pipeline};
use crate::parts::shard::{Action, Shard};
use crate::types::{Map, Now};

/// The life of a server, as its threads see it.
pub(super) mod stage {
    /// Serving.
    pub(crate) const RUNNING: u8 = 0;
    /// No request is read any more; what was taken is finished.
    pub(crate) const DRAINING: u8 = 1;
    /// All is durable; replies go out, threads end.
    pub(crate) const DRAINED: u8 = 2;
}

/// Longest sleep of a thread: timers of its parts are seconds long, and nothing else may be missed.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// A shard and what its thread keeps for it.
#[derive(Debug)]
pub(super) struct ShardSeat {
    pub(super) index: usize,
    pub(super) shard: Shard,
    /// Addresses of open connections, by slot, for the acceptor's counts.
    pub(super) peers: Map<u32, SocketAddr>,
}

/// The pipeline and what its thread keeps for it.
#[derive(Debug)]
pub(super) struct PipelineSeat {
    pub(super) pipeline: Pipeline,
    pub(super) results: Arc<ArrayQueue<Done>>,
    pub(super) flush_jobs: Sender<FlushJob>,
    pub(super) disk_jobs: Sender<DiskJob>,
}

#[derive(Debug)]
pub(super) struct PartThread {
    pub(super) driver: Driver,
    pub(super) clock: Clock,
    pub(super) stage: Arc<AtomicU8>,
    pub(super) acceptor: Arc<Acceptor>,
    pub(super) words: Arc<Words>,
    /// Of the thread of each shard, and of the pipeline's.
    pub(super) shard_wakers: Vec<Waker>,
    pub(super) pipeline_waker: Waker,
    pub(super) seat: Option<ShardSeat>,
    pub(super) pipeline: Option<PipelineSeat>,
}

impl PartThread {
    /// Until the server has drained.
    pub(super) fn run(mut self) {
        let mut accepted: Vec<(OwnedFd, SocketAddr)> = Vec::new();
        let (mut actions, mut more) = (Vec::new(), Vec::new());
        let mut outbox = Outbox::default();
        let mut done = Vec::new();
        let mut last_turns = 0;
        loop {
            if let Err(error) = self.wait(&outbox) {
                fatal("wait for the kernel", &error);
            }
            let now = self.clock.now();
            let stage = self.stage.load(Ordering::Acquire);
            // What the flusher finished is published before anything is read.
            self.pipeline_turn(now, &mut done, &mut outbox);
            self.shard_turn(now, stage, &mut accepted);
            for (socket, peer) in accepted.drain(..) {
                self.accept(socket, peer, now);
            }
            self.take_handovers();
            // What the shard just sent is prepared, and on its way to the disk, in this same turn.
            self.pipeline_turn(now, &mut done, &mut outbox);
            if let Some(seat) = &mut self.seat {
                seat.shard.catch_up(now);
                if seat.shard.flush(&mut actions) && self.pipeline.is_none() {
                    self.pipeline_waker.wake();
                }
            }
            self.act(&mut actions, &mut more);
            match stage {
                stage::RUNNING => {}
                stage::DRAINING => {
                    if let Some(seat) = &self.pipeline
                        && seat.pipeline.is_idle()
                        && !seat.pipeline.has_work()
                    {
                        self.stage.store(stage::DRAINED, Ordering::Release);
                        self.shard_wakers.iter().for_each(Waker::wake);
                    }
                }
                _ => {
                    // A few more turns, so that replies just queued leave.
                    last_turns += 1;
                    if last_turns == 3 {
                        return;
                    }
                }
            }
        }
    }

    /// One kernel enter. Sleeps only when every part says that it has nothing to do.
    fn wait(&mut self, outbox: &Outbox) -> io::Result<()> {
        self.driver.prepare_park();
        if self.has_work() || self.stage.load(Ordering::Acquire) != stage::RUNNING {
            self.driver.cancel_park();
            let pause = match self.stage.load(Ordering::Acquire) {
                stage::RUNNING => Duration::ZERO,
                _ => Duration::from_millis(1),
            };
            return self.driver.wait(Some(pause));
        }
        let mut timeout = SLEEP_MAX;
        if let Some(next_ns) = outbox.next_ns.filter(|_| self.pipeline.is_some()) {
            let now_ns = self.clock.now().mono_ns;
            timeout = timeout.min(Duration::from_nanos(next_ns.saturating_sub(now_ns)));
        }
        if let Some(seat) = &self.seat {
            seat.shard.park();
        }
        self.driver.wait(Some(timeout))
    }

    fn has_work(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| {
            seat.shard.has_work() || !self.acceptor.handovers[seat.index].queue.is_empty()
        }) || self
            .pipeline
            .as_ref()
            .is_some_and(|seat| !seat.results.is_empty() || seat.pipeline.has_work())
    }

    fn pipeline_turn(&mut self, now: Now, done: &mut Vec<Done>, outbox: &mut Outbox) {
        let Some(seat) = &mut self.pipeline else { return };
        while let Some(result) = seat.results.pop() {
            done.push(result);
        }
        seat.pipeline.turn(now, done, outbox);
        for job in outbox.jobs.drain(..) {
            let sent = match job {
                Job::Append { bytes, first, last } => {
                    seat.flush_jobs.send(FlushJob::Append { bytes, first, last }).is_ok()
                }
                Job::Snapshot(job) => seat.disk_jobs.send(DiskJob::Snapshot(job)).is_ok(),
            };
            assert!(sent, "the flusher and the disk thread outlive the pipeline");
        }
        for shard in outbox.wake.drain(..) {
            let own = self.seat.as_ref().is_some_and(|own| own.index == usize::from(shard));
            if !own {
                self.shard_wakers[usize::from(shard)].wake();
            }
        }
    }

    fn shard_turn(&mut self, now: Now, stage: u8, accepted: &mut Vec<(OwnedFd, SocketAddr)>) {
        let Some(seat) = &mut self.seat else {
            self.driver.harvest(|_| {});
            return;
        };
        seat.shard.catch_up(now);
        let mut turn = seat.shard.turn();
        let running = stage == stage::RUNNING;
        self.driver.harvest(|event| match event {
            Event::Received { conn, bytes } if running => turn.received(conn, bytes),
            Event::Received { .. } => {}
            Event::Sent { conn, buffer } => turn.sent(conn, buffer),
            Event::Closed { conn, error } => turn.closed(conn, error.as_ref()),
            Event::Accepted { socket, peer, .. } if running => accepted.push((socket, peer)),
            Event::Accepted { .. } => {}
        });
    }

    fn accept(&mut self, socket: OwnedFd, peer: SocketAddr, now: Now) {
        let peer = canonical(peer);
        // Dropping the socket closes it, without a byte, as ZooKeeper does.
        let Some(shard) = self.acceptor.admit(peer, now) else { return };
        if self.seat.as_ref().is_some_and(|seat| seat.index == shard) {
            self.adopt(socket, peer);
        } else {
            self.acceptor.hand_over(shard, socket, peer, &self.shard_wakers[shard]);
        }
    }

    fn take_handovers(&mut self) {
        let Some(seat) = &self.seat else { return };
        let index = seat.index;
        while let Some((socket, peer)) = self.acceptor.handovers[index].queue.pop() {
            self.adopt(socket, peer);
        }
    }

    fn adopt(&mut self, socket: OwnedFd, peer: SocketAddr) {
        let Some(seat) = &mut self.seat else { return };
        if self.words.keep_alive() {
            // Advice to the kernel only.
            let _ = rustix::net::sockopt::set_socket_keepalive(&socket, true);
        }
        match self.driver.adopt(socket) {
            Ok(conn) => {
                seat.peers.insert(conn.slot, peer);
                seat.shard.turn().opened(conn, peer);
            }
            Err(error) => {
                tracing::warn!("cannot serve {peer}: {error}");
                self.acceptor.closed(seat.index, peer.ip());
            }
        }
    }

    /// `more` is empty before and behind; it is kept for its capacity.
    fn act(&mut self, actions: &mut Vec<Action>, more: &mut Vec<Action>) {
        let Some(seat) = &mut self.seat else { return };
        while !actions.is_empty() {
            for action in actions.drain(..) {
                match action {
                    Action::Send { conn, bytes } => self.driver.send(conn, bytes),
                    Action::Pause { conn } => self.driver.pause(conn),
                    Action::Resume { conn } => self.driver.resume(conn),
                    Action::Abort { conn } => self.driver.abort(conn),
                    Action::Close { conn } => {
                        self.driver.close(conn);
                        if let Some(peer) = seat.peers.remove(&conn.slot) {
                            self.acceptor.closed(seat.index, peer.ip());
                        }
                    }
                    Action::FourLetter { conn, peer, word, argument } => {
                        self.words.ask(&mut seat.shard, conn, peer, word, argument);
                    }
                    Action::Facts { conn, facts } => {
                        self.words.tell(&mut seat.shard, conn, &facts);
                    }
                }
            }
            // Answers to words are output too.
            if seat.shard.flush(more) && self.pipeline.is_none() {
                self.pipeline_waker.wake();
            }
            std::mem::swap(actions, more);
        }
    }
}
