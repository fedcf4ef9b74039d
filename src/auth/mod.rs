//! Who a connection is: credentials to ids, and what ACL lists may say.
//!
//! Thread: the shard's for connections, the pipeline's for ACL lists; all of it pure. Invariants:
//! ids are a set that never changes once a request was read under it: new credentials make a new
//! [`Auth`], so a pipelined write is judged by the ids its connection had when it arrived.
//! The schemes `world` and `auth` have no credentials and no ids; `super` comes with the digest
//! that the configuration names; x509 and sasl are unknown here, as in a server without them.
//! Not here: whether ids are permitted something (`tree/acl.rs`), replies (`parts/shard.rs`).

mod acl;
mod digest;
mod ip;

use std::net::IpAddr;
use std::sync::Arc;

pub use acl::mask_digests;
pub use digest::DigestAlg;
pub use ip::host_address;

use crate::tree::acl::Id;

/// Ids of one connection above which further credentials are refused.
///
/// BOUND: an auth packet copies the set, so without it a client could make each packet cost more
/// than the one before, without end. ZooKeeper has none; nobody has a thousand passwords.
pub const IDS_PER_CONNECTION_MAX: usize = 1000;

/// The configured schemes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemes {
    /// `DigestAuthenticationProvider.enabled`: without it the scheme is unknown.
    pub digest_enabled: bool,
    /// `DigestAuthenticationProvider.digestAlg`.
    pub digest_alg: DigestAlg,
    /// `DigestAuthenticationProvider.superDigest`: `user:base64(hash)` of the one above all ACLs.
    pub super_digest: Option<String>,
}

impl Default for Schemes {
    fn default() -> Self {
        Self { digest_enabled: true, digest_alg: DigestAlg::default(), super_digest: None }
    }
}

impl Schemes {
    /// Whether the scheme is known (ZooKeeper: a provider is registered).
    pub fn knows(&self, scheme: &[u8]) -> bool {
        match scheme {
            b"ip" => true,
            b"digest" => self.digest_enabled,
            _ => false,
        }
    }

    /// Whether an id of this scheme proves who somebody is, which an address does not.
    fn authenticates(&self, scheme: &[u8]) -> bool {
        self.knows(scheme) && scheme != b"ip"
    }
}

/// The credentials were refused: answer -115, then close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthFailed;

/// The ids of a connection.
#[derive(Clone, Debug)]
pub struct Auth {
    address: IpAddr,
    ids: Arc<[Id]>,
}

impl Auth {
    /// Of a connection that has just come from `address`: it has its `ip` id only.
    pub fn new(address: IpAddr) -> Self {
        Self { address, ids: Arc::new([ip::id(address)]) }
    }

    /// In the order in which they came, each once.
    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    /// The same, to go with a request to the pipeline.
    pub fn shared_ids(&self) -> &Arc<[Id]> {
        &self.ids
    }

    /// The ids after an auth packet; the old ones stay with the requests that hold them.
    pub fn handle_auth(
        &self,
        schemes: &Schemes,
        scheme: Option<&[u8]>,
        data: Option<&[u8]>,
    ) -> Result<Self, AuthFailed> {
        let scheme = scheme.ok_or(AuthFailed)?;
        if !schemes.knows(scheme) {
            return Err(AuthFailed);
        }
        match scheme {
            b"ip" => Ok(self.with([ip::id(self.address)])),
            b"digest" => {
                let id = digest::id(schemes.digest_alg, data.ok_or(AuthFailed)?);
                let is_super = schemes.super_digest.as_deref() == Some(&id);
                let above = is_super.then(|| Id { scheme: "super".into(), id: String::new() });
                let id = Id { scheme: "digest".into(), id };
                let auth = self.with(above.into_iter().chain([id]));
                if auth.ids.len() > IDS_PER_CONNECTION_MAX { Err(AuthFailed) } else { Ok(auth) }
            }
            _ => Err(AuthFailed),
        }
    }

