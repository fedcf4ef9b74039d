//! What a key is: its names, how its value is read, who stores it; finding one by name.
//!
//! Thread: any; the table is constant. Invariants: no two keys share a name or an alias; a name
//! that ends in `*` stands for a family, and an exact name wins over a family, a longer family over
//! a shorter one.
//! Not here: the rows (`table.rs`), where values come from (`load.rs`).

use std::fmt::Write as _;

use super::Config;
use super::table::GROUPS;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    pub(super) default: &'static str,
    pub(super) unit: &'static str,
    pub(super) doc: &'static str,
    pub(super) secret: bool,
    pub(super) kind: Kind,
}

/// The unit of ports, which have words of their own when out of range.
const PORT: &str = "TCP port";

/// How a value is read and where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Decimal, as the parser of zoo.cfg reads its own keys (Java: `Integer.parseInt`).
    Int { min: i64, max: i64, set: fn(&mut Config, i64) },
    /// Decimal, `0x` or octal, as JVM properties are read (Java: `Integer.getInteger`).
    Number { min: i64, max: i64, set: fn(&mut Config, i64) },
    /// A number whose bad value Java passes over: WARN and the default.
    Lenient { min: i64, max: i64, set: fn(&mut Config, i64) },
    /// A fraction.
    Real { min: f64, max: f64, set: fn(&mut Config, f64) },
    /// `true` or `false` in any case.
    Flag { set: fn(&mut Config, bool) },
    /// `yes` or `no`.
    YesNo { set: fn(&mut Config, bool) },
    /// Anything that `set` takes.
    Text { set: fn(&mut Config, &str) -> Result<(), String> },
    /// Read by `load.rs` itself, together with others.
    Elsewhere,
    /// Means nothing outside a JVM.
    Jvm,
    /// Known, and without effect on one server: not worth a word.
    Silent,
    /// Part of a feature this version lacks; values in `off` ask for nothing.
    Later { feature: Feature, off: &'static [&'static str] },
}

/// What a later version brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Feature {
    Quorum,
    Tls,
    Sasl,
    Audit,
    PathStats,
}

impl Feature {
    pub(super) const ALL: [Self; 5] =
        [Self::Quorum, Self::Tls, Self::Sasl, Self::Audit, Self::PathStats];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Quorum => "ensembles (quorum)",
            Self::Tls => "TLS",
            Self::Sasl => "SASL",
            Self::Audit => "the audit log",
            Self::PathStats => "path statistics",
        }
    }
}

