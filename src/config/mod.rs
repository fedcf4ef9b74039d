//! What the operator asked for: one [`Config`], checked once, then immutable.
//!
//! Thread: made by the starting thread, shared by reference afterwards. Invariants: every value is
//! in the range its user needs, timeouts are resolved (no `-1` for "default" is left), and nothing
//! that a key forbids is switched on silently: what cannot be honoured is a [`Notice`] or an error.
//! Not here: the syntax of the file (`properties.rs`), the table of keys (`keys.rs`, `table.rs`,
//! `absent.rs`), sources (`load.rs`), checks (`members.rs`, `features.rs`), member lines
//! (`dynamic.rs`).

mod absent;
pub mod dynamic;
mod features;
mod keys;
mod load;
mod members;
pub mod properties;
mod table;
#[cfg(test)]
mod tests;

pub use keys::{describe, known_keys};
pub use load::{Source, load, load_source, sets_of_jvm_flags};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::types::Millis;
use dynamic::{Members, Role, Sid};

/// Every setting of one server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Snapshots; the files lie in its `version-2`.
    pub data_dir: PathBuf,
    /// Txn logs; the same as `data_dir` unless set.
    pub data_log_dir: PathBuf,
    /// Whether missing directories are made.
    pub data_dir_autocreate: bool,
    /// The plain client port; without one the server serves no client.
    pub client_addr: Option<SocketAddr>,
    /// As written: -1 stands for the default of [`Config::listen_backlog`].
    pub client_port_listen_backlog: i32,
    /// SO_KEEPALIVE on client sockets.
    pub client_tcp_keep_alive: bool,
    /// A connection without a ConnectRequest is closed after so long.
    pub sessionless_timeout_ms: Millis,
    /// Basic unit of time, and the width of a session expiry bucket.
    pub tick_ms: Millis,
    /// Lower bound of a negotiated session timeout.
    pub min_session_timeout_ms: Millis,
    /// Upper bound of a negotiated session timeout.
    pub max_session_timeout_ms: Millis,
    /// Connections from one address, 0 for no limit.
    pub max_client_cnxns: u32,
    /// Connections in all, 0 for no limit.
    pub max_cnxns: u32,
    /// A snapshot is due after so many txns (at a random point in the second half).
    pub snap_count: u32,
    /// A snapshot is due after so many bytes of log, 0 for never.
    pub snap_size_limit_bytes: u64,
    /// A log segment ends at this size, 0 for no limit.
    pub txn_log_size_limit_bytes: u64,
    /// Size to which a log segment is prepared.
    pub pre_alloc_bytes: u64,
    /// Whether a write is acknowledged only after fsync.
    pub force_sync: bool,
    /// An fsync that takes longer is logged.
    pub fsync_warning_threshold_ms: Millis,
    /// Whether a log without any snapshot is believed (upgrades from 3.4).
    pub snapshot_trust_empty: bool,
    /// How snapshots are written.
    pub snapshot_compression: Compression,
    /// Whether txns and snapshots carry tree digests.
    pub digest_enabled: bool,
    /// Whether a snapshot ends with the last processed zxid.
    pub serialize_last_processed_zxid: bool,
    /// Whether a closeSession txn lists the paths it deletes.
    pub close_session_txn: bool,
    /// Which old files are removed, and how often.
    pub autopurge: Autopurge,
    /// Longest frame from a client.
    pub jute_maxbuffer_bytes: usize,
    /// What a record may exceed `jute_maxbuffer_bytes` by when read from disk or a peer.
    pub jute_extrasize_bytes: usize,
    /// Requests in the server above which connections with one are not read.
    pub global_outstanding_limit: u32,
    /// Requests of more bytes than `large_request_threshold_bytes` count as large; 0 for off.
    pub large_request_threshold_bytes: u64,
    /// Bytes of large requests in flight, above which a connection is closed.
    pub large_request_max_bytes: u64,
    /// Bounds on requests in the pipeline.
    pub request_throttle: RequestThrottle,
    /// Token bucket for new connections.
    pub connection_throttle: ConnectionThrottle,
    /// Group commit: how long to wait for company, 0 for not at all.
    pub flush_delay_ms: Millis,
    /// Group commit: largest batch.
    pub max_batch_size: u32,
    /// Four-letter words that are answered.
    pub four_letter_words: FourLetterWords,
    /// TTL nodes may be created.
    pub extended_types: bool,
    /// Negative owners count as TTL, as 3.5.3 wrote them.
    pub emulate_353_ttl_nodes: bool,
    /// Removal of container and TTL nodes.
    pub containers: Containers,
    /// Hard quotas refuse writes.
    pub enforce_quota: bool,
    /// ACLs are not checked.
    pub skip_acl: bool,
    /// A learner checks ACLs before it forwards a write.
    pub enable_eager_acl_check: bool,
    /// The `digest` scheme.
    pub digest_auth: DigestAuth,
    /// Names of which a client must give one, once it uses the `ensemble` scheme.
    pub ensemble_auth_name: Option<String>,
    /// The `reconfig` request is served.
    pub reconfig_enabled: bool,
    /// One server line alone means standalone.
    pub standalone_enabled: bool,
    /// Serve readers without a quorum.
    pub readonly_mode: bool,
    /// The leader opens its client port.
    pub leader_serves: bool,
    /// An observer writes log and snapshots.
    pub sync_enabled: bool,
    /// Sessions that only their server knows.
    pub local_sessions: bool,
    /// A local session becomes global with its first ephemeral.
    pub local_sessions_upgrading: bool,
    /// The HTTP admin server.
    pub admin: Admin,
    /// The metrics exporter.
    pub metrics: Metrics,
    /// What member lines say; kept, but a standalone server uses none of it.
    pub ensemble: Ensemble,
    /// The file as read, for `initial_configuration`, but with secrets masked and lines ended by
    /// LF; empty without a file.
    pub config_text: String,
    /// Keys that were set, under their names in zoo.cfg, secrets masked.
    pub effective: Vec<(String, String)>,
    /// Keys that nobody knows: `--check-config` fails for them.
    pub unknown_keys: Vec<String>,
}

