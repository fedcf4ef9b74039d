//! Requests and replies as callers see them, and their bytes.
//!
//! Invariant: paths of callers are without the chroot, paths on the wire with it; both crossings
//! happen here.

use super::acl::{self, Acl};
use super::watches::Watcher;
use super::{Error, raw};
use crate::wire::client::{
    AclList, AuthPacket, CreateRequest, CreateTtlRequest, Field, MultiHeader, PathKind, PathOnly,
    PathVersion, PathWatch, ReconfigRequest, SetAclRequest, SetDataRequest, Stat,
};
use crate::wire::codes::{AddWatchMode, CreateMode, ErrorCode, OpCode, WatcherType};
use crate::wire::jute::{DecodeError, Reader, Write};

/// One request.
#[derive(Clone, Debug)]
pub enum Request {
    /// Makes a node. Answers [`Reply::Created`].
    Create {
        /// Wanted path; sequential modes append to it.
        path: String,
        /// Null and empty differ.
        data: Option<Vec<u8>>,
        /// Bytes of the list, as `acl::OPEN.bytes`.
        acl: Vec<u8>,
        /// Kind of node.
        mode: CreateMode,
        /// For the modes with a time to live.
        ttl_ms: i64,
    },
    /// Removes a childless node. Answers [`Reply::Done`].
    Delete {
        /// The node.
        path: String,
        /// -1 matches any.
        version: i32,
    },
    /// Answers [`Reply::Stat`]; the watch is set whether the node is there or not.
    Exists {
        /// The node.
        path: String,
        /// Who shall hear of its next change.
        watcher: Option<Watcher>,
    },
    /// Answers [`Reply::Data`].
    GetData {
        /// The node.
        path: String,
        /// Who shall hear of its next change.
        watcher: Option<Watcher>,
    },
    /// Answers [`Reply::Stat`].
    SetData {
        /// The node.
        path: String,
        /// Null and empty differ.
        data: Option<Vec<u8>>,
        /// -1 matches any.
        version: i32,
    },
    /// Answers [`Reply::Acl`].
    GetAcl {
        /// The node.
        path: String,
    },
    /// Answers [`Reply::Stat`].
    SetAcl {
        /// The node.
        path: String,
        /// Bytes of the list.
        acl: Vec<u8>,
        /// Expected aversion; -1 matches any.
        version: i32,
    },
    /// Answers [`Reply::Children`].
    GetChildren {
        /// The node.
        path: String,
        /// Who shall hear of the next change of the list.
        watcher: Option<Watcher>,
    },
    /// Brings the server up to date with the leader. Answers [`Reply::Path`].
    Sync {
        /// Any path.
        path: String,
    },
    /// A version check; in [`Request::Multi`] only.
    Check {
        /// The node.
        path: String,
        /// -1 matches any.
        version: i32,
    },
    /// All or nothing: Create, Delete, SetData, Check. Answers [`Reply::Results`].
    Multi(Vec<Request>),
    /// GetData and GetChildren at one zxid, without watches. Answers [`Reply::Results`].
    MultiRead(Vec<Request>),
    /// A persistent watch. Answers [`Reply::Done`].
    AddWatch {
        /// The node; it need not be there.
        path: String,
        /// The node alone or its subtree.
        mode: AddWatchMode,
        /// Who shall hear.
        watcher: Watcher,
    },
    /// Answers [`Reply::Done`], or NoWatcher.
    CheckWatches {
        /// The node.
        path: String,
        /// Which.
        kind: WatcherType,
    },
    /// Answers [`Reply::Done`], or NoWatcher.
    RemoveWatches {
        /// The node.
        path: String,
        /// Which.
        kind: WatcherType,
    },
    /// Answers [`Reply::Ids`].
    WhoAmI,
    /// Paths of this session's ephemerals. Answers [`Reply::Paths`].
    GetEphemerals {
        /// Plain text that they begin with.
        prefix: String,
    },
    /// Count of descendants. Answers [`Reply::Count`].
    GetAllChildrenNumber {
        /// The node.
        path: String,
    },
    /// Changes the ensemble. Answers [`Reply::Data`] with the new config.
    Reconfig {
        /// Server lines.
        joining: Option<String>,
        /// Server ids.
        leaving: Option<String>,
        /// Whole new membership.
        new_members: Option<String>,
        /// -1 or the config's version the caller saw.
        config_id: i64,
    },
    /// Adds credentials, on this connection and all later ones. Answers [`Reply::Done`].
    AddAuth {
        /// Name of a scheme.
        scheme: String,
        /// Credentials.
        auth: Vec<u8>,
    },
}

