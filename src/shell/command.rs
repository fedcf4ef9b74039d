//! The words of a command, and ZooKeeper's sentences when they make no sense.

use crate::client::acl::Acl;
use crate::wire::codes::{CreateMode, perms};

/// A command and its arguments. Options stand anywhere, as in both generations of ZooKeeper's shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Ls {
        path: String,
        stat: bool,
        recursive: bool,
    },
    Get {
        path: String,
        stat: bool,
    },
    Set {
        path: String,
        data: String,
        version: i32,
        stat: bool,
    },
    Create {
        path: String,
        data: Option<String>,
        acl: Option<Vec<Acl>>,
        mode: CreateMode,
        ttl_ms: i64,
    },
    Delete {
        path: String,
        version: i32,
    },
    Stat {
        path: String,
    },
}

/// Why the words are no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Exit code 127.
    Unknown(String),
    /// Exit code 1.
    Usage(String),
}

/// The usage, one line a command.
pub(super) const USAGE: &str = "\
commands:
  ls [-s] [-R] path
  get [-s] path
  set [-s] [-v version] path data
  create [-s] [-e] [-c] [-t ttl] path [data] [acl]
  delete [-v version] path
  stat path";

/// What a command understands: options without and with a value, and how many words it takes.
struct Form {
    name: &'static str,
    flags: &'static [&'static str],
    valued: &'static [&'static str],
    words: std::ops::RangeInclusive<usize>,
}

// -w is understood and useless: nobody waits for the event.
const FORMS: [Form; 6] = [
    Form { name: "ls", flags: &["-s", "-R", "-w"], valued: &[], words: 1..=1 },
    Form { name: "get", flags: &["-s", "-w"], valued: &[], words: 1..=1 },
    Form { name: "set", flags: &["-s"], valued: &["-v"], words: 2..=2 },
    Form { name: "create", flags: &["-s", "-e", "-c"], valued: &["-t"], words: 1..=3 },
    Form { name: "delete", flags: &[], valued: &["-v"], words: 1..=1 },
    Form { name: "stat", flags: &["-w"], valued: &[], words: 1..=1 },
];

impl Command {
    /// Parses words; notes for the user go to `notes`.
    pub(super) fn parse(words: &[String], notes: &mut Vec<String>) -> Result<Self, Refusal> {
        let usage = |text: String| Err(Refusal::Usage(text));
        let Some((name, rest)) = words.split_first() else {
            return usage(USAGE.to_owned());
        };
        let old_list = name == "ls2";
        if old_list {
            notes.push("'ls2' has been deprecated. Please use 'ls [-s] path' instead.".to_owned());
        }
        let name = if old_list { "ls" } else { name.as_str() };
        let Some(form) = FORMS.into_iter().find(|form| form.name == name) else {
            return Err(Refusal::Unknown(name.to_owned()));
        };
        let (mut flags, mut values, mut args) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            let word = word.as_str();
            if form.flags.contains(&word) {
                flags.push(word);
            } else if form.valued.contains(&word) {
                let Some(number) = rest.next().and_then(|text| text.parse::<i64>().ok()) else {
                    return usage(format!("{word} needs a number"));
                };
                values.push(number);
            } else if word.len() == 2 && word.starts_with('-') && args.is_empty() {
                return usage(format!("Unrecognized option: {word}\n{USAGE}"));
            } else {
                args.push(word.to_owned());
            }
        }
        if !form.words.contains(&args.len()) {
            return usage(USAGE.to_owned());
        }
        if flags.contains(&"-w") {
            notes.push("-w: a one-shot command does not wait for the event".to_owned());
        }
        let mut args = args.into_iter();
        let path = args.next().expect("each form has one word at least");
        check_path(&path, flags.contains(&"-s") && form.name == "create")?;
        let stat = old_list || flags.contains(&"-s");
        let value = values.last().copied();
        let Ok(version) = i32::try_from(value.unwrap_or(-1)).or_else(|error| {
            // A time to live is a long, a version an int.
            if form.name == "create" { Ok(-1) } else { Err(error) }
        }) else {
            return usage("the version is out of range".to_owned());
        };
        Ok(match form.name {
            "ls" => Self::Ls { path, stat, recursive: flags.contains(&"-R") },
            "get" => Self::Get { path, stat },
            "set" => {
                let data = args.next().expect("set has two words");
                Self::Set { path, data, version, stat }
            }
            "create" => {
                let (data, acl) = (args.next(), args.next());
                let acl = acl.as_deref().map(parse_acl).transpose().map_err(Refusal::Usage)?;
                let mode = mode(&flags, value.is_some()).map_err(Refusal::Usage)?;
                Self::Create { path, data, acl, mode, ttl_ms: value.unwrap_or(0) }
            }
            "delete" => Self::Delete { path, version },
            _ => Self::Stat { path },
        })
    }
}

