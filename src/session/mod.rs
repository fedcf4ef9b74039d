//! Sessions: ids, passwords, timeouts, who owns one, and when it ends.
//!
//! Thread: the pipeline's, but for [`Heard`], one word a session that its shard writes; pure
//! otherwise. Invariants: an id is given once; a session chosen for closing takes no request and
//! no attach any more; a refused attach changes nothing.
//! Not here: txns (`prep/`), ephemerals (`tree/`), the order of requests of one connection and
//! the sockets (`parts/shard.rs`); `connect.rs` has the rules of a handshake, `expiry.rs` the
//! wheel.

mod connect;
mod expiry;
mod throttle;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

pub use connect::{Admission, ConnectRules, Declined, negotiate};
pub use throttle::{ConnectionThrottle, ThrottleRules};

use crate::types::{ConnRef, Map, Millis, SessionId};
use expiry::Wheel;

/// Gives out session ids.
#[derive(Debug)]
pub struct SessionIds {
    next: SessionId,
}

impl SessionIds {
    /// The owner of an ephemeral reads as a container with this id, so no session has it.
    const CONTAINER: i64 = i64::MIN;

    /// Server id in the high byte, then 40 bits of `now_ms` (monotonic across restarts of the
    /// server: the wall clock at start), then a count.
    pub fn new(server_id: i64, now_ms: Millis) -> Self {
        let time = ((now_ms << 24).cast_unsigned() >> 8).cast_signed();
        Self { next: Self::skip(time | server_id << 56) }
    }

    /// A new id.
    pub fn next_id(&mut self) -> SessionId {
        let id = self.next;
        self.next = Self::skip(id.0.wrapping_add(1));
        id
    }

    fn skip(id: i64) -> SessionId {
        SessionId(if id == Self::CONTAINER { id + 1 } else { id })
    }
}

/// The password of a session. It is derived, not stored, in the same way by every server of an
/// ensemble, ours and Java's (`java.util.Random.nextBytes`): a checksum, not a secret.
pub fn password(session: SessionId) -> [u8; 16] {
    const MASK: u64 = (1 << 48) - 1;
    const STEP: u64 = 0x5_deec_e66d;
    let mut state = (session.0.cast_unsigned() ^ 0xb341_5c00 ^ STEP) & MASK;
    let mut password = [0; 16];
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(STEP).wrapping_add(0xb) & MASK;
        // Bits 16 to 47, lowest byte first.
        word.copy_from_slice(&state.to_le_bytes()[2..6]);
    }
    password
}

/// When anything was last heard of a session: one word, written by the shard that serves it, at
/// most once a turn, and read when its expiry is due.
#[derive(Clone, Debug)]
pub struct Heard(Arc<AtomicI64>);

impl Heard {
    fn new(now: Millis) -> Self {
        Self(Arc::new(AtomicI64::new(now)))
    }