/// A request that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// The path that was synced.
    Path(String),
    /// The path with its counter; within a multi old servers leave the stat out.
    Created(String, Option<Stat>),
    /// Right after the operation.
    Stat(Stat),
    /// Null and empty differ.
    Data(Option<Vec<u8>>, Stat),
    /// The list.
    Acl(Vec<Acl>, Stat),
    /// Names in no order; within a multiRead there is no stat.
    Children(Vec<String>, Option<Stat>),
    /// Full paths.
    Paths(Vec<String>),
    /// How many.
    Count(i32),
    /// Scheme and user of the connection's ids.
    Ids(Vec<(String, String)>),
    /// Row by row.
    Results(Vec<Result<Reply, Error>>),
}

/// The chroot of a client: a path without a final `/`, or empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Chroot(pub(super) String);

impl Chroot {
    /// Path on the wire.
    pub(super) fn full(&self, path: &str) -> String {
        if self.0.is_empty() {
            path.to_owned()
        } else if path == "/" {
            self.0.clone()
        } else {
            format!("{}{path}", self.0)
        }
    }

    /// Path of the caller; one that is not below the chroot stays as it is.
    pub(super) fn strip(&self, path: &str) -> String {
        match path.strip_prefix(&self.0) {
            Some("") if !self.0.is_empty() => "/".to_owned(),
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            _ => path.to_owned(),
        }
    }
}

