//! ACL lists as callers make and see them.

use crate::wire::client::AclList;
use crate::wire::codes::perms;
use crate::wire::jute::Write;

/// Everybody may do everything.
pub const OPEN: AclList<'static> = AclList::OPEN;
/// Everybody may read.
pub const READ: AclList<'static> = AclList::READ_ONLY;
/// Whoever this connection is authenticated as may do everything (ZooKeeper: `CREATOR_ALL_ACL`).
pub const CREATOR_ALL: AclList<'static> =
    AclList { bytes: b"\0\0\0\x01\0\0\0\x1f\0\0\0\x04auth\0\0\0\0" };

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Bits of [`perms`].
    pub perms: i32,
    /// `world`, `digest`, `ip`, ...
    pub scheme: String,
    /// Its form depends on the scheme.
    pub id: String,
}

/// The bytes of a list; [`AclList`] borrows them.
pub fn encode(entries: &[Acl]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_len(entries.len());
    for entry in entries {
        out.put_int(entry.perms);
        out.put_some(entry.scheme.as_bytes());
        out.put_some(entry.id.as_bytes());
    }
    out
}

/// The entries of a list; a null text becomes an empty one.
pub fn decode(list: AclList<'_>) -> Vec<Acl> {
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    list.iter()
        .map(|acl| Acl { perms: acl.perms, scheme: text(acl.scheme), id: text(acl.id) })
        .collect()
}

/// Letters of permission bits, in the order of ZooKeeper's shell.
pub fn letters(bits: i32) -> String {
    let known = [
        (perms::CREATE, 'c'),
        (perms::DELETE, 'd'),
        (perms::READ, 'r'),
        (perms::WRITE, 'w'),
        (perms::ADMIN, 'a'),
    ];
    known.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_the_lists_they_claim() {
        let entry = |perms, scheme: &str, id: &str| Acl {
            perms,
            scheme: scheme.to_owned(),
            id: id.to_owned(),
        };
        assert_eq!(encode(&[entry(perms::ALL, "auth", "")]), CREATOR_ALL.bytes);
        assert_eq!(decode(OPEN), [entry(perms::ALL, "world", "anyone")]);
        assert_eq!((letters(31), letters(9)), ("cdrwa".to_owned(), "dr".to_owned()));
    }
}
