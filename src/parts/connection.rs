//! One client connection as its shard sees it: framing, FIFO place of every request, output.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::{Latency, SessionFacts};
use crate::auth::Auth;
use crate::session::Heard;
use crate::types::{ConnId, Millis, Now, SessionId};
use crate::wire::codes::OpCode;
use crate::wire::frame::FrameReader;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing whole has come yet.
    Fresh,
    /// Its ConnectRequest is with the pipeline; frames behind it wait.
    Connecting,
    /// It has a session.
    Live,
    /// A four-letter word is being answered; whatever follows is ignored.
    Word,
    /// Nothing more is read, but replies are still owed.
    Ending,
    /// What is queued is sent, then it is closed.
    Closing,
}

/// A request that has its place in the connection's FIFO but no reply yet.
#[derive(Debug)]
pub(super) enum Pending {
    /// The pipeline has it.
    InFlight { since_ns: u64, operation: OpCode, xid: i32 },
    /// A read behind such a one, judged by the ids its connection had when it came. `held_bytes`
    /// is its part of the connection's.
    Read { frame: Vec<u8>, auth: Auth, since_ns: u64, held_bytes: usize },
    /// A reply that is ready but must wait its turn.
    Ready { bytes: Vec<u8>, close: bool },
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) phase: Phase,
    pub(super) peer: SocketAddr,
    pub(super) frames: FrameReader,
    pub(super) session: SessionId,
    pub(super) timeout_ms: i32,
    pub(super) heard: Option<Heard>,
    pub(super) auth: Auth,
    /// The client sent the readOnly byte, so it gets one back.
    pub(super) with_read_only: bool,
    /// Bytes for the client that the driver does not have yet.
    pub(super) out: Vec<u8>,
    /// Of those in `out`, bytes of watch events, which no back-pressure holds.
    pub(super) event_bytes: usize,
    /// The driver has a buffer of ours.
    pub(super) sending: bool,
    /// A buffer came back since somebody looked.
    pub(super) progressed: bool,
    /// In the shard's list of connections to flush.
    pub(super) dirty: bool,
    /// The driver was told to stop receiving.
    pub(super) paused: bool,
    /// In the pipeline's queue or beyond.
    pub(super) in_flight: usize,
    pub(super) pending: VecDeque<Pending>,
    /// Bytes of the reads in `pending` and, as far as one can tell, of their replies.
    pub(super) held_bytes: usize,
    /// Largest write among those in flight.
    pub(super) write_bytes_max: usize,
    pub(super) opened: Now,
    pub(super) figures: Figures,
}

/// What `cons` prints.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) last_operation: Option<OpCode>,
    pub(super) last_cxid: Option<i32>,
    pub(super) last_zxid: i64,
    pub(super) last_response_ms: Millis,
    pub(super) latency: Latency,
}

impl Conn {
    pub(super) fn new(id: ConnId, peer: SocketAddr, now: Now) -> Self {
        Self {
            id,
            phase: Phase::Fresh,
            peer,
            frames: FrameReader::default(),
            session: SessionId(0),
            timeout_ms: 0,
            heard: None,
            auth: Auth::new(peer.ip()),
            with_read_only: false,
            out: Vec::new(),
            event_bytes: 0,
            sending: false,
            progressed: false,
            dirty: false,
            paused: false,
            in_flight: 0,
            pending: VecDeque::new(),
            held_bytes: 0,
            write_bytes_max: 0,
            opened: now,
            figures: Figures::default(),
        }
    }

    /// The session was heard of: any valid request keeps it alive.
    pub(super) fn touch(&self, now: Now) {
        if let Some(heard) = &self.heard {
            heard.touch(now.mono_ms);
        }
    }

    /// A reply left for `out`.
    pub(super) fn count_reply(
        &mut self,
        operation: OpCode,
        xid: i32,
        zxid: i64,
        now: Now,
        since_ns: u64,
    ) {
        let figures = &mut self.figures;
        figures.sent += 1;
        figures.last_operation = Some(operation);
        if xid >= 0 {
            figures.last_cxid = Some(xid);
        }
        figures.last_zxid = zxid;
        figures.last_response_ms = now.mono_ms;
        figures.latency.add(now.mono_ns.saturating_sub(since_ns) / 1_000_000);
    }

    /// The session's line of `cons`.
    pub(super) fn session_facts(&self) -> Option<SessionFacts> {
        matches!(self.phase, Phase::Live | Phase::Ending).then(|| SessionFacts {
            id: self.session,
            last_operation: self.figures.last_operation.map_or("SESS", abbreviation),
            established_wall_ms: self.opened.wall_ms,
            timeout_ms: self.timeout_ms,
            last_cxid: self.figures.last_cxid,
            last_zxid: self.figures.last_zxid,
            last_response_ms: self.figures.last_response_ms,
            latency: self.figures.latency,
        })
    }
}

/// As `cons` names operations (operations.md 2.8).
fn abbreviation(operation: OpCode) -> &'static str {
    match operation {
        OpCode::Notification => "NOTI",
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetData => "SETD",
        OpCode::GetAcl => "GETA",
        OpCode::SetAcl => "SETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::Sync => "SYNC",
        OpCode::Ping => "PING",
        OpCode::Check => "CHEC",
        OpCode::Multi => "MULT",
        OpCode::Reconfig => "RECO",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::MultiRead => "MLTR",
        OpCode::Auth => "AUTH",
        OpCode::SetWatches => "SETW",
        OpCode::Sasl => "SASL",
        OpCode::GetEphemerals => "GETE",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::WhoAmI => "HOMI",
        OpCode::CreateSession => "SESS",
        OpCode::CloseSession => "CLOS",
        OpCode::Error => "NA",
    }
}