impl Config {
    /// A server inside a test: any free port of the loopback address, everything else by default.
    pub fn embedded(data_dir: PathBuf) -> Self {
        let mut config = Self::defaults();
        config.data_log_dir.clone_from(&data_dir);
        config.data_dir = data_dir;
        config.client_addr = Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        config.admin.enabled = false;
        config.resolve_timeouts();
        config
    }

    /// What `listen` is called with.
    pub fn listen_backlog(&self) -> i32 {
        if self.client_port_listen_backlog < 1 { 50 } else { self.client_port_listen_backlog }
    }

    /// The table's defaults, before any source; timeouts are still -1, directories empty.
    fn defaults() -> Self {
        Self {
            data_dir: PathBuf::new(),
            data_log_dir: PathBuf::new(),
            data_dir_autocreate: true,
            client_addr: None,
            client_port_listen_backlog: -1,
            client_tcp_keep_alive: false,
            sessionless_timeout_ms: 10_000,
            tick_ms: 3_000,
            min_session_timeout_ms: -1,
            max_session_timeout_ms: -1,
            max_client_cnxns: 60,
            max_cnxns: 0,
            snap_count: 100_000,
            snap_size_limit_bytes: 4_194_304 * 1024,
            txn_log_size_limit_bytes: 0,
            pre_alloc_bytes: 65_536 * 1024,
            force_sync: true,
            fsync_warning_threshold_ms: 1_000,
            snapshot_trust_empty: false,
            snapshot_compression: Compression::None,
            digest_enabled: true,
            serialize_last_processed_zxid: true,
            close_session_txn: true,
            autopurge: Autopurge { retain: 3, interval_hours: 0 },
            jute_maxbuffer_bytes: 0xf_ffff,
            jute_extrasize_bytes: 0xf_ffff,
            global_outstanding_limit: 1_000,
            large_request_threshold_bytes: 0,
            large_request_max_bytes: 100 << 20,
            request_throttle: RequestThrottle {
                max_requests: 0,
                stall_ms: 100,
                drop_stale: true,
                stale_connection_check: true,
                stale_latency_check: false,
                op_wait_ms: 0,
            },
            connection_throttle: ConnectionThrottle {
                tokens: 0,
                fill_ms: 1,
                fill_count: 1,
                freeze_ms: -1,
                drop_increase: 0.02,
                drop_decrease: 0.002,
                decrease_ratio: 0.0,
                weighted: false,
                global_session_weight: 3,
                local_session_weight: 1,
                renew_session_weight: 2,
            },
            flush_delay_ms: 0,
            max_batch_size: 1_000,
            four_letter_words: FourLetterWords::default(),
            extended_types: false,
            emulate_353_ttl_nodes: false,
            containers: Containers {
                check_interval_ms: 60_000,
                max_per_minute: 10_000,
                max_never_used_ms: 0,
            },
            enforce_quota: false,
            skip_acl: false,
            enable_eager_acl_check: false,
            digest_auth: DigestAuth { enabled: true, alg: DigestAlg::Sha1, super_digest: None },
            ensemble_auth_name: None,
            reconfig_enabled: false,
            standalone_enabled: true,
            readonly_mode: false,
            leader_serves: true,
            sync_enabled: true,
            local_sessions: false,
            local_sessions_upgrading: false,
            admin: Admin {
                enabled: true,
                host: "0.0.0.0".to_owned(),
                port: 8080,
                command_url: "/commands".to_owned(),
                idle_timeout_ms: 30_000,
                snapshot_enabled: true,
                restore_enabled: true,
                rate_limiter_interval_ms: 300_000,
            },
            metrics: Metrics {
                exporter: Exporter::BuiltIn,
                host: "0.0.0.0".to_owned(),
                port: 7000,
                export_jvm_info: true,
            },
            ensemble: Ensemble {
                members: Members::default(),
                my_id: None,
                my_role: None,
                init_limit_ticks: None,
                sync_limit_ticks: None,
                connect_to_learner_master_limit_ticks: 0,
                cnx_timeout_ms: 5_000,
                listen_on_all_ips: false,
                multi_address: false,
                observer_master_port: None,
                election_port_bind_retry: 3,
            },
            config_text: String::new(),
            effective: Vec::new(),
            unknown_keys: Vec::new(),
        }
    }

