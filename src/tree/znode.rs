//! What the writer or a reader sees of a znode at one zxid.

use super::acl::AclId;
use crate::types::{Millis, Zxid};
use crate::wire::client::{Stat, record};
use std::marker::PhantomData;

record! {
    /// Stat fields as snapshots have them (storage-format.md, 5.2).
    #[derive(Copy, Default)]
    DiskStat {
        /// zxid of the create.
        czxid: i64,
        /// zxid of the last setData.
        mzxid: i64,
        /// Wall clock of the create, ms.
        ctime: i64,
        /// Wall clock of the last setData, ms.
        mtime: i64,
        /// Count of setData.
        version: i32,
        /// Children ever created.
        cversion: i32,
        /// Count of setACL.
        aversion: i32,
        /// Session, container or TTL mark, or 0.
        owner: i64,
        /// zxid of the last create or delete of a child.
        pzxid: i64,
    }
}

/// Raw owner of a container (ZooKeeper: `EphemeralType.CONTAINER_EPHEMERAL_OWNER`).
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// Longest time to live, ms.
pub const TTL_MAX_MS: i64 = (1 << 40) - 1;
const TTL_MARK: i64 = 0xff00_u64.cast_signed() << 48;

/// Who owns a znode, told by its raw owner field alone, whatever is switched on [J-13].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    None,
    /// A session: it is ephemeral.
    Session(crate::types::SessionId),
    /// It goes after its last child.
    Container,
    /// It goes when childless and unchanged for so many ms.
    Ttl(Millis),
}

impl Owner {
    /// From the raw field. Reserved bits of the TTL form set means a session of server 255.
    pub fn from_raw(raw: i64) -> Self {
        match raw {
            0 => Self::None,
            CONTAINER_OWNER => Self::Container,
            _ if raw & !TTL_MAX_MS == TTL_MARK => Self::Ttl(raw & TTL_MAX_MS),
            _ => Self::Session(crate::types::SessionId(raw)),
        }
    }

    /// The raw field of a node with a time to live; `None` when that is out of range.
    pub fn ttl_to_raw(ttl_ms: i64) -> Option<i64> {
        (1..=TTL_MAX_MS).contains(&ttl_ms).then_some(TTL_MARK | ttl_ms)
    }
}

/// A znode at one zxid. Copies are cheap; it borrows the tree or a pin.
#[derive(Clone, Copy, Debug)]
pub struct NodeRef<'t> {
    _marker: PhantomData<&'t ()>,
}

impl<'t> NodeRef<'t> {
    /// As clients see it.
    pub fn stat(&self) -> Stat {
        unimplemented!()
    }
    /// As snapshots have it.
    pub fn disk_stat(&self) -> DiskStat {
        unimplemented!()
    }
    /// Full path; the root's is empty.
    pub fn path(&self) -> &'t [u8] {
        unimplemented!()
    }
    /// Null and empty differ.
    pub fn data(&self) -> Option<&'t [u8]> {
        unimplemented!()
    }
    /// Its list.
    pub fn acl(&self) -> AclId {
        unimplemented!()
    }
    /// zxid of the create.
    pub fn czxid(&self) -> Zxid {
        unimplemented!()
    }
    /// zxid of the last setData.
    pub fn mzxid(&self) -> Zxid {
        unimplemented!()
    }
    /// zxid of the last create or delete of a child.
    pub fn pzxid(&self) -> Zxid {
        unimplemented!()
    }
    /// Wall clock of the create.
    pub fn ctime(&self) -> Millis {
        unimplemented!()
    }
    /// Wall clock of the last setData.
    pub fn mtime(&self) -> Millis {
        unimplemented!()
    }
    /// Count of setData.
    pub fn version(&self) -> i32 {
        unimplemented!()
    }
    /// Children ever created (the stored cversion): the number of the next sequential child.
    pub fn creates(&self) -> i32 {
        unimplemented!()
    }
    /// Count of setACL.
    pub fn aversion(&self) -> i32 {
        unimplemented!()
    }
    /// Raw owner field.
    pub fn owner_raw(&self) -> i64 {
        unimplemented!()
    }
    /// Its meaning.
    pub fn owner(&self) -> Owner {
        Owner::from_raw(self.owner_raw())
    }
    /// Children now.
    pub fn num_children(&self) -> i32 {
        unimplemented!()
    }
    /// Names of the children at the same zxid, in no order.
    pub fn children(&self) -> impl Iterator<Item = &'t [u8]> + use<'t> {
        std::iter::empty()
    }
}