/// Rows of a multi, and of a multiRead.
const WRITES: [OpCode; 6] = [
    OpCode::Create2,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::Delete,
    OpCode::SetData,
    OpCode::Check,
];
const READS: [OpCode; 2] = [OpCode::GetData, OpCode::GetChildren2];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Request {
    /// Its type on the wire.
    pub fn op(&self) -> OpCode {
        match self {
            Self::Create { mode, .. } if mode.is_ttl() => OpCode::CreateTtl,
            Self::Create { mode: CreateMode::Container, .. } => OpCode::CreateContainer,
            Self::Create { .. } => OpCode::Create2,
            Self::Delete { .. } => OpCode::Delete,
            Self::Exists { .. } => OpCode::Exists,
            Self::GetData { .. } => OpCode::GetData,
            Self::SetData { .. } => OpCode::SetData,
            Self::GetAcl { .. } => OpCode::GetAcl,
            Self::SetAcl { .. } => OpCode::SetAcl,
            Self::GetChildren { .. } => OpCode::GetChildren2,
            Self::Sync { .. } => OpCode::Sync,
            Self::Check { .. } => OpCode::Check,
            Self::Multi(_) => OpCode::Multi,
            Self::MultiRead(_) => OpCode::MultiRead,
            Self::AddWatch { .. } => OpCode::AddWatch,
            Self::CheckWatches { .. } => OpCode::CheckWatches,
            Self::RemoveWatches { .. } => OpCode::RemoveWatches,
            Self::WhoAmI => OpCode::WhoAmI,
            Self::GetEphemerals { .. } => OpCode::GetEphemerals,
            Self::GetAllChildrenNumber { .. } => OpCode::GetAllChildrenNumber,
            Self::Reconfig { .. } => OpCode::Reconfig,
            Self::AddAuth { .. } => OpCode::Auth,
        }
    }

    /// Refuses what no server understands.
    pub(super) fn check(&self) -> Result<(), Error> {
        let all = |rows: &[Self], ops: &[OpCode]| rows.iter().all(|row| ops.contains(&row.op()));
        if matches!(self, Self::Check { .. }) {
            return Err(Error::Invalid("a check belongs into a multi"));
        }
        if matches!(self, Self::Multi(rows) if !all(rows, &WRITES)) {
            return Err(Error::Invalid("a multi takes creates, deletes, sets and checks"));
        }
        if matches!(self, Self::MultiRead(rows) if !all(rows, &READS)) {
            return Err(Error::Invalid("a multiRead takes getData and getChildren"));
        }
        Ok(())
    }

    /// Appends the frame.
    pub(super) fn encode(&self, xid: i32, chroot: &Chroot, out: &mut Vec<u8>) {
        raw::frame(out, |out| {
            out.put_int(xid);
            out.put_int(self.op().to_wire());
            self.encode_body(chroot, out);
        });
    }

    fn encode_body(&self, chroot: &Chroot, out: &mut Vec<u8>) {
        let full = |path: &String| chroot.full(path).into_bytes();
        let only = |path: &String, out: &mut Vec<u8>| {
            PathOnly { path: Some(&full(path)) }.encode(out);
        };
        match self {
            Self::Create { path, data, acl, mode, ttl_ms } => {
                let (path, data, acl) = (full(path), data.as_deref(), AclList { bytes: acl });
                let (path, flags) = (Some(path.as_slice()), mode.to_wire());
                if mode.is_ttl() {
                    CreateTtlRequest { path, data, acl, flags, ttl_ms: *ttl_ms }.encode(out);
                } else {
                    CreateRequest { path, data, acl, flags }.encode(out);
                }
            }
            Self::Delete { path, version } | Self::Check { path, version } => {
                PathVersion { path: Some(&full(path)), version: *version }.encode(out);
            }
            Self::Exists { path, watcher }
            | Self::GetData { path, watcher }
            | Self::GetChildren { path, watcher } => {
                PathWatch { path: Some(&full(path)), watch: watcher.is_some() }.encode(out);
            }
            Self::SetData { path, data, version } => {
                let data = data.as_deref();
                SetDataRequest { path: Some(&full(path)), data, version: *version }.encode(out);
            }
            Self::SetAcl { path, acl, version } => {
                let acl = AclList { bytes: acl };
                SetAclRequest { path: Some(&full(path)), acl, version: *version }.encode(out);
            }
            Self::GetAcl { path } | Self::Sync { path } | Self::GetAllChildrenNumber { path } => {
                only(path, out);
            }
            Self::GetEphemerals { prefix } => only(prefix, out),
            Self::Multi(rows) | Self::MultiRead(rows) => {
                for row in rows {
                    // A multiRead knows the other form of getChildren only.
                    let is_list = matches!(row, Self::GetChildren { .. });
                    let op = if is_list { OpCode::GetChildren } else { row.op() };
                    MultiHeader { kind: op.to_wire(), done: false, err: -1 }.encode(out);
                    row.encode_body(chroot, out);
                }
                MultiHeader { kind: -1, done: true, err: -1 }.encode(out);
            }
            Self::AddWatch { path, mode, .. } => {
                PathKind { path: Some(&full(path)), kind: mode.to_wire() }.encode(out);
            }
            Self::CheckWatches { path, kind } | Self::RemoveWatches { path, kind } => {
                PathKind { path: Some(&full(path)), kind: kind.to_wire() }.encode(out);
            }
            Self::WhoAmI => {}
            Self::Reconfig { joining, leaving, new_members, config_id } => {
                let bytes = |text: &'_ Option<String>| text.clone().map(String::into_bytes);
                let (joining, leaving) = (bytes(joining), bytes(leaving));
                ReconfigRequest {
                    joining: joining.as_deref(),
                    leaving: leaving.as_deref(),
                    new_members: bytes(new_members).as_deref(),
                    config_id: *config_id,
                }
                .encode(out);
            }
            Self::AddAuth { scheme, auth } => {
                let scheme = Some(scheme.as_bytes());
                AuthPacket { kind: 0, scheme, auth: Some(auth) }.encode(out);
            }
        }
    }

    /// Reads the body of the reply to this request.
    pub(super) fn decode(&self, chroot: &Chroot, body: &[u8]) -> Result<Reply, DecodeError> {
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        Ok(match self {
            Self::Create { .. } => Reply::Created(path(chroot, reader)?, Some(stat(reader)?)),
            Self::Delete { .. }
            | Self::Check { .. }
            | Self::AddWatch { .. }
            | Self::CheckWatches { .. }
            | Self::RemoveWatches { .. }
            | Self::AddAuth { .. } => Reply::Done,
            Self::Exists { .. } | Self::SetData { .. } | Self::SetAcl { .. } => {
                Reply::Stat(stat(reader)?)
            }
            Self::GetData { .. } | Self::Reconfig { .. } => {
                Reply::Data(reader.buffer()?.map(<[u8]>::to_vec), stat(reader)?)
            }
            Self::GetAcl { .. } => Reply::Acl(acl::decode(Field::decode(reader)?), stat(reader)?),
            Self::GetChildren { .. } => Reply::Children(names(reader)?, Some(stat(reader)?)),
            Self::Sync { .. } => Reply::Path(path(chroot, reader)?),
            Self::Multi(_) | Self::MultiRead(_) => Reply::Results(results(chroot, reader)?),
            Self::WhoAmI => {
                let count = reader.count(8)?.unwrap_or(0);
                let id = |_| {
                    let (scheme, user) = (reader.buffer()?, reader.buffer()?);
                    Ok((text(scheme.unwrap_or_default()), text(user.unwrap_or_default())))
                };
                Reply::Ids((0..count).map(id).collect::<Result<_, DecodeError>>()?)
            }
            Self::GetEphemerals { .. } => {
                let paths = names(reader)?;
                Reply::Paths(paths.iter().map(|path| chroot.strip(path)).collect())
            }
            Self::GetAllChildrenNumber { .. } => Reply::Count(reader.int()?),
        })
    }
}

