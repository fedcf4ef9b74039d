//! ACL lists: interned once, append-only, read without a lock; and the permission check
//! (client-protocol.md, 10.3).
//!
//! Thread: the pipeline interns; everybody reads.
//! Invariants: an id, once given, names the same bytes for ever.

use crate::types::Map;
use crate::wire::client::AclList;
use crate::wire::codes::perms;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// Names an interned list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclId(pub u32);

impl AclId {
    /// `world:anyone` with all permissions.
    pub const OPEN: Self = Self(0);

    /// As snapshots have it: -1 is the open list, ours start at 1.
    pub fn to_disk(self) -> i64 {
        if self == Self::OPEN { -1 } else { i64::from(self.0) }
    }
}

type Bucket = Box<[OnceLock<Arc<[u8]>>]>;

/// The lists, shared by writer and readers. Bucket `b` holds ids `2^b - 1 .. 2^(b+1) - 1`, so that
/// no list ever moves.
#[derive(Debug, Default)]
pub(crate) struct AclLists {
    buckets: [OnceLock<Bucket>; AclTable::BUCKETS],
    len: std::sync::atomic::AtomicU32,
}

impl AclLists {
    fn place(id: AclId) -> (usize, usize) {
        let n = u64::from(id.0) + 1;
        let bucket = n.ilog2();
        let offset = usize::try_from(n - (1 << bucket)).expect("ids have 28 bits");
        (bucket as usize, offset)
    }

    /// The list of `id`; an id that was never given reads as a null list, which permits everybody,
    /// as a null list does in ZooKeeper.
    pub(crate) fn get(&self, id: AclId) -> AclList<'_> {
        const NULL: AclList<'static> = AclList { bytes: &[255; 4] };
        let (bucket, offset) = Self::place(id);
        let slot = self.buckets.get(bucket).and_then(OnceLock::get).map(|slots| &slots[offset]);
        slot.and_then(OnceLock::get).map_or(NULL, |bytes| AclList { bytes })
    }

    /// How many ids were given.
    pub(crate) fn len(&self) -> u32 {
        self.len.load(std::sync::atomic::Ordering::Acquire)
    }
}

/// The writer's side.
#[derive(Debug)]
pub struct AclTable {
    lists: Arc<AclLists>,
    ids: Map<Arc<[u8]>, AclId>,
}

impl Default for AclTable {
    fn default() -> Self {
        let mut table = Self { lists: Arc::default(), ids: Map::default() };
        let open = table.intern(AclList::OPEN);
        assert_eq!(open, AclId::OPEN, "the first id is the open list's");
        table
    }
}

impl AclTable {
    const BUCKETS: usize = 28;
    /// A version keeps 28 bits of an id.
    const IDS_MAX: u32 = (1 << 28) - 1;

    /// The id of `list`, given now if it is new. Null lists are interned as they are.
    ///
    /// # Panics
    /// After 268 million different lists, each of which costs far more memory than its id.
    pub fn intern(&mut self, list: AclList<'_>) -> AclId {
        if list.bytes == AclList::OPEN.bytes && !self.ids.is_empty() {
            return AclId::OPEN;
        }
        if let Some(id) = self.ids.get(list.bytes) {
            return *id;
        }
        let next = self.lists.len();
        assert!(next < Self::IDS_MAX, "ACL ids are used up");
        let id = AclId(next);
        let bytes: Arc<[u8]> = list.bytes.into();
        let (bucket, offset) = AclLists::place(id);
        let slots = self.lists.buckets[bucket]
            .get_or_init(|| (0..1_usize << bucket).map(|_| OnceLock::new()).collect());
        slots[offset].set(Arc::clone(&bytes)).expect("the next id's place is free");
        self.lists.len.store(next + 1, std::sync::atomic::Ordering::Release);
        self.ids.insert(bytes, id);
        id
    }

    /// The list of `id`.
    pub fn get(&self, id: AclId) -> AclList<'_> {
        self.lists.get(id)
    }

    /// All lists but the open one, which snapshots need not hold.
    pub fn iter(&self) -> impl Iterator<Item = (AclId, AclList<'_>)> {
        (1..self.lists.len()).map(|id| (AclId(id), self.lists.get(AclId(id))))
    }

    pub(crate) fn lists(&self) -> &Arc<AclLists> {
        &self.lists
    }
}

/// One identity of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// `ip`, `digest`, `x509`, `sasl`, `super`.
    pub scheme: String,
    /// What the scheme says.
    pub id: String,
}

/// Whether `acl` gives one of the `wanted` bits to somebody with `ids`.
pub fn permits(acl: AclList<'_>, wanted: i32, ids: &[Id]) -> bool {
    if acl.bytes == AclList::OPEN.bytes {
        return wanted & perms::ALL != 0;
    }
    let mut empty = true;
    for entry in acl.iter() {
        empty = false;
        if entry.perms & wanted == 0 {
            continue;
        }
        let (Some(scheme), Some(pattern)) = (entry.scheme, entry.id) else { continue };
        if scheme == b"world" && pattern == b"anyone" {
            return true;
        }
        if ids.iter().any(|id| id.scheme.as_bytes() == scheme && matches(&id.id, scheme, pattern)) {
            return true;
        }
    }
    empty || ids.iter().any(|id| id.scheme == "super")
}

