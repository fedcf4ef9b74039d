//! The single writes: decoded, checked in ZooKeeper's order, built, applied.

use super::multi::Spoiled;
use super::{Done, Prep, Request};
use crate::tree::acl::permits;
use crate::tree::path;
use crate::tree::znode::TTL_MAX_MS;
use crate::tree::{Applied, Change, DataTree, NodeRef, Owner};
use crate::types::Zxid;
use crate::wire::client::{
    AclList, CreateRequest, CreateTtlRequest, Field, PathOnly, PathVersion, ReconfigRequest,
    SetAclRequest, SetDataRequest,
};
use crate::wire::codes::{CreateMode, ErrorCode, OpCode, perms};
use crate::wire::jute::{DecodeError, Reader};
use crate::wire::txn::{
    CheckTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, SetAclTxn, SetDataTxn, Txn, TxnHeader,
};

/// Nodes that exist before any txn and are never deleted.
const RESERVED: [&[u8]; 4] = [b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config"];

/// A decoded write.
#[derive(Clone, Debug)]
pub(super) enum Operation<'a> {
    Create(Create<'a>),
    Delete(PathVersion<'a>),
    DeleteContainer(PathOnly<'a>),
    SetData(SetDataRequest<'a>),
    SetAcl(SetAclRequest<'a>),
    Check(PathVersion<'a>),
    Reconfig,
}

/// Any of the four creates.
#[derive(Clone, Debug)]
pub(super) struct Create<'a> {
    /// create, create2, createContainer or createTTL.
    kind: OpCode,
    request: CreateRequest<'a>,
    ttl_ms: i64,
}

impl Create<'_> {
    pub(super) fn replies_with_stat(&self) -> bool {
        self.kind != OpCode::Create
    }
}

impl<'a> Operation<'a> {
    /// A top-level request.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the shard forwards no other")]
    pub(super) fn decode(kind: OpCode, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match kind {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                Self::Create(Create { kind, request: Field::decode(reader)?, ttl_ms: 0 })
            }
            OpCode::CreateTtl => {
                let CreateTtlRequest { path, data, acl, flags, ttl_ms } = Field::decode(reader)?;
                let request = CreateRequest { path, data, acl, flags };
                Self::Create(Create { kind, request, ttl_ms })
            }
            OpCode::Delete => Self::Delete(Field::decode(reader)?),
            OpCode::DeleteContainer => Self::DeleteContainer(Field::decode(reader)?),
            OpCode::SetData => Self::SetData(Field::decode(reader)?),
            OpCode::SetAcl => Self::SetAcl(Field::decode(reader)?),
            OpCode::Check => Self::Check(Field::decode(reader)?),
            OpCode::Reconfig => {
                ReconfigRequest::decode(reader)?;
                Self::Reconfig
            }
            _ => return Err(DecodeError::Kind(kind.to_wire())),
        })
    }

    /// A create inside a multi: the flags choose the operation, and what does not fit makes the
    /// whole request undecodable (client-protocol.md 8).
    ///
    /// COMPAT: the list of a createTTL may be null and its flags may be anything, which then fails
    /// its row; in the other creates an unknown flag spoils the request before a null list does, and
    /// a null list before a TTL flag (ZooKeeper: `MultiOperationRecord.deserialize`, `Op.Create`).
    pub(super) fn in_multi(self) -> Result<Self, Spoiled> {
        let Self::Create(mut create) = self else { return Ok(self) };
        let flags = create.request.flags;
        let mode = CreateMode::from_wire(flags);
        create.kind = match (create.kind, mode) {
            (OpCode::CreateTtl, Some(CreateMode::Container)) => OpCode::CreateContainer,
            (OpCode::CreateTtl, Some(mode)) if !mode.is_ttl() => OpCode::Create,
            (OpCode::CreateTtl, _) => OpCode::CreateTtl,
            (_, None) => return Err(Spoiled::WithTxn),
            (_, Some(_)) if create.request.acl.is_null() => return Err(Spoiled::NoTxn),
            (_, Some(mode)) if mode.is_ttl() => return Err(Spoiled::WithTxn),
            (_, Some(CreateMode::Container)) => OpCode::CreateContainer,
            (kind, _) => kind,
        };
        Ok(Self::Create(create))
    }

    /// The node it is about; null is possible.
    pub(super) fn path(&self) -> Option<&'a [u8]> {
        match self {
            Self::Create(create) => create.request.path,
            Self::Delete(request) | Self::Check(request) => request.path,
            Self::DeleteContainer(request) => request.path,
            Self::SetData(request) => request.path,
            Self::SetAcl(request) => request.path,
            Self::Reconfig => None,
        }
    }

    /// Type of the txn it becomes.
    pub(super) fn txn_kind(&self) -> OpCode {
        match self {
            Self::Create(create) => create.kind,
            Self::Delete(_) => OpCode::Delete,
            Self::DeleteContainer(_) => OpCode::DeleteContainer,
            Self::SetData(_) => OpCode::SetData,
            Self::SetAcl(_) => OpCode::SetAcl,
            Self::Check(_) => OpCode::Check,
            Self::Reconfig => OpCode::Reconfig,
        }
    }
}

impl Prep {
    /// Checks, then applies at `header.zxid` and appends the record to `log`. On an error nothing
    /// was applied; `log` may hold bytes that the caller cuts.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the two plain creates")]
    pub(super) fn execute(
        &mut self,
        tree: &mut DataTree,
        request: &Request<'_>,
        header: &TxnHeader,
        operation: &Operation<'_>,
        log: &mut Vec<u8>,
        changes: &mut Vec<Change>,
    ) -> Result<Done, ErrorCode> {
        let parent_cversion = match operation {
            Operation::Create(create) => self.check_create(tree, request, create, header.zxid)?,
            Operation::Delete(delete) => {
                self.check_delete(tree, request, delete)?;
                0
            }
            Operation::DeleteContainer(delete) => {
                check_delete_container(tree, delete)?;
                0
            }
            Operation::SetData(set) => self.check_set_data(tree, request, set, header.zxid)?,
            Operation::SetAcl(set) => self.check_set_acl(tree, request, set)?,
            Operation::Check(check) => self.check_version(tree, request, check)?,
            Operation::Reconfig if !self.options.reconfig_enabled => {
                return Err(ErrorCode::ReconfigDisabled);
            }
            Operation::Reconfig => return Err(ErrorCode::Unimplemented),
        };
        let scratch = &mut self.scratch;
        let acl = AclList { bytes: &scratch.acl };
        let txn = match operation {
            Operation::Create(create) => {
                let (path, data) = (scratch.path.as_slice(), create.request.data);
                match create.kind {
                    OpCode::CreateContainer => Txn::CreateContainer(CreateContainerTxn {
                        path,
                        data,
                        acl,
                        parent_cversion,
                    }),
                    OpCode::CreateTtl => Txn::CreateTtl(CreateTtlTxn {
                        path,
                        data,
                        acl,
                        parent_cversion,
                        ttl_ms: create.ttl_ms,
                    }),
                    kind => {
                        let mode = CreateMode::from_wire(create.request.flags);
                        let ephemeral = mode.is_some_and(CreateMode::is_ephemeral);
                        let txn = CreateTxn { path, data, acl, ephemeral, parent_cversion };
                        if kind == OpCode::Create { Txn::Create(txn) } else { Txn::Create2(txn) }
                    }
                }
            }
            Operation::Delete(delete) => Txn::Delete(delete.path.unwrap_or_default()),
            Operation::DeleteContainer(delete) => {
                Txn::DeleteContainer(delete.path.unwrap_or_default())
            }
            Operation::SetData(set) => Txn::SetData(SetDataTxn {
                path: set.path.unwrap_or_default(),
                data: set.data,
                version: parent_cversion,
            }),
            Operation::SetAcl(set) => Txn::SetAcl(SetAclTxn {
                path: set.path.unwrap_or_default(),
                acl,
                version: parent_cversion,
            }),
            Operation::Check(check) => Txn::Check(CheckTxn {
                path: check.path.unwrap_or_default(),
                version: parent_cversion,
            }),
            Operation::Reconfig => return Err(ErrorCode::Unimplemented),
        };
        txn.encode_record(log);
        scratch.results.clear();
        tree.apply(header, &txn, changes, &mut scratch.results);
        let stat = match scratch.results.first() {
            Some(Applied::Stat(stat)) => *stat,
            Some(Applied::Done) | None => Default::default(),
            Some(Applied::Error(code)) => {
                unreachable!("{:?} passed every check and the tree says {code:?}", txn.kind())
            }
        };
        Ok(Done { kind: txn.kind(), stat })
    }

    /// Rows 2 to 14 of the create column. Leaves the final path and the resolved ACL in scratch;
    /// returns the parent's new cversion.
    fn check_create(
        &mut self,
        tree: &DataTree,
        request: &Request<'_>,
        create: &Create<'_>,
        zxid: Zxid,
    ) -> Result<i32, ErrorCode> {
        let mode = CreateMode::from_wire(create.request.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.is_ttl() {
            if !self.options.extended_types {
                return Err(ErrorCode::Unimplemented);
            }
            if create.kind != OpCode::CreateTtl || !(1..=TTL_MAX_MS).contains(&create.ttl_ms) {
                return Err(ErrorCode::BadArguments);
            }
        } else if create.kind == OpCode::CreateTtl {
            // Java dies of a negative ttl here (client-protocol.md J-1).
            return Err(ErrorCode::BadArguments);
        }
        check_not_closing(request)?;
        let wanted = create.request.path.ok_or(ErrorCode::MarshallingError)?;
        let parent_path = parent_of(wanted)?;
        self.scratch.acl.clear();
        let list = create.request.acl;
        self.options.schemes.fix_acl(list, request.ids, &mut self.scratch.acl)?;
        let parent = tree.get(parent_path).ok_or(ErrorCode::NoNode)?;
        self.check_acl(tree, &parent, request, perms::CREATE)?;
        let path = &mut self.scratch.path;
        path.clear();
        path.extend_from_slice(wanted);
        if mode.is_sequential() {
            path::push_sequence(path, parent.creates());
        }
        path::validate(path)?;
        if tree.get(path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.owner(), Owner::Session(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let bytes = create.request.data.map_or(0, <[u8]>::len);
        self.check_quota(tree, &self.scratch.path, 1, bytes.cast_signed() as i64, zxid)?;
        Ok(parent.creates().wrapping_add(1))
    }

    fn check_delete(
        &self,
        tree: &DataTree,
        request: &Request<'_>,
        delete: &PathVersion<'_>,
    ) -> Result<(), ErrorCode> {
        check_not_closing(request)?;
        let path = delete.path.ok_or(ErrorCode::MarshallingError)?;
        let parent_path = deletable(path)?;
        let parent = tree.get(parent_path).ok_or(ErrorCode::NoNode)?;
        // The node's own ACL is never looked at.
        self.check_acl(tree, &parent, request, perms::DELETE)?;
        let node = tree.get(path).ok_or(ErrorCode::NoNode)?;
        next_version(node.version(), delete.version)?;
        if node.num_children() > 0 { Err(ErrorCode::NotEmpty) } else { Ok(()) }
    }

    fn check_set_data(
        &self,
        tree: &DataTree,
        request: &Request<'_>,
        set: &SetDataRequest<'_>,
        zxid: Zxid,
    ) -> Result<i32, ErrorCode> {
        check_not_closing(request)?;
        let path = set.path.ok_or(ErrorCode::BadArguments)?;
        path::validate(path)?;
        let node = tree.get(path).ok_or(ErrorCode::NoNode)?;
        self.check_acl(tree, &node, request, perms::WRITE)?;
        let (old, new) = (node.data().map_or(0, <[u8]>::len), set.data.map_or(0, <[u8]>::len));
        let difference = new.cast_signed() as i64 - old.cast_signed() as i64;
        if difference != 0 {
            self.check_quota(tree, path, 0, difference, zxid)?;
        }
        next_version(node.version(), set.version)
    }

    fn check_set_acl(
        &mut self,
        tree: &DataTree,
        request: &Request<'_>,
        set: &SetAclRequest<'_>,
    ) -> Result<i32, ErrorCode> {
        check_not_closing(request)?;
        let path = set.path.ok_or(ErrorCode::BadArguments)?;
        path::validate(path)?;
        self.scratch.acl.clear();
        self.options.schemes.fix_acl(set.acl, request.ids, &mut self.scratch.acl)?;
        let node = tree.get(path).ok_or(ErrorCode::NoNode)?;
        self.check_acl(tree, &node, request, perms::ADMIN)?;
        next_version(node.aversion(), set.version)
    }

    fn check_version(
        &self,
        tree: &DataTree,
        request: &Request<'_>,
        check: &PathVersion<'_>,
    ) -> Result<i32, ErrorCode> {
        check_not_closing(request)?;
        let path = check.path.ok_or(ErrorCode::BadArguments)?;
        path::validate(path)?;
        let node = tree.get(path).ok_or(ErrorCode::NoNode)?;
        self.check_acl(tree, &node, request, perms::READ)?;
        next_version(node.version(), check.version)
    }

    fn check_acl(
        &self,
        tree: &DataTree,
        node: &NodeRef<'_>,
        request: &Request<'_>,
        wanted: i32,
    ) -> Result<(), ErrorCode> {
        if self.options.skip_acl || permits(tree.acls().get(node.acl()), wanted, request.ids) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    /// COMPAT: judged against the usage before this very txn, so that operations of one multi may
    /// together pass a hard limit (client-protocol.md 8).
    fn check_quota(
        &self,
        tree: &DataTree,
        path: &[u8],
        count: i64,
        bytes: i64,
        zxid: Zxid,
    ) -> Result<(), ErrorCode> {
        if !self.options.enforce_quota {
            return Ok(());
        }
        let Some(exceeded) = tree.quota_exceeded(path, count, bytes, zxid) else { return Ok(()) };
        tracing::warn!("Quota exceeded: {exceeded}");
        if exceeded.hard { Err(ErrorCode::QuotaExceeded) } else { Ok(()) }
    }
}

fn check_not_closing(request: &Request<'_>) -> Result<(), ErrorCode> {
    if request.closing { Err(ErrorCode::SessionExpired) } else { Ok(()) }
}

/// The text before the last `/`; the root for what has nothing before it.
fn parent_of(path: &[u8]) -> Result<&[u8], ErrorCode> {
    if path.contains(&0) {
        return Err(ErrorCode::BadArguments);
    }
    path::parent(path).ok_or(ErrorCode::BadArguments)
}

fn deletable(path: &[u8]) -> Result<&[u8], ErrorCode> {
    if RESERVED.contains(&path) {
        return Err(ErrorCode::BadArguments);
    }
    parent_of(path)
}

/// Internal (containers and TTL nodes whose time has come); re-checked here because a child may
/// have arrived since the scan.
fn check_delete_container(tree: &DataTree, delete: &PathOnly<'_>) -> Result<(), ErrorCode> {
    let path = delete.path.ok_or(ErrorCode::BadArguments)?;
    let parent_path = deletable(path)?;
    tree.get(parent_path).ok_or(ErrorCode::NoNode)?;
    let node = tree.get(path).ok_or(ErrorCode::NoNode)?;
    if node.num_children() > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    if matches!(node.owner(), Owner::Session(_)) { Err(ErrorCode::BadVersion) } else { Ok(()) }
}

/// The version after `current` when `expected` allows it; -1 allows any.
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(current.wrapping_add(1))
}
