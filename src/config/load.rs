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
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use super::dynamic::{self, MemberError, Members, Shape};
use super::keys::{self, Feature, Key, Kind, Refusal};
use super::{Config, ConfigError, Level, Notice, properties, table};

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
enum Place {
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
struct Given {
    key: &'static Key,
    /// As written.
    name: String,
    value: String,
    place: Place,
    /// Own name, not an alias or prefixed.
    own: bool,
}

struct Loading {
    config: Config,
    notices: Vec<Notice>,
    /// By the key's own name, or for a family the name within it.
    given: BTreeMap<String, Given>,
    /// Files as the operator named them, for messages.
    file: String,
    dynamic_file: String,
    source: Source,
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
        self.config.config_text = String::from_utf8_lossy(&bytes).into_owned();
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
            self.config.unknown_keys.push(name.to_owned());
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
            match given.key.kind {
                Kind::Jvm => {
                    let text = format!(
                        "{}: {} tunes a JVM and has no meaning here",
                        self.at(given.place),
                        given.name
                    );
                    self.notice(Level::Info, text);
                }
                Kind::Int { .. }
                | Kind::Number { .. }
                | Kind::Lenient { .. }
                | Kind::Real { .. }
                | Kind::Flag { .. }
                | Kind::YesNo { .. }
                | Kind::Text { .. }
                | Kind::Elsewhere
                | Kind::Silent
                | Kind::Later { .. } => {}
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

    // --- checks of several values --------------------------------------------------------------

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

    fn check_members(&mut self) -> Result<(), ConfigError> {
        let mut lines: Vec<Given> = self.given.values().cloned().collect();
        lines.retain(|given| Members::is_member_key(bare(&given.name)));
        let mut version = 0;
        if let Some(file) = self.given.get("dynamicConfigFile").cloned() {
            if let Some(given) = lines.first() {
                let reason = format!(
                    "parameter: {} must be in a separate dynamic config file ({} is set)",
                    given.name, file.name
                );
                return Err(self.wrong(given, &reason));
            }
            (lines, version) = self.dynamic_lines(&file)?;
        }
        let pairs = lines.iter().map(|given| (bare(&given.name), given.value.as_str()));
        let mut members = Members::parse(pairs, self.config.ensemble.multi_address)
            .map_err(|e| self.wrong_member(&lines, &e))?;
        members.version = version;
        let shape = members.shape(self.config.standalone_enabled).map_err(|reason| {
            let reason = MemberError { key: String::new(), reason: reason.to_owned() };
            self.wrong_member(&lines, &reason)
        })?;
        self.config.ensemble.members = members;
        self.judge(shape, &lines)
    }

    /// The member lines of a dynamic file, which may hold nothing else, and its version.
    fn dynamic_lines(&mut self, file: &Given) -> Result<(Vec<Given>, u64), ConfigError> {
        self.dynamic_file.clone_from(&file.value);
        let path = Path::new(&file.value);
        let bytes = read(path, &file.value).map_err(|e| self.wrong(file, &e.text))?;
        let entries = properties::parse(&bytes)
            .map_err(|e| failure(format!("{}:{}: {e}", file.value, e.line)))?;
        let mut lines = Vec::new();
        for entry in entries {
            let place = Place::DynamicLine(entry.line);
            let member =
                Members::is_member_key(&entry.key).then(|| keys::find(&entry.key)).flatten();
            let Some((key, own)) = member else {
                let reason = if entry.key == "version" {
                    "dynamic file shouldn't have version inside".to_owned()
                } else {
                    format!("Unrecognised parameter: {}", entry.key)
                };
                return Err(failure(format!("{}: {reason}", self.at(place))));
            };
            lines.retain(|given: &Given| given.name != entry.key);
            lines.push(Given { key, name: entry.key, value: entry.value, place, own });
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok((lines, dynamic::version_of(&name.unwrap_or_default())))
    }

    /// What the number of members means here, and which line is this server's.
    fn judge(&mut self, shape: Shape, lines: &[Given]) -> Result<(), ConfigError> {
        let quorum = match shape {
            Shape::Standalone => return Ok(()),
            Shape::OnlyOne => {
                let given = &lines[0];
                let text = format!(
                    "{}: Invalid configuration, only one server specified (ignoring): {} is the \
                     only server, so this one runs standalone",
                    self.at(given.place),
                    given.name
                );
                self.notice(Level::Error, text);
                false
            }
            Shape::Fragile => {
                self.notice(
                    Level::Warn,
                    "No server failure will be tolerated. You need at least 3 servers.".to_owned(),
                );
                true
            }
            Shape::Even => {
                self.notice(
                    Level::Warn,
                    "Non-optimal configuration, consider an odd number of servers.".to_owned(),
                );
                true
            }
            Shape::Ensemble => true,
        };
        if quorum {
            let limits = &self.config.ensemble;
            for (name, missing) in [
                ("initLimit", limits.init_limit_ticks.is_none()),
                ("syncLimit", limits.sync_limit_ticks.is_none()),
            ] {
                if missing {
                    return Err(self.whole(&format!("{name} is not set (an ensemble needs it)")));
                }
            }
        }
        self.read_my_id(quorum)
    }

    fn read_my_id(&mut self, required: bool) -> Result<(), ConfigError> {
        let path = self.config.data_dir.join("myid");
        let shown = path.display().to_string();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(_) if !required => return Ok(()),
            Err(e) => return Err(failure(format!("{shown}: myid file is missing ({e})"))),
        };
        let text = String::from_utf8_lossy(&bytes);
        let first = text.lines().next().unwrap_or("null");
        let my_id = first.parse().ok().filter(|_| first.bytes().all(|b| b.is_ascii_digit()));
        let Some(my_id) = my_id else {
            return Err(failure(format!(
                "{shown}: serverid {first} is not a number (the file holds the N of this server's \
                 server.N line and nothing else)"
            )));
        };
        self.config.ensemble.my_id = Some(my_id);
        let members = &self.config.ensemble.members;
        match members.servers.get(&my_id) {
            None if required => Err(ConfigError {
                text: format!("{shown}: My id {my_id} not in the peer list"),
                exit_code: 1,
            }),
            Some(server) if self.config.ensemble.my_role.is_some_and(|r| r != server.role) => {
                let text = format!(
                    "peerType differs from the role in server.{my_id}; {} counts",
                    server.role
                );
                self.notice(Level::Warn, text);
                Ok(())
            }
            None | Some(_) => Ok(()),
        }
    }

    fn check_client_port(&mut self) -> Result<(), ConfigError> {
        let mut own = self.port_of("clientPort", "clientPortAddress")?;
        if own.is_none()
            && self.source == Source::Defaults
            && !self.given.contains_key("clientPort")
        {
            own = Some(("0.0.0.0".to_owned(), 2181));
        }
        let ensemble = &self.config.ensemble;
        // Java needs myid for this even with one server line; there, the line can only be meant.
        let me = ensemble.my_id.or_else(|| {
            let mut sids = ensemble.members.servers.keys();
            sids.next().copied().filter(|_| sids.next().is_none())
        });
        let line = me.and_then(|sid| Some((sid, ensemble.members.servers.get(&sid)?)));
        let from_line = line.and_then(|(sid, server)| Some((sid, server.client.clone()?)));
        let address = match (own, from_line) {
            (None, None) => {
                self.notice(
                    Level::Warn,
                    "clientPort is not set: no plain port is opened, so no client can connect"
                        .to_owned(),
                );
                return Ok(());
            }
            (Some((host, port)), None) => self.resolve(&host, port, "clientPortAddress")?,
            (None, Some((sid, client))) => {
                self.resolve(&client.host, client.port, &format!("server.{sid}"))?
            }
            (Some((host, port)), Some((sid, client))) => {
                let of_file = self.resolve(&host, port, "clientPortAddress")?;
                let of_line = self.resolve(&client.host, client.port, &format!("server.{sid}"))?;
                if of_file != of_line {
                    return Err(self.whole(&format!(
                        "client address for this server (id = {sid}) in static config file is \
                         {of_file} is different from client address found in dynamic file: \
                         {of_line}"
                    )));
                }
                of_line
            }
        };
        self.config.client_addr = Some(address);
        Ok(())
    }

    /// Host and port of one of the two client ports; `None` if it is not opened.
    fn port_of(
        &self,
        port_key: &str,
        address_key: &str,
    ) -> Result<Option<(String, u16)>, ConfigError> {
        let port = match self.given.get(port_key) {
            None => 0,
            Some(given) => match given.value.parse::<i32>() {
                Err(_) => {
                    let reason = format!("For input string: \"{}\" (a TCP port)", given.value);
                    return Err(self.wrong(given, &reason));
                }
                Ok(port) => match u16::try_from(port) {
                    Ok(port) => port,
                    Err(_) => {
                        let reason =
                            format!("port out of range:{port} (a TCP port, at most 65535)");
                        return Err(self.wrong(given, &reason));
                    }
                },
            },
        };
        let address = self.given.get(address_key);
        match (port, address) {
            (0, Some(given)) => {
                let default = self.source == Source::Defaults && port_key == "clientPort";
                if default && !self.given.contains_key(port_key) {
                    return Ok(Some((given.value.clone(), 2181)));
                }
                Err(self.wrong(given, &format!("{address_key} is set but {port_key} is not set")))
            }
            (0, None) => Ok(None),
            (port, address) => {
                let host = address.map_or("0.0.0.0", |given| given.value.as_str());
                Ok(Some((host.to_owned(), port)))
            }
        }
    }

    /// An address to bind; a name is looked up.
    fn resolve(&self, host: &str, port: u16, key: &str) -> Result<SocketAddr, ConfigError> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = literal.parse() {
            return Ok(SocketAddr::new(ip, port));
        }
        let found = (literal, port).to_socket_addrs().ok().and_then(|mut found| found.next());
        found.ok_or_else(|| {
            let reason = format!("Address unresolved: {host}:{port}");
            match self.given.get(key) {
                Some(given) => self.wrong(given, &reason),
                None => failure(format!("{key}: {reason}")),
            }
        })
    }

