//! The members of an ensemble: `server.N`, `group.G` and `weight.N` lines, and the rules on how
//! many of them make sense.
//!
//! Thread: any; plain values. Invariants: a parsed [`Members`] has no equal quorum and election
//! port on one address, and, once it has groups, every voter is in exactly one of them. What it
//! prints is the normal form that `conf`, `/zookeeper/config` and the dynamic file have, and it
//! parses back to the same value.
//! Not here: where the lines come from (`mod.rs`), resolving names, quorum arithmetic (`zab/`).

use std::collections::BTreeMap;
use std::fmt;

/// A server's number, `N` of `server.N` and the content of its `myid`.
pub type Sid = i64;

/// A host name or address and a port, not resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address; an IPv6 one without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

/// One address a server talks to its peers on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddr {
    /// Name or address; an IPv6 one without its brackets.
    pub host: String,
    /// Followers connect here while this server leads.
    pub quorum_port: u16,
    /// Election messages arrive here.
    pub election_port: u16,
}

/// Whether a server votes. ZooKeeper: `LearnerType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Counts in elections and quorums.
    #[default]
    Participant,
    /// Follows without a vote.
    Observer,
}

impl Role {
    /// From `participant` or `observer` in any case.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("participant") {
            Some(Self::Participant)
        } else if text.eq_ignore_ascii_case("observer") {
            Some(Self::Observer)
        } else {
            None
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Participant => "participant",
            Self::Observer => "observer",
        })
    }
}

/// The right-hand side of one `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// At least one; more only with `multiAddress.enabled`.
    pub addrs: Vec<PeerAddr>,
    /// As written, participant when the line does not say.
    pub role: Role,
    /// Where it serves clients, if the line says so.
    pub client: Option<HostPort>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, addr) in self.addrs.iter().enumerate() {
            let bar = if i == 0 { "" } else { "|" };
            let PeerAddr { host, quorum_port, election_port } = addr;
            write!(f, "{bar}{}:{quorum_port}:{election_port}", Bracketed(host))?;
        }
        write!(f, ":{}", self.role)?;
        self.client.as_ref().map_or(Ok(()), |client| write!(f, ";{client}"))
    }
}

/// Everything `server`, `group` and `weight` lines say. ZooKeeper: `QuorumVerifier`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The servers by number.
    pub servers: BTreeMap<Sid, Server>,
    /// Voters of each group; empty with majority quorums.
    pub groups: BTreeMap<i64, Vec<Sid>>,
    /// Weights as written, those of unknown servers included: missing ones are 1.
    pub weights: BTreeMap<Sid, i64>,
    /// The zxid of the reconfig that made it, 0 for a file without a version.
    pub version: u64,
}

/// Which line is wrong and why; `key` is one of those handed to [`Members::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberError {
    /// The key of the line, empty when the lines are wrong only together.
    pub key: String,
    /// Java's cause text, and what else helps.
    pub reason: String,
}

/// How the number of members lets a server start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No member lines: standalone.
    Standalone,
    /// One voter under `standaloneEnabled`: the line is set aside, standalone.
    OnlyOne,
    /// A quorum that no failure may hit: one or two voters.
    Fragile,
    /// An even number of voters, from 4 on, tolerates no more than one less does.
    Even,
    /// Three or more voters, odd.
    Ensemble,
}

impl Members {
    /// Whether a key belongs to a member line.
    pub fn is_member_key(key: &str) -> bool {
        ["server.", "group.", "weight."].iter().any(|prefix| key.starts_with(prefix))
    }

