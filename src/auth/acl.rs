//! ACL lists of requests and replies: made definite before they are stored, masked when shown.

use super::{Schemes, digest, ip};
use crate::tree::acl::Id;
use crate::types::Set;
use crate::wire::client::{Acl, AclList};
use crate::wire::codes::ErrorCode;
use crate::wire::jute::Write;

/// Bytes of a list above which it is refused.
///
/// BOUND: each `auth` entry becomes one for each id of the connection, so a list of one frame
/// could ask for gigabytes. A list of this size could not travel in a txn of Java's either.
const LIST_BYTES_MAX: usize = 1 << 20;

impl Schemes {
    /// Appends to `out` what create or setACL stores for `list`: duplicates dropped, `auth`
    /// replaced by the connection's `ids`, everything checked (client-protocol.md 10.2; ZooKeeper:
    /// `PrepRequestProcessor.fixupACL`). On an error `out` is as before.
    pub fn fix_acl(
        &self,
        list: AclList<'_>,
        ids: &[Id],
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        // Nearly every list; it passes every check and is stored as it is.
        if list.bytes == AclList::OPEN.bytes {
            out.extend_from_slice(list.bytes);
            return Ok(());
        }
        let start = out.len();
        let fixed = self.append_fixed(list, ids, start, out);
        if fixed.is_err() {
            out.truncate(start);
        }
        fixed
    }

    fn append_fixed(
        &self,
        list: AclList<'_>,
        ids: &[Id],
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let entries = without_duplicates(list)?;
        if entries.is_empty() {
            return Err(ErrorCode::InvalidAcl);
        }
        out.put_int(0);
        let mut count = 0;
        for entry in entries {
            let scheme = entry.scheme.ok_or(ErrorCode::InvalidAcl)?;
            if scheme == b"auth" {
                let mut proven = ids.iter().filter(|id| self.authenticates(id.scheme.as_bytes()));
                let first = proven.next().ok_or(ErrorCode::InvalidAcl)?;
                for id in std::iter::once(first).chain(proven) {
                    put_entry(out, entry.perms, id.scheme.as_bytes(), id.id.as_bytes());
                    count += 1;
                    if out.len() - start > LIST_BYTES_MAX {
                        return Err(ErrorCode::InvalidAcl);
                    }
                }
                continue;
            }
            if scheme != b"world" && !self.knows(scheme) {
                return Err(ErrorCode::InvalidAcl);
            }
            // COMPAT: a null where a provider looks is an exception in Java, which answers -5.
            let id = entry.id.ok_or(ErrorCode::MarshallingError)?;
            let valid = match scheme {
                b"world" => id == b"anyone",
                b"ip" => ip::is_valid(id),
                _ => digest::is_valid(id),
            };
            if !valid {
                return Err(ErrorCode::InvalidAcl);
            }
            put_entry(out, entry.perms, scheme, String::from_utf8_lossy(id).as_bytes());
            count += 1;
        }
        out[start..start + 4].copy_from_slice(&i32::to_be_bytes(count));
        Ok(())
    }
}

/// The entries, each once, in order.
///
/// COMPAT: Java compares perms, then schemes, then ids, and a null scheme or id of the later entry
/// is an exception as soon as the comparison comes to it: -5.
fn without_duplicates<'a>(list: AclList<'a>) -> Result<Vec<Acl<'a>>, ErrorCode> {
    let mut entries: Vec<Acl<'a>> = list.iter().collect();
    if entries.len() < 2 {
        return Ok(entries);
    }
    // Of each entry kept: its perms, perms and scheme, and all three.
    let mut seen = Set::default();
    let mut null = false;
    entries.retain(|entry| {
        let (perms, scheme) = ((entry.perms, None, None), (entry.perms, entry.scheme, None));
        null |= match (entry.scheme, entry.id) {
            (None, _) => seen.contains(&perms),
            (Some(_), None) => seen.contains(&scheme),
            (Some(_), Some(_)) => false,
        };
        seen.insert(perms);
        seen.insert(scheme);
        seen.insert((entry.perms, entry.scheme, entry.id)) || entry.id.is_none()
    });
    if null { Err(ErrorCode::MarshallingError) } else { Ok(entries) }
}