    /// The answer to whoAmI: scheme and user name of each id. The name is what the scheme makes of
    /// the id; `super` has no provider and so no name.
    pub fn users<'a>(&'a self, schemes: &'a Schemes) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.ids.iter().map(|Id { scheme, id }| {
            let user = match scheme.as_bytes() {
                known if !schemes.knows(known) => "",
                b"digest" => digest::user(id),
                _ => id,
            };
            (scheme.as_str(), user)
        })
    }

    fn with(&self, new: impl IntoIterator<Item = Id>) -> Self {
        let mut ids = self.ids.to_vec();
        for id in new {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        if ids.len() == self.ids.len() {
            return self.clone();
        }
        Self { address: self.address, ids: ids.into() }
    }
}

/// Enforced authentication (`enforce.auth.enabled`, `enforce.auth.schemes`): a connection without
/// an id of a listed scheme is answered -124 and closed, whatever it asks, pings too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnforceAuth {
    schemes: Vec<String>,
}

/// Why the server must not start with such a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnforceAuthError {
    /// Enforced, but nothing is listed.
    NoSchemes,
    /// A listed scheme that the server does not know, so that nobody could ever satisfy it.
    UnknownScheme(String),
}

impl std::fmt::Display for EnforceAuthError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSchemes => {
                write!(f, "enforce.auth.enabled is true, but enforce.auth.schemes lists none")
            }
            Self::UnknownScheme(scheme) => {
                write!(f, "enforce.auth.schemes lists {scheme:?}, which this server does not know")
            }
        }
    }
}

impl std::error::Error for EnforceAuthError {}

impl EnforceAuth {
    /// From the comma list of the configuration.
    pub fn new(list: &str, known: &Schemes) -> Result<Self, EnforceAuthError> {
        let listed = list.split(',').map(str::trim).filter(|scheme| !scheme.is_empty());
        let schemes: Vec<String> = listed.map(str::to_owned).collect();
        if schemes.is_empty() {
            return Err(EnforceAuthError::NoSchemes);
        }
        match schemes.iter().find(|scheme| !known.knows(scheme.as_bytes())) {
            Some(unknown) => Err(EnforceAuthError::UnknownScheme(unknown.clone())),
            None => Ok(Self { schemes }),
        }
    }

    /// Whether a connection with these ids may ask anything.
    pub fn is_satisfied_by(&self, ids: &[Id]) -> bool {
        ids.iter().any(|id| self.schemes.contains(&id.scheme))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn schemes() -> Schemes {
        // The superDigest that ZooKeeper's own documentation tests use: super:test.
        let super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned());
        Schemes { super_digest, ..Schemes::default() }
    }