    /// Reads all member lines of one file; other keys are the caller's to keep out.
    pub fn parse<'a>(
        lines: impl IntoIterator<Item = (&'a str, &'a str)>,
        multi_address: bool,
    ) -> Result<Self, MemberError> {
        let mut members = Self::default();
        let mut hierarchical = false;
        for (key, value) in lines {
            let at = |reason: String| MemberError { key: key.to_owned(), reason };
            if let Some(sid) = key.strip_prefix("server.") {
                let sid = number(sid).map_err(at)?;
                let server = parse_server(sid, value, multi_address).map_err(at)?;
                members.servers.insert(sid, server);
            } else if let Some(group) = key.strip_prefix("group.") {
                hierarchical = true;
                let sids: Result<_, _> = value.split(':').map(|s| number(s.trim())).collect();
                members.groups.insert(number(group).map_err(at)?, sids.map_err(at)?);
            } else if let Some(sid) = key.strip_prefix("weight.") {
                hierarchical = true;
                members.weights.insert(number(sid).map_err(at)?, number(value).map_err(at)?);
            } else {
                return Err(at(format!("Unrecognised parameter: {key}")));
            }
        }
        if hierarchical {
            members.check_groups()?;
        }
        Ok(members)
    }

    /// Servers with a vote.
    pub fn voters(&self) -> usize {
        self.servers.values().filter(|s| s.role == Role::Participant).count()
    }

    /// A server's weight in a hierarchical quorum.
    pub fn weight(&self, sid: Sid) -> i64 {
        self.weights.get(&sid).copied().unwrap_or(1)
    }

    /// The member lines in normal form, sorted as text: the content of a dynamic file.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.servers.iter().map(|(sid, server)| format!("server.{sid}={server}")).collect();
        for (group, sids) in &self.groups {
            let sids: Vec<String> = sids.iter().map(Sid::to_string).collect();
            lines.push(format!("group.{group}={}", sids.join(":")));
        }
        lines.extend(self.weights.iter().map(|(sid, weight)| format!("weight.{sid}={weight}")));
        lines.sort_unstable();
        lines
    }

    /// Judges the number of members; an error is Java's cause text.
    pub fn shape(&self, standalone_enabled: bool) -> Result<Shape, &'static str> {
        let voters = self.voters();
        let observers = self.servers.len() - voters;
        match (voters, observers) {
            (0, _) if !standalone_enabled => {
                Err("standaloneEnabled = false then number of participants should be >0")
            }
            (0, 0) => Ok(Shape::Standalone),
            (0, _) => Err("Observers w/o participants is an invalid configuration"),
            (1, 0) if standalone_enabled => Ok(Shape::OnlyOne),
            (1, _) if standalone_enabled => Err("Observers w/o quorum is an invalid configuration"),
            (1 | 2, _) => Ok(Shape::Fragile),
            (n, _) if n % 2 == 0 => Ok(Shape::Even),
            _ => Ok(Shape::Ensemble),
        }
    }

    fn check_groups(&self) -> Result<(), MemberError> {
        let mut seen = BTreeMap::new();
        for (group, sids) in &self.groups {
            for &sid in sids {
                if seen.insert(sid, *group).is_some() {
                    let key = format!("group.{group}");
                    return Err(MemberError {
                        key,
                        reason: format!("Server {sid}is in multiple groups"),
                    });
                }
            }
        }
        for (&sid, server) in &self.servers {
            if server.role == Role::Participant && !seen.contains_key(&sid) {
                let key = format!("server.{sid}");
                return Err(MemberError { key, reason: format!("Server {sid}is not in a group") });
            }
        }
        Ok(())
    }
}

/// The version a dynamic file's name carries: hexadecimal digits after the last dot.
pub fn version_of(file_name: &str) -> u64 {
    let suffix = file_name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    u64::from_str_radix(suffix, 16).unwrap_or(0)
}

/// `host:quorumPort:electionPort[|..][:role][;[clientHost:]clientPort]`.
fn parse_server(sid: Sid, value: &str, multi_address: bool) -> Result<Server, String> {
    let malformed = || {
        format!(
            "{value} does not have the form server_config or server_config;client_config where \
             server_config is the pipe separated list of host:port:port or host:port:port:type \
             and client_config is port or host:port"
        )
    };
    let mut halves = value.split(';');
    let server_part = halves.next().unwrap_or("").trim();
    let client_part = halves.next();
    if halves.next().is_some() {
        return Err(malformed());
    }
    let client = client_part.map(|part| parse_client(part.trim(), malformed)).transpose()?;
    let mut addrs = Vec::new();
    let mut role = Role::default();
    for part in server_part.split('|') {
        let (host, rest) = split_host(part.trim()).ok_or_else(malformed)?;
        let fields: Vec<&str> = rest.split(':').map(str::trim).collect();
        let (quorum, election) = match fields[..] {
            [quorum, election] => (quorum, election),
            [quorum, election, kind] => {
                role = Role::parse(kind).ok_or_else(|| format!("Unrecognised peertype: {kind}"))?;
                (quorum, election)
            }
            _ => return Err(malformed()),
        };
        let (quorum_port, election_port) = (parse_port(host, quorum)?, parse_port(host, election)?);
        if quorum_port == election_port {
            return Err(format!(
                "Client and election port must be different! Please update the configuration file \
                 on server.{sid}"
            ));
        }
        addrs.push(PeerAddr { host: host.to_owned(), quorum_port, election_port });
    }
    if addrs.len() > 1 && !multi_address {
        return Err(format!(
            "Multiple address feature is disabled, but multiple addresses were specified for sid \
             {sid}"
        ));
    }
    Ok(Server { addrs, role, client })
}