/// Appends to `out` the list as getACL shows it to a caller without ADMIN: of a digest id only the
/// user (`user:x`).
pub fn mask_digests(list: AclList<'_>, out: &mut Vec<u8>) {
    if list.is_null() || !list.iter().any(|entry| entry.scheme == Some(b"digest")) {
        out.extend_from_slice(list.bytes);
        return;
    }
    out.put_len(list.iter().count());
    for entry in list.iter() {
        match (entry.scheme, entry.id) {
            (Some(b"digest"), Some(id)) => {
                let user = id.iter().position(|byte| *byte == b':').map(|colon| &id[..colon]);
                out.put_int(entry.perms);
                out.put_some(b"digest");
                match user {
                    Some(user) => {
                        out.put_len(user.len() + 2);
                        out.put_raw(user);
                        out.put_raw(b":x");
                    }
                    None => out.put_some(id),
                }
            }
            (scheme, id) => {
                out.put_int(entry.perms);
                out.put_buffer(scheme);
                out.put_buffer(id);
            }
        }
    }
}

fn put_entry(out: &mut Vec<u8>, perms: i32, scheme: &[u8], id: &[u8]) {
    out.put_int(perms);
    out.put_some(scheme);
    out.put_some(id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Auth;
    use crate::wire::client::decode;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    type Entry = (i32, Option<&'static str>, Option<&'static str>);

    fn encode(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_len(entries.len());
        for (perms, scheme, id) in entries {
            bytes.put_int(*perms);
            bytes.put_buffer(scheme.map(str::as_bytes));
            bytes.put_buffer(id.map(str::as_bytes));
        }
        bytes
    }

    fn show(list: AclList<'_>) -> String {
        let text = |bytes: Option<&[u8]>| {
            bytes.map_or("null".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let entries: Vec<_> = list
            .iter()
            .map(|acl| format!("{}={}:{}", acl.perms, text(acl.scheme), text(acl.id)))
            .collect();
        entries.join(" ")
    }

    fn me() -> Auth {
        let auth = Auth::new("10.0.0.1".parse().unwrap());
        let schemes = Schemes {
            super_digest: Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".into()),
            ..Schemes::default()
        };
        auth.handle_auth(&schemes, Some(b"digest"), Some(b"super:test")).unwrap()
    }

    fn check(lists: &[&[Entry]], expected: Expect) {
        let (nobody, me) = (Auth::new("10.0.0.1".parse().unwrap()), me());
        let mut text = String::new();
        for entries in lists {
            let bytes = encode(entries);
            let list = AclList { bytes: &bytes };
            text += &format!("{}\n", show(list));
            for auth in [&nobody, &me] {
                let mut out = b"before".to_vec();
                let outcome = match Schemes::default().fix_acl(list, auth.ids(), &mut out) {
                    Ok(()) => show(AclList { bytes: &out[6..] }),
                    Err(code) => {
                        assert_eq!(out, b"before");
                        format!("{code:?}")
                    }
                };
                text += &format!("    {outcome}\n");
            }
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn lists_are_made_definite() {
        let (world, anyone) = (Some("world"), Some("anyone"));
        check(
            &[
                &[],
                &[(31, world, anyone)],
                &[(63, world, anyone), (1, world, anyone), (63, world, anyone)],
                &[(-1, world, anyone)],
                &[(31, world, Some("nobody"))],
                &[(31, world, None)],
                &[(31, Some("auth"), None), (1, world, anyone)],
                &[(31, Some("auth"), Some("x")), (31, Some("auth"), Some("y"))],
                &[(31, Some("digest"), Some("a:b")), (31, Some("digest"), Some("a"))],
                &[(31, Some("digest"), None)],
                &[(31, Some("ip"), Some("10.0.0.0/8")), (1, Some("ip"), Some("fe80::/10"))],
                &[(31, Some("ip"), Some("10.0.0.0/33"))],
                &[(31, Some("super"), Some(""))],
                &[(31, Some("x509"), Some("CN=a"))],
                &[(31, Some("sasl"), None)],
                &[(31, None, None)],
                &[(31, world, anyone), (31, None, None)],
                &[(31, world, anyone), (1, None, None)],
                &[(31, Some("auth"), None), (31, Some("auth"), None)],
                &[(31, Some("auth"), None), (1, Some("auth"), None)],
            ],
            expect![[r#"

                    InvalidAcl
                    InvalidAcl
                31=world:anyone
                    31=world:anyone
                    31=world:anyone
                63=world:anyone 1=world:anyone 63=world:anyone
                    63=world:anyone 1=world:anyone
                    63=world:anyone 1=world:anyone
                -1=world:anyone
                    -1=world:anyone
                    -1=world:anyone
                31=world:nobody
                    InvalidAcl
                    InvalidAcl
                31=world:null
                    MarshallingError
                    MarshallingError
                31=auth:null 1=world:anyone
                    InvalidAcl
                    31=digest:super:D/InIHSb7yEEbrWz8b9l71RjZJU= 1=world:anyone
                31=auth:x 31=auth:y
                    InvalidAcl
                    31=digest:super:D/InIHSb7yEEbrWz8b9l71RjZJU= 31=digest:super:D/InIHSb7yEEbrWz8b9l71RjZJU=
                31=digest:a:b 31=digest:a
                    InvalidAcl
                    InvalidAcl
                31=digest:null
                    MarshallingError
                    MarshallingError
                31=ip:10.0.0.0/8 1=ip:fe80::/10
                    31=ip:10.0.0.0/8 1=ip:fe80::/10
                    31=ip:10.0.0.0/8 1=ip:fe80::/10
                31=ip:10.0.0.0/33
                    InvalidAcl
                    InvalidAcl
                31=super:
                    InvalidAcl
                    InvalidAcl
                31=x509:CN=a
                    InvalidAcl
                    InvalidAcl
                31=sasl:null
                    InvalidAcl
                    InvalidAcl
                31=null:null
                    InvalidAcl
                    InvalidAcl
                31=world:anyone 31=null:null
                    MarshallingError
                    MarshallingError
                31=world:anyone 1=null:null
                    InvalidAcl
                    InvalidAcl
                31=auth:null 31=auth:null
                    MarshallingError
                    MarshallingError
                31=auth:null 1=auth:null
                    InvalidAcl
                    31=digest:super:D/InIHSb7yEEbrWz8b9l71RjZJU= 1=digest:super:D/InIHSb7yEEbrWz8b9l71RjZJU=
            "#]],
        );
    }

    #[test]
    fn a_null_list_is_invalid() {
        let list = AclList { bytes: &[255; 4] };
        let fixed = Schemes::default().fix_acl(list, &[], &mut Vec::new());
        assert_eq!(fixed, Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn without_digest_its_ids_are_invalid() {
        let schemes = Schemes { digest_enabled: false, ..Schemes::default() };
        let bytes = encode(&[(31, Some("digest"), Some("a:b"))]);
        let fixed = schemes.fix_acl(AclList { bytes: &bytes }, &[], &mut Vec::new());
        assert_eq!(fixed, Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn a_list_that_would_grow_without_bound_is_refused() {
        let entries: Vec<Entry> = (0..50_000).map(|n| (n, Some("auth"), None)).collect();
        let bytes = encode(&entries);
        let mut out = Vec::new();
        let fixed = Schemes::default().fix_acl(AclList { bytes: &bytes }, me().ids(), &mut out);
        assert_eq!((fixed, out.len()), (Err(ErrorCode::InvalidAcl), 0));
    }

    #[test]
    fn digest_ids_are_masked_and_nothing_else() {
        let bytes = encode(&[
            (31, Some("digest"), Some("bob:hash=")),
            (1, Some("digest"), Some(":hash")),
            (1, Some("digest"), Some("odd")),
            (1, Some("ip"), Some("::1")),
            (1, Some("digest"), None),
        ]);
        let mut out = Vec::new();
        mask_digests(AclList { bytes: &bytes }, &mut out);
        expect!["31=digest:bob:x 1=digest::x 1=digest:odd 1=ip:::1 1=digest:null"]
            .assert_eq(&show(AclList { bytes: &out }));
        for list in [AclList::OPEN, AclList { bytes: &[255; 4] }] {
            let mut out = Vec::new();
            mask_digests(list, &mut out);
            assert_eq!(out, list.bytes);
        }
    }

    proptest! {
        /// What is stored needs no fixing: it comes out as it went in.
        #[test]
        fn a_fixed_list_is_fixed(entries in prop::collection::vec((
            -2..34_i32,
            prop::sample::select(vec![None, Some("world"), Some("auth"), Some("ip"), Some("digest")]),
            prop::sample::select(vec![None, Some("anyone"), Some("a:b"), Some("::1"), Some("u:v")]),
        ), 0..5)) {
            let bytes = encode(&entries);
            let mut once = Vec::new();
            let schemes = Schemes::default();
            if schemes.fix_acl(AclList { bytes: &bytes }, me().ids(), &mut once).is_ok() {
                let fixed = AclList { bytes: &once };
                prop_assert!(fixed.iter().all(|acl| acl.scheme != Some(b"auth")));
                let has_auth = entries.iter().any(|entry| entry.1 == Some("auth"));
                let mut twice = Vec::new();
                prop_assert_eq!(schemes.fix_acl(fixed, &[], &mut twice), Ok(()));
                prop_assert!(has_auth || once == twice);
            }
        }

        /// Whatever a peer or a client calls a list: fixing and masking end, with a list or none.
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let list = AclList { bytes: &bytes };
            let mut out = Vec::new();
            if Schemes::default().fix_acl(list, me().ids(), &mut out).is_ok() {
                prop_assert_eq!(decode::<AclList<'_>>(&out).map(|list| list.bytes), Ok(&out[..]));
            }
            mask_digests(list, &mut out);
        }
    }
}