    /// Notes a request or ping; time does not go back, whoever is late.
    pub fn touch(&self, now: Millis) {
        // One writer in the usual case: a plain look saves the locked instruction.
        if self.last() < now {
            self.0.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// The last touch.
    pub fn last(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the pipeline knows of a session.
#[derive(Debug)]
pub struct Session {
    /// Negotiated, in ms.
    pub timeout_ms: i32,
    /// None after a restart, or when its connection has gone.
    pub owner: Option<ConnRef>,
    closing: bool,
    heard: Heard,
    /// The bucket of the wheel it is filed in, none when it waits for its end.
    filed: Option<Millis>,
}

impl Session {
    /// Whether it was chosen for closing or expiry.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Its shared word.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }
}

/// Whether a request may go on, by the session it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Live,
    /// No such session: drop the request; its connection is about to be closed.
    Unknown,
    /// Chosen for its end: -112.
    Closing,
    /// Another connection owns it: close this one, without a reply.
    Moved,
}

/// What an accepted re-attach asks of the pipeline.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The connection that owned the session until now: close it.
    pub displaced: Option<ConnRef>,
    /// For the new owner to touch.
    pub heard: Heard,
}

/// All sessions that live here.
#[derive(Debug)]
pub struct SessionTable {
    sessions: Map<SessionId, Session>,
    wheel: Wheel,
}

impl SessionTable {
    /// Without sessions; `tick_ms` is tickTime, the grain of expiry.
    pub fn new(tick_ms: i32) -> Self {
        Self { sessions: Map::default(), wheel: Wheel::new(tick_ms) }
    }

    /// Adds a session, or gives one that the table has its full timeout anew: a createSession txn
    /// is applied, or recovery brings back what log and snapshot have (then without owner).
    pub fn add(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        owner: Option<ConnRef>,
        now: Millis,
    ) -> Heard {
        // The word of a session that was there is in use by its shard.
        let heard = self.remove(session).map_or_else(|| Heard::new(now), |old| old.heard);
        heard.touch(now);
        let filed = Some(self.wheel.file(session, heard.last(), timeout_ms));
        let entry = Session { timeout_ms, owner, closing: false, heard: heard.clone(), filed };
        self.sessions.insert(session, entry);
        heard
    }

    /// Forgets a session whose closeSession txn is applied.
    pub fn remove(&mut self, session: SessionId) -> Option<Session> {
        let removed = self.sessions.remove(&session)?;
        if let Some(bucket) = removed.filed {
            self.wheel.unfile(session, bucket);
        }
        Some(removed)
    }

    /// The session, closing or not.
    pub fn get(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session)
    }

    /// How many there are, closing ones too.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// All sessions, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// Whether `from` may do something in its session's name.
    pub fn standing(&self, session: SessionId, from: ConnRef) -> Standing {
        match self.sessions.get(&session) {
            None => Standing::Unknown,
            Some(session) if session.closing => Standing::Closing,
            Some(session) if session.owner != Some(from) => Standing::Moved,
            Some(_) => Standing::Live,
        }
    }

    /// A connection that showed the right password takes its session over, with the timeout it
    /// negotiated. None, and nothing changed, for a session that is unknown, expired or closing.
    pub fn attach(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        owner: ConnRef,
        now: Millis,
    ) -> Option<Attached> {
        let entry = self.sessions.get_mut(&session).filter(|entry| !entry.closing)?;
        entry.heard.touch(now);
        entry.timeout_ms = timeout_ms;
        // A later end is found when the old bucket is due; an earlier one must be filed now.
        let bucket = self.wheel.bucket(entry.heard.last(), timeout_ms);
        if let Some(filed) = entry.filed.filter(|filed| bucket < *filed) {
            self.wheel.unfile(session, filed);
            entry.filed = Some(self.wheel.file(session, entry.heard.last(), timeout_ms));
        }
        let displaced = entry.owner.replace(owner).filter(|old| *old != owner);
        Some(Attached { displaced, heard: entry.heard.clone() })
    }

    /// The connection of `owner` has gone; the session lives on without one, unless another has
    /// it already.
    pub fn detach(&mut self, session: SessionId, owner: ConnRef) {
        if let Some(entry) = self.sessions.get_mut(&session)
            && entry.owner == Some(owner)
        {
            entry.owner = None;
        }
    }

    /// Word of a session from elsewhere, as learners report it; false if it is unknown or closing.
    pub fn touch(&mut self, session: SessionId, now: Millis) -> bool {
        match self.sessions.get(&session) {
            Some(entry) if !entry.closing => {
                entry.heard.touch(now);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Chosen for its end (closeSession was prepared, or it expired): nothing else of it is taken.
    /// False if it was chosen before or is unknown.
    pub fn set_closing(&mut self, session: SessionId) -> bool {
        let Some(entry) = self.sessions.get_mut(&session) else { return false };
        if let Some(bucket) = entry.filed.take() {
            self.wheel.unfile(session, bucket);
        }
        !std::mem::replace(&mut entry.closing, true)
    }

    /// Takes [`Self::set_closing`] back, when the txn that would have closed the session was
    /// dropped with its leader; the timeout starts anew.
    pub fn reopen(&mut self, session: SessionId, now: Millis) {
        if let Some(entry) = self.sessions.get_mut(&session).filter(|entry| entry.closing) {
            entry.closing = false;
            entry.heard.touch(now);
            entry.filed = Some(self.wheel.file(session, now, entry.timeout_ms));
        }
    }

    /// Every session gets its full timeout anew: this server has just become leader, or serves
    /// alone again, and nobody has heard of anyone meanwhile.
    pub fn restart_timers(&mut self, now: Millis) {
        self.wheel.clear();
        for (session, entry) in &mut self.sessions {
            entry.heard.touch(now);
            if !entry.closing {
                entry.filed = Some(self.wheel.file(*session, now, entry.timeout_ms));
            }
        }
    }

    /// When [`Self::expire`] has something to look at.
    pub fn next_due(&self) -> Option<Millis> {
        self.wheel.next_due()
    }

    /// Appends to `expired` the sessions whose time is up, in order of time and id, and marks them
    /// closing. Those heard of meanwhile are filed anew.
    ///
    /// `heard_until` says of a shard when its last finished turn began: the bytes of a session may
    /// be waiting in a socket that its shard has not read since, so a session stays, due, until
    /// its shard has looked.
    pub fn expire(
        &mut self,
        now: Millis,
        mut heard_until: impl FnMut(u16) -> Millis,
        expired: &mut Vec<SessionId>,
    ) {
        for session in self.wheel.take_due(now) {
            let entry = self.sessions.get_mut(&session).expect("what is filed is in the table");
            let last = entry.heard.last();
            let end = self.wheel.bucket(last, entry.timeout_ms);
            let mut looked = || entry.owner.is_none_or(|owner| heard_until(owner.shard) >= end);
            if end <= now && looked() {
                entry.closing = true;
                entry.filed = None;
                expired.push(session);
            } else {
                entry.filed = Some(self.wheel.file(session, last, entry.timeout_ms));
            }
        }
    }

    /// Sessions heard of at `since` or later, with their timeouts: what a learner tells the leader
    /// in its answer to a ping.
    pub fn heard_since(&self, since: Millis) -> impl Iterator<Item = (SessionId, i32)> {
        let heard = self.sessions.iter().filter(move |(_, entry)| entry.heard.last() >= since);
        heard.map(|(session, entry)| (*session, entry.timeout_ms))
    }

    /// When each living session ends if nothing more is heard of it (dump).
    pub fn ends(&self) -> BTreeMap<Millis, Vec<SessionId>> {
        let mut ends = BTreeMap::<_, Vec<_>>::new();
        for (session, entry) in self.sessions.iter().filter(|(_, entry)| !entry.closing) {
            let end = self.wheel.bucket(entry.heard.last(), entry.timeout_ms);
            ends.entry(end).or_default().push(*session);
        }
        ends.values_mut().for_each(|sessions| sessions.sort_unstable());
        ends
    }
}

#[cfg(test)]
mod tests;
