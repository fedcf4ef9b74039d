//! The digest scheme: `user:password` becomes `user:base64(hash of all of it)`.
//!
//! COMPAT: Java decodes the data as UTF-8 first, with U+FFFD for what is not, and hashes the
//! result; data without a colon, even empty data, is all user (DigestAuthenticationProvider).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

pub use crate::config::DigestAlg;

fn base64_hash(alg: DigestAlg, data: &[u8]) -> String {
    match alg {
        DigestAlg::Md5 => STANDARD.encode(md5::Md5::digest(data)),
        DigestAlg::Sha1 => STANDARD.encode(sha1::Sha1::digest(data)),
        DigestAlg::Sha224 => STANDARD.encode(sha2::Sha224::digest(data)),
        DigestAlg::Sha256 => STANDARD.encode(sha2::Sha256::digest(data)),
        DigestAlg::Sha384 => STANDARD.encode(sha2::Sha384::digest(data)),
        DigestAlg::Sha512 => STANDARD.encode(sha2::Sha512::digest(data)),
        DigestAlg::Sha512Of224 => STANDARD.encode(sha2::Sha512_224::digest(data)),
        DigestAlg::Sha512Of256 => STANDARD.encode(sha2::Sha512_256::digest(data)),
    }
}

/// The id that `data` of an auth packet proves.
pub(super) fn id(alg: DigestAlg, data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    format!("{}:{}", user(&text), base64_hash(alg, text.as_bytes()))
}

/// The user of an id or of credentials.
pub(super) fn user(text: &str) -> &str {
    text.split(':').next().unwrap_or_default()
}

/// Whether an ACL may name this id: exactly two parts, the first may be empty, the last not.
///
/// COMPAT: Java's `split` drops empty parts at the end, so `a:b:` has two parts and `a:` has one.
pub(super) fn is_valid(id: &[u8]) -> bool {
    let mut end = id.len();
    while end > 0 && id[end - 1] == b':' {
        end -= 1;
    }
    id[..end].iter().filter(|byte| **byte == b':').count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_other_implementations() {
        // ZooKeeper's documentation, and `printf super:test | openssl dgst -NAME -binary | base64`.
        assert_eq!(id(DigestAlg::Sha1, b"super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!(id(DigestAlg::Md5, b"super:test"), "super:yzhcGieXAe2NBWh0Znxa3g==");
        assert_eq!(
            id(DigestAlg::Sha256, b"super:test"),
            "super:wjySwxg860UATFtciuZ1lpzrCHrPeov6SPu/ZD56uig="
        );
        assert_eq!(
            id(DigestAlg::Sha512Of256, b"super:test"),
            "super:GV6U44a5U7SXgFZS9GkWgmwq2+im64wGlYXjCHia3mo="
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_before_they_are_hashed() {
        let replaced = id(DigestAlg::Sha1, "u\u{fffd}:p".as_bytes());
        assert_eq!(id(DigestAlg::Sha1, b"u\xff:p"), replaced);
        assert!(replaced.starts_with("u\u{fffd}:"));
    }

    #[test]
    fn ids_have_two_parts_as_java_splits_them() {
        for (id, valid) in [
            ("a:b", true),
            (":b", true),
            ("a:b:", true),
            ("a:", false),
            ("a", false),
            ("", false),
            (":", false),
            ("a:b:c", false),
            ("::b", false),
        ] {
            assert_eq!(is_valid(id.as_bytes()), valid, "{id:?}");
        }
    }
}
