//! The numbers of the protocol (client-protocol.md, sections 4 and 5).

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum $name { $($(#[$vdoc])* $variant = $value,)* }

        impl $name {
            /// From its number.
            pub const fn from_wire(value: i32) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)* _ => None }
            }
            /// Its number.
            pub const fn to_wire(self) -> i32 {
                self as i32
            }
        }
    };
}

codes! {
    /// Request and txn types (ZooKeeper: `ZooDefs.OpCode`).
    OpCode {
        /// A watch event, server to client.
        Notification = 0,
        /// Answers with the path.
        Create = 1,
        /// Removes a childless node.
        Delete = 2,
        /// Stat, with a watch on absence too.
        Exists = 3,
        /// Data and stat.
        GetData = 4,
        /// Replaces data.
        SetData = 5,
        /// ACL and stat.
        GetAcl = 6,
        /// Replaces the ACL.
        SetAcl = 7,
        /// Names.
        GetChildren = 8,
        /// Flush of the leader's pipeline.
        Sync = 9,
        /// Keeps a session alive.
        Ping = 11,
        /// Names and stat.
        GetChildren2 = 12,
        /// A version check, in multi only.
        Check = 13,
        /// Several writes at one zxid.
        Multi = 14,
        /// Answers with path and stat.
        Create2 = 15,
        /// Changes the ensemble.
        Reconfig = 16,
        /// Is there such a watch?
        CheckWatches = 17,
        /// Takes watches away.
        RemoveWatches = 18,
        /// Create of a container.
        CreateContainer = 19,
        /// Internal: removal of a container or TTL node.
        DeleteContainer = 20,
        /// Create with a time to live.
        CreateTtl = 21,
        /// Several reads at one zxid.
        MultiRead = 22,
        /// Credentials.
        Auth = 100,
        /// Watches of an earlier connection.
        SetWatches = 101,
        /// A SASL token.
        Sasl = 102,
        /// The session's own ephemerals.
        GetEphemerals = 103,
        /// Count of descendants.
        GetAllChildrenNumber = 104,
        /// As `SetWatches`, persistent ones too.
        SetWatches2 = 105,
        /// A persistent watch.
        AddWatch = 106,
        /// The connection's ids.
        WhoAmI = 107,
        /// Internal: a new session.
        CreateSession = -10,
        /// Ends the session.
        CloseSession = -11,
        /// Txn of a request that failed.
        Error = -1,
    }
}

codes! {
    /// Outcome of a request (ZooKeeper: `KeeperException.Code`).
    ErrorCode {
        /// Rows of a multi behind the one that failed.
        RuntimeInconsistency = -2,
        /// The request does not decode.
        MarshallingError = -5,
        /// Unknown or disabled operation.
        Unimplemented = -6,
        /// Path, flags, TTL or reconfig arguments.
        BadArguments = -8,
        /// No such session.
        UnknownSession = -12,
        /// No synced quorum in the new config.
        NewConfigNoQuorum = -13,
        /// Another reconfig is pending.
        ReconfigInProgress = -14,
        /// No such node.
        NoNode = -101,
        /// Not permitted.
        NoAuth = -102,
        /// Another version.
        BadVersion = -103,
        /// The parent is ephemeral.
        NoChildrenForEphemerals = -108,
        /// The node is there already.
        NodeExists = -110,
        /// The node has children.
        NotEmpty = -111,
        /// The session is closing.
        SessionExpired = -112,
        /// An ACL that no provider accepts.
        InvalidAcl = -114,
        /// Credentials refused.
        AuthFailed = -115,
        /// The session lives on another server.
        SessionMoved = -118,
        /// A write on a read-only server.
        NotReadOnly = -119,
        /// A local session cannot own ephemerals.
        EphemeralOnLocalSession = -120,
        /// No such watch.
        NoWatcher = -121,
        /// Reconfig is switched off.
        ReconfigDisabled = -123,
        /// Authentication is enforced and missing.
        SessionClosedRequireSaslAuth = -124,
        /// A hard quota.
        QuotaExceeded = -125,
        /// Waited too long in the throttle.
        ThrottledOp = -127,
    }
}

codes! {
    /// Flags of a create request (ZooKeeper: `CreateMode`).
    CreateMode {
        /// Stays until deleted.
        Persistent = 0,
        /// Gone with its session.
        Ephemeral = 1,
        /// Persistent, numbered.
        PersistentSequential = 2,
        /// Ephemeral, numbered.
        EphemeralSequential = 3,
        /// Gone after its last child.
        Container = 4,
        /// Gone when unchanged and childless for its time to live.
        PersistentTtl = 5,
        /// As before, numbered.
        PersistentSequentialTtl = 6,
    }
}

impl CreateMode {
    /// Whether a counter is appended to the name.
    pub const fn is_sequential(self) -> bool {
        matches!(
            self,
            Self::PersistentSequential | Self::EphemeralSequential | Self::PersistentSequentialTtl
        )
    }
    /// Whether the session owns the node.
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }
    /// Whether the node carries a time to live.
    pub const fn is_ttl(self) -> bool {
        matches!(self, Self::PersistentTtl | Self::PersistentSequentialTtl)
    }
}

codes! {
    /// Type of a watch event.
    EventType {
        /// The node appeared.
        NodeCreated = 1,
        /// The node went.
        NodeDeleted = 2,
        /// Its data was set.
        NodeDataChanged = 3,
        /// A child came or went.
        NodeChildrenChanged = 4,
    }
}

codes! {
    /// What check and removeWatches look for.
    WatcherType {
        /// Standard watches of the child table.
        Children = 1,
        /// Standard watches of the data table.
        Data = 2,
        /// All at that path.
        Any = 3,
        /// Persistent ones.
        Persistent = 4,
        /// Persistent-recursive ones.
        PersistentRecursive = 5,
    }
}

codes! {
    /// Mode of addWatch.
    AddWatchMode {
        /// The node and its children list.
        Persistent = 0,
        /// The whole subtree.
        PersistentRecursive = 1,
    }
}

/// Permission bits of an ACL entry. Other bits are stored and returned untouched.
pub mod perms {
    /// Read data and children.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// Set the ACL.
    pub const ADMIN: i32 = 16;
    /// All five.
    pub const ALL: i32 = 31;
}

/// Reserved xids.
pub mod xids {
    /// A notification.
    pub const NOTIFICATION: i32 = -1;
    /// A ping and its reply, whatever xid the ping had.
    pub const PING: i32 = -2;
    /// Auth, by convention.
    pub const AUTH: i32 = -4;
    /// setWatches, by convention.
    pub const SET_WATCHES: i32 = -8;
}
