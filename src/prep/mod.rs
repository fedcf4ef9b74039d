//! Prep: a request becomes a txn or an [`ErrorCode`], judged against the tree with all pending
//! writes in it.
//!
//! Thread: the pipeline. Prep *executes*: it checks, builds the txn, applies it to the tree as a
//! pending version and writes the reply, so whatever could go wrong does so before a byte is
//! logged. The order of checks is client-protocol.md 6.2; the operations are in `operation.rs`,
//! multi in `multi.rs`.
//!
//! Not here: who may ask (the pipeline knows the sessions), when it is durable, when it is visible.

mod multi;
mod operation;
#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use crate::auth::Schemes;
use crate::tree::acl::Id;
use crate::tree::{Applied, Change, DataTree};
use crate::types::{Millis, SessionId, Zxid};
use crate::wire::client::{ConnectResponse, Field, Stat};
use crate::wire::codes::{ErrorCode, OpCode};
use crate::wire::jute::{Reader, Write as _};
use crate::wire::txn::{Txn, TxnHeader, encode_digest};
pub use multi::is_multi;
use operation::Operation;

/// Settings that change what a request may do.
#[derive(Clone, Debug)]
pub struct Options {
    /// TTL nodes may be created (`extendedTypesEnabled`).
    pub extended_types: bool,
    /// Hard quotas refuse (`enforceQuota`).
    pub enforce_quota: bool,
    /// No permission is checked (`skipACL`).
    pub skip_acl: bool,
    /// `reconfigEnabled`: decides which refusal a standalone server gives.
    pub reconfig_enabled: bool,
    /// Txns carry the tree's digest (`digest.enabled`).
    pub digest_enabled: bool,
    /// Which schemes there are.
    pub schemes: Schemes,
}

/// A request as the pipeline hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks; 0 for the server itself.
    pub session: SessionId,
    /// Its xid.
    pub cxid: i32,
    /// What.
    pub kind: OpCode,
    /// The record behind the request header.
    pub body: &'a [u8],
    /// The connection's ids.
    pub ids: &'a [Id],
    /// The session is ending: it may do nothing but end.
    pub closing: bool,
}

/// Where the results go. Everything is appended.
#[derive(Debug)]
pub struct Output<'a> {
    /// The txn's payload, when there is a txn.
    pub log: &'a mut Vec<u8>,
    /// The reply's body, when there is no error.
    pub reply: &'a mut Vec<u8>,
    /// What watches must hear.
    pub changes: &'a mut Vec<Change>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Place in the order: its txn's, or the newest before it when it made none.
    pub zxid: Zxid,
    /// Whether there is a txn.
    pub is_txn: bool,
    /// `None` for success.
    pub error: Option<ErrorCode>,
}

/// See the module.
#[derive(Debug)]
pub struct Prep {
    options: Options,
    scratch: Scratch,
}

/// Buffers that keep their capacity from request to request.
#[derive(Debug, Default)]
struct Scratch {
    /// Final path of a create.
    path: Vec<u8>,
    /// Resolved ACL list.
    acl: Vec<u8>,
    results: SmallVec<[Applied; 1]>,
}

/// What an operation did, for its reply.
struct Done {
    /// Type of the txn.
    kind: OpCode,
    stat: Stat,
}

impl Prep {
    /// With `options` for the server's life.
    pub fn new(options: Options) -> Self {
        Self { options, scratch: Scratch::default() }
    }

    /// The settings.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Executes a request as the txn after `tree.last_zxid()`.
    pub fn request(
        &mut self,
        tree: &mut DataTree,
        request: &Request<'_>,
        now_wall_ms: Millis,
        out: &mut Output<'_>,
    ) -> Prepared {
        let header = TxnHeader {
            session: request.session,
            cxid: request.cxid,
            zxid: tree.last_zxid().next(),
            time_ms: now_wall_ms,
        };
        if request.kind == OpCode::Multi {
            return self.multi(tree, request, &header, out);
        }
        let Ok(operation) = Operation::decode(request.kind, &mut Reader::new(request.body)) else {
            // COMPAT: no txn, as 3.9 on a single server; 3.8 spends a zxid (client-protocol.md 14).
            return Prepared {
                zxid: tree.last_zxid(),
                is_txn: false,
                error: Some(ErrorCode::MarshallingError),
            };
        };
        let log_start = out.log.len();
        let (changes, reply_start) = (&mut *out.changes, out.reply.len());
        header.encode(operation.txn_kind(), out.log);
        let done = self.execute(tree, request, &header, &operation, out.log, changes);
        match done {
            Ok(done) => {
                self.reply(&operation, &done, out.reply);
                self.finish_txn(tree, out.log);
                Prepared { zxid: header.zxid, is_txn: true, error: None }
            }
            Err(code) => {
                out.log.truncate(log_start);
                out.reply.truncate(reply_start);
                self.error(tree, &header, code, out.log);
                Prepared { zxid: header.zxid, is_txn: true, error: Some(code) }
            }
        }
    }

