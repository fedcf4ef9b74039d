//! The syntax of zoo.cfg: a Java properties file, read byte by byte.
//!
//! Thread: whichever starts the server; no state. Invariants: any bytes give entries or one
//! [`SyntaxError`], never a panic; `line` counts from 1 and is the line a key starts on.
//! Not here: what a key means (`keys.rs`), or which of two sources wins (`mod.rs`).

use std::fmt;

/// One `key=value` of a file, escapes resolved and blanks trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key as written.
    pub key: String,
    /// The value, possibly empty.
    pub value: String,
    /// The line the key starts on, from 1.
    pub line: u32,
    /// The line its last continuation ends on.
    pub last_line: u32,
}

/// The only thing a properties file can have wrong: a `\u` without four hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line the key starts on, from 1.
    pub line: u32,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "Malformed \\uxxxx encoding. (\\u needs four hexadecimal digits; a literal \\ is \\\\)",
        )
    }
}

/// All entries of a file in their order, repeated keys included.
///
/// COMPAT: bytes are ISO-8859-1, as java.util.Properties reads a stream, so that a `dataDir` with a
/// letter outside ASCII names the directory that a Java server used.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, SyntaxError> {
    let mut entries = Vec::new();
    for Logical { line, last_line, text } in logical_lines(bytes) {
        let (key, value) = split(&text);
        entries.push(Entry {
            key: trim(unescape(key, line)?),
            value: trim(unescape(value, line)?),
            line,
            last_line,
        });
    }
    Ok(entries)
}

/// A line with its continuations joined, escapes still in place.
struct Logical {
    line: u32,
    last_line: u32,
    text: Vec<u8>,
}

/// All lines but comments and blank ones.
fn logical_lines(bytes: &[u8]) -> Vec<Logical> {
    let mut lines = Vec::new();
    let mut open: Option<Logical> = None;
    for (number, natural) in (1..).zip(natural_lines(bytes)) {
        let start = natural.iter().position(|&b| !is_blank(b)).unwrap_or(natural.len());
        let text = &natural[start..];
        let empty_so_far = open.as_ref().is_none_or(|logical| logical.text.is_empty());
        if empty_so_far && matches!(text.first(), None | Some(b'#' | b'!')) {
            continue;
        }
        let new = || Logical { line: number, last_line: number, text: Vec::new() };
        let mut logical = open.take().unwrap_or_else(new);
        logical.last_line = number;
        let backslashes = text.iter().rev().take_while(|&&b| b == b'\\').count();
        if backslashes % 2 == 1 {
            logical.text.extend_from_slice(&text[..text.len() - 1]);
            open = Some(logical);
        } else {
            logical.text.extend_from_slice(text);
            lines.push(logical);
        }
    }
    // A backslash at the very end of the file continues into nothing.
    lines.extend(open.filter(|logical| !logical.text.is_empty()));
    lines
}

/// The text of a file in which entries that `secret` names by key show `***` for a value.
pub fn masked(bytes: &[u8], entries: &[Entry], secret: impl Fn(&str) -> bool) -> String {
    let mut lines: Vec<String> = natural_lines(bytes)
        .iter()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    for entry in entries.iter().rev().filter(|entry| secret(&entry.key)) {
        let (first, last) = (entry.line as usize - 1, entry.last_line as usize);
        lines.splice(first..last, [format!("{}=***", entry.key)]);
    }
    lines.join("\n")
}

/// Splits at LF, CR or CR LF.
fn natural_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|&b| b == b'\n' || b == b'\r') {
        lines.push(&rest[..end]);
        let skip = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + skip..];
    }
    lines.push(rest);
    lines
}

/// Key and value of a logical line: the key ends at the first `=`, `:` or blank that no backslash
/// precedes; blanks and at most one `=` or `:` lie between the two.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    while end < text.len() && !is_blank(text[end]) && text[end] != b'=' && text[end] != b':' {
        end += if text[end] == b'\\' { 2 } else { 1 };
    }
    let end = end.min(text.len());
    let mut start = skip_blanks(text, end);
    if matches!(text.get(start), Some(b'=' | b':')) {
        start = skip_blanks(text, start + 1);
    }
    (&text[..end], &text[start..])
}

fn skip_blanks(text: &[u8], from: usize) -> usize {
    text[from..].iter().position(|&b| !is_blank(b)).map_or(text.len(), |n| from + n)
}