    /// Session bounds that nobody set are 2 and 20 ticks, as far as the protocol's int reaches.
    fn resolve_timeouts(&mut self) {
        let ticks = |count: i64| (count * self.tick_ms).min(i64::from(i32::MAX));
        let (least, most) = (ticks(2), ticks(20));
        if self.min_session_timeout_ms == -1 {
            self.min_session_timeout_ms = least;
        }
        if self.max_session_timeout_ms == -1 {
            self.max_session_timeout_ms = most;
        }
    }
}

/// `autopurge.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autopurge {
    /// Snapshots kept, at least 3.
    pub retain: u32,
    /// Hours between two runs, 0 for never.
    pub interval_hours: u32,
}

/// How snapshot files are compressed. ZooKeeper: `SnapStream.StreamMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Plain.
    None,
    /// `.gz` at the end of the name.
    Gz,
    /// `.snappy` at the end of the name.
    Snappy,
}

/// `request_throttle_*` and their relatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestThrottle {
    /// Requests in the pipeline, 0 for no limit.
    pub max_requests: u32,
    /// A request that waits is looked at again after so long.
    pub stall_ms: Millis,
    /// Whether stale requests are dropped.
    pub drop_stale: bool,
    /// A request of a closed connection is stale.
    pub stale_connection_check: bool,
    /// A request older than its session's timeout is stale.
    pub stale_latency_check: bool,
    /// A request that waited longer is answered with an error, 0 for never.
    pub op_wait_ms: Millis,
}

/// `connection_throttle_*`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionThrottle {
    /// Size of the bucket, 0 for no throttle.
    pub tokens: u32,
    /// Time between two fills.
    pub fill_ms: Millis,
    /// Tokens of one fill.
    pub fill_count: u32,
    /// Time between two changes of the drop probability, -1 for no random drops.
    pub freeze_ms: Millis,
    /// Rise of the drop probability.
    pub drop_increase: f64,
    /// Fall of the drop probability.
    pub drop_decrease: f64,
    /// Fill level above which it falls.
    pub decrease_ratio: f64,
    /// Whether kinds of session cost different numbers of tokens.
    pub weighted: bool,
    /// Tokens of a new session.
    pub global_session_weight: u32,
    /// Tokens of a new local session.
    pub local_session_weight: u32,
    /// Tokens of a re-attach.
    pub renew_session_weight: u32,
}

/// `znode.container.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containers {
    /// Time between two scans.
    pub check_interval_ms: Millis,
    /// Removals a minute.
    pub max_per_minute: u32,
    /// A container that never had a child goes after so long, 0 for never.
    pub max_never_used_ms: Millis,
}

/// `DigestAuthenticationProvider.*`.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestAuth {
    /// Whether the scheme exists.
    pub enabled: bool,
    /// Hash of `user:password`.
    pub alg: DigestAlg,
    /// `user:base64` of the super user.
    pub super_digest: Option<String>,
}

/// Keeps the super user's hash out of logs.
impl fmt::Debug for DigestAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestAuth")
            .field("enabled", &self.enabled)
            .field("alg", &self.alg)
            .field("super_digest", &self.super_digest.as_ref().map(|_| "***"))
            .finish()
    }
}