    // --- features of later versions ------------------------------------------------------------

    /// Refuses what would let somebody in, and names once each feature that is left out.
    fn check_features(&mut self) -> Result<(), ConfigError> {
        for name in ["sessionRequireClientSASLAuth", "enforce.auth.enabled"] {
            if let Some(given) = self.given.get(name) {
                match keys::parse_bool(&given.value) {
                    Some(false) => {}
                    Some(true) => {
                        return Err(self.wrong(
                            given,
                            "this version cannot make clients authenticate, and without that it \
                             would let everybody in: remove the key to accept that",
                        ));
                    }
                    None => {
                        return Err(self.wrong(
                            given,
                            &format!(
                                "Invalid option {} for {name}. Choose 'true' or 'false.'",
                                given.value
                            ),
                        ));
                    }
                }
            }
        }
        self.check_quorum_sasl()?;
        let secure = self.port_of("secureClientPort", "secureClientPortAddress")?;
        if secure.is_some() && self.config.client_addr.is_none() {
            let given = &self.given["secureClientPort"];
            return Err(self.wrong(
                given,
                "TLS is not in this version and this is the only client port: set clientPort to \
                 serve clients without TLS",
            ));
        }
        let mut asked: BTreeMap<Feature, Vec<String>> = BTreeMap::new();
        for given in self.given.values() {
            if let Some(feature) = self.asks_for(given) {
                asked.entry(feature).or_default().push(format!(
                    "{} ({})",
                    given.name,
                    self.at(given.place)
                ));
            }
        }
        let members = &self.config.ensemble.members;
        if !matches!(
            members.shape(self.config.standalone_enabled),
            Ok(Shape::Standalone | Shape::OnlyOne)
        ) {
            let count = members.servers.len();
            let from = if self.dynamic_file.is_empty() { &self.file } else { &self.dynamic_file };
            let text = format!("{count} server.N lines ({from})");
            asked.entry(Feature::Quorum).or_default().insert(0, text);
        }
        self.check_providers();
        self.check_admin();
        for feature in Feature::ALL {
            if let Some(keys) = asked.get(&feature) {
                let mut text = format!(
                    "{} not in this version, the server starts without: {}",
                    feature.title(),
                    keys.join(", ")
                );
                if feature == Feature::Quorum {
                    text.push_str("; it runs standalone and replicates nothing");
                }
                self.notice(Level::Error, text);
            }
        }
        Ok(())
    }