fn parse_client(part: &str, malformed: impl Fn() -> String) -> Result<HostPort, String> {
    if !part.contains(':') {
        return Ok(HostPort { host: "0.0.0.0".to_owned(), port: parse_port("0.0.0.0", part)? });
    }
    let (host, port) = split_host(part).ok_or_else(&malformed)?;
    if port.contains(':') {
        return Err(malformed());
    }
    Ok(HostPort { host: host.to_owned(), port: parse_port(host, port)? })
}

/// Host and what follows its colon; an IPv6 address needs its brackets.
fn split_host(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.split_once(':')?,
    };
    let host = host.trim();
    (!host.is_empty()).then_some((host, rest))
}

fn parse_port(host: &str, text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| {
        format!("Address unresolved: {host}:{text} (a port is a number, at most 65535)")
    })
}

/// A server or group number, or a weight.
fn number(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(format!("For input string: \"{text}\" (a whole number, at least 0)")),
    }
}

struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Members, MemberError> {
        Members::parse(text.lines().filter_map(|line| line.split_once('=')), false)
    }

    fn reason(text: &str) -> String {
        parse(text).unwrap_err().reason
    }

    #[test]
    fn accepted_server_lines_in_their_normal_form() {
        for (value, normal) in [
            ("10.0.0.1:2888:3888", "10.0.0.1:2888:3888:participant"),
            ("10.0.0.1:2888:3888:observer", "10.0.0.1:2888:3888:observer"),
            ("h:2888:3888:OBSERVER", "h:2888:3888:observer"),
            ("h:2888:3888;2181", "h:2888:3888:participant;0.0.0.0:2181"),
            ("h:2888:3888 ; 2181", "h:2888:3888:participant;0.0.0.0:2181"),
            ("h:1:2:participant;10.0.0.1:2181", "h:1:2:participant;10.0.0.1:2181"),
            ("h:2888:3888;[::]:2181", "h:2888:3888:participant;[::]:2181"),
            ("[::1]:2888:3888", "[::1]:2888:3888:participant"),
            ("0.0.0.0:2888:3888", "0.0.0.0:2888:3888:participant"),
        ] {
            let members = parse(&format!("server.0={value}")).unwrap();
            assert_eq!(members.lines(), [format!("server.0={normal}")], "{value}");
            assert_eq!(parse(&members.lines()[0]).unwrap(), members, "{value}");
        }
    }

    #[test]
    fn refused_server_lines_say_what_java_says() {
        let form = " does not have the form server_config or server_config;client_config";
        for (line, cause) in [
            ("server.1=h:2888", form),
            ("server.1=h", form),
            ("server.1=", form),
            ("server.1=h:2888:3888:participant:x", form),
            ("server.1=h:2888:3888;2181;2182", form),
            ("server.1=h:2888:3888;a:b:1", form),
            ("server.1=::1:2888:3888", form),
            ("server.1=[::1:2888:3888", form),
            ("server.1=127.0.0.1:x:3888", "Address unresolved: 127.0.0.1:x"),
            ("server.1=h:2888:70000", "Address unresolved: h:70000"),
            ("server.1=h:2888:3888;", "Address unresolved: 0.0.0.0:"),
            ("server.1=h:2888:3888:foo", "Unrecognised peertype: foo"),
            (
                "server.3=h:3888:3888",
                "Client and election port must be different! Please update the configuration \
                 file on server.3",
            ),
            (
                "server.3=a:2888:3888|b:2889:3889",
                "Multiple address feature is disabled, but multiple addresses were specified for \
                 sid 3",
            ),
            ("server.x=h:2888:3888", "For input string: \"x\""),
            ("weight.1=heavy", "For input string: \"heavy\""),
            ("tickTime=1", "Unrecognised parameter: tickTime"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.reason.contains(cause), "{line}: {}", error.reason);
            assert_eq!(Some(error.key.as_str()), line.split('=').next());
        }
    }

    #[test]
    fn several_addresses_need_their_switch() {
        let line = ("server.1", "a:2888:3888|[::1]:2889:3889:observer;2181");
        let members = Members::parse([line], true).unwrap();
        let normal = "server.1=a:2888:3888|[::1]:2889:3889:observer;0.0.0.0:2181";
        assert_eq!(members.lines(), [normal]);
    }

    #[test]
    fn groups_hold_every_voter_once() {
        let servers = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\n";
        let members = parse(&format!("{servers}group.1=1:2\nweight.2=5\nweight.9=7")).unwrap();
        assert_eq!((members.weight(1), members.weight(2)), (1, 5));
        assert_eq!(members.groups[&1], [1, 2]);
        assert_eq!(reason(&format!("{servers}group.1=1")), "Server 2is not in a group");
        assert_eq!(
            reason(&format!("{servers}group.1=1:2\ngroup.2=2")),
            "Server 2is in multiple groups"
        );
        assert_eq!(reason(&format!("{servers}weight.1=2")), "Server 1is not in a group");
    }

    #[test]
    fn size_rules() {
        let members = |voters: usize, observers: usize| {
            let line = |n: usize| format!("server.{n}=h:1:2");
            let mut lines: Vec<String> = (0..voters).map(line).collect();
            lines.extend((0..observers).map(|n| line(100 + n) + ":observer"));
            parse(&lines.join("\n")).unwrap()
        };
        for (voters, observers, standalone, expected) in [
            (0, 0, true, Ok(Shape::Standalone)),
            (0, 2, true, Err("Observers w/o participants is an invalid configuration")),
            (1, 0, true, Ok(Shape::OnlyOne)),
            (1, 0, false, Ok(Shape::Fragile)),
            (1, 1, true, Err("Observers w/o quorum is an invalid configuration")),
            (
                0,
                0,
                false,
                Err("standaloneEnabled = false then number of participants should be >0"),
            ),
            (2, 0, true, Ok(Shape::Fragile)),
            (3, 1, true, Ok(Shape::Ensemble)),
            (4, 0, true, Ok(Shape::Even)),
            (5, 0, false, Ok(Shape::Ensemble)),
        ] {
            let shape = members(voters, observers).shape(standalone);
            assert_eq!(shape, expected, "{voters} {observers} {standalone}");
        }
    }

    #[test]
    fn a_dynamic_file_s_name_has_its_version() {
        for (name, version) in [
            ("zoo.cfg.dynamic.100000000", 0x1_0000_0000),
            ("zoo.cfg.dynamic", 0),
            ("zoo.cfg.dynamic.next", 0),
            ("dynamic", 0),
        ] {
            assert_eq!(version_of(name), version, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_line_parses_back_or_fails(value in "[0-9ah:;|\\[\\] .-]{0,40}") {
            if let Ok(members) = Members::parse([("server.7", value.as_str())], true) {
                prop_assert_eq!(parse_multi(&members.lines().join("\n")), Ok(members));
            }
        }

        #[test]
        fn servers_come_back(
            host in "[a-z][a-z0-9.]{0,9}", quorum: u16, election: u16, client: u16
        ) {
            prop_assume!(quorum != election);
            let line = format!("server.3={host}:{quorum}:{election}:observer;{host}:{client}");
            prop_assert_eq!(parse(&line).unwrap().lines(), [line]);
        }
    }

    fn parse_multi(text: &str) -> Result<Members, MemberError> {
        Members::parse(text.lines().filter_map(|line| line.split_once('=')), true)
    }
}
