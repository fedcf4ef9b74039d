//! The rows of the table of keys, in the groups in which they are shown, and the constructors of
//! rows.
//!
//! Thread: any; constant. Invariants: a row's default is what `Config::defaults` has (a test
//! compares them). Aliases are names that ZooKeeper's documentation gives to the same setting.
//! Not here: how a row is used (`keys.rs`); rows without effect on one server (`absent.rs`).

use std::path::PathBuf;

use super::keys::{Key, Kind};
use super::{Compression, Config, DigestAlg, Exporter, FourLetterWords, absent};

pub(super) const MAX: i64 = i32::MAX as i64;
pub(super) const MIN: i64 = i32::MIN as i64;

pub(super) const fn int(
    name: &'static str,
    min: i64,
    set: fn(&mut Config, i64),
    doc: &'static str,
) -> Key {
    Key::new(name, Kind::Int { min, max: MAX, set }, doc)
}

pub(super) const fn number(
    name: &'static str,
    min: i64,
    set: fn(&mut Config, i64),
    doc: &'static str,
) -> Key {
    Key::new(name, Kind::Number { min, max: MAX, set }, doc)
}

pub(super) const fn ms(
    name: &'static str,
    min: i64,
    set: fn(&mut Config, i64),
    doc: &'static str,
) -> Key {
    Key::new(name, Kind::Number { min, max: i64::MAX / 4, set }, doc).unit("milliseconds")
}

pub(super) const fn flag(name: &'static str, set: fn(&mut Config, bool), doc: &'static str) -> Key {
    Key::new(name, Kind::Flag { set }, doc)
}

pub(super) const fn yes_no(
    name: &'static str,
    set: fn(&mut Config, bool),
    doc: &'static str,
) -> Key {
    Key::new(name, Kind::YesNo { set }, doc)
}

pub(super) type SetText = fn(&mut Config, &str) -> Result<(), String>;

pub(super) const fn text(name: &'static str, set: SetText, doc: &'static str) -> Key {
    Key::new(name, Kind::Text { set }, doc)
}

const fn ratio(name: &'static str, set: fn(&mut Config, f64), doc: &'static str) -> Key {
    Key::new(name, Kind::Real { min: 0.0, max: 1.0, set }, doc)
}