fn check_path(path: &str, sequential: bool) -> Result<(), Refusal> {
    let refused = |text: &str| Err(Refusal::Usage(text.to_owned()));
    if !path.starts_with('/') {
        refused("Path must start with / character")
    } else if path.len() > 1 && path.ends_with('/') && !sequential {
        refused("Path must not end with / character")
    } else {
        Ok(())
    }
}

fn mode(flags: &[&str], ttl: bool) -> Result<CreateMode, String> {
    let has = |flag| flags.contains(&flag);
    Ok(match (has("-s"), has("-e"), has("-c"), ttl) {
        (true, _, true, _) | (_, true, true, _) => {
            return Err("-c cannot be combined with -s or -e. Containers cannot be ephemeral or \
                        sequential."
                .to_owned());
        }
        (_, true, _, true) => return Err("TTLs cannot be used with Ephemeral znodes".to_owned()),
        (_, _, true, true) => return Err("TTLs cannot be used with Container znodes".to_owned()),
        (_, _, true, false) => CreateMode::Container,
        (false, _, _, true) => CreateMode::PersistentTtl,
        (true, _, _, true) => CreateMode::PersistentSequentialTtl,
        (false, false, _, _) => CreateMode::Persistent,
        (true, false, _, _) => CreateMode::PersistentSequential,
        (false, true, _, _) => CreateMode::Ephemeral,
        (true, true, _, _) => CreateMode::EphemeralSequential,
    })
}

/// `scheme:id:perms,...`; an id may hold colons.
fn parse_acl(text: &str) -> Result<Vec<Acl>, String> {
    let entry = |text: &str| {
        let (scheme, rest) = text.split_once(':')?;
        let (id, letters) = rest.rsplit_once(':')?;
        let bits = letters.chars().map(|letter| match letter {
            'c' => Some(perms::CREATE),
            'd' => Some(perms::DELETE),
            'r' => Some(perms::READ),
            'w' => Some(perms::WRITE),
            'a' => Some(perms::ADMIN),
            _ => None,
        });
        let perms = bits.sum::<Option<i32>>()?;
        Some(Acl { perms, scheme: scheme.to_owned(), id: id.to_owned() })
    };
    text.split(',')
        .map(|part| {
            entry(part).ok_or_else(|| format!("{part} does not have the form scheme:id:perm"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, Refusal> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Command::parse(&words, &mut Vec::new())
    }

    #[test]
    fn options_stand_on_either_side_of_the_path() {
        let set = Command::Set { path: "/a".into(), data: "x".into(), version: 3, stat: true };
        assert_eq!(parse("set -s -v 3 /a x"), Ok(set.clone()));
        assert_eq!(parse("set /a x -v 3 -s"), Ok(set));
        let negative =
            Command::Set { path: "/a".into(), data: "-5".into(), version: -1, stat: false };
        assert_eq!(parse("set /a -5"), Ok(negative));
    }

    #[test]
    fn create_modes_and_lists() {
        let made = |line: &str| match parse(line) {
            Ok(Command::Create { mode, ttl_ms, acl, .. }) => (mode, ttl_ms, acl),
            other => panic!("{other:?}"),
        };
        assert_eq!(made("create -s -e /a").0, CreateMode::EphemeralSequential);
        assert_eq!(made("create -t 5000000000 /a").1, 5_000_000_000);
        let acl = made("create /a x digest:u:h=:rw,world:anyone:r").2.unwrap();
        assert_eq!((acl[0].perms, acl[0].id.as_str(), acl[1].perms), (3, "u:h=", 1));
        assert!(matches!(parse("create -c -e /a"), Err(Refusal::Usage(_))));
    }

    #[test]
    fn nonsense_is_told_apart_from_unknown_commands() {
        assert_eq!(parse("rmr /a"), Err(Refusal::Unknown("rmr".into())));
        for line in ["ls", "ls a", "ls /a/", "get -x /a", "delete -v x /a", "set /a", "delete -v"] {
            assert!(matches!(parse(line), Err(Refusal::Usage(_))), "{line}");
        }
        let mut notes = Vec::new();
        let ls2 = Command::parse(&["ls2".into(), "/".into()], &mut notes);
        assert_eq!(ls2, Ok(Command::Ls { path: "/".into(), stat: true, recursive: false }));
        assert_eq!(notes.len(), 1);
    }
}
