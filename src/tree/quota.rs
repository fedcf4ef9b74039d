//! Quotas: who is a quota root, the accounting in `zookeeper_stats`, the limits (semantics.md, 7).

/// A limit that a write would exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// The quota root.
    pub root: Vec<u8>,
    /// `count` or `bytes` (the word ZooKeeper's log line has: `Count`, `Byte`).
    pub what: QuotaKind,
    /// A soft limit only earns a log line.
    pub hard: bool,
    /// What the new value would be.
    pub current: i64,
    /// What it may be.
    pub limit: i64,
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKind {
    /// Nodes.
    Count,
    /// Bytes of data.
    Bytes,
}
