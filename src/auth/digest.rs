//! The digest scheme: `user:password` becomes `user:base64(hash of all of it)`.
//!
//! COMPAT: Java decodes the data as UTF-8 first, with U+FFFD for what is not, and hashes the
//! result; data without a colon, even empty data, is all user (DigestAuthenticationProvider).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

/// The hash behind digest ids and `superDigest` (`digestAlg`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestAlg {
    /// 128 bits.
    Md5,
    /// 160 bits, what every client computes for `digest` ACLs by default.
    #[default]
    Sha1,
    /// 224 bits.
    Sha224,
    /// 256 bits.
    Sha256,
    /// 384 bits.
    Sha384,
    /// 512 bits.
    Sha512,
    /// SHA-512 cut to 224 bits, with its own start.
    Sha512Of224,
    /// SHA-512 cut to 256 bits, with its own start.
    Sha512Of256,
}

impl DigestAlg {
    /// From the name that Java's `MessageDigest` takes, whatever its case; none if unknown.
    pub fn from_name(name: &str) -> Option<Self> {
        let alg = match name.to_ascii_uppercase().as_str() {
            "MD5" => Self::Md5,
            "SHA" | "SHA1" | "SHA-1" => Self::Sha1,
            "SHA-224" | "SHA224" => Self::Sha224,
            "SHA-256" | "SHA256" => Self::Sha256,
            "SHA-384" | "SHA384" => Self::Sha384,
            "SHA-512" | "SHA512" => Self::Sha512,
            "SHA-512/224" | "SHA512/224" => Self::Sha512Of224,
            "SHA-512/256" | "SHA512/256" => Self::Sha512Of256,
            _ => return None,
        };
        Some(alg)
    }

    fn base64(self, data: &[u8]) -> String {
        match self {
            Self::Md5 => STANDARD.encode(md5::Md5::digest(data)),
            Self::Sha1 => STANDARD.encode(sha1::Sha1::digest(data)),
            Self::Sha224 => STANDARD.encode(sha2::Sha224::digest(data)),
            Self::Sha256 => STANDARD.encode(sha2::Sha256::digest(data)),
            Self::Sha384 => STANDARD.encode(sha2::Sha384::digest(data)),
            Self::Sha512 => STANDARD.encode(sha2::Sha512::digest(data)),
            Self::Sha512Of224 => STANDARD.encode(sha2::Sha512_224::digest(data)),
            Self::Sha512Of256 => STANDARD.encode(sha2::Sha512_256::digest(data)),
        }
    }
}

/// The id that `data` of an auth packet proves.
pub(super) fn id(alg: DigestAlg, data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    format!("{}:{}", user(&text), alg.base64(text.as_bytes()))
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

    #[test]
    fn names_are_those_of_java() {
        assert_eq!(DigestAlg::from_name("sha-256"), Some(DigestAlg::Sha256));
        assert_eq!(DigestAlg::from_name("SHA1"), Some(DigestAlg::Sha1));
        assert_eq!(DigestAlg::from_name("rot13"), None);
    }
}
