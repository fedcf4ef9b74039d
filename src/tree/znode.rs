//! What the writer or a reader sees of a znode at one zxid, and what its owner field means.

use super::acl::AclId;
use super::path;
use crate::sys::versions::{Fields, Node};
use crate::types::{Millis, SessionId, Zxid};
use crate::wire::client::{Stat, record};

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
const TTL_MARK: i64 = 0xff00_i64 << 48;

/// Who owns a znode, told by its raw owner field alone, whatever is switched on [J-13].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    None,
    /// A session: it is ephemeral.
    Session(SessionId),
    /// It goes after its last child.
    Container,
    /// It goes when childless and unchanged for so many ms.
    Ttl(Millis),
}

impl Owner {
    /// From the raw field. With reserved bits set the TTL form means a session of server 255.
    pub fn from_raw(raw: i64) -> Self {
        match raw {
            0 => Self::None,
            CONTAINER_OWNER => Self::Container,
            _ if raw & !TTL_MAX_MS == TTL_MARK => Self::Ttl(raw & TTL_MAX_MS),
            _ => Self::Session(SessionId(raw)),
        }
    }

    /// The raw field of a node with a time to live; `None` when that is out of range.
    pub fn ttl_to_raw(ttl_ms: i64) -> Option<i64> {
        (1..=TTL_MAX_MS).contains(&ttl_ms).then_some(TTL_MARK | ttl_ms)
    }
}

/// A znode at one zxid. Copies are cheap; it borrows the tree or a pin.
#[derive(Clone, Copy, Debug)]
pub struct NodeRef<'t>(pub(super) Node<'t>);

impl<'t> NodeRef<'t> {
    /// As clients see it.
    pub fn stat(&self) -> Stat {
        let f = self.0.fields();
        Stat {
            czxid: f.czxid.to_wire(),
            mzxid: f.mzxid.to_wire(),
            ctime: f.ctime,
            mtime: f.mtime,
            version: f.version,
            cversion: f.cversion.wrapping_mul(2).wrapping_sub(f.children),
            aversion: f.aversion,
            ephemeral_owner: match Owner::from_raw(f.owner) {
                Owner::Session(session) => session.0,
                Owner::None | Owner::Container | Owner::Ttl(_) => 0,
            },
            data_length: self.0.data_len().cast_signed(),
            num_children: f.children,
            pzxid: f.pzxid.to_wire(),
        }
    }

    /// As snapshots have it.
    pub fn disk_stat(&self) -> DiskStat {
        let f = self.0.fields();
        DiskStat {
            czxid: f.czxid.to_wire(),
            mzxid: f.mzxid.to_wire(),
            ctime: f.ctime,
            mtime: f.mtime,
            version: f.version,
            cversion: f.cversion,
            aversion: f.aversion,
            owner: f.owner,
            pzxid: f.pzxid.to_wire(),
        }
    }

    fn fields(&self) -> Fields {
        self.0.fields()
    }

    /// Full path; the root's is empty.
    pub fn path(&self) -> &'t [u8] {
        self.0.path()
    }

    /// Null and empty differ.
    pub fn data(&self) -> Option<&'t [u8]> {
        self.0.data()
    }

    /// Its list.
    pub fn acl(&self) -> AclId {
        AclId(self.0.acl())
    }

    /// zxid of the create.
    pub fn czxid(&self) -> Zxid {
        self.fields().czxid
    }

    /// zxid of the last setData.
    pub fn mzxid(&self) -> Zxid {
        self.fields().mzxid
    }

    /// zxid of the last create or delete of a child.
    pub fn pzxid(&self) -> Zxid {
        self.fields().pzxid
    }

    /// Wall clock of the create.
    pub fn ctime(&self) -> Millis {
        self.fields().ctime
    }

    /// Wall clock of the last setData.
    pub fn mtime(&self) -> Millis {
        self.fields().mtime
    }

    /// Count of setData.
    pub fn version(&self) -> i32 {
        self.fields().version
    }

    /// Children ever created (the stored cversion): the number of the next sequential child.
    pub fn creates(&self) -> i32 {
        self.fields().cversion
    }

    /// Count of setACL.
    pub fn aversion(&self) -> i32 {
        self.fields().aversion
    }

    /// Raw owner field.
    pub fn owner_raw(&self) -> i64 {
        self.fields().owner
    }

    /// Its meaning.
    pub fn owner(&self) -> Owner {
        Owner::from_raw(self.owner_raw())
    }

    /// Children now.
    pub fn num_children(&self) -> i32 {
        self.fields().children
    }

    /// Names of the children at the same zxid, in no order.
    pub fn children(&self) -> impl Iterator<Item = &'t [u8]> + use<'t> {
        self.child_nodes().map(|child| path::name(child.path()))
    }

    /// The children at the same zxid, in no order.
    pub fn child_nodes(&self) -> impl Iterator<Item = NodeRef<'t>> + use<'t> {
        self.0.children().map(NodeRef)
    }

    /// It and everything below it at the same zxid, parents first.
    pub fn subtree(&self) -> impl Iterator<Item = NodeRef<'t>> + use<'t> {
        let mut stack = vec![*self];
        std::iter::from_fn(move || {
            let node = stack.pop()?;
            stack.extend(node.child_nodes());
            Some(node)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_told_by_their_bits() {
        assert_eq!(Owner::from_raw(0), Owner::None);
        assert_eq!(Owner::from_raw(i64::MIN), Owner::Container);
        let ttl = Owner::ttl_to_raw(5000).unwrap();
        assert_eq!(ttl.cast_unsigned(), 0xff00_0000_0000_1388);
        assert_eq!(Owner::from_raw(ttl), Owner::Ttl(5000));
        assert_eq!(Owner::from_raw(0x0100_001a), Owner::Session(SessionId(0x0100_001a)));
        let of_server_255 = 0xff00_01a5_7420_0000_u64.cast_signed();
        assert_eq!(Owner::from_raw(of_server_255), Owner::Session(SessionId(of_server_255)));
        assert_eq!(Owner::ttl_to_raw(0), None);
        assert_eq!(Owner::ttl_to_raw(-1), None);
        assert_eq!(Owner::ttl_to_raw(TTL_MAX_MS + 1), None);
    }
}