    /// A scheme of someone's own class adds identities and takes nothing away: without it nobody
    /// gets further than before.
    fn check_providers(&mut self) {
        let given: Vec<Given> = self.given.values().cloned().collect();
        for given in given.iter().filter(|given| given.key.name == "authProvider.*") {
            let known = ["Digest", "IP", "Ensemble", "X509", "SASL"];
            let class = table::class(&given.value).strip_suffix("AuthenticationProvider");
            if !class.is_some_and(|class| known.contains(&class)) {
                let text = format!(
                    "{}: a class of your own cannot be loaded, the server starts without it",
                    self.place_and_value(given)
                );
                self.notice(Level::Error, text);
            }
        }
    }

    /// An admin server that was to ask for TLS must not answer without.
    fn check_admin(&mut self) {
        for name in ["admin.forceHttps", "admin.needClientAuth"] {
            let on = |given: &Given| keys::parse_bool(&given.value) == Some(true);
            if self.config.admin.enabled && self.given.get(name).is_some_and(on) {
                self.config.admin.enabled = false;
                let text = format!("{name} needs TLS: the admin server is not started");
                self.notice(Level::Error, text);
            }
        }
    }

    fn asks_for(&self, given: &Given) -> Option<Feature> {
        match given.key.kind {
            Kind::Later { feature, off } => {
                (!off.iter().any(|off| given.value.eq_ignore_ascii_case(off))).then_some(feature)
            }
            Kind::Elsewhere => match given.key.name {
                "secureClientPort" if given.value != "0" => Some(Feature::Tls),
                "authProvider.*" => match table::class(&given.value) {
                    "DigestAuthenticationProvider"
                    | "IPAuthenticationProvider"
                    | "EnsembleAuthenticationProvider" => None,
                    "X509AuthenticationProvider" => Some(Feature::Tls),
                    "SASLAuthenticationProvider" => Some(Feature::Sasl),
                    _ => None,
                },
                _ => None,
            },
            Kind::Int { .. }
            | Kind::Number { .. }
            | Kind::Lenient { .. }
            | Kind::Real { .. }
            | Kind::Flag { .. }
            | Kind::YesNo { .. }
            | Kind::Text { .. }
            | Kind::Jvm
            | Kind::Silent => None,
        }
    }