fn path(chroot: &Chroot, reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    Ok(chroot.strip(&text(reader.buffer()?.unwrap_or_default())))
}

fn stat(reader: &mut Reader<'_>) -> Result<Stat, DecodeError> {
    Stat::decode(reader)
}

fn names(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let names: Vec<&[u8]> = Field::decode(reader)?;
    Ok(names.into_iter().map(text).collect())
}

fn results(
    chroot: &Chroot,
    reader: &mut Reader<'_>,
) -> Result<Vec<Result<Reply, Error>>, DecodeError> {
    let mut rows = Vec::new();
    loop {
        let header = MultiHeader::decode(reader)?;
        if header.done {
            return Ok(rows);
        }
        rows.push(if header.kind == -1 {
            Err(match reader.int()? {
                0 => Error::RolledBack,
                code if code == ErrorCode::RuntimeInconsistency.to_wire() => Error::RolledBack,
                code => Error::from_wire(code),
            })
        } else {
            Ok(match OpCode::from_wire(header.kind) {
                Some(OpCode::Create) => Reply::Created(path(chroot, reader)?, None),
                Some(OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl) => {
                    Reply::Created(path(chroot, reader)?, Some(stat(reader)?))
                }
                Some(OpCode::Delete | OpCode::Check) => Reply::Done,
                Some(OpCode::SetData) => Reply::Stat(stat(reader)?),
                Some(OpCode::GetData) => {
                    Reply::Data(reader.buffer()?.map(<[u8]>::to_vec), stat(reader)?)
                }
                Some(OpCode::GetChildren) => Reply::Children(names(reader)?, None),
                _ => return Err(DecodeError::Kind(header.kind)),
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chroot_comes_and_goes() {
        let chroot = Chroot("/app".to_owned());
        for (mine, theirs) in [("/", "/app"), ("/x", "/app/x")] {
            assert_eq!(chroot.full(mine), theirs);
            assert_eq!(chroot.strip(theirs), mine);
        }
        assert_eq!(chroot.strip("/apple"), "/apple");
        let none = Chroot::default();
        assert_eq!((none.full("/x"), none.strip("/")), ("/x".to_owned(), "/".to_owned()));
    }

    #[test]
    fn a_refused_multi_names_its_row() {
        let mut body = Vec::new();
        for code in [0, -101, -2] {
            MultiHeader { kind: -1, done: false, err: code }.encode(&mut body);
            body.put_int(code);
        }
        MultiHeader { kind: -1, done: true, err: -1 }.encode(&mut body);
        let reply = Request::Multi(Vec::new()).decode(&Chroot::default(), &body);
        let refused = Err(Error::Code(ErrorCode::NoNode));
        let rolled_back = || Err(Error::RolledBack);
        assert_eq!(reply, Ok(Reply::Results(vec![rolled_back(), refused, rolled_back()])));
    }

    #[test]
    fn a_check_alone_is_refused_here() {
        let check = || Request::Check { path: "/".to_owned(), version: 0 };
        assert!(check().check().is_err());
        assert!(Request::Multi(vec![check()]).check().is_ok());
        assert!(Request::Multi(vec![Request::WhoAmI]).check().is_err());
        assert!(Request::MultiRead(vec![check()]).check().is_err());
    }
}
