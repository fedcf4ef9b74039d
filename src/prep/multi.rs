//! multi: several writes at one zxid, all or none (client-protocol.md 8, storage-format.md 4).

use smallvec::SmallVec;

use super::operation::Operation;
use super::{Output, Prep, Prepared, Request};
use crate::tree::DataTree;
use crate::wire::client::{Field, MultiHeader};
use crate::wire::codes::{ErrorCode, OpCode};
use crate::wire::jute::{DecodeError, Reader, Write as _};
use crate::wire::txn::{Txn, TxnHeader};

/// How much longer than its request a txn may be: as much as ZooKeeper reads beyond
/// `jute.maxbuffer` by default. Without it one frame could become gigabytes.
const GROWTH_BYTES_MAX: usize = 1 << 20;

type Operations<'a> = SmallVec<[Operation<'a>; 8]>;

impl Prep {
    pub(super) fn multi(
        &mut self,
        tree: &mut DataTree,
        request: &Request<'_>,
        header: &TxnHeader,
        out: &mut Output<'_>,
    ) -> Prepared {
        let operations = match decode(request.body) {
            Ok(operations) => operations,
            Err(Spoiled::WithTxn) => return self.undecodable(tree, header, out),
            Err(Spoiled::NoTxn) => {
                let error = Some(ErrorCode::MarshallingError);
                return Prepared { zxid: tree.last_zxid(), is_txn: false, error };
            }
        };
        let (log_start, reply_start) = (out.log.len(), out.reply.len());
        let changes_start = out.changes.len();
        let savepoint = tree.savepoint();
        header.encode(OpCode::Multi, out.log);
        out.log.put_len(operations.len());
        let mut failed = None;
        for (row, operation) in operations.iter().enumerate() {
            let record = begin_record(out.log, log_kind(operation));
            match self.execute(tree, request, header, operation, out.log, out.changes) {
                // Of what a client sends only `auth` entries of lists grow, by all its ids.
                Ok(_) if out.log.len() - log_start > request.body.len() + GROWTH_BYTES_MAX => {
                    out.log.truncate(record);
                    failed = Some((row, ErrorCode::InvalidAcl));
                    break;
                }
                Ok(done) => {
                    end_record(out.log, record);
                    put_row(out.reply, result_kind(operation, done.kind), 0);
                    self.reply(operation, &done, out.reply);
                }
                Err(code) => {
                    out.log.truncate(record);
                    failed = Some((row, code));
                    break;
                }
            }
        }
        if let Some((_, ErrorCode::MarshallingError)) = failed {
            // COMPAT: a null where none may be, found late, is no row's error.
            tree.rollback(savepoint);
            out.changes.truncate(changes_start);
            out.reply.truncate(reply_start);
            out.log.truncate(log_start);
            return self.undecodable(tree, header, out);
        }
        if let Some((failed_row, code)) = failed {
            // Nothing of it happened, but it has its place and its digest: rows before the failed
            // one keep their record in the log and say 0 in the reply.
            tree.rollback(savepoint);
            tree.apply(header, &Txn::Multi(Vec::new()), &mut Vec::new(), &mut SmallVec::new());
            out.changes.truncate(changes_start);
            out.reply.truncate(reply_start);
            for row in 0..operations.len() {
                let code = match row.cmp(&failed_row) {
                    std::cmp::Ordering::Less => 0,
                    std::cmp::Ordering::Equal => code.to_wire(),
                    std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.to_wire(),
                };
                put_row(out.reply, OpCode::Error.to_wire(), code);
                out.reply.put_int(code);
                if row >= failed_row {
                    let record = begin_record(out.log, OpCode::Error);
                    out.log.put_int(code);
                    end_record(out.log, record);
                }
            }
        } else if operations.is_empty() {
            tree.apply(header, &Txn::Multi(Vec::new()), &mut Vec::new(), &mut SmallVec::new());
        }
        MultiHeader { kind: -1, done: true, err: -1 }.encode(out.reply);
        self.finish_txn(tree, out.log);
        Prepared { zxid: header.zxid, is_txn: true, error: None }
    }

    /// COMPAT: spends a zxid, unlike a single write that does not decode.
    fn undecodable(
        &mut self,
        tree: &mut DataTree,
        header: &TxnHeader,
        out: &mut Output<'_>,
    ) -> Prepared {
        let error = ErrorCode::MarshallingError;
        self.error(tree, header, error, out.log);
        Prepared { zxid: header.zxid, is_txn: true, error: Some(error) }
    }
}

/// Whether the body of a multi decodes: that of a multiRead may be one, and is refused otherwise
/// then.
pub fn is_multi(body: &[u8]) -> bool {
    rows(body).is_ok()
}

/// Why a multi is refused whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoiled {
    /// It spends a zxid.
    WithTxn,
    /// It does not.
    NoTxn,
}

impl From<DecodeError> for Spoiled {
    fn from(_: DecodeError) -> Self {
        Self::WithTxn
    }
}

/// All rows, or nothing.
fn decode(body: &[u8]) -> Result<Operations<'_>, Spoiled> {
    let operations = rows(body)?;
    // COMPAT: one null path spoils the whole request (ZooKeeper: getPendingChanges).
    if operations.iter().any(|operation| operation.path().is_none()) {
        return Err(Spoiled::WithTxn);
    }
    Ok(operations)
}

/// Only `done` ends the list.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other write is allowed in a multi")]
fn rows(body: &[u8]) -> Result<Operations<'_>, Spoiled> {
    let mut reader = Reader::new(body);
    let mut operations = Operations::new();
    loop {
        let header = MultiHeader::decode(&mut reader)?;
        if header.done {
            return Ok(operations);
        }
        let kind = OpCode::from_wire(header.kind).ok_or(DecodeError::Kind(header.kind))?;
        match kind {
            OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::Check => {}
            _ => return Err(DecodeError::Kind(header.kind).into()),
        }
        operations.push(Operation::decode(kind, &mut reader)?.in_multi()?);
    }
}

/// COMPAT: a create2 row is logged as create, with the same effect, because 3.8.0 and 3.8.1 cannot
/// read the other (storage-format.md 4).
fn log_kind(operation: &Operation<'_>) -> OpCode {
    let kind = operation.txn_kind();
    if kind == OpCode::Create2 { OpCode::Create } else { kind }
}

fn result_kind(operation: &Operation<'_>, done: OpCode) -> i32 {
    match operation {
        // Containers and TTL nodes answer as create2 does.
        Operation::Create(create) if create.replies_with_stat() => OpCode::Create2.to_wire(),
        Operation::Create(_)
        | Operation::Delete(_)
        | Operation::DeleteContainer(_)
        | Operation::SetData(_)
        | Operation::SetAcl(_)
        | Operation::Check(_)
        | Operation::Reconfig => done.to_wire(),
    }
}

fn put_row(reply: &mut Vec<u8>, kind: i32, err: i32) {
    MultiHeader { kind, done: false, err }.encode(reply);
}

/// Returns where the record's type stands.
fn begin_record(log: &mut Vec<u8>, kind: OpCode) -> usize {
    let start = log.len();
    log.put_int(kind.to_wire());
    log.put_int(0);
    start
}

fn end_record(log: &mut [u8], start: usize) {
    let len = i32::try_from(log.len() - start - 8).expect("bounded by the frame limit");
    log[start + 4..start + 8].copy_from_slice(&len.to_be_bytes());
}
