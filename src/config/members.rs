//! From member lines to this server's place among them: its number, its role, its client port.
//!
//! Thread: the starting thread; it reads the dynamic file and `myid`, and looks up the name of the
//! address that the client port binds. Invariants: a member whose number has no server line does
//! not start, and two different client ports for one server are refused.
//! Not here: the syntax of a member line and the rules on their number (`dynamic.rs`).

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use super::dynamic::{self, MemberError, Members, Shape};
use super::load::{Given, Loading, Place, Source, bare, failure, read};
use super::{ConfigError, Level, keys, properties};

impl Loading {
    pub(super) fn check_members(&mut self) -> Result<(), ConfigError> {
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

    pub(super) fn check_client_port(&mut self) -> Result<(), ConfigError> {
        let mut own = self.port_of("clientPort", "clientPortAddress")?;
        if own.is_none()
            && self.source == Source::Defaults
            && !self.given.contains_key("clientPort")
        {
            own = Some(("0.0.0.0".to_owned(), 2181));
        }
        let ensemble = &self.config.ensemble;
        // Java needs a matching myid for this even with one server line, and else opens no port at
        // all; where there is one line, it can only be meant.
        let known = |sid: &i64| ensemble.members.servers.contains_key(sid);
        let me = ensemble.my_id.filter(known).or_else(|| {
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
    pub(super) fn port_of(
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
