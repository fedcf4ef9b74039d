//! Paths: what a legal one is, its parent, its sequence suffix (client-protocol.md, section 11).
//!
//! Paths are bytes. The root is the empty path; `/` means the same node.

use crate::wire::codes::ErrorCode;
use std::io::Write as _;

/// The full check of a path that a request names.
pub fn validate(path: &[u8]) -> Result<(), ErrorCode> {
    const BAD: Result<(), ErrorCode> = Err(ErrorCode::BadArguments);
    // ZooKeeper decodes malformed UTF-8 to U+FFFD, which is in a forbidden range.
    let Ok(text) = std::str::from_utf8(path) else { return BAD };
    let Some(rest) = text.strip_prefix('/') else { return BAD };
    if rest.is_empty() {
        return Ok(());
    }
    for component in rest.split('/') {
        if matches!(component, "" | "." | "..") {
            return BAD;
        }
    }
    if rest.chars().any(is_forbidden) { BAD } else { Ok(()) }
}

/// Controls, surrogates (so everything outside the BMP), private use, specials.
fn is_forbidden(c: char) -> bool {
    matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
}

/// The text before the last `/`; the empty text is the root. `None` without a `/`.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|b| *b == b'/')?;
    Some(&path[..slash])
}

/// The text behind the last `/`.
pub fn name(path: &[u8]) -> &[u8] {
    let start = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    &path[start..]
}

/// The stored form: the root is empty.
pub fn canonical(path: &[u8]) -> &[u8] {
    if path == b"/" { b"" } else { path }
}

/// Appends what a sequential create adds to its path: ten digits, a sign in front of a negative
/// counter counting as one of them.
pub fn push_sequence(path: &mut Vec<u8>, counter: i32) {
    write!(path, "{counter:010}").expect("a vector takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_check() {
        for good in ["/", "/a", "/a/b", "/...", "/.a", "/a..", "/a b", "/\u{a0}", "/\u{200b}"] {
            assert_eq!(validate(good.as_bytes()), Ok(()), "{good:?}");
        }
        assert_eq!(validate("/\u{f900}/é".as_bytes()), Ok(()));
        for bad in [
            "",
            "a",
            "a/b",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/a/..",
            "/a/./b",
            "/\0",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{fffd}",
            "/\u{1f600}",
        ] {
            assert_eq!(validate(bad.as_bytes()), Err(ErrorCode::BadArguments), "{bad:?}");
        }
        assert_eq!(validate(b"/\xff"), Err(ErrorCode::BadArguments));
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(parent(b"/a/b"), Some(&b"/a"[..]));
        assert_eq!(parent(b"/a"), Some(&b""[..]));
        assert_eq!(parent(b"a"), None);
        assert_eq!(name(b"/a/b"), b"b");
        assert_eq!(name(b"/a/"), b"");
        assert_eq!(canonical(b"/"), b"");
    }

    #[test]
    fn sequence_suffixes_keep_ten_places_below_zero_too() {
        let suffix = |counter| {
            let mut path = Vec::new();
            push_sequence(&mut path, counter);
            String::from_utf8(path).unwrap()
        };
        assert_eq!(suffix(4), "0000000004");
        assert_eq!(suffix(i32::MAX), "2147483647");
        assert_eq!(suffix(-1), "-000000001");
        assert_eq!(suffix(i32::MIN), "-2147483648");
    }
}
