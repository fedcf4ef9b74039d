//! What was asked for and is not in this version: refused where doing without would let somebody
//! in, else named in one ERROR line for each feature.
//!
//! Thread: the starting thread. Invariants: a key whose value switches its feature off says
//! nothing; no key that restricts access is passed over.
//! Not here: which key belongs to which feature (`absent.rs`).

use std::collections::BTreeMap;

use super::dynamic::Shape;
use super::keys::{self, Feature, Kind};
use super::load::{Given, Loading};
use super::{ConfigError, Level, table};

/// Keys of Java's own workings, or of features that this version lacks without harm, which somebody
/// may have set for a reason: he should hear that they do nothing, and why.
const NO_EFFECT: [(&str, &str); 14] = [
    ("flushDelay", "a batch is what arrives while a sync runs"),
    ("maxWriteQueuePollTime", "a batch is what arrives while a sync runs"),
    ("maxBatchSize", "a batch is what arrives while a sync runs"),
    ("largeRequestThreshold", "a connection is not read on while it has too much in flight"),
    ("largeRequestMaxBytes", "a connection is not read on while it has too much in flight"),
    ("request_throttle_stall_time", "requests do not stall, their connections are not read"),
    ("request_throttle_drop_stale", "requests of closed connections are never executed"),
    ("request_stale_connection_check", "requests of closed connections are never executed"),
    ("request_stale_latency_check", "requests do not wait in a throttle"),
    ("throttled_op_wait_time", "requests do not wait in a throttle"),
    ("closeSessionTxn.enabled", "a closeSession txn always lists its nodes"),
    ("emulate353TTLNodes", "time-to-live nodes of 3.5.3 are not known"),
    ("enableEagerACLCheck", "there is no leader to forward to"),
    ("ensembleAuthName", "the scheme `ensemble` is not known"),
];

impl Loading {
    fn say_what_has_no_effect(&mut self) {
        for (name, why) in NO_EFFECT {
            if self.given.contains_key(name) {
                self.notice(Level::Warn, format!("{name} has no effect here: {why}"));
            }
        }
    }

    /// Refuses what would let somebody in, and names once each feature that is left out.
    pub(super) fn check_features(&mut self) -> Result<(), ConfigError> {
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
        self.check_tls_alone()?;
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
        self.say_what_has_no_effect();
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

    /// Refuses where all clients came by TLS, or where those who do must have a certificate.
    fn check_tls_alone(&self) -> Result<(), ConfigError> {
        let secure = self.port_of("secureClientPort", "secureClientPortAddress")?;
        let is = |name: &str, value: &str| {
            self.given.get(name).filter(|given| given.value.eq_ignore_ascii_case(value))
        };
        if secure.is_some() && self.config.client_addr.is_none() {
            return Err(self.wrong(
                &self.given["secureClientPort"],
                "TLS is not in this version and this is the only client port: set clientPort to \
                 serve clients without TLS",
            ));
        }
        let unified = is("client.portUnification", "true").is_some();
        match is("ssl.clientAuth", "need") {
            Some(given) if unified && secure.is_none() => Err(self.wrong(
                given,
                "TLS is not in this version and the only client port asks for certificates: \
                 remove the key to serve clients without TLS",
            )),
            Some(_) | None => Ok(()),
        }
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
        if let Kind::Later { feature, off } = given.key.kind {
            let is_off = off.iter().any(|off| given.value.eq_ignore_ascii_case(off));
            return (!is_off).then_some(feature);
        }
        match (given.key.name, table::class(&given.value)) {
            ("secureClientPort", port) if port != "0" => Some(Feature::Tls),
            ("authProvider.*", "X509AuthenticationProvider") => Some(Feature::Tls),
            ("authProvider.*", "SASLAuthenticationProvider") => Some(Feature::Sasl),
            _ => None,
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

    pub(super) fn say_what_is_risky(&mut self) {
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
}