    /// Three keys of which each needs the one before.
    fn check_quorum_sasl(&self) -> Result<(), ConfigError> {
        let on = |name: &str| {
            self.given.get(name).filter(|given| keys::parse_bool(&given.value) == Some(true))
        };
        let [enable, server, learner] = [
            "quorum.auth.enableSasl",
            "quorum.auth.serverRequireSasl",
            "quorum.auth.learnerRequireSasl",
        ];
        for (needed, asked) in [(enable, server), (enable, learner), (learner, server)] {
            if let (None, Some(given)) = (on(needed), on(asked)) {
                return Err(
                    self.wrong(given, &format!("{needed} is disabled, so cannot enable {asked}"))
                );
            }
        }
        Ok(())
    }

    fn say_what_is_risky(&mut self) {
        if !self.config.force_sync {
            self.notice(
                Level::Warn,
                "forceSync=no: acknowledged writes are lost when the machine crashes".to_owned(),
            );
        }
        if self.config.skip_acl {
            self.notice(Level::Warn, "skipACL=yes: ACLs are not checked".to_owned());
        }
        if self.config.local_sessions {
            self.notice(
                Level::Info,
                "localSessionsEnabled has no effect on a standalone server".to_owned(),
            );
        }
    }

    // --- messages ------------------------------------------------------------------------------

    fn notice(&mut self, level: Level, text: String) {
        self.notices.push(Notice { level, text: one_line(text) });
    }

    /// An error of the sources as a whole.
    fn whole(&self, reason: &str) -> ConfigError {
        let file = if self.file.is_empty() { "config" } else { &self.file };
        failure(format!("{file}: {reason}"))
    }

    /// `zoo.cfg:12`, `--set`, `argument 3`.
    fn at(&self, place: Place) -> String {
        match place {
            Place::Set => "--set".to_owned(),
            Place::Argument(n) => format!("argument {n}"),
            Place::Line(line) => format!("{}:{line}", self.file),
            Place::DynamicLine(line) => format!("{}:{line}", self.dynamic_file),
        }
    }

    /// `zoo.cfg:12: tickTime=abc`.
    fn place_and_value(&self, given: &Given) -> String {
        format!("{}: {}={}", self.at(given.place), given.name, shown(given))
    }

    fn wrong(&self, given: &Given, reason: &str) -> ConfigError {
        failure(format!("{}: {reason}", self.place_and_value(given)))
    }

    fn wrong_member(&self, lines: &[Given], error: &MemberError) -> ConfigError {
        match lines.iter().find(|given| bare(&given.name) == error.key) {
            Some(given) => self.wrong(given, &error.reason),
            None => {
                if self.dynamic_file.is_empty() {
                    self.whole(&error.reason)
                } else {
                    failure(format!("{}: {}", self.dynamic_file, error.reason))
                }
            }
        }
    }
}

fn bare(name: &str) -> &str {
    name.strip_prefix("zookeeper.").unwrap_or(name)
}

/// A value as a message may show it.
fn shown(given: &Given) -> &str {
    if given.key.secret { "***" } else { &given.value }
}

fn read(path: &Path, shown: &str) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|e| {
        failure(if e.kind() == std::io::ErrorKind::NotFound {
            format!("{shown} file is missing")
        } else {
            format!("Error processing {shown}: {e}")
        })
    })
}

fn failure(text: String) -> ConfigError {
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