/// Whether `id` is one that an ACL entry of `scheme` with the id `pattern` means.
fn matches(id: &str, scheme: &[u8], pattern: &[u8]) -> bool {
    match scheme {
        b"ip" => ip_matches(id, pattern),
        b"sasl" => {
            id.as_bytes() == pattern || id == "super" || pattern == b"letAnySaslUserDoX".as_slice()
        }
        _ => id.as_bytes() == pattern,
    }
}

/// Whether the first `bits` of the address equal those of `pattern` = `address[/bits]`, both of
/// one family.
pub fn ip_matches(address: &str, pattern: &[u8]) -> bool {
    let Some((network, bits)) = parse_ip_pattern(pattern) else { return false };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    (address ^ network).checked_shr(width - bits).unwrap_or(0) == 0
}

/// `address[/bits]` as an ACL id of the ip scheme, `None` when it is not a valid one: no zone, no
/// IPv4 in an IPv6 form.
pub fn parse_ip_pattern(pattern: &[u8]) -> Option<(IpAddr, u32)> {
    let text = std::str::from_utf8(pattern).ok()?;
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address = address.parse::<IpAddr>().ok()?;
    let width = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(a) if a.to_ipv4_mapped().is_some() => return None,
        IpAddr::V6(_) => 128,
    };
    let bits = match bits {
        None => width,
        Some(bits) => bits.parse::<u32>().ok().filter(|bits| *bits <= width)?,
    };
    Some((address, bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jute::Write;

    fn list(entries: &[(i32, &str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_len(entries.len());
        for (perms, scheme, id) in entries {
            out.put_int(*perms);
            out.put_some(scheme.as_bytes());
            out.put_some(id.as_bytes());
        }
        out
    }

    fn allowed(entries: &[(i32, &str, &str)], wanted: i32, ids: &[(&str, &str)]) -> bool {
        let ids: Vec<_> = ids
            .iter()
            .map(|(scheme, id)| Id { scheme: (*scheme).into(), id: (*id).into() })
            .collect();
        permits(AclList { bytes: &list(entries) }, wanted, &ids)
    }

    #[test]
    fn one_wanted_bit_is_enough_and_super_is_above_all() {
        assert!(allowed(&[(31, "world", "anyone")], perms::READ, &[]));
        assert!(!allowed(&[(1, "world", "anyone")], perms::WRITE, &[]));
        assert!(allowed(
            &[(16, "digest", "a:x")],
            perms::READ | perms::ADMIN,
            &[("digest", "a:x")]
        ));
        assert!(!allowed(&[(31, "digest", "a:x")], perms::READ, &[("digest", "a:y")]));
        assert!(allowed(&[(0, "digest", "a:x")], perms::READ, &[("super", "")]));
        assert!(allowed(&[], perms::READ, &[]), "an empty list permits");
        assert!(permits(AclList { bytes: &[255; 4] }, perms::READ, &[]), "a null list permits");
    }

    #[test]
    fn sasl_has_a_super_user_and_a_wildcard() {
        let acl = [(31, "sasl", "bob")];
        assert!(allowed(&acl, 1, &[("sasl", "bob")]));
        assert!(allowed(&acl, 1, &[("sasl", "super")]));
        assert!(!allowed(&acl, 1, &[("sasl", "eve")]));
        assert!(allowed(&[(31, "sasl", "letAnySaslUserDoX")], 1, &[("sasl", "eve")]));
    }

    #[test]
    fn networks_match_by_prefix_within_a_family() {
        for (address, pattern, expected) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.0.0/16", true),
            ("10.2.2.3", "10.1.0.0/16", false),
            ("10.2.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.3/33", false),
            ("::1", "0.0.0.0/0", false),
            ("fe80::1", "fe80::/10", true),
            ("::1", "::/0", true),
            ("::1", "::2", false),
        ] {
            assert_eq!(ip_matches(address, pattern.as_bytes()), expected, "{address} {pattern}");
        }
        assert_eq!(parse_ip_pattern(b"::ffff:10.0.0.1"), None);
        assert_eq!(parse_ip_pattern(b"fe80::1%eth0"), None);
    }

    #[test]
    fn a_list_keeps_its_id_and_its_bytes() {
        let mut table = AclTable::default();
        assert_eq!(table.intern(AclList::OPEN), AclId::OPEN);
        let lists: Vec<_> = (0..100).map(|n| list(&[(n, "world", "anyone")])).collect();
        let ids: Vec<_> = lists.iter().map(|l| table.intern(AclList { bytes: l })).collect();
        for (bytes, id) in lists.iter().zip(&ids) {
            assert_eq!(table.get(*id).bytes, bytes);
            assert_eq!(table.intern(AclList { bytes }), *id);
        }
        assert_eq!(table.iter().count(), 99, "the open list is not listed");
    }
}
