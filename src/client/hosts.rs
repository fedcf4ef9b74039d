//! Where to connect: the connect string, the order of servers, the pauses between attempts.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use super::Error;

/// A connect string, taken apart: `host:port,host:port/chroot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectString {
    /// `host:port` each; 2181 where none was named.
    pub servers: Vec<String>,
    /// Empty, or a path that begins with `/` and does not end with it.
    pub chroot: String,
}

impl ConnectString {
    /// Parses it; IPv6 addresses stand in brackets.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refused = || Error::ConnectString(text.to_owned());
        let (list, chroot) = match text.find('/') {
            Some(at) => (&text[..at], text[at..].trim_end_matches('/')),
            None => (text, ""),
        };
        let servers: Vec<String> = list
            .split(',')
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .map(|server| match server.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && !port.ends_with(']') => {
                    port.parse::<u16>().map(|_| server.to_owned()).map_err(|_| refused())
                }
                Some((_, port)) if !port.ends_with(']') => Err(refused()),
                _ => Ok(format!("{server}:2181")),
            })
            .collect::<Result<_, _>>()?;
        if servers.is_empty() || chroot.contains("//") {
            return Err(refused());
        }
        Ok(Self { servers, chroot: chroot.to_owned() })
    }
}

/// Random numbers that need not be secret: jitter and the order of servers.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Different in every client, so that not all of them knock at once.
    pub(super) fn new() -> Self {
        Self(std::hash::RandomState::new().build_hasher().finish() | 1)
    }

    /// Below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}

/// Pauses between attempts to connect.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Longest pause before the first attempt after a loss; doubles with each failure.
    pub first: Duration,
    /// It does not grow beyond this.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(2) }
    }
}

/// The servers in an order of this client's own, and how often they failed in a row.
#[derive(Debug)]
pub(super) struct Hosts {
    servers: Vec<String>,
    next: usize,
    failures: u32,
    backoff: Backoff,
    dice: Dice,
}

impl Hosts {
    /// In the order given unless `shuffle`.
    pub(super) fn new(mut servers: Vec<String>, shuffle: bool, backoff: Backoff) -> Self {
        let mut dice = Dice::new();
        if shuffle {
            for upto in (1..servers.len()).rev() {
                let other = usize::try_from(dice.below(upto as u64 + 1)).expect("an index");
                servers.swap(upto, other);
            }
        }
        Self { servers, next: 0, failures: 0, backoff, dice }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.servers.len()
    }

    /// The next one, round and round.
    pub(super) fn next_server(&mut self) -> String {
        let server = self.servers[self.next % self.servers.len()].clone();
        self.next = (self.next + 1) % self.servers.len();
        server
    }

    /// A server answered requests: the next loss starts over with short pauses.
    pub(super) fn worked(&mut self) {
        self.failures = 0;
    }

    /// The pause before the next attempt: a random half to whole of the bound, so that the clients
    /// of a server that died spread out.
    pub(super) fn pause(&mut self) -> Duration {
        let grown = self.backoff.first.saturating_mul(1 << self.failures.min(20));
        let bound = grown.min(self.backoff.max);
        self.failures += 1;
        let half = u64::try_from(bound.as_micros() / 2).unwrap_or(u64::MAX);
        Duration::from_micros(half + self.dice.below(half.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_strings() {
        let parsed = ConnectString::parse("a:1, b,[::1]:3,[::2]/x/y/").unwrap();
        assert_eq!(parsed.servers, ["a:1", "b:2181", "[::1]:3", "[::2]:2181"]);
        assert_eq!(parsed.chroot, "/x/y");
        assert_eq!(ConnectString::parse("a:1/").unwrap().chroot, "");
        for bad in ["", "/x", "a:port", ":1", "a:1//x"] {
            assert!(ConnectString::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_bound_and_start_over() {
        let ms = Duration::from_millis;
        let backoff = Backoff { first: ms(100), max: ms(1000) };
        let mut hosts = Hosts::new(vec!["a".into(), "b".into()], false, backoff);
        for bound in [100, 200, 400, 800, 1000, 1000] {
            let pause = hosts.pause();
            assert!(pause >= ms(bound / 2) && pause <= ms(bound), "{pause:?} of {bound}");
        }
        hosts.worked();
        assert!(hosts.pause() <= ms(100));
        let order = [hosts.next_server(), hosts.next_server(), hosts.next_server()];
        assert_eq!(order, ["a", "b", "a"]);
    }
}
