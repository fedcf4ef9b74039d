//! From sources to a checked [`Config`]: which of two values wins, what each key asks for, and
//! whether a server may start with all of them together.
//!
//! Thread: the starting thread. It reads the named files once (zoo.cfg, its dynamic file, `myid`)
//! and resolves the name in `clientPortAddress`; nothing else touches the world.
//! Invariants: a file wins over `--set`; within one source a key's own name wins over
//! `zookeeper.KEY` and over aliases, then the last one wins; no secret gets into a notice or error.
//! Not here: what a single value may be (`keys.rs`, `table.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::keys::{self, Key, Kind, Refusal};
use super::{Config, ConfigError, Level, Notice, properties};

/// Where a server's settings come from, besides `--set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: standalone on 0.0.0.0:2181, data in `./data`.
    Defaults,
    /// A zoo.cfg.
    File(PathBuf),
    /// `clientPort dataDir [tickTime] [maxClientCnxns]`, where the last defaults to no limit.
    Arguments(Vec<String>),
}

impl Source {
    /// From what stands behind `ringkeeper server`.
    pub fn from_arguments(arguments: &[String]) -> Result<Self, ConfigError> {
        match arguments.len() {
            0 => Ok(Self::Defaults),
            1 => Ok(Self::File(PathBuf::from(&arguments[0]))),
            2..=4 => Ok(Self::Arguments(arguments.to_vec())),
            _ => Err(failure(format!(
                "Invalid number of arguments:[{}] (either a config file, or clientPort dataDir \
                 [tickTime] [maxClientCnxns])",
                arguments.join(", ")
            ))),
        }
    }
}

