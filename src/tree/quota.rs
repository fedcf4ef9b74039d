//! Quotas: who is a quota root, the text of `zookeeper_limits` and `zookeeper_stats`, and the
//! limits (semantics.md, section 7).
//!
//! Only the deepest root at or above a path counts. The root of the tree can have none [J-2].
//! Without any quota all of this costs one check for emptiness.

use crate::types::Set;
use std::collections::BTreeMap;

const QUOTA: &[u8] = b"/zookeeper/quota";
const LIMITS: &[u8] = b"/zookeeper_limits";
const STATS: &[u8] = b"/zookeeper_stats";

/// A limit that a write would exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// The quota root.
    pub root: Vec<u8>,
    /// What there would be too much of.
    pub what: QuotaKind,
    /// A soft limit only earns a log line.
    pub hard: bool,
    /// What the new value would be.
    pub current: i64,
    /// What it may be.
    pub limit: i64,
}

impl std::fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.what {
            QuotaKind::Count => "count",
            QuotaKind::Bytes => "bytes",
        };
        let limit = match (self.what, self.hard) {
            (QuotaKind::Count, true) => "hardCountLimit",
            (QuotaKind::Count, false) => "countLimit",
            (QuotaKind::Bytes, true) => "hardBytesLimit",
            (QuotaKind::Bytes, false) => "bytesLimit",
        };
        let root = String::from_utf8_lossy(&self.root);
        write!(f, "{root} [current {what}={}, {limit}={}]", self.current, self.limit)
    }
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKind {
    /// Nodes.
    Count,
    /// Bytes of data.
    Bytes,
}

/// The quota roots: paths with a `zookeeper_limits` node.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    roots: Set<Box<[u8]>>,
}

/// The quota root whose limits node `path` is.
fn limited_by(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(QUOTA)?.strip_suffix(LIMITS).filter(|root| !root.is_empty())
}

/// The path whose stats node `path` is.
pub(super) fn counted_by(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(QUOTA)?.strip_suffix(STATS).filter(|root| !root.is_empty())
}

/// Path of a root's stats node.
pub(super) fn stats_path(root: &[u8]) -> Vec<u8> {
    [QUOTA, root, STATS].concat()
}

/// Path of a root's limits node.
pub(super) fn limits_path(root: &[u8]) -> Vec<u8> {
    [QUOTA, root, LIMITS].concat()
}

impl Quotas {
    /// A node came.
    pub(super) fn add(&mut self, path: &[u8]) {
        if let Some(root) = limited_by(path) {
            self.roots.insert(root.into());
        }
    }

    /// A node went.
    pub(super) fn remove(&mut self, path: &[u8]) {
        if let Some(root) = limited_by(path) {
            self.roots.remove(root);
        }
    }

    /// The deepest root at or above `path`.
    pub(super) fn root_of<'p>(&self, mut path: &'p [u8]) -> Option<&'p [u8]> {
        if self.roots.is_empty() {
            return None;
        }
        while !path.is_empty() {
            if self.roots.contains(path) {
                return Some(path);
            }
            path = super::path::parent(path)?;
        }
        None
    }

    /// All roots.
    pub(super) fn roots(&self) -> impl Iterator<Item = &[u8]> {
        self.roots.iter().map(|root| &**root)
    }
}

/// The text of a limits or stats node (ZooKeeper: `StatsTrack`): `count=1,bytes=2`, then, if there
/// are more keys, `=` and `;key=value` for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Track {
    values: BTreeMap<String, i64>,
}

impl Track {
    /// Any bytes. What does not parse is as if it were not there [J-3].
    pub(super) fn parse(data: Option<&[u8]>) -> Self {
        let text = String::from_utf8_lossy(data.unwrap_or_default());
        let parts = text.split([',', ';']).filter(|part| !part.is_empty());
        let values = parts.filter_map(|part| {
            let mut words = part.split('=');
            let (key, value) = (words.next()?, words.next()?);
            Some((key.to_owned(), value.parse().ok()?))
        });
        Self { values: values.collect() }
    }

    /// A missing key is -1: no limit.
    pub(super) fn get(&self, key: &str) -> i64 {
        self.values.get(key).copied().unwrap_or(-1)
    }