impl Key {
    pub(super) const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, aliases: &[], default: "", unit: "", doc, secret: false, kind }
    }
    pub(super) const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }
    pub(super) const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }
    pub(super) const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }
    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Stores a value; the error is Java's cause text with what is expected behind it.
    pub(super) fn apply(&self, config: &mut Config, value: &str) -> Result<(), Refusal> {
        let not_a_number =
            || Refusal::Wrong(self.expected(format!("For input string: \"{value}\"")));
        let ranged = |number: Option<i64>, min: i64, max: i64| match number {
            None => Err(not_a_number()),
            Some(number) if (min..=max).contains(&number) => Ok(number),
            Some(number) => Err(Refusal::Wrong(self.expected(self.out_of_range(number)))),
        };
        match self.kind {
            Kind::Int { min, max, set } => set(config, ranged(value.parse().ok(), min, max)?),
            Kind::Number { min, max, set } => set(config, ranged(decode(value), min, max)?),
            Kind::Lenient { min, max, set } => {
                let number = ranged(decode(value), i64::MIN, max).map_err(|_| {
                    Refusal::Default(format!("{}; using {}", not_a_number().text(), self.default))
                })?;
                set(config, number.max(min));
            }
            Kind::Real { min, max, set } => match value.parse() {
                Ok(number) if (min..=max).contains(&number) => set(config, number),
                Ok(_) | Err(_) => return Err(not_a_number()),
            },
            Kind::Flag { set } => match parse_bool(value) {
                Some(flag) => set(config, flag),
                None => return Err(self.not_a_flag(value)),
            },
            // COMPAT: Java compares with the lower-case word, and takes any other value for the
            // default; `skipACL=YES` has to stay without effect there and an error here.
            Kind::YesNo { set } => match value {
                "yes" => set(config, true),
                "no" => set(config, false),
                _ => return Err(Refusal::Wrong(format!("{value} is neither 'yes' nor 'no'"))),
            },
            Kind::Text { set } => set(config, value).map_err(Refusal::Wrong)?,
            Kind::Later { off: ["false"], .. } if parse_bool(value).is_none() => {
                return Err(self.not_a_flag(value));
            }
            Kind::Elsewhere | Kind::Jvm | Kind::Silent | Kind::Later { .. } => {}
        }
        Ok(())
    }

    fn not_a_flag(&self, value: &str) -> Refusal {
        let name = self.name;
        Refusal::Wrong(format!("Invalid option {value} for {name}. Choose 'true' or 'false.'"))
    }

    /// Java's words where it has some for the key, so that a search for them still finds them.
    fn out_of_range(&self, number: i64) -> String {
        match self.name {
            "tickTime" if number < 0 => {
                "minSessionTimeout must not be larger than maxSessionTimeout".to_owned()
            }
            "tickTime" | "initLimit" | "syncLimit" => format!("{} is not set", self.name),
            "electionAlg" => "Invalid electionAlg value. Only 3 is supported.".to_owned(),
            _ if self.unit == PORT => format!("port out of range:{number}"),
            _ => format!("{number} is out of range"),
        }
    }

    fn expected(&self, cause: String) -> String {
        format!("{cause} ({})", self.range())
    }

    /// `an integer, milliseconds, at least 1`.
    fn range(&self) -> String {
        let (what, least, most) = match self.kind {
            Kind::Int { min, max, .. } | Kind::Number { min, max, .. } => {
                ("an integer", bound(min), bound(max))
            }
            Kind::Lenient { min, max, .. } => ("an integer", bound(min), bound(max)),
            Kind::Real { min, max, .. } => {
                ("a number", Some(min.to_string()), Some(max.to_string()))
            }
            Kind::Flag { .. } => ("true or false", None, None),
            Kind::YesNo { .. } => ("yes or no", None, None),
            Kind::Elsewhere if self.unit == PORT => ("an integer", None, bound(65_535)),
            Kind::Text { .. } | Kind::Elsewhere => ("text", None, None),
            Kind::Jvm | Kind::Silent => ("no effect", None, None),
            Kind::Later { .. } => ("not in this version", None, None),
        };
        let mut text = what.to_owned();
        if !self.unit.is_empty() {
            write!(text, ", {}", self.unit).expect("a String takes everything");
        }
        if let Some(least) = least {
            write!(text, ", at least {least}").expect("a String takes everything");
        }
        if let Some(most) = most {
            write!(text, ", at most {most}").expect("a String takes everything");
        }
        text
    }
}

/// Limits of Java's int and beyond are not worth a word.
fn bound(limit: i64) -> Option<String> {
    (i64::from(i32::MIN) < limit && limit < i64::from(i32::MAX)).then(|| limit.to_string())
}

/// Why a value was not stored.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The server does not start.
    Wrong(String),
    /// The default stays, with a warning.
    Default(String),
}

impl Refusal {
    fn text(&self) -> &str {
        match self {
            Self::Wrong(text) | Self::Default(text) => text,
        }
    }
}

/// A key by the name someone wrote, without the `zookeeper.` prefix; the flag says whether it is
/// the key's own name (or in its family) rather than an alias.
pub(super) fn find(name: &str) -> Option<(&'static Key, bool)> {
    let exact = all().find(|key| key.name == name).map(|key| (key, true));
    exact.or_else(|| all().find(|key| key.aliases.contains(&name)).map(|key| (key, false))).or_else(
        || {
            let family = |key: &&Key| {
                key.name.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix))
            };
            all().filter(family).max_by_key(|key| key.name.len()).map(|key| (key, true))
        },
    )
}

/// The known name closest to a mistyped one, if any is close enough to be meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let names = all().map(|key| key.name).filter(|known| !known.ends_with('*'));
    let best = names.map(|known| (distance(&lower, &known.to_ascii_lowercase()), known)).min()?;
    (best.0 <= (name.chars().count() / 4).clamp(1, 4)).then_some(best.1)
}