/// Resolves `\t`, `\n`, `\r`, `\f`, `\uXXXX`; any other escaped character stands for itself.
fn unescape(text: &[u8], line: u32) -> Result<String, SyntaxError> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        match bytes.next() {
            Some(b'u') => {
                let mut unit = 0;
                for _ in 0..4 {
                    let digit = bytes.next().and_then(|b| char::from(b).to_digit(16));
                    unit = unit * 16 + digit.ok_or(SyntaxError { line })?;
                }
                units.push(u16::try_from(unit).expect("four hexadecimal digits are 16 bits"));
            }
            Some(b't') => units.push(u16::from(b'\t')),
            Some(b'n') => units.push(u16::from(b'\n')),
            Some(b'r') => units.push(u16::from(b'\r')),
            Some(b'f') => units.push(0x0c),
            Some(other) => units.push(u16::from(other)),
            None => {}
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

/// ZooKeeper trims what Java's `trim` does: everything up to and including the blank.
fn trim(text: String) -> String {
    let trimmed = text.trim_matches(|c| c <= ' ');
    if trimmed.len() == text.len() { text } else { trimmed.to_owned() }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Entries as `line key|value`, to compare at a glance.
    fn shown(text: &str) -> Vec<String> {
        let entries = parse(text.as_bytes()).unwrap();
        entries.iter().map(|e| format!("{} {}|{}", e.line, e.key, e.value)).collect()
    }

    #[test]
    fn every_row_of_the_syntax_table() {
        for (text, expected) in [
            ("key=value", &["1 key|value"][..]),
            ("key = value", &["1 key|value"]),
            ("key: value", &["1 key|value"]),
            ("key value", &["1 key|value"]),
            ("key\tvalue", &["1 key|value"]),
            ("key", &["1 key|"]),
            ("=value", &["1 |value"]),
            ("key==value", &["1 key|=value"]),
            ("server.1 = 10.0.0.1:2888:3888", &["1 server.1|10.0.0.1:2888:3888"]),
            ("server.1=h:2888:3888;2181", &["1 server.1|h:2888:3888;2181"]),
            ("# c\n  ! c\n\n \t\na=1", &["5 a|1"]),
            ("# no continuation \\\na=1", &["2 a|1"]),
            ("tickTime=2000 # comment", &["1 tickTime|2000 # comment"]),
            ("tickTime=\"2000\"", &["1 tickTime|\"2000\""]),
            ("a=1,\\\n   2,\\\n\t3\nb=4", &["1 a|1,2,3", "4 b|4"]),
            ("a=1\\\n\nb=2", &["1 a|1", "3 b|2"]),
            ("a=1\\\n# part of it", &["1 a|1# part of it"]),
            ("a=1\\\\\nb=2", &["1 a|1\\", "2 b|2"]),
            ("a=1\\", &["1 a|1"]),
            ("\\\n", &[]),
            ("a\\:b\\=c\\ d=\\t\\u0041\\uD83D\\uDE00x", &["1 a:b=c d|A😀x"]),
            ("dataDir=C:\\\\zk\\\\data", &["1 dataDir|C:\\zk\\data"]),
            ("dataDir=C:\\zk", &["1 dataDir|C:zk"]),
            ("a=1\r\nb=2\rc=3\n", &["1 a|1", "2 b|2", "3 c|3"]),
            ("dataDir=/a\ndataDir=/b", &["1 dataDir|/a", "2 dataDir|/b"]),
            ("a=1  \t", &["1 a|1"]),
            ("", &[]),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn bytes_above_ascii_are_latin_1() {
        assert_eq!(parse(b"a=\xe9").unwrap()[0].value, "\u{e9}");
        assert_eq!(shown("a=é"), ["1 a|\u{c3}\u{a9}"]);
    }

    #[test]
    fn masking_takes_continuations_too() {
        let text = b"# c\na=1\npass = x\\\n  y\\\n z\nb=2\r\npass=w";
        let masked = masked(text, &parse(text).unwrap(), |key| key == "pass");
        assert_eq!(masked, "# c\na=1\npass=***\nb=2\npass=***");
    }

    #[test]
    fn a_broken_unicode_escape_names_its_line() {
        for text in ["a=1\nb=\\u12", "a=1\nb=\\u00g0", "a=1\n\\u=1"] {
            assert_eq!(parse(text.as_bytes()), Err(SyntaxError { line: 2 }), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(entries) = parse(&bytes) {
                let lines = natural_lines(&bytes).len();
                prop_assert!(entries.iter().all(|e| (1..=lines).contains(&(e.line as usize))));
            }
        }

        #[test]
        fn odd_syntax_parses_or_fails(text in "[a\\\\ u=:#!\\n\\r\\t0-9]{0,60}") {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn plain_entries_come_back(
            pairs in prop::collection::vec(("[a-zA-Z.4_-]{1,12}", "[!-\\[\\]-~]{0,20}"), 0..9)
        ) {
            let text: String = pairs.iter().map(|(k, v)| format!("{k} = {v}\n")).collect();
            let entries = parse(text.as_bytes()).unwrap();
            let back: Vec<_> = entries.into_iter().map(|e| (e.key, e.value)).collect();
            // After the one separator that belongs to the syntax, `=` and `:` are part of a value.
            prop_assert_eq!(back, pairs);
        }
    }
}