/// A count whose zero or negative values mean "none".
pub(super) fn count(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

fn bytes(value: i64) -> u64 {
    value.max(0).cast_unsigned()
}

fn kilobytes(value: i64) -> u64 {
    bytes(value).saturating_mul(1024)
}

fn length(value: i64) -> usize {
    usize::try_from(value.max(0)).unwrap_or(usize::MAX)
}

fn port(value: i64) -> u16 {
    u16::try_from(value).unwrap_or(0)
}

fn path(value: &str) -> Result<PathBuf, String> {
    if value.is_empty() { Err("the path is empty".to_owned()) } else { Ok(PathBuf::from(value)) }
}

/// The last part of a Java class name.
pub(super) fn class(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// All keys by subject.
pub(super) const GROUPS: &[(&str, &[Key])] = &[
    ("Files and the client port", BASIC),
    ("Sessions and connections", CLIENTS),
    ("Log and snapshots", STORAGE),
    ("Requests and their limits", REQUESTS),
    ("Data and permissions", DATA),
    ("Administration", ADMIN),
    ("Ensembles", absent::QUORUM),
    ("Later: TLS, SASL, audit, path statistics", absent::LATER),
    ("Accepted for the sake of old files, ignored", absent::IGNORED),
];

const BASIC: &[Key] = &[
    text(
        "dataDir",
        |c, v| {
            c.data_dir = path(v)?;
            Ok(())
        },
        "Directory of the snapshots (below version-2) and of myid. Required in a file; without a \
         file it is ./data.",
    ),
    text(
        "dataLogDir",
        |c, v| {
            c.data_log_dir = path(v)?;
            Ok(())
        },
        "Directory of the txn log; the same as dataDir if not set.",
    ),
    flag(
        "datadir.autocreate",
        |c, v| c.data_dir_autocreate = v,
        "Whether missing directories are made.",
    )
    .default("true"),
    Key::new(
        "clientPort",
        Kind::Elsewhere,
        "TCP port for clients. Without it (or a port behind `;` in the own server line) no plain \
         port is opened.",
    )
    .unit("TCP port"),
    Key::new(
        "clientPortAddress",
        Kind::Elsewhere,
        "Address or name the client port binds; 0.0.0.0 if not set.",
    ),
    int(
        "clientPortListenBacklog",
        -1,
        |c, v| c.client_port_listen_backlog = i32::try_from(v).unwrap_or(-1),
        "Length of the accept queue; -1 is 50.",
    )
    .default("-1")
    .unit("connections"),
    int(
        "tickTime",
        1,
        |c, v| c.tick_ms = v,
        "The basic unit of time; sessions expire on its grid.",
    )
    .default("3000")
    .unit("milliseconds"),
];

const CLIENTS: &[Key] = &[
    int(
        "minSessionTimeout",
        -1,
        |c, v| c.min_session_timeout_ms = v,
        "Shortest session timeout a client can get; -1 is 2 ticks.",
    )
    .default("-1")
    .unit("milliseconds"),
    int(
        "maxSessionTimeout",
        -1,
        |c, v| c.max_session_timeout_ms = v,
        "Longest session timeout a client can get; -1 is 20 ticks.",
    )
    .default("-1")
    .unit("milliseconds"),
    int(
        "maxClientCnxns",
        MIN,
        |c, v| c.max_client_cnxns = count(v),
        "Connections from one address; 0 or less is no limit.",
    )
    .default("60")
    .unit("connections"),
    number(
        "maxCnxns",
        MIN,
        |c, v| c.max_cnxns = count(v),
        "Connections of the whole server; 0 is no limit.",
    )
    .default("0")
    .unit("connections"),
    flag("clientTcpKeepAlive", |c, v| c.client_tcp_keep_alive = v, "Keepalive on client sockets.")
        .default("false"),
    ms(
        "nio.sessionlessCnxnTimeout",
        1,
        |c, v| c.sessionless_timeout_ms = v,
        "A connection that asks for no session is closed after so long.",
    )
    .default("10000"),
    number(
        "connection_throttle_tokens",
        MIN,
        |c, v| c.connection_throttle.tokens = count(v),
        "Size of the token bucket for new connections; 0 is no throttle.",
    )
    .default("0")
    .unit("tokens")
    .alias(&["connectionMaxTokens"]),
    ms(
        "connection_throttle_fill_time",
        1,
        |c, v| c.connection_throttle.fill_ms = v,
        "Time between two fills of the bucket.",
    )
    .default("1")
    .alias(&["connectionTokenFillTime"]),
    number(
        "connection_throttle_fill_count",
        0,
        |c, v| c.connection_throttle.fill_count = count(v),
        "Tokens of one fill.",
    )
    .default("1")
    .unit("tokens")
    .alias(&["connectionTokenFillCount"]),
    ms(
        "connection_throttle_freeze_time",
        -1,
        |c, v| c.connection_throttle.freeze_ms = v,
        "Time between two changes of the drop probability; -1 drops none at random.",
    )
    .default("-1")
    .alias(&["connectionFreezeTime"]),
    ratio(
        "connection_throttle_drop_increase",
        |c, v| c.connection_throttle.drop_increase = v,
        "Rise of the drop probability when the bucket is empty.",
    )
    .default("0.02")
    .alias(&["connectionDropIncrease"]),
    ratio(
        "connection_throttle_drop_decrease",
        |c, v| c.connection_throttle.drop_decrease = v,
        "Fall of the drop probability when the bucket is full enough.",
    )
    .default("0.002")
    .alias(&["connectionDropDecrease"]),
    ratio(
        "connection_throttle_decrease_ratio",
        |c, v| c.connection_throttle.decrease_ratio = v,
        "Fill level of the bucket above which the drop probability falls.",
    )
    .default("0")
    .alias(&["connectionDecreaseRatio"]),
    flag(
        "connection_throttle_weight_enabled",
        |c, v| c.connection_throttle.weighted = v,
        "Whether kinds of session cost different numbers of tokens.",
    )
    .default("false")
    .alias(&["connection_throttle_session_weight_enabled"]),
    number(
        "connection_throttle_global_session_weight",
        1,
        |c, v| c.connection_throttle.global_session_weight = count(v),
        "Tokens of a new session.",
    )
    .default("3")
    .unit("tokens"),
    number(
        "connection_throttle_local_session_weight",
        1,
        |c, v| c.connection_throttle.local_session_weight = count(v),
        "Tokens of a new local session.",
    )
    .default("1")
    .unit("tokens"),
    number(
        "connection_throttle_renew_session_weight",
        1,
        |c, v| c.connection_throttle.renew_session_weight = count(v),
        "Tokens of a client that comes back to its session.",
    )
    .default("2")
    .unit("tokens"),
];

const STORAGE: &[Key] = &[
    Key::new(
        "snapCount",
        Kind::Lenient { min: 2, max: MAX, set: |c, v| c.snap_count = count(v) },
        "A snapshot is written after so many txns, at a random point in the second half.",
    )
    .default("100000")
    .unit("txns"),
    Key::new(
        "snapSizeLimitInKb",
        Kind::Number {
            min: i64::MIN,
            max: i64::MAX,
            set: |c, v| c.snap_size_limit_bytes = kilobytes(v),
        },
        "A snapshot is written after so much log; 0 or less is never.",
    )
    .default("4194304")
    .unit("KB"),
    Key::new(
        "txnLogSizeLimitInKb",
        Kind::Number {
            min: i64::MIN,
            max: i64::MAX,
            set: |c, v| c.txn_log_size_limit_bytes = kilobytes(v),
        },
        "A log file ends at this size; 0 or less is no limit.",
    )
    .default("-1")
    .unit("KB"),
    Key::new(
        "preAllocSize",
        Kind::Lenient { min: 0, max: MAX, set: |c, v| c.pre_alloc_bytes = kilobytes(v) },
        "Size to which a log file is prepared before it is used.",
    )
    .default("65536")
    .unit("KB"),
    yes_no(
        "forceSync",
        |c, v| c.force_sync = v,
        "Whether a write waits for the disk. `no` loses acknowledged writes when the machine \
         crashes.",
    )
    .default("yes"),
    ms(
        "fsync.warningthresholdms",
        0,
        |c, v| c.fsync_warning_threshold_ms = v,
        "A sync of the log that takes longer is logged.",
    )
    .default("1000"),
    flag(
        "snapshot.trust.empty",
        |c, v| c.snapshot_trust_empty = v,
        "Whether a log without any snapshot is believed; for upgrades from 3.4.",
    )
    .default("false"),
    text(
        "snapshot.compression.method",
        |c, v| {
            // COMPAT: anything else means none (Java: SnapStream.StreamMode.fromString).
            c.snapshot_compression = match v {
                "gz" => Compression::Gz,
                "snappy" => Compression::Snappy,
                _ => Compression::None,
            };
            Ok(())
        },
        "gz or snappy; anything else writes plain snapshots.",
    ),
    flag(
        "digest.enabled",
        |c, v| c.digest_enabled = v,
        "Whether txns and snapshots carry a digest of the tree.",
    )
    .default("true"),
    flag(
        "serializeLastProcessedZxid.enabled",
        |c, v| c.serialize_last_processed_zxid = v,
        "Whether a snapshot ends with the last processed zxid (3.9); 3.8 and older need false.",
    )
    .default("true"),
    flag(
        "closeSessionTxn.enabled",
        |c, v| c.close_session_txn = v,
        "Whether a closeSession txn lists the nodes it deletes; 3.5 and older need false.",
    )
    .default("true"),
    int(
        "autopurge.snapRetainCount",
        MIN,
        |c, v| c.autopurge.retain = count(v),
        "Snapshots that autopurge keeps, with the logs they need; less than 3 is 3.",
    )
    .default("3")
    .unit("snapshots"),
    int(
        "autopurge.purgeInterval",
        MIN,
        |c, v| c.autopurge.interval_hours = count(v),
        "Time between two runs of autopurge, the first one at the start; 0 or less is off.",
    )
    .default("0")
    .unit("hours"),
    ms(
        "flushDelay",
        0,
        |c, v| c.flush_delay_ms = v,
        "Group commit: how long a write may wait for others.",
    )
    .default("0"),
    number(
        "maxBatchSize",
        0,
        |c, v| c.max_batch_size = count(v),
        "Group commit: with flushDelay, the largest batch.",
    )
    .default("1000")
    .unit("requests"),
];

const REQUESTS: &[Key] = &[
    number(
        "jute.maxbuffer",
        1,
        |c, v| c.jute_maxbuffer_bytes = length(v),
        "Longest packet from a client. In Java a JVM property only; here the file may have it.",
    )
    .default("1048575")
    .unit("bytes"),
    number(
        "jute.maxbuffer.extrasize",
        MIN,
        |c, v| c.jute_extrasize_bytes = length(v),
        "What a record read back from disk or a peer may have on top; jute.maxbuffer if not set, \
         at least 1024.",
    )
    .unit("bytes"),
    number(
        "globalOutstandingLimit",
        1,
        |c, v| c.global_outstanding_limit = count(v),
        "Requests in the server above which connections that have one are not read.",
    )
    .default("1000")
    .unit("requests"),
    number(
        "largeRequestThreshold",
        MIN,
        |c, v| c.large_request_threshold_bytes = bytes(v),
        "A request above this size counts as large; -1 is off.",
    )
    .default("-1")
    .unit("bytes"),
    number(
        "largeRequestMaxBytes",
        1,
        |c, v| c.large_request_max_bytes = bytes(v),
        "Bytes of large requests in the server above which a connection is closed.",
    )
    .default("104857600")
    .unit("bytes"),
    number(
        "request_throttle_max_requests",
        MIN,
        |c, v| c.request_throttle.max_requests = count(v),
        "Requests in the pipeline above which others wait; 0 is no limit.",
    )
    .default("0")
    .unit("requests")
    .alias(&["requestThrottleLimit"]),
    ms(
        "request_throttle_stall_time",
        1,
        |c, v| c.request_throttle.stall_ms = v,
        "A request that waits is looked at again after so long.",
    )
    .default("100")
    .alias(&["requestThrottleStallTime"]),
    flag(
        "request_throttle_drop_stale",
        |c, v| c.request_throttle.drop_stale = v,
        "With a limit: whether stale requests are dropped.",
    )
    .default("true")
    .alias(&["requestThrottleDropStale"]),
    flag(
        "request_stale_connection_check",
        |c, v| c.request_throttle.stale_connection_check = v,
        "A request of a closed connection is stale.",
    )
    .default("true")
    .alias(&["requestStaleConnectionCheck"]),
    flag(
        "request_stale_latency_check",
        |c, v| c.request_throttle.stale_latency_check = v,
        "A request older than its session's timeout is stale.",
    )
    .default("false")
    .alias(&["requestStaleLatencyCheck"]),
    ms(
        "throttled_op_wait_time",
        0,
        |c, v| c.request_throttle.op_wait_ms = v,
        "A request that waited longer is answered with an error; 0 is never.",
    )
    .default("0")
    .alias(&["throttledOpWaitTime"]),
];

const DATA: &[Key] = &[
    flag("extendedTypesEnabled", |c, v| c.extended_types = v, "Whether TTL nodes may be created.")
        .default("false"),
    flag(
        "emulate353TTLNodes",
        |c, v| c.emulate_353_ttl_nodes = v,
        "Whether TTL nodes as 3.5.3 wrote them are known.",
    )
    .default("false"),
    ms(
        "znode.container.checkIntervalMs",
        1,
        |c, v| c.containers.check_interval_ms = v,
        "Time between two scans for containers and TTL nodes to remove.",
    )
    .default("60000"),
    number(
        "znode.container.maxPerMinute",
        1,
        |c, v| c.containers.max_per_minute = count(v),
        "Containers and TTL nodes removed in a minute.",
    )
    .default("10000")
    .unit("nodes"),
    ms(
        "znode.container.maxNeverUsedIntervalMs",
        0,
        |c, v| c.containers.max_never_used_ms = v,
        "A container that never had a child goes after so long; 0 is never.",
    )
    .default("0"),
    flag("enforceQuota", |c, v| c.enforce_quota = v, "Whether hard quotas refuse writes.")
        .default("false"),
    yes_no("skipACL", |c, v| c.skip_acl = v, "`yes`: everybody may do everything.").default("no"),
    flag(
        "enableEagerACLCheck",
        |c, v| c.enable_eager_acl_check = v,
        "Whether a learner checks ACLs before it forwards a write.",
    )
    .default("false"),
    flag(
        "DigestAuthenticationProvider.enabled",
        |c, v| c.digest_auth.enabled = v,
        "Whether the digest scheme exists.",
    )
    .default("true"),
    text(
        "DigestAuthenticationProvider.digestAlg",
        |c, v| {
            c.digest_auth.alg = DigestAlg::parse(v).ok_or_else(|| {
                "no such algorithm (MD5, SHA1, SHA-224, SHA-256, SHA-384 or SHA-512)".to_owned()
            })?;
            Ok(())
        },
        "Hash of user:password in digest ids and superDigest.",
    )
    .default("SHA1"),
    text(
        "DigestAuthenticationProvider.superDigest",
        |c, v| {
            c.digest_auth.super_digest = (!v.is_empty()).then(|| v.to_owned());
            Ok(())
        },
        "user:base64(hash of user:password) of the super user.",
    )
    .secret(),
    text(
        "ensembleAuthName",
        |c, v| {
            c.ensemble_auth_name = (!v.is_empty()).then(|| v.to_owned());
            Ok(())
        },
        "Names, with commas, of which a client of the `ensemble` scheme must give one.",
    ),
    flag("reconfigEnabled", |c, v| c.reconfig_enabled = v, "Whether reconfig requests are served.")
        .default("false"),
    flag(
        "readonlymode.enabled",
        |c, v| c.readonly_mode = v,
        "Whether readers are served without a quorum. In Java a JVM property only.",
    )
    .default("false"),
];

const ADMIN: &[Key] = &[
    text(
        "4lw.commands.whitelist",
        |c, v| {
            c.four_letter_words = FourLetterWords::parse(v);
            Ok(())
        },
        "Four-letter words that are answered, with commas, or *; srvr always is.",
    ),
    flag("admin.enableServer", |c, v| c.admin.enabled = v, "Whether the admin server is started.")
        .default("true"),
    Key::new(
        "admin.serverPort",
        Kind::Number { min: 0, max: 65_535, set: |c, v| c.admin.port = port(v) },
        "Port of the admin server.",
    )
    .default("8080")
    .unit("TCP port"),
    text(
        "admin.serverAddress",
        |c, v| {
            v.clone_into(&mut c.admin.host);
            Ok(())
        },
        "Address or name the admin server binds.",
    )
    .default("0.0.0.0"),
    text(
        "admin.commandURL",
        |c, v| {
            if !v.starts_with('/') {
                return Err("the path must start with /".to_owned());
            }
            v.clone_into(&mut c.admin.command_url);
            Ok(())
        },
        "Path below which the admin server's commands lie.",
    )
    .default("/commands"),
    ms(
        "admin.idleTimeout",
        1,
        |c, v| c.admin.idle_timeout_ms = v,
        "An idle connection to the admin server is closed after so long.",
    )
    .default("30000"),
    flag("admin.snapshot.enabled", |c, v| c.admin.snapshot_enabled = v, "The snapshot command.")
        .default("true"),
    flag("admin.restore.enabled", |c, v| c.admin.restore_enabled = v, "The restore command.")
        .default("true"),
    ms(
        "admin.rateLimiterIntervalInMS",
        0,
        |c, v| c.admin.rate_limiter_interval_ms = v,
        "Least time between two snapshots, or two restores, over the admin server.",
    )
    .default("300000"),
    text(
        "metricsProvider.className",
        |c, v| {
            c.metrics.exporter = match class(v) {
                "DefaultMetricsProvider" => Exporter::BuiltIn,
                "PrometheusMetricsProvider" => Exporter::Prometheus,
                "NullMetricsProvider" => Exporter::Null,
                _ => {
                    return Err("metrics provider class was not found (known: \
                                PrometheusMetricsProvider, DefaultMetricsProvider, \
                                NullMetricsProvider)"
                        .to_owned());
                }
            };
            Ok(())
        },
        "PrometheusMetricsProvider opens an HTTP port with /metrics.",
    ),
    Key::new(
        "metricsProvider.httpPort",
        Kind::Int { min: 0, max: 65_535, set: |c, v| c.metrics.port = port(v) },
        "Port of the Prometheus exporter.",
    )
    .default("7000")
    .unit("TCP port"),
    text(
        "metricsProvider.httpHost",
        |c, v| {
            v.clone_into(&mut c.metrics.host);
            Ok(())
        },
        "Address or name the Prometheus exporter binds.",
    )
    .default("0.0.0.0"),
    flag(
        "metricsProvider.exportJvmInfo",
        |c, v| c.metrics.export_jvm_info = v,
        "Accepted; there is no JVM to report on.",
    )
    .default("true"),
];