/// Edits (insert, delete, replace) between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // BOUND: a key can be a megabyte of junk; beyond any known name it is far from all of them.
    if a.len() > 4 * 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Every key with type, default, unit and meaning, for people to read.
pub fn describe() -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        text.write_fmt(words).expect("a String takes everything");
    };
    for (title, keys) in GROUPS {
        line(format_args!("# {title}\n"));
        if keys.iter().all(|key| matches!(key.kind, Kind::Jvm)) {
            let names: Vec<_> = keys.iter().map(|key| key.name).collect();
            line(format_args!("{}\n", names.join("\n")));
            continue;
        }
        for key in *keys {
            line(format_args!("{}", key.name));
            if !key.default.is_empty() {
                line(format_args!(" = {}", key.default));
            }
            line(format_args!("   ({})\n    {}\n", key.range(), key.doc));
            if !key.aliases.is_empty() {
                line(format_args!("    also: {}\n", key.aliases.join(", ")));
            }
        }
        line(format_args!("\n"));
    }
    text
}

/// Names of all keys, families with a `*` at their end.
pub fn known_keys() -> impl Iterator<Item = &'static str> {
    all().map(|key| key.name)
}

pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    GROUPS.iter().flat_map(|(_, keys)| keys.iter())
}

pub(super) fn parse_bool(value: &str) -> Option<bool> {
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Java's `Long.decode`: a sign, then `0x`, `#` or a leading `0` for another base.
fn decode(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let hex = ["0x", "0X", "#"].iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (digits, base) = match hex {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> =
            all().flat_map(|key| key.aliases.iter().copied().chain([key.name])).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| !name.starts_with("zookeeper.")));
    }

    #[test]
    fn the_table_s_defaults_are_the_config_s() {
        for key in all().filter(|key| !key.default.is_empty()) {
            let before = Config::defaults();
            let mut after = before.clone();
            key.apply(&mut after, key.default).unwrap();
            assert_eq!(format!("{after:?}"), format!("{before:?}"), "{}", key.name);
        }
    }

    #[test]
    fn numbers_are_decoded_as_java_does() {
        for (text, number) in [
            ("5", Some(5)),
            ("+5", Some(5)),
            ("-5", Some(-5)),
            ("0", Some(0)),
            ("0x3fffff", Some(0x3f_ffff)),
            ("-0X10", Some(-16)),
            ("#ff", Some(255)),
            ("010", Some(8)),
            ("08", None),
            ("", None),
            ("-", None),
            ("--5", None),
            ("0x-5", None),
            ("5 ", None),
            ("2048M", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(decode(text), number, "{text:?}");
        }
    }

    #[test]
    fn a_typo_finds_its_key_and_noise_finds_none() {
        for (name, known) in [
            ("tickTimee", Some("tickTime")),
            ("ticktime", Some("tickTime")),
            ("maxClientCnxn", Some("maxClientCnxns")),
            ("autopurge.snapRetaincount", Some("autopurge.snapRetainCount")),
            ("4lw.command.whitelist", Some("4lw.commands.whitelist")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(name), known, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(100_000)), None);
    }

    #[test]
    fn an_exact_name_wins_over_a_family_and_a_long_family_over_a_short_one() {
        let name = |text: &str| find(text).map(|(key, own)| (key.name, own));
        assert_eq!(name("nio.sessionlessCnxnTimeout"), Some(("nio.sessionlessCnxnTimeout", true)));
        assert_eq!(name("nio.numWorkerThreads"), Some(("nio.*", true)));
        assert_eq!(name("ssl.quorum.keyStore.location"), Some(("ssl.quorum.*", true)));
        assert_eq!(name("requestThrottleLimit"), Some(("request_throttle_max_requests", false)));
        assert_eq!(name("tickTimee"), None);
    }

    #[test]
    fn the_description_has_every_key() {
        let text = describe();
        for key in all() {
            let starts = |line: &str| line.split(' ').next() == Some(key.name);
            assert!(text.lines().any(starts), "{}", key.name);
            assert!(!key.doc.is_empty(), "{}", key.name);
        }
        assert!(
            text.contains("tickTime = 3000   (an integer, milliseconds, at least 1)"),
            "{text}"
        );
    }
}