    /// Sends auth packets `scheme data` from `address`, one a line, and shows the ids and users.
    fn check(schemes: &Schemes, address: &str, packets: &str, expected: Expect) {
        let mut auth = Auth::new(address.parse().unwrap());
        let mut text = String::new();
        for packet in packets.lines().map(str::trim) {
            let (scheme, data) = packet.split_once(' ').unwrap_or((packet, ""));
            match auth.handle_auth(schemes, Some(scheme.as_bytes()), Some(data.as_bytes())) {
                Ok(after) => auth = after,
                Err(AuthFailed) => text += &format!("{packet}: failed\n"),
            }
        }
        for (id, (scheme, user)) in auth.ids().iter().zip(auth.users(schemes)) {
            text += &format!("{}:{} user {scheme}:{user}\n", id.scheme, id.id);
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn digests_add_up_and_stay_a_set() {
        check(
            &schemes(),
            "10.0.0.1",
            "digest u:p
             digest u:p
             digest u:p:q
             digest nocolon
             digest
             ip whatever
             world anyone
             auth x
             super x
             x509 x",
            expect![[r#"
                world anyone: failed
                auth x: failed
                super x: failed
                x509 x: failed
                ip:10.0.0.1 user ip:10.0.0.1
                digest:u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ= user digest:u
                digest:u:VIgTKUjc2iscZoJn2UUrdGNNgW4= user digest:u
                digest:nocolon:Ra+cHr2ZoHvBjtNArFGNGlVie4g= user digest:nocolon
                digest::2jmj7l5rSw0yVb/vlWAYkK/YBwk= user digest:
            "#]],
        );
    }

    #[test]
    fn the_super_digest_adds_super() {
        check(
            &schemes(),
            "::1",
            "digest super:test",
            expect![[r#"
            ip:0:0:0:0:0:0:0:1 user ip:0:0:0:0:0:0:0:1
            super: user super:
            digest:super:D/InIHSb7yEEbrWz8b9l71RjZJU= user digest:super
        "#]],
        );
        check(
            &Schemes::default(),
            "::1",
            "digest super:test",
            expect![[r#"
            ip:0:0:0:0:0:0:0:1 user ip:0:0:0:0:0:0:0:1
            digest:super:D/InIHSb7yEEbrWz8b9l71RjZJU= user digest:super
        "#]],
        );
    }

    #[test]
    fn a_disabled_digest_is_an_unknown_scheme() {
        let schemes = Schemes { digest_enabled: false, ..schemes() };
        check(
            &schemes,
            "::ffff:10.0.0.1",
            "digest u:p",
            expect![[r#"
            digest u:p: failed
            ip:10.0.0.1 user ip:10.0.0.1
        "#]],
        );
    }

    #[test]
    fn nulls_fail_where_data_is_looked_at() {
        let auth = Auth::new("10.0.0.1".parse().unwrap());
        assert_eq!(auth.handle_auth(&schemes(), None, Some(b"u:p")).err(), Some(AuthFailed));
        assert_eq!(auth.handle_auth(&schemes(), Some(b"digest"), None).err(), Some(AuthFailed));
        assert!(auth.handle_auth(&schemes(), Some(b"ip"), None).is_ok());
    }

    #[test]
    fn requests_keep_the_ids_they_were_read_with() {
        let before = Auth::new("10.0.0.1".parse().unwrap());
        let of_request = Arc::clone(before.shared_ids());
        let after = before.handle_auth(&schemes(), Some(b"digest"), Some(b"u:p")).unwrap();
        assert_eq!((of_request.len(), after.ids().len()), (1, 2));
    }

    #[test]
    fn credentials_without_end_are_refused() {
        let mut auth = Auth::new("10.0.0.1".parse().unwrap());
        for n in 1..IDS_PER_CONNECTION_MAX {
            let data = format!("u:{n}");
            auth = auth.handle_auth(&schemes(), Some(b"digest"), Some(data.as_bytes())).unwrap();
        }
        let again = auth.handle_auth(&schemes(), Some(b"digest"), Some(b"u:1"));
        assert!(again.is_ok(), "known ones are still fine");
        let more = auth.handle_auth(&schemes(), Some(b"digest"), Some(b"u:more"));
        assert_eq!(more.err(), Some(AuthFailed));
    }

    #[test]
    fn enforced_schemes_must_be_known_and_present() {
        let known = schemes();
        assert_eq!(EnforceAuth::new(" ,", &known), Err(EnforceAuthError::NoSchemes));
        assert_eq!(
            EnforceAuth::new("digest,sasl", &known),
            Err(EnforceAuthError::UnknownScheme("sasl".into()))
        );
        let enforce = EnforceAuth::new("digest", &known).unwrap();
        let auth = Auth::new("10.0.0.1".parse().unwrap());
        assert!(!enforce.is_satisfied_by(auth.ids()));
        let auth = auth.handle_auth(&known, Some(b"digest"), Some(b"u:p")).unwrap();
        assert!(enforce.is_satisfied_by(auth.ids()));
    }
}