/// The hash behind digest ids and `superDigest` (`digestAlg`), by Java's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestAlg {
    /// `MD5`, 128 bits.
    Md5,
    /// `SHA1` (also `SHA`, `SHA-1`): what every client computes by default.
    #[default]
    Sha1,
    /// `SHA-224`.
    Sha224,
    /// `SHA-256`.
    Sha256,
    /// `SHA-384`.
    Sha384,
    /// `SHA-512`.
    Sha512,
    /// `SHA-512/224`: cut to 224 bits, with its own start.
    Sha512Of224,
    /// `SHA-512/256`: cut to 256 bits, with its own start.
    Sha512Of256,
}

impl DigestAlg {
    fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MD5" => Self::Md5,
            "SHA" | "SHA1" | "SHA-1" => Self::Sha1,
            "SHA-224" | "SHA224" => Self::Sha224,
            "SHA-256" | "SHA256" => Self::Sha256,
            "SHA-384" | "SHA384" => Self::Sha384,
            "SHA-512" | "SHA512" => Self::Sha512,
            "SHA-512/224" | "SHA512/224" => Self::Sha512Of224,
            "SHA-512/256" | "SHA512/256" => Self::Sha512Of256,
            _ => return None,
        })
    }
}

/// `4lw.commands.whitelist`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FourLetterWords {
    all: bool,
    words: Vec<String>,
}

impl FourLetterWords {
    /// A comma list with blanks; `*` anywhere in it lets all through.
    pub fn parse(list: &str) -> Self {
        let words = || list.split(',').map(str::trim).filter(|word| !word.is_empty());
        Self { all: words().any(|word| word == "*"), words: words().map(str::to_owned).collect() }
    }

    fn add(&mut self, word: &str) {
        self.words.push(word.to_owned());
    }

    /// Whether a word is answered.
    ///
    /// COMPAT: `srvr` always is: `zkServer.sh status` asks for it (Java: FourLetterCommands).
    pub fn allows(&self, word: &str) -> bool {
        word == "srvr" || self.all || self.words.iter().any(|known| known == word)
    }
}

/// `admin.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Whether it is started.
    pub enabled: bool,
    /// Address it binds, not resolved.
    pub host: String,
    /// Port it binds.
    pub port: u16,
    /// Path its commands lie under.
    pub command_url: String,
    /// An idle connection is closed after so long.
    pub idle_timeout_ms: Millis,
    /// `/commands/snapshot` is served.
    pub snapshot_enabled: bool,
    /// `/commands/restore` is served.
    pub restore_enabled: bool,
    /// Least time between two snapshots, or two restores.
    pub rate_limiter_interval_ms: Millis,
}

/// `metricsProvider.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Which provider.
    pub exporter: Exporter,
    /// Address the exporter binds, not resolved.
    pub host: String,
    /// Port the exporter binds.
    pub port: u16,
    /// Accepted; there is no JVM to tell about.
    pub export_jvm_info: bool,
}

/// What `metricsProvider.className` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// Metrics for `mntr` and the admin server.
    BuiltIn,
    /// The same, and an HTTP port for Prometheus.
    Prometheus,
    /// None are shown.
    Null,
}

/// The settings of an ensemble member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensemble {
    /// Member lines of the file or of its dynamic file.
    pub members: Members,
    /// From `myid`, when there are member lines and the file exists.
    pub my_id: Option<Sid>,
    /// `peerType`, when set.
    pub my_role: Option<Role>,
    /// Ticks for a learner to connect and synchronize.
    pub init_limit_ticks: Option<u32>,
    /// Ticks a learner may lag or be silent.
    pub sync_limit_ticks: Option<u32>,
    /// Ticks to connect to the leader, 0 for `init_limit_ticks`.
    pub connect_to_learner_master_limit_ticks: u32,
    /// Connect timeout of election links.
    pub cnx_timeout_ms: Millis,
    /// Quorum and election ports bind the wildcard address.
    pub listen_on_all_ips: bool,
    /// Several addresses for one server are allowed.
    pub multi_address: bool,
    /// Followers serve observers here.
    pub observer_master_port: Option<u16>,
    /// Tries to bind the election port, 0 for ever.
    pub election_port_bind_retry: u32,
}

/// How loud a [`Notice`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Worth a line.
    Info,
    /// Probably not what was meant.
    Warn,
    /// Something asked for is missing from the running server.
    Error,
}

/// A line about the config, to be logged once logging is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How loud.
    pub level: Level,
    /// The line.
    pub text: String,
}

/// Why a server does not start; its text is the one line to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// File, line, key, reason: whatever of them is known.
    pub text: String,
    /// What Java's server exits with: 2, or 1 for a `myid` that no server line has.
    pub exit_code: u8,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConfigError {}
