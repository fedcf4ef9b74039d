//! Rows of the table of keys that do nothing for one server of this version: ensembles, features of
//! later versions, and what only a JVM understands.
//!
//! Thread: any; constant. Invariants: a key that restricts access is never `Silent` or `Jvm`.
//! Not here: what happens when such a key is set (`features.rs`).

use super::dynamic::Role;
use super::keys::{Feature, Key, Kind};
use super::table::{MIN, count, flag, int, ms, number, yes_no};

pub(super) const QUORUM: &[Key] = &[
    Key::new(
        "server.*",
        Kind::Elsewhere,
        "A member: host:quorumPort:electionPort[:participant|observer][;[host:]clientPort].",
    ),
    Key::new(
        "group.*",
        Kind::Elsewhere,
        "Hierarchical quorums: the servers of a group, with colons.",
    ),
    Key::new("weight.*", Kind::Elsewhere, "Hierarchical quorums: votes of a server; 1 if not set."),
    Key::new(
        "dynamicConfigFile",
        Kind::Elsewhere,
        "File that has the member lines in place of this one.",
    ),
    Key::new(
        "peerType",
        Kind::Text {
            set: |c, v| {
                let role = Role::parse(v).ok_or_else(|| format!("Unrecognised peertype: {v}"))?;
                c.ensemble.my_role = Some(role);
                Ok(())
            },
        },
        "participant or observer.",
    ),
    int(
        "initLimit",
        1,
        |c, v| c.ensemble.init_limit_ticks = Some(count(v)),
        "Time for a learner to connect and synchronize. Required in an ensemble.",
    )
    .unit("ticks"),
    int(
        "syncLimit",
        1,
        |c, v| c.ensemble.sync_limit_ticks = Some(count(v)),
        "Time a learner may be silent. Required in an ensemble.",
    )
    .unit("ticks"),
    int(
        "connectToLearnerMasterLimit",
        0,
        |c, v| c.ensemble.connect_to_learner_master_limit_ticks = count(v),
        "Time for a learner to connect; 0 is initLimit.",
    )
    .default("0")
    .unit("ticks"),
    Key::new(
        "electionAlg",
        Kind::Int { min: 3, max: 3, set: |_, _| () },
        "Only 3 exists any more.",
    )
    .default("3"),
    ms("cnxTimeout", 1, |c, v| c.ensemble.cnx_timeout_ms = v, "Connect timeout of election links.")
        .default("5000"),
    flag(
        "quorumListenOnAllIPs",
        |c, v| c.ensemble.listen_on_all_ips = v,
        "Whether quorum and election ports bind 0.0.0.0.",
    )
    .default("false"),
    flag(
        "multiAddress.enabled",
        |c, v| c.ensemble.multi_address = v,
        "Whether a server line may have several addresses.",
    )
    .default("false"),
    number(
        "electionPortBindRetry",
        0,
        |c, v| c.ensemble.election_port_bind_retry = count(v),
        "Tries to bind the election port; 0 is for ever.",
    )
    .default("3")
    .unit("tries"),
    Key::new(
        "observerMasterPort",
        Kind::Int {
            min: MIN,
            max: 65_535,
            set: |c, v| c.ensemble.observer_master_port = u16::try_from(v).ok().filter(|&p| p > 0),
        },
        "Port on which a follower serves observers; 0 or less is off.",
    )
    .unit("TCP port"),
    flag(
        "standaloneEnabled",
        |c, v| c.standalone_enabled = v,
        "Whether one server line alone means standalone.",
    )
    .default("true"),
    yes_no("leaderServes", |c, v| c.leader_serves = v, "Whether the leader serves clients.")
        .default("yes"),
    flag("syncEnabled", |c, v| c.sync_enabled = v, "Whether an observer writes log and snapshots.")
        .default("true")
        .alias(&["observer.syncEnabled"]),
    flag(
        "localSessionsEnabled",
        |c, v| c.local_sessions = v,
        "Sessions that only their server knows; ensembles only.",
    )
    .default("false"),
    flag(
        "localSessionsUpgradingEnabled",
        |c, v| c.local_sessions_upgrading = v,
        "Whether a local session becomes global with its first ephemeral node.",
    )
    .default("false"),
    later("oraclePath", Feature::Quorum, "Tie-breaker file of a two-server ensemble."),
    Key::new(
        "db.autocreate",
        Kind::Silent,
        "Whether a member without data may vote; a standalone server starts empty.",
    ),
    silent("multiAddress.*", "How the best of several addresses is chosen; ensembles only."),
    silent("leader.*", "Bounds of a leader; no effect on one server."),
    silent("learner.*", "Tuning of a learner; no effect on one server."),
    silent("follower.*", "Tuning of a follower; no effect on one server."),
    silent("observer.*", "Tuning of an observer; no effect on one server."),
    silent("observerMaster.*", "Tuning of a follower with observers; no effect on one server."),
    silent("fastleader.*", "Timing of elections; no effect on one server."),
    silent("quorumCnxnTimeoutMs", "Timeout of election links; no effect on one server."),
    silent("leaderConnectDelayDuringRetryMs", "Pause of a learner; no effect on one server."),
    silent("tcpKeepAlive", "Keepalive on election links; no effect on one server."),
    silent("commitLogCount", "Txns kept for learners; no effect on one server."),
    silent("snapshotSizeFactor", "When a learner gets a snapshot; no effect on one server."),
    silent("maxConcurrentSnapSyncs", "Snapshots sent at a time; no effect on one server."),
    silent("maxConcurrentDiffSyncs", "Log tails sent at a time; no effect on one server."),
    silent("maxTimeToWaitForEpoch", "Patience of a new leader; no effect on one server."),
    silent("messageTracker.*", "Memory of quorum packets; no effect on one server."),
];

