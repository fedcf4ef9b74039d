//! Records of the client protocol, one struct a jute record (client-protocol.md, section 5).
//!
//! A path or text is `Option<&[u8]>` where null is a value the server must answer, else `&[u8]`.
//! Requests borrow the frame; bytes behind the last field are ignored, as ZooKeeper does.

use super::jute::{DecodeError, Reader, Write};

/// Field types of `record!`.
pub trait Field<'a>: Sized {
    /// Reads it off `reader`.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    /// Appends it to `out`.
    fn encode(&self, out: &mut Vec<u8>);
}

macro_rules! field {
    ($type:ty, $read:ident, |$self:ident, $out:ident| $write:expr) => {
        impl<'a> Field<'a> for $type {
            fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                reader.$read()
            }
            fn encode(&self, $out: &mut Vec<u8>) {
                let $self = self;
                $write
            }
        }
    };
}
field!(i32, int, |v, out| out.put_int(*v));
field!(i64, long, |v, out| out.put_long(*v));
field!(bool, bool, |v, out| out.put_bool(*v));
field!(&'a [u8], some, |v, out| out.put_some(v));
field!(Option<&'a [u8]>, buffer, |v, out| out.put_buffer(*v));

/// A vector of ustrings; null decodes as an error, which is what ZooKeeper makes of it (-5).
impl<'a> Field<'a> for Vec<&'a [u8]> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.count(4)?.ok_or(DecodeError::Null)?;
        (0..count).map(|_| reader.some()).collect()
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_len(self.len());
        for item in self {
            out.put_some(item);
        }
    }
}

/// An ACL list still in its bytes: `int count`, then `perms int, scheme, id` each. It is the form
/// in which lists travel, are logged, snapshotted and interned, so it is decoded only to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclList<'a> {
    /// Count included; a null list is `ff ff ff ff`.
    pub bytes: &'a [u8],
}

/// One entry of an ACL list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acl<'a> {
    /// Bits of [`super::codes::perms`].
    pub perms: i32,
    /// Null is possible in requests.
    pub scheme: Option<&'a [u8]>,
    /// Null is possible in requests.
    pub id: Option<&'a [u8]>,
}

impl AclList<'_> {
    /// `world:anyone` with all permissions (ZooKeeper: `OPEN_ACL_UNSAFE`).
    pub const OPEN: AclList<'static> =
        AclList { bytes: b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone" };
    /// `world:anyone` with READ (ZooKeeper: `READ_ACL_UNSAFE`).
    pub const READ_ONLY: AclList<'static> =
        AclList { bytes: b"\0\0\0\x01\0\0\0\x01\0\0\0\x05world\0\0\0\x06anyone" };
}

impl<'a> AclList<'a> {
    /// Null, as opposed to empty.
    pub fn is_null(&self) -> bool {
        self.bytes.starts_with(&[255; 4])
    }

    /// The entries, none for null. The list was checked when it was decoded; foreign bytes that
    /// are not a list end the iteration.
    pub fn iter(&self) -> impl Iterator<Item = Acl<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        let mut left = reader.int().unwrap_or(0);
        std::iter::from_fn(move || {
            left = left.checked_sub(1).filter(|left| *left >= 0)?;
            Some(Acl {
                perms: reader.int().ok()?,
                scheme: reader.buffer().ok()?,
                id: reader.buffer().ok()?,
            })
        })
    }
}

impl<'a> Field<'a> for AclList<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = reader.rest();
        for _ in 0..reader.count(12)?.unwrap_or(0) {
            reader.int()?;
            reader.buffer()?;
            reader.buffer()?;
        }
        Ok(Self { bytes: &start[..start.len() - reader.rest().len()] })
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_raw(self.bytes);
    }
}