    /// The txn of a new session.
    pub fn create_session(
        &mut self,
        tree: &mut DataTree,
        session: SessionId,
        timeout_ms: i32,
        now_wall_ms: Millis,
        out: &mut Output<'_>,
    ) -> Zxid {
        let txn = Txn::CreateSession(timeout_ms);
        self.internal(tree, session, 0, now_wall_ms, &txn, out)
    }

    /// The txn that ends a session and deletes its ephemerals, pending ones included.
    pub fn close_session(
        &mut self,
        tree: &mut DataTree,
        session: SessionId,
        cxid: i32,
        now_wall_ms: Millis,
        out: &mut Output<'_>,
    ) -> Zxid {
        // The txn's paths must outlive the tree's change, so they are copied out first.
        let paths: Vec<Vec<u8>> = tree.ephemerals(session).map(<[u8]>::to_vec).collect();
        let txn = Txn::CloseSession(Some(paths.iter().map(Vec::as_slice).collect()));
        self.internal(tree, session, cxid, now_wall_ms, &txn, out)
    }

    fn internal(
        &mut self,
        tree: &mut DataTree,
        session: SessionId,
        cxid: i32,
        now_wall_ms: Millis,
        txn: &Txn<'_>,
        out: &mut Output<'_>,
    ) -> Zxid {
        let zxid = tree.last_zxid().next();
        let header = TxnHeader { session, cxid, zxid, time_ms: now_wall_ms };
        header.encode(txn.kind(), out.log);
        txn.encode_record(out.log);
        self.scratch.results.clear();
        tree.apply(&header, txn, out.changes, &mut self.scratch.results);
        self.finish_txn(tree, out.log);
        zxid
    }

    fn finish_txn(&self, tree: &DataTree, log: &mut Vec<u8>) {
        encode_digest(self.options.digest_enabled.then(|| tree.digest()), log);
    }

    /// A request that failed is a txn too: every server sees its zxid (client-protocol.md 3).
    fn error(
        &mut self,
        tree: &mut DataTree,
        header: &TxnHeader,
        code: ErrorCode,
        log: &mut Vec<u8>,
    ) {
        let txn = Txn::Error(code.to_wire());
        header.encode(OpCode::Error, log);
        txn.encode_record(log);
        self.scratch.results.clear();
        tree.apply(header, &txn, &mut Vec::new(), &mut self.scratch.results);
    }

    /// The body of a successful reply; rows of a multi have the same bodies.
    fn reply(&self, operation: &Operation<'_>, done: &Done, reply: &mut Vec<u8>) {
        match operation {
            Operation::Create(create) => {
                reply.put_some(&self.scratch.path);
                if create.replies_with_stat() {
                    done.stat.encode(reply);
                }
            }
            Operation::SetData(_) | Operation::SetAcl(_) => done.stat.encode(reply),
            Operation::Delete(_)
            | Operation::DeleteContainer(_)
            | Operation::Check(_)
            | Operation::Reconfig => {}
        }
    }
}

/// Appends a whole reply frame's length and header; `finish_frame` mends the length.
pub fn begin_frame(out: &mut Vec<u8>, xid: i32, zxid: i64, err: i32) -> usize {
    let start = out.len();
    out.put_int(0);
    out.put_int(xid);
    out.put_long(zxid);
    out.put_int(err);
    start
}

/// Sets the length of the frame that began at `start`.
///
/// # Panics
/// When the frame is longer than 2 GiB, which no tree of ours can produce in one reply.
pub fn finish_frame(out: &mut [u8], start: usize) {
    let len = i32::try_from(out.len() - start - 4).expect("a reply is shorter than 2 GiB");
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends a ConnectResponse frame, with the readOnly byte only for a client that sent one.
pub fn connect_response(
    out: &mut Vec<u8>,
    session: SessionId,
    timeout_ms: i32,
    passwd: &[u8; 16],
    with_read_only: bool,
) {
    let start = out.len();
    out.put_int(0);
    let response =
        ConnectResponse { protocol_version: 0, timeout_ms, session_id: session.0, passwd };
    response.encode(out);
    if with_read_only {
        out.put_bool(false);
    }
    finish_frame(out, start);
}