pub(super) const LATER: &[Key] = &[
    Key::new("secureClientPort", Kind::Elsewhere, "TCP port for TLS clients.").unit("TCP port"),
    Key::new("secureClientPortAddress", Kind::Elsewhere, "Address the TLS port binds."),
    later_flag("client.portUnification", Feature::Tls, "TLS and plain clients on clientPort."),
    later("ssl.*", Feature::Tls, "Key stores and protocol of client TLS.").secret(),
    later("ssl.quorum.*", Feature::Tls, "Key stores and protocol of peer TLS.").secret(),
    later_flag("sslQuorum", Feature::Tls, "TLS between peers."),
    later_flag("portUnification", Feature::Tls, "TLS and plain peers on one port."),
    later_flag("sslQuorumReloadCertFiles", Feature::Tls, "Reloading of peer certificates."),
    later_flag("client.certReload", Feature::Tls, "Reloading of client certificates."),
    later("X509AuthenticationProvider.*", Feature::Tls, "The super user's certificate."),
    later_flag(
        "admin.forceHttps",
        Feature::Tls,
        "HTTPS only on the admin server, which is therefore not started.",
    ),
    later_flag("admin.portUnification", Feature::Tls, "HTTP and HTTPS on the admin server."),
    later_flag(
        "admin.needClientAuth",
        Feature::Tls,
        "Client certificates on the admin server, which is therefore not started.",
    ),
    Key::new(
        "authProvider.*",
        Kind::Elsewhere,
        "Class of an authentication scheme; Java's own ones are known by name.",
    ),
    Key::new("sessionRequireClientSASLAuth", Kind::Elsewhere, "Clients must log in by SASL."),
    Key::new("enforce.auth.enabled", Kind::Elsewhere, "Clients must authenticate."),
    Key::new("enforce.auth.schemes", Kind::Elsewhere, "Schemes that count, with commas."),
    later_flag("allowSaslFailedClients", Feature::Sasl, "Clients whose login failed may stay."),
    later("superUser", Feature::Sasl, "SASL id of the super user."),
    later("superUser.*", Feature::Sasl, "Further super users."),
    later("SASLAuthenticationProvider.*", Feature::Sasl, "Password of the super user.").secret(),
    later("letAnySaslUserDoX", Feature::Sasl, "An ACL id that stands for every SASL user."),
    later("kerberos.*", Feature::Sasl, "How Kerberos names are shortened."),
    later("sasl.*", Feature::Sasl, "Section of the JAAS file."),
    later("java.security.auth.login.config", Feature::Sasl, "The JAAS file."),
    later_flag("quorum.auth.enableSasl", Feature::Sasl, "SASL between peers."),
    later_flag("quorum.auth.serverRequireSasl", Feature::Sasl, "Peers must log in."),
    later_flag("quorum.auth.learnerRequireSasl", Feature::Sasl, "Learners must log in."),
    silent("quorum.auth.*", "Names for SASL between peers; nothing without enableSasl."),
    silent(
        "IPAuthenticationProvider.*",
        "Client addresses from HTTP headers, on the admin server.",
    ),
    later_flag("audit.enable", Feature::Audit, "One line for each write."),
    silent("audit.impl.class", "Where audit lines go; nothing without audit.enable."),
    later_flag("pathStats.enabled", Feature::PathStats, "The busiest paths."),
    silent("pathStats.*", "Tuning of path statistics; nothing without pathStats.enabled."),
];

pub(super) const IGNORED: &[Key] = &[
    jvm("traceFile"),
    jvm("adminPort"),
    jvm("jaasLoginRenew"),
    jvm("serverCnxnSocket"),
    jvm("serverCnxnFactory"),
    jvm("jvm.pause.*"),
    jvm("nio.*"),
    jvm("netty.*"),
    jvm("commitProcessor.*"),
    jvm("watchManagerName"),
    jvm("watcherClean*"),
    jvm("bitHashCacheSize"),
    jvm("intBufferStartingSizeBytes"),
    jvm("advancedFlowControlEnabled"),
    jvm("outstandingHandshake.limit"),
    jvm("request_throttler.shutdownTimeout"),
    jvm("maxWriteQueuePollTime"),
    jvm("maxResponseCacheSize"),
    jvm("maxGetChildrenResponseCacheSize"),
    jvm("quorum.cnxn.threads.size"),
    jvm("sslProvider"),
    jvm("fips-mode"),
    jvm("admin.httpVersion"),
    jvm("metricsProvider.*"),
    jvm("jmx.*"),
    jvm("log.*"),
    jvm("log4j.*"),
    jvm("logback.*"),
    jvm("root.logger"),
    jvm("console.threshold"),
    jvm("java.*"),
    jvm("javax.*"),
    jvm("jdk.*"),
    jvm("sun.*"),
    jvm("com.sun.*"),
];

const fn later(name: &'static str, feature: Feature, doc: &'static str) -> Key {
    Key::new(name, Kind::Later { feature, off: &[] }, doc)
}

const fn later_flag(name: &'static str, feature: Feature, doc: &'static str) -> Key {
    Key::new(name, Kind::Later { feature, off: &["false"] }, doc)
}

const fn jvm(name: &'static str) -> Key {
    Key::new(name, Kind::Jvm, "Tunes the Java server only; accepted and ignored.")
}

const fn silent(name: &'static str, doc: &'static str) -> Key {
    Key::new(name, Kind::Silent, doc)
}