/// Declares a record whose encoding and decoding cannot drift apart.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident $(<$life:lifetime>)? { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name $(<$life>)? { $($(#[$fdoc])* pub $field: $type,)* }

        impl<'a> $crate::wire::client::Field<'a> for $name $(<$life>)? {
            fn decode(reader: &mut $crate::wire::jute::Reader<'a>) -> Result<Self, $crate::wire::jute::DecodeError> {
                $(let $field = $crate::wire::client::Field::decode(reader)?;)*
                Ok(Self { $($field),* })
            }
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::wire::client::Field::encode(&self.$field, out);)*
            }
        }
    };
}
pub(crate) use record;

/// Reads a whole record from the front of `bytes`.
pub fn decode<'a, T: Field<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    T::decode(&mut Reader::new(bytes))
}

record! {
    /// First frame of a connection, without `readOnly`, which old clients leave out: what follows
    /// the record decides (client-protocol.md 2.1).
    ConnectRequest<'a> {
        /// Ignored.
        protocol_version: i32,
        /// Newest zxid the client saw; a server behind it refuses.
        last_zxid_seen: i64,
        /// Asked session timeout in ms.
        timeout_ms: i32,
        /// 0 for a new session.
        session_id: i64,
        /// Password of the session; may be null.
        passwd: Option<&'a [u8]>,
    }
}

record! {
    /// Answer to [`ConnectRequest`], without `readOnly`.
    ConnectResponse<'a> {
        /// Always 0.
        protocol_version: i32,
        /// Negotiated, in ms; 0 means refused.
        timeout_ms: i32,
        /// 0 means refused.
        session_id: i64,
        /// 16 bytes.
        passwd: &'a [u8],
    }
}

record! {
    /// Opens every request but the connect.
    RequestHeader {
        /// Echoed in the reply.
        xid: i32,
        /// An `OpCode`.
        kind: i32,
    }
}

record! {
    /// Opens every reply but the connect's.
    ReplyHeader {
        /// Of the request.
        xid: i32,
        /// Section 3 of client-protocol.md.
        zxid: i64,
        /// 0 or an `ErrorCode`; the body follows only behind 0.
        err: i32,
    }
}

record! {
    /// Body of create, create2 and createContainer.
    CreateRequest<'a> {
        /// Wanted path; sequential modes append to it.
        path: Option<&'a [u8]>,
        /// Null and empty are different.
        data: Option<&'a [u8]>,
        /// Null is InvalidACL.
        acl: AclList<'a>,
        /// A `CreateMode`.
        flags: i32,
    }
}

record! {
    /// Body of createTTL.
    CreateTtlRequest<'a> {
        /// Wanted path.
        path: Option<&'a [u8]>,
        /// Null and empty are different.
        data: Option<&'a [u8]>,
        /// Null is InvalidACL.
        acl: AclList<'a>,
        /// A `CreateMode`.
        flags: i32,
        /// Time to live in ms.
        ttl_ms: i64,
    }
}

record! {
    /// Body of delete and check.
    PathVersion<'a> {
        /// The node.
        path: Option<&'a [u8]>,
        /// Expected version; -1 matches any.
        version: i32,
    }
}

record! {
    /// Body of exists, getData, getChildren and getChildren2.
    PathWatch<'a> {
        /// The node.
        path: Option<&'a [u8]>,
        /// Leave a watch.
        watch: bool,
    }
}

record! {
    /// Body of setData.
    SetDataRequest<'a> {
        /// The node.
        path: Option<&'a [u8]>,
        /// Null and empty are different.
        data: Option<&'a [u8]>,
        /// Expected version; -1 matches any.
        version: i32,
    }
}

record! {
    /// Body of setACL.
    SetAclRequest<'a> {
        /// The node.
        path: Option<&'a [u8]>,
        /// Null is InvalidACL.
        acl: AclList<'a>,
        /// Expected aversion; -1 matches any.
        version: i32,
    }
}

record! {
    /// Body of getACL, sync, getEphemerals, getAllChildrenNumber, deleteContainer.
    PathOnly<'a> {
        /// The node.
        path: Option<&'a [u8]>,
    }
}