    pub(super) fn set(&mut self, key: &str, value: i64) {
        self.values.insert(key.to_owned(), value);
    }

    /// With both numbers moved.
    pub(super) fn moved(mut self, count: i64, bytes: i64) -> Self {
        self.set("count", self.get("count").wrapping_add(count));
        self.set("bytes", self.get("bytes").wrapping_add(bytes));
        self
    }

    pub(super) fn format(&self) -> String {
        let mut text = format!("count={},bytes={}", self.get("count"), self.get("bytes"));
        let more = self.values.iter().filter(|(key, _)| !matches!(&***key, "count" | "bytes"));
        for (n, (key, value)) in more.enumerate() {
            let separator = if n == 0 { "=;" } else { ";" };
            text.push_str(&format!("{separator}{key}={value}"));
        }
        text
    }
}

/// The limit that is exceeded when `stats` grow by so much, a hard one before a soft one.
pub(super) fn exceeded(
    root: &[u8],
    limits: &Track,
    stats: &Track,
    count_delta: i64,
    bytes_delta: i64,
) -> Option<QuotaExceeded> {
    let check = |what, key, hard_key, delta: i64| {
        let (soft, hard) = (limits.get(key), limits.get(hard_key));
        let (limit, is_hard) = if hard > -1 { (hard, true) } else { (soft, false) };
        let current = stats.get(key).wrapping_add(delta);
        (delta != 0 && limit > -1 && current > limit).then(|| QuotaExceeded {
            root: root.to_vec(),
            what,
            hard: is_hard,
            current,
            limit,
        })
    };
    let count = check(QuotaKind::Count, "count", "countHardLimit", count_delta);
    let bytes = check(QuotaKind::Bytes, "bytes", "byteHardLimit", bytes_delta);
    match (count, bytes) {
        (Some(soft), Some(hard)) if hard.hard && !soft.hard => Some(hard),
        (Some(first), _) => Some(first),
        (None, second) => second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_java_round_trips() {
        for text in ["count=-1,bytes=-1=;byteHardLimit=60;countHardLimit=-1", "count=5,bytes=40"] {
            assert_eq!(Track::parse(Some(text.as_bytes())).format(), text);
        }
        assert_eq!(Track::parse(Some(b"count=,;bytes=7=9")).format(), "count=-1,bytes=7");
        assert_eq!(Track::parse(Some(b"\xff\0 no")).format(), "count=-1,bytes=-1");
        assert_eq!(Track::parse(None).moved(1, 3).format(), "count=0,bytes=2");
    }

    #[test]
    fn the_deepest_root_counts() {
        let mut quotas = Quotas::default();
        assert_eq!(quotas.root_of(b"/a/b/c"), None);
        quotas.add(b"/zookeeper/quota/a/zookeeper_limits");
        quotas.add(b"/zookeeper/quota/a/b/zookeeper_limits");
        quotas.add(b"/zookeeper/quota/zookeeper_limits");
        assert_eq!(quotas.root_of(b"/a/b/c"), Some(&b"/a/b"[..]));
        assert_eq!(quotas.root_of(b"/a/x"), Some(&b"/a"[..]));
        assert_eq!(quotas.root_of(b"/ab"), None);
        quotas.remove(b"/zookeeper/quota/a/b/zookeeper_limits");
        assert_eq!(quotas.root_of(b"/a/b/c"), Some(&b"/a"[..]));
    }

    #[test]
    fn hard_limits_stand_in_for_soft_ones() {
        let limits = Track::parse(Some(b"count=1,bytes=10=;byteHardLimit=20"));
        let stats = Track::parse(Some(b"count=1,bytes=15"));
        let what = |count, bytes| {
            exceeded(b"/q", &limits, &stats, count, bytes).map(|e| (e.what, e.hard, e.current))
        };
        assert_eq!(what(0, 5), None);
        assert_eq!(what(0, 6), Some((QuotaKind::Bytes, true, 21)));
        assert_eq!(what(1, 5), Some((QuotaKind::Count, false, 2)));
        assert_eq!(what(1, 6), Some((QuotaKind::Bytes, true, 21)));
        assert_eq!(what(0, 0), None);
    }
}