/// `--set` pairs of a `SERVER_JVMFLAGS` or `JVMFLAGS`: its `-Dkey=value` words, split at blanks as
/// `zkServer.sh` does; other words tune a JVM.
pub fn sets_of_jvm_flags(flags: &str) -> Vec<(String, String)> {
    let definitions = flags.split_whitespace().filter_map(|word| word.strip_prefix("-D"));
    definitions
        .map(|definition| definition.split_once('=').unwrap_or((definition, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// [`load_source`] of a file, or of nothing.
pub fn load(
    file: Option<&Path>,
    sets: &[(String, String)],
) -> Result<(Config, Vec<Notice>), ConfigError> {
    load_source(&file.map_or(Source::Defaults, |file| Source::File(file.to_owned())), sets)
}

/// Reads and checks everything; the notices are to be logged once logging is up.
pub fn load_source(
    source: &Source,
    sets: &[(String, String)],
) -> Result<(Config, Vec<Notice>), ConfigError> {
    let mut loading = Loading::new(source);
    for (name, value) in sets {
        loading.take(name, value.trim(), Place::Set);
    }
    match source {
        Source::Defaults => {}
        Source::Arguments(arguments) => loading.take_arguments(arguments),
        Source::File(path) => loading.take_file(path)?,
    }
    loading.apply()?;
    loading.check_directories()?;
    loading.check_ranges()?;
    loading.check_members()?;
    loading.check_client_port()?;
    loading.check_features()?;
    loading.say_what_is_risky();
    Ok((loading.config, loading.notices))
}

/// Where a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `--set`.
    Set,
    /// The n-th argument.
    Argument(usize),
    /// A line of the file.
    Line(u32),
    /// A line of the dynamic file.
    DynamicLine(u32),
}

/// One value that won over the others for its key.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) key: &'static Key,
    /// As written.
    pub(super) name: String,
    pub(super) value: String,
    pub(super) place: Place,
    /// Own name, not an alias or prefixed.
    pub(super) own: bool,
}

pub(super) struct Loading {
    pub(super) config: Config,
    pub(super) notices: Vec<Notice>,
    /// By the key's own name, or for a family the name within it.
    pub(super) given: BTreeMap<String, Given>,
    /// Files as the operator named them, for messages.
    pub(super) file: String,
    pub(super) dynamic_file: String,
    pub(super) source: Source,
}

impl Loading {
    fn new(source: &Source) -> Self {
        let file = match source {
            Source::File(path) => path.display().to_string(),
            Source::Defaults | Source::Arguments(_) => String::new(),
        };
        Self {
            config: Config::defaults(),
            notices: Vec::new(),
            given: BTreeMap::new(),
            file,
            dynamic_file: String::new(),
            source: source.clone(),
        }
    }

    // --- sources -------------------------------------------------------------------------------

    fn take_arguments(&mut self, arguments: &[String]) {
        let names = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
        for (i, (name, value)) in names.iter().zip(arguments).enumerate() {
            self.take(name, value, Place::Argument(i + 1));
        }
        if !self.given.contains_key("maxClientCnxns") {
            self.config.max_client_cnxns = 0;
        }
    }

    fn take_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let bytes = read(path, &self.file)?;
        let entries = properties::parse(&bytes)
            .map_err(|e| failure(format!("{}:{}: {e}", self.file, e.line)))?;
        let secret = |name: &str| keys::find(bare(name)).is_some_and(|(key, _)| key.secret);
        self.config.config_text = properties::masked(&bytes, &entries, secret);
        for entry in entries {
            self.take(&entry.key, &entry.value, Place::Line(entry.line));
        }
        Ok(())
    }

    /// Files one value under its key, or says that nobody knows the key.
    fn take(&mut self, name: &str, value: &str, place: Place) {
        let bare = name.strip_prefix("zookeeper.").unwrap_or(name);
        let Some((key, own)) = keys::find(bare) else {
            let mut text = format!("{}: unknown key {name} is ignored", self.at(place));
            if let Some(known) = keys::nearest(bare) {
                text.push_str(&format!("; did you mean {known}?"));
            }
            self.notice(Level::Warn, text);
            self.config.unknown_keys.push(one_line(name.to_owned()));
            return;
        };
        // On a command line the prefix is the normal form; in a file Java passes such a line over.
        let prefixed = bare.len() != name.len() && matches!(place, Place::Line(_));
        let own = own && !prefixed;
        if !own {
            self.notice(Level::Info, format!("{}: {name} is read as {}", self.at(place), key.name));
        }
        let slot = if key.name.ends_with('*') { bare } else { key.name };
        let new = Given { key, name: name.to_owned(), value: value.to_owned(), place, own };
        if let Some(old) = self.given.get(slot) {
            let same_source = matches!(
                (old.place, place),
                (Place::Set, Place::Set) | (Place::Line(_), Place::Line(_))
            );
            let stays = same_source && old.own && !own;
            if same_source && old.value != new.value {
                let (winner, loser) = if stays { (old, &new) } else { (&new, old) };
                let text = format!(
                    "{}: {} is given twice; {} counts, not {}",
                    self.at(place),
                    slot,
                    self.where_and_name(winner),
                    self.where_and_name(loser)
                );
                self.notice(Level::Warn, text);
            }
            if stays {
                return;
            }
        }
        self.given.insert(slot.to_owned(), new);
    }

    fn where_and_name(&self, given: &Given) -> String {
        match given.place {
            Place::Line(line) | Place::DynamicLine(line) => {
                format!("{} in line {line}", given.name)
            }
            Place::Set | Place::Argument(_) => format!("{}={}", given.name, shown(given)),
        }
    }

    // --- single values -------------------------------------------------------------------------

    fn apply(&mut self) -> Result<(), ConfigError> {
        let given: Vec<Given> = self.given.values().cloned().collect();
        for given in &given {
            match given.key.apply(&mut self.config, &given.value) {
                Ok(()) => {}
                Err(Refusal::Wrong(reason)) => return Err(self.wrong(given, &reason)),
                Err(Refusal::Default(reason)) => {
                    let text = self.place_and_value(given);
                    self.notice(Level::Warn, format!("{text}: {reason}"));
                }
            }
            if let Kind::Jvm = given.key.kind {
                let text = format!(
                    "{}: {} tunes a JVM and has no meaning here",
                    self.at(given.place),
                    given.name
                );
                self.notice(Level::Info, text);
            }
        }
        self.config.effective = given
            .iter()
            .map(|given| {
                let family = given.key.name.ends_with('*');
                let name = if family { given.name.as_str() } else { given.key.name };
                (name.to_owned(), shown(given).to_owned())
            })
            .collect();
        Ok(())
    }

    // --- checks of several values; more in members.rs and features.rs -------------------------

    fn check_directories(&mut self) -> Result<(), ConfigError> {
        if self.config.data_dir.as_os_str().is_empty() {
            if self.source != Source::Defaults {
                return Err(self.whole("dataDir is not set"));
            }
            self.config.data_dir = PathBuf::from("./data");
        }
        if self.config.data_log_dir.as_os_str().is_empty() {
            self.config.data_log_dir.clone_from(&self.config.data_dir);
        }
        for name in ["dataDir", "dataLogDir"] {
            if let Some(given) = self.given.get(name)
                && !given.value.starts_with(['/', '.'])
            {
                let text = format!(
                    "{}: {name}={} is relative to the working directory; begin it with ./ if that \
                     is meant",
                    self.at(given.place),
                    given.value
                );
                self.notice(Level::Warn, text);
            }
        }
        if matches!(self.source, Source::File(_)) && !self.file.starts_with(['/', '.']) {
            let text = format!(
                "the config file {} is relative to the working directory; begin it with ./ if that \
                 is meant",
                self.file
            );
            self.notice(Level::Warn, text);
        }
        Ok(())
    }

    fn check_ranges(&mut self) -> Result<(), ConfigError> {
        self.config.resolve_timeouts();
        let (min, max) = (self.config.min_session_timeout_ms, self.config.max_session_timeout_ms);
        if min > max {
            let reason = format!(
                "minSessionTimeout must not be larger than maxSessionTimeout ({min} ms and {max} ms)"
            );
            let given =
                self.given.get("minSessionTimeout").or_else(|| self.given.get("maxSessionTimeout"));
            return Err(match given {
                Some(given) => self.wrong(given, &reason),
                None => failure(reason),
            });
        }
        if self.config.autopurge.retain < 3 {
            if let Some(given) = self.given.get("autopurge.snapRetainCount") {
                let text =
                    format!("{}: at least 3 snapshots are kept", self.place_and_value(given));
                self.notice(Level::Warn, text);
            }
            self.config.autopurge.retain = 3;
        }
        if self.config.readonly_mode {
            // As Java does: a client looks for a read-write server by this word.
            self.config.four_letter_words.add("isro");
        }
        let extra = self.given.contains_key("jute.maxbuffer.extrasize");
        let extra =
            if extra { self.config.jute_extrasize_bytes } else { self.config.jute_maxbuffer_bytes };
        self.config.jute_extrasize_bytes = extra.max(1024);
        Ok(())
    }

    // --- messages ------------------------------------------------------------------------------

    pub(super) fn notice(&mut self, level: Level, text: String) {
        self.notices.push(Notice { level, text: one_line(text) });
    }

    /// An error of the sources as a whole.
    pub(super) fn whole(&self, reason: &str) -> ConfigError {
        let file = if self.file.is_empty() { "config" } else { &self.file };
        failure(format!("{file}: {reason}"))
    }

    /// `zoo.cfg:12`, `--set`, `argument 3`.
    pub(super) fn at(&self, place: Place) -> String {
        match place {
            Place::Set => "--set".to_owned(),
            Place::Argument(n) => format!("argument {n}"),
            Place::Line(line) => format!("{}:{line}", self.file),
            Place::DynamicLine(line) => format!("{}:{line}", self.dynamic_file),
        }
    }

    /// `zoo.cfg:12: tickTime=abc`.
    pub(super) fn place_and_value(&self, given: &Given) -> String {
        format!("{}: {}={}", self.at(given.place), given.name, shown(given))
    }

    pub(super) fn wrong(&self, given: &Given, reason: &str) -> ConfigError {
        failure(format!("{}: {reason}", self.place_and_value(given)))
    }
}

pub(super) fn bare(name: &str) -> &str {
    name.strip_prefix("zookeeper.").unwrap_or(name)
}

/// A value as a message may show it.
pub(super) fn shown(given: &Given) -> &str {
    if given.key.secret { "***" } else { &given.value }
}

pub(super) fn read(path: &Path, shown: &str) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|e| {
        failure(if e.kind() == std::io::ErrorKind::NotFound {
            format!("{shown} file is missing")
        } else {
            format!("Error processing {shown}: {e}")
        })
    })
}

pub(super) fn failure(text: String) -> ConfigError {
    ConfigError { text: one_line(text), exit_code: 2 }
}

/// Escapes what would break a message into lines: an escape in the file can put anything into a
/// value.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let escaped =
        |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    text.chars().map(escaped).collect()
}