record! {
    /// Body of checkWatches, removeWatches (a `WatcherType`) and addWatch (an `AddWatchMode`).
    PathKind<'a> {
        /// The node.
        path: Option<&'a [u8]>,
        /// Type or mode.
        kind: i32,
    }
}

record! {
    /// Body of auth.
    AuthPacket<'a> {
        /// Ignored.
        kind: i32,
        /// Name of a scheme.
        scheme: Option<&'a [u8]>,
        /// Credentials.
        auth: Option<&'a [u8]>,
    }
}

record! {
    /// Body of sasl, both ways.
    SaslToken<'a> {
        /// Null is possible.
        token: Option<&'a [u8]>,
    }
}

record! {
    /// Body of setWatches.
    SetWatches<'a> {
        /// Newest zxid whose events the client has seen.
        relative_zxid: i64,
        /// Paths with data watches.
        data: Vec<&'a [u8]>,
        /// Paths with exists watches.
        exist: Vec<&'a [u8]>,
        /// Paths with child watches.
        child: Vec<&'a [u8]>,
    }
}

record! {
    /// Body of setWatches2.
    SetWatches2<'a> {
        /// As in [`SetWatches`].
        base: SetWatches<'a>,
        /// Paths with persistent watches.
        persistent: Vec<&'a [u8]>,
        /// Paths with persistent-recursive watches.
        persistent_recursive: Vec<&'a [u8]>,
    }
}

record! {
    /// Body of reconfig.
    ReconfigRequest<'a> {
        /// Comma list of server lines.
        joining: Option<&'a [u8]>,
        /// Comma list of ids.
        leaving: Option<&'a [u8]>,
        /// Whole new membership.
        new_members: Option<&'a [u8]>,
        /// -1 or the version of the config the caller saw.
        config_id: i64,
    }
}

record! {
    /// Stands before each operation and result of a multi.
    MultiHeader {
        /// `OpCode`, -1 for an error result and at the end.
        kind: i32,
        /// Ends the list.
        done: bool,
        /// The row's error; -1 in requests and at the end.
        err: i32,
    }
}

record! {
    /// What a client sees of a node's metadata, 68 bytes.
    #[derive(Copy, Default)]
    Stat {
        /// zxid of its create.
        czxid: i64,
        /// zxid of its last setData.
        mzxid: i64,
        /// Wall clock of its create, ms.
        ctime: i64,
        /// Wall clock of its last setData, ms.
        mtime: i64,
        /// Count of setData.
        version: i32,
        /// 2 * creates below it - children now, wrapping.
        cversion: i32,
        /// Count of setACL.
        aversion: i32,
        /// Session of an ephemeral, else 0.
        ephemeral_owner: i64,
        /// 0 for null data.
        data_length: i32,
        /// Children now.
        num_children: i32,
        /// zxid of the last create or delete of a child.
        pzxid: i64,
    }
}

impl Stat {
    /// Encoded size.
    pub const LEN_BYTES: usize = 68;
}

record! {
    /// Body of a notification.
    WatcherEvent<'a> {
        /// An `EventType`.
        kind: i32,
        /// Always 3, SyncConnected.
        state: i32,
        /// The node.
        path: &'a [u8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_request_round_trips_and_borrows_its_acl() {
        let request =
            CreateRequest { path: Some(b"/hi"), data: Some(b"x"), acl: AclList::OPEN, flags: 0 };
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        assert_eq!(decode::<CreateRequest<'_>>(&bytes), Ok(request));
        let acl: Vec<_> = AclList::OPEN.iter().collect();
        assert_eq!(acl, [Acl { perms: 31, scheme: Some(b"world"), id: Some(b"anyone") }]);
    }

    #[test]
    fn a_stat_has_68_bytes() {
        let mut bytes = Vec::new();
        Stat::default().encode(&mut bytes);
        assert_eq!(bytes.len(), Stat::LEN_BYTES);
    }
}
