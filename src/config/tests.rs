//! Whole files and command lines: what comes out, what is said, what is refused.
//!
//! A file named in a message is shown as `zoo.cfg`, its directory as `DIR`.

use super::*;
use proptest::prelude::*;
use std::path::Path;

type Loaded = Result<(Config, Vec<Notice>), ConfigError>;

/// Loads a file of this text in a directory of its own, which has the other files too.
fn load_with(text: &[u8], sets: &[(&str, &str)], others: &[(&str, &str)]) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    let here = |text: &str| text.replace("DIR", &dir.path().display().to_string());
    let there = |text: &str| {
        text.replace(&format!("{}/zoo.cfg", dir.path().display()), "zoo.cfg")
            .replace(&dir.path().display().to_string(), "DIR")
    };
    let file = dir.path().join("zoo.cfg");
    let text = std::str::from_utf8(text).map_or(text.to_vec(), |text| here(text).into_bytes());
    std::fs::write(&file, text).unwrap();
    for (name, content) in others {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    match load(Some(&file), &owned(sets)) {
        Ok((config, mut notices)) => {
            notices.iter_mut().for_each(|notice| notice.text = there(&notice.text));
            Ok((config, notices))
        }
        Err(e) => Err(ConfigError { text: there(&e.text), ..e }),
    }
}

fn load_text(text: &str) -> Loaded {
    load_with(text.as_bytes(), &[], &[])
}

/// A file that would start, but for the lines in `text`, which come first.
fn refused(text: &str) -> String {
    let error = load_text(&format!("{text}\ndataDir=/d\nclientPort=2181\n")).unwrap_err();
    assert_eq!(error.exit_code, 2, "{error}");
    error.text
}

/// The notices of such a file, one a line.
fn said(text: &str) -> Vec<String> {
    let (_, notices) = load_text(&format!("{text}\ndataDir=/d\nclientPort=2181\n")).unwrap();
    notices.iter().map(|notice| format!("{:?} {}", notice.level, notice.text)).collect()
}

fn owned(sets: &[(&str, &str)]) -> Vec<(String, String)> {
    sets.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn at(address: &str) -> Option<SocketAddr> {
    Some(address.parse().unwrap())
}

#[test]
fn without_a_file_it_serves_port_2181_from_data() {
    let (config, notices) = load(None, &[]).unwrap();
    assert_eq!(config.client_addr, at("0.0.0.0:2181"));
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(config.data_log_dir, config.data_dir);
    assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (6_000, 60_000));
    assert_eq!(notices, []);
    let (config, _) = load(None, &owned(&[("clientPortAddress", "127.0.0.1")])).unwrap();
    assert_eq!(config.client_addr, at("127.0.0.1:2181"));
    let (config, _) = load(None, &owned(&[("clientPort", "0")])).unwrap();
    assert_eq!(config.client_addr, None);
}

#[test]
fn an_embedded_server_is_out_of_everybody_s_way() {
    let config = Config::embedded(PathBuf::from("/d"));
    assert_eq!(config.client_addr, at("127.0.0.1:0"));
    assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (6_000, 60_000));
    assert_eq!(config.data_log_dir, config.data_dir);
}

#[test]
fn positional_arguments_are_a_config_too() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let load = |line: &str| load_source(&Source::from_arguments(&words(line)).unwrap(), &[]);
    let (config, notices) = load("2182 /d").unwrap();
    assert_eq!(config.client_addr, at("0.0.0.0:2182"));
    assert_eq!((config.max_client_cnxns, config.tick_ms), (0, 3_000));
    assert_eq!(notices, []);
    let (config, _) = load("2182 /d 500 7").unwrap();
    assert_eq!((config.max_client_cnxns, config.tick_ms), (7, 500));
    let error = load("2182 /d x").unwrap_err();
    assert!(error.text.starts_with("argument 3: tickTime=x: For input string: \"x\""), "{error}");
    assert!(Source::from_arguments(&words("1 2 3 4 5")).is_err());
    let file = Source::from_arguments(&words("zoo.cfg")).unwrap();
    assert_eq!(file, Source::File(PathBuf::from("zoo.cfg")));
    let error = load("no-such.cfg").unwrap_err();
    assert_eq!(error.text, "no-such.cfg file is missing");
}

#[test]
fn a_file_wins_over_set_and_a_plain_name_over_a_prefixed_one() {
    let file = b"dataDir=/d\nclientPort=2181\nzookeeper.snapCount=7\nmaxCnxns=5\n\
        zookeeper.maxCnxns=6\nrequestThrottleLimit=4";
    let sets = [("zookeeper.snapCount", "9"), ("maxCnxns", "8"), ("zookeeper.skipACL", "yes")];
    let (config, notices) = load_with(file, &sets, &[]).unwrap();
    assert_eq!((config.snap_count, config.max_cnxns, config.skip_acl), (7, 5, true));
    assert_eq!(config.request_throttle.max_requests, 4);
    let texts: Vec<_> = notices.iter().map(|notice| notice.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "zoo.cfg:3: zookeeper.snapCount is read as snapCount",
            "zoo.cfg:5: zookeeper.maxCnxns is read as maxCnxns",
            "zoo.cfg:5: maxCnxns is given twice; maxCnxns in line 4 counts, not zookeeper.maxCnxns \
             in line 5",
            "zoo.cfg:6: requestThrottleLimit is read as request_throttle_max_requests",
            "skipACL=yes: ACLs are not checked",
        ]
    );
}

#[test]
fn jvm_flags_are_sets() {
    let sets = sets_of_jvm_flags(" -Xmx1G -Djute.maxbuffer=0x3fffff  -Dzookeeper.skipACL=yes -Da");
    let pairs = [("jute.maxbuffer", "0x3fffff"), ("zookeeper.skipACL", "yes"), ("a", "")];
    assert_eq!(sets, owned(&pairs));
    let (config, notices) = load(None, &sets).unwrap();
    assert_eq!(config.jute_maxbuffer_bytes, 0x3f_ffff);
    assert_eq!(config.jute_extrasize_bytes, 0x3f_ffff);
    assert_eq!(notices[0].text, "--set: unknown key a is ignored");
}

/// Every key of the table, in all three forms, reaches the same field.
#[test]
fn every_key_is_taken_in_file_prefixed_and_by_set() {
    for (key, value) in [
        ("dataLogDir", "/log"),
        ("datadir.autocreate", "false"),
        ("clientPortAddress", "127.0.0.1"),
        ("clientPortListenBacklog", "77"),
        ("tickTime", "1234"),
        ("minSessionTimeout", "77"),
        ("maxSessionTimeout", "77777"),
        ("maxClientCnxns", "77"),
        ("maxCnxns", "77"),
        ("clientTcpKeepAlive", "TRUE"),
        ("nio.sessionlessCnxnTimeout", "77"),
        ("connection_throttle_tokens", "77"),
        ("connection_throttle_fill_time", "77"),
        ("connection_throttle_fill_count", "77"),
        ("connection_throttle_freeze_time", "77"),
        ("connection_throttle_drop_increase", "0.5"),
        ("connection_throttle_drop_decrease", "0.5"),
        ("connection_throttle_decrease_ratio", "0.5"),
        ("connection_throttle_weight_enabled", "true"),
        ("connection_throttle_global_session_weight", "77"),
        ("connection_throttle_local_session_weight", "77"),
        ("connection_throttle_renew_session_weight", "77"),
        ("snapCount", "77"),
        ("snapSizeLimitInKb", "77"),
        ("txnLogSizeLimitInKb", "77"),
        ("preAllocSize", "77"),
        ("forceSync", "no"),
        ("fsync.warningthresholdms", "77"),
        ("snapshot.trust.empty", "true"),
        ("snapshot.compression.method", "gz"),
        ("digest.enabled", "false"),
        ("serializeLastProcessedZxid.enabled", "false"),
        ("closeSessionTxn.enabled", "false"),
        ("autopurge.snapRetainCount", "77"),
        ("autopurge.purgeInterval", "77"),
        ("flushDelay", "77"),
        ("maxBatchSize", "77"),
        ("jute.maxbuffer", "7777"),
        ("jute.maxbuffer.extrasize", "7777"),
        ("globalOutstandingLimit", "77"),
        ("largeRequestThreshold", "77"),
        ("largeRequestMaxBytes", "77"),
        ("request_throttle_max_requests", "77"),
        ("request_throttle_stall_time", "77"),
        ("request_throttle_drop_stale", "false"),
        ("request_stale_connection_check", "false"),
        ("request_stale_latency_check", "true"),
        ("throttled_op_wait_time", "77"),
        ("extendedTypesEnabled", "true"),
        ("emulate353TTLNodes", "true"),
        ("znode.container.checkIntervalMs", "77"),
        ("znode.container.maxPerMinute", "77"),
        ("znode.container.maxNeverUsedIntervalMs", "77"),
        ("enforceQuota", "true"),
        ("skipACL", "yes"),
        ("enableEagerACLCheck", "true"),
        ("DigestAuthenticationProvider.enabled", "false"),
        ("DigestAuthenticationProvider.digestAlg", "SHA-256"),
        ("DigestAuthenticationProvider.superDigest", "super:abc="),
        ("ensembleAuthName", "a,b"),
        ("reconfigEnabled", "true"),
        ("readonlymode.enabled", "true"),
        ("4lw.commands.whitelist", "ruok"),
        ("admin.enableServer", "false"),
        ("admin.serverPort", "77"),
        ("admin.serverAddress", "127.0.0.1"),
        ("admin.commandURL", "/c"),
        ("admin.idleTimeout", "77"),
        ("admin.snapshot.enabled", "false"),
        ("admin.restore.enabled", "false"),
        ("admin.rateLimiterIntervalInMS", "77"),
        (
            "metricsProvider.className",
            "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
        ),
        ("metricsProvider.httpPort", "77"),
        ("metricsProvider.httpHost", "127.0.0.1"),
        ("metricsProvider.exportJvmInfo", "false"),
        ("peerType", "observer"),
        ("initLimit", "77"),
        ("syncLimit", "77"),
        ("connectToLearnerMasterLimit", "77"),
        ("cnxTimeout", "77"),
        ("quorumListenOnAllIPs", "true"),
        ("multiAddress.enabled", "true"),
        ("electionPortBindRetry", "77"),
        ("observerMasterPort", "77"),
        ("standaloneEnabled", "true"),
        ("leaderServes", "no"),
        ("syncEnabled", "false"),
        ("localSessionsEnabled", "true"),
        ("localSessionsUpgradingEnabled", "true"),
    ] {
        // What is left once the traces of where a value came from are gone.
        let settings = |line: &str, sets: &[(&str, &str)]| {
            let text = format!("{line}\ndataDir=/d\nclientPort=2181\n");
            let (mut config, _) = load_with(text.as_bytes(), sets, &[]).unwrap();
            assert_eq!(config.unknown_keys, [""; 0]);
            config.config_text.clear();
            if !line.is_empty() || !sets.is_empty() {
                assert!(config.effective.iter().any(|(name, _)| name == key), "{key}");
            }
            config.effective.clear();
            (format!("{config:?}"), config.digest_auth.super_digest)
        };
        let plain = settings(&format!("{key}={value}"), &[]);
        assert_eq!(settings(&format!("zookeeper.{key} = {value}"), &[]), plain, "{key}");
        assert_eq!(settings("", &[(key, value)]), plain, "{key}");
        assert_eq!(settings("", &[(&format!("zookeeper.{key}"), value)]), plain, "{key}");
        if key != "standaloneEnabled" {
            assert_ne!(settings("", &[]), plain, "{key}");
        }
    }
}

#[test]
fn units_and_special_values_come_out_right() {
    let (config, _) = load_text(
        "dataDir=/d\nclientPort=2181\npreAllocSize=10\nsnapSizeLimitInKb=-1\nsnapCount=1\n\
         maxClientCnxns=-5\nautopurge.purgeInterval=-1\nautopurge.snapRetainCount=1\n\
         jute.maxbuffer=100\nlargeRequestThreshold=-1\nreadonlymode.enabled=true\n\
         4lw.commands.whitelist= srvr , mntr,,\n\
         DigestAuthenticationProvider.digestAlg=sha-512\n",
    )
    .unwrap();
    assert_eq!(config.pre_alloc_bytes, 10_240);
    assert_eq!((config.snap_size_limit_bytes, config.snap_count), (0, 2));
    assert_eq!(config.max_client_cnxns, 0);
    assert_eq!(config.autopurge, Autopurge { retain: 3, interval_hours: 0 });
    assert_eq!((config.jute_maxbuffer_bytes, config.jute_extrasize_bytes), (100, 1_024));
    assert_eq!(config.large_request_threshold_bytes, 0);
    assert_eq!(config.digest_auth.alg, DigestAlg::Sha512);
    let allowed = ["srvr", "mntr", "isro", "ruok", "*", ""];
    assert_eq!(
        allowed.map(|word| config.four_letter_words.allows(word)),
        [true, true, true, false, false, false]
    );
    assert!(FourLetterWords::parse("ruok, *").allows("wchp"));
    assert!(FourLetterWords::parse("").allows("srvr"));
    assert_eq!(config.listen_backlog(), 50);
    let (config, _) = load_text("dataDir=/d\nclientPort=1\ntickTime=2147483647").unwrap();
    assert_eq!(config.max_session_timeout_ms, i64::from(i32::MAX));
}

#[test]
fn a_wrong_value_is_refused_with_file_line_key_and_reason() {
    for (text, expected) in [
        (
            "# c\ntickTime=abc",
            "zoo.cfg:2: tickTime=abc: For input string: \"abc\" (an integer, milliseconds, at \
             least 1)",
        ),
        (
            "tickTime=2000 # comment",
            "zoo.cfg:1: tickTime=2000 # comment: For input string: \"2000 # comment\" (an \
             integer, milliseconds, at least 1)",
        ),
        (
            "tickTime=\"2000\"",
            "zoo.cfg:1: tickTime=\"2000\": For input string: \"\"2000\"\" (an integer, \
             milliseconds, at least 1)",
        ),
        (
            "tickTime=0",
            "zoo.cfg:1: tickTime=0: tickTime is not set (an integer, milliseconds, at least 1)",
        ),
        (
            "tickTime=-5",
            "zoo.cfg:1: tickTime=-5: minSessionTimeout must not be larger than \
             maxSessionTimeout (an integer, milliseconds, at least 1)",
        ),
        (
            "tickTime=0x10",
            "zoo.cfg:1: tickTime=0x10: For input string: \"0x10\" (an integer, milliseconds, at \
             least 1)",
        ),
        (
            "minSessionTimeout=9000\nmaxSessionTimeout=8000",
            "zoo.cfg:1: minSessionTimeout=9000: minSessionTimeout must not be larger than \
             maxSessionTimeout (9000 ms and 8000 ms)",
        ),
        (
            "electionAlg=1",
            "zoo.cfg:1: electionAlg=1: Invalid electionAlg value. Only 3 is supported. (an \
             integer, at least 3, at most 3)",
        ),
        ("peerType=foo", "zoo.cfg:1: peerType=foo: Unrecognised peertype: foo"),
        (
            "localSessionsEnabled=yes",
            "zoo.cfg:1: localSessionsEnabled=yes: Invalid option yes for localSessionsEnabled. \
             Choose 'true' or 'false.'",
        ),
        (
            "sslQuorum=on",
            "zoo.cfg:1: sslQuorum=on: Invalid option on for sslQuorum. Choose 'true' or 'false.'",
        ),
        ("skipACL=YES", "zoo.cfg:1: skipACL=YES: YES is neither 'yes' nor 'no'"),
        (
            "metricsProvider.className=a.B",
            "zoo.cfg:1: metricsProvider.className=a.B: metrics provider class was not found \
             (known: PrometheusMetricsProvider, DefaultMetricsProvider, NullMetricsProvider)",
        ),
        (
            "admin.serverPort=70000",
            "zoo.cfg:1: admin.serverPort=70000: port out of range:70000 (an integer, TCP port, \
             at least 0, at most 65535)",
        ),
        (
            "secureClientPortAddress=::1",
            "zoo.cfg:1: secureClientPortAddress=::1: secureClientPortAddress is set but \
             secureClientPort is not set",
        ),
        (
            "DigestAuthenticationProvider.digestAlg=ROT13",
            "zoo.cfg:1: DigestAuthenticationProvider.digestAlg=ROT13: no such algorithm (MD5, \
             SHA1, SHA-224, SHA-256, SHA-384 or SHA-512)",
        ),
        (
            "quorum.auth.serverRequireSasl=true",
            "zoo.cfg:1: quorum.auth.serverRequireSasl=true: quorum.auth.enableSasl is disabled, \
             so cannot enable quorum.auth.serverRequireSasl",
        ),
        (
            "quorum.auth.learnerRequireSasl=true",
            "zoo.cfg:1: quorum.auth.learnerRequireSasl=true: quorum.auth.enableSasl is disabled, \
             so cannot enable quorum.auth.learnerRequireSasl",
        ),
        (
            "quorum.auth.enableSasl=true\nquorum.auth.serverRequireSasl=true",
            "zoo.cfg:2: quorum.auth.serverRequireSasl=true: quorum.auth.learnerRequireSasl is \
             disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        (
            "standaloneEnabled=false",
            "zoo.cfg: standaloneEnabled = false then number of participants should be >0",
        ),
        (
            "server.1=a:1:2:observer",
            "zoo.cfg: Observers w/o participants is an invalid configuration",
        ),
        ("server.1=a:1:2\nserver.2=b:1:2", "zoo.cfg: initLimit is not set (an ensemble needs it)"),
        (
            "server.1=a:1:2\nserver.2=b:1:2\ninitLimit=5",
            "zoo.cfg: syncLimit is not set (an ensemble needs it)",
        ),
        (
            "server.3=a:3888:3888",
            "zoo.cfg:1: server.3=a:3888:3888: Client and election port must be different! Please \
             update the configuration file on server.3",
        ),
        (
            "zookeeper.server.3=a:1:x",
            "zoo.cfg:1: zookeeper.server.3=a:1:x: Address unresolved: a:x (a port is a number, at \
             most 65535)",
        ),
        (
            "maxCnxns=1\\n2",
            "zoo.cfg:1: maxCnxns=1\\n2: For input string: \"1\\n2\" (an integer, connections)",
        ),
        (
            "a=\\u12",
            "zoo.cfg:1: Malformed \\uxxxx encoding. (\\u needs four hexadecimal digits; a literal \
             \\ is \\\\)",
        ),
        (
            "dynamicConfigFile=DIR/none",
            "zoo.cfg:1: dynamicConfigFile=DIR/none: DIR/none file is missing",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
    for (text, expected) in [
        ("clientPort=2181", "zoo.cfg: dataDir is not set"),
        ("dataDir=\nclientPort=2181", "zoo.cfg:1: dataDir=: the path is empty"),
        (
            "dataDir=/d\nclientPortAddress=127.0.0.1",
            "zoo.cfg:2: clientPortAddress=127.0.0.1: clientPortAddress is set but clientPort is \
             not set",
        ),
        (
            "dataDir=/d\nclientPort=x",
            "zoo.cfg:2: clientPort=x: For input string: \"x\" (a TCP port)",
        ),
        (
            "dataDir=/d\nclientPort=65536",
            "zoo.cfg:2: clientPort=65536: port out of range:65536 (a TCP port, at most 65535)",
        ),
    ] {
        assert_eq!(load_text(text).unwrap_err().text, expected);
    }
}

#[test]
fn what_would_let_somebody_in_is_refused_and_its_absence_is_not() {
    for line in [
        "sessionRequireClientSASLAuth=true",
        "enforce.auth.enabled=TRUE",
        "zookeeper.enforce.auth.enabled=true",
        "enforce.auth.enabled=true\nenforce.auth.schemes=digest",
    ] {
        assert!(refused(line).contains("would let everybody in"), "{line}");
    }
    let off = "sessionRequireClientSASLAuth=false\nenforce.auth.enabled=false\n\
        enforce.auth.schemes=sasl\nsslQuorum=False\nclient.portUnification=false\n\
        audit.enable=false\nquorum.auth.enableSasl=false";
    assert_eq!(said(off), [""; 0]);
    let tls_alone = "dataDir=/d\nsecureClientPort=2281\nssl.clientAuth=need\n";
    let error = load_text(tls_alone).unwrap_err();
    assert_eq!(
        error.text,
        "zoo.cfg:2: secureClientPort=2281: TLS is not in this version and this is the only client \
         port: set clientPort to serve clients without TLS"
    );
    let unified = refused("client.portUnification=true\nssl.clientAuth=need");
    assert!(unified.starts_with("zoo.cfg:2: ssl.clientAuth=***: TLS is not"), "{unified}");
    assert_eq!(said("client.portUnification=true\nssl.clientAuth=none").len(), 1);
    assert_eq!(said("secureClientPort=2281\nssl.clientAuth=need").len(), 1);
    for key in ["admin.forceHttps", "admin.needClientAuth"] {
        let text = format!("dataDir=/d\nclientPort=2181\n{key}=true\n");
        assert!(!load_text(&text).unwrap().0.admin.enabled, "{key}");
    }
}

#[test]
fn a_later_feature_is_one_error_line() {
    assert_eq!(
        said(
            "secureClientPort=2281\nssl.keyStore.location=/k\nssl.keyStore.password=hush\n\
             authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
             authProvider.2=com.example.Own\n\
             authProvider.3=org.apache.zookeeper.server.auth.DigestAuthenticationProvider\n\
             audit.enable=true"
        ),
        [
            "Error zoo.cfg:5: authProvider.2=com.example.Own: a class of your own cannot be \
             loaded, the server starts without it",
            "Error TLS not in this version, the server starts without: secureClientPort \
             (zoo.cfg:1), ssl.keyStore.location (zoo.cfg:2), ssl.keyStore.password (zoo.cfg:3)",
            "Error SASL not in this version, the server starts without: authProvider.1 \
             (zoo.cfg:4)",
            "Error the audit log not in this version, the server starts without: audit.enable \
             (zoo.cfg:7)",
        ]
    );
}

#[test]
fn odd_keys_get_one_line_each() {
    for (text, expected) in [
        ("tickTimee=5", "Warn zoo.cfg:1: unknown key tickTimee is ignored; did you mean tickTime?"),
        ("colour=blue", "Warn zoo.cfg:1: unknown key colour is ignored"),
        ("x\\ny=1", "Warn zoo.cfg:1: unknown key x\\ny is ignored"),
        (
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
            "Info zoo.cfg:1: serverCnxnFactory tunes a JVM and has no meaning here",
        ),
        (
            "commitProcessor.numWorkerThreads=4",
            "Info zoo.cfg:1: commitProcessor.numWorkerThreads tunes a JVM and has no meaning here",
        ),
        (
            "preAllocSize=2048M",
            "Warn zoo.cfg:1: preAllocSize=2048M: For input string: \"2048M\" (an integer, KB, at \
             least 0); using 65536",
        ),
        (
            "snapCount=many",
            "Warn zoo.cfg:1: snapCount=many: For input string: \"many\" (an integer, txns, at \
             least 2); using 100000",
        ),
        (
            "autopurge.snapRetainCount=2",
            "Warn zoo.cfg:1: autopurge.snapRetainCount=2: at least 3 snapshots are kept",
        ),
        (
            "dataLogDir=log",
            "Warn zoo.cfg:1: dataLogDir=log is relative to the working directory; begin it with \
             ./ if that is meant",
        ),
        (
            "forceSync=no",
            "Warn forceSync=no: acknowledged writes are lost when the machine crashes",
        ),
        (
            "snapCount=5\nsnapCount=6",
            "Warn zoo.cfg:2: snapCount is given twice; snapCount in line 2 counts, not snapCount \
             in line 1",
        ),
    ] {
        assert_eq!(said(text), [expected]);
    }
    let (_, notices) = load_text("dataDir=/d\n").unwrap();
    assert!(notices[0].text.starts_with("clientPort is not set: no plain port is opened"));
}

#[test]
fn secrets_stay_out_of_everything_that_is_shown() {
    let text = "dataDir=/d\nclientPort=2181\nssl.keyStore.password=hush\n\
        DigestAuthenticationProvider.superDigest=super:hush\n\
        zookeeper.DigestAuthenticationProvider.superDigest=super:hush2\n\
        SASLAuthenticationProvider.superPassword=hush\n";
    let sets = [
        ("DigestAuthenticationProvider.superDigest", "super:hush3"),
        ("DigestAuthenticationProvider.superDigest", "super:hush4"),
    ];
    let (config, notices) = load_with(text.as_bytes(), &sets, &[]).unwrap();
    assert_eq!(config.digest_auth.super_digest.as_deref(), Some("super:hush"));
    let masked = config.effective.iter().filter(|(_, value)| value == "***").count();
    assert_eq!(masked, 3);
    assert!(config.config_text.starts_with("dataDir=/d\nclientPort=2181\n"));
    let shown = format!("{notices:?} {config:?}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn one_server_line_is_standalone_on_that_line_s_port() {
    let docker = "dataDir=DIR\ndataLogDir=/datalog\ntickTime=2000\ninitLimit=5\nsyncLimit=2\n\
        autopurge.snapRetainCount=3\nautopurge.purgeInterval=0\nmaxClientCnxns=60\n\
        standaloneEnabled=true\nadmin.enableServer=true\nserver.1=localhost:2888:3888;2181\n";
    for others in [&[][..], &[("myid", "1\n")], &[("myid", "2\n")]] {
        let (config, notices) = load_with(docker.as_bytes(), &[], others).unwrap();
        assert_eq!(config.client_addr, at("0.0.0.0:2181"));
        assert_eq!(config.data_log_dir, PathBuf::from("/datalog"));
        assert_eq!((config.tick_ms, config.max_client_cnxns), (2_000, 60));
        assert_eq!(notices.len(), 1);
        assert_eq!(notices[0].level, Level::Error);
        let text = "Invalid configuration, only one server specified (ignoring)";
        assert!(notices[0].text.starts_with(&format!("zoo.cfg:11: {text}")), "{notices:?}");
    }
}

/// A three-server file; member 2 has a client port behind its `;`.
const THREE: &str = "dataDir=DIR\ninitLimit=10\nsyncLimit=5\nserver.1 = a:2888:3888\n\
    server.2 = b:2888:3888;127.0.0.1:2182\nserver.3 = c:2888:3888\n";

#[test]
fn an_ensemble_is_one_error_line_and_its_own_line_s_port() {
    let (config, notices) = load_with(THREE.as_bytes(), &[], &[("myid", "2\r\n")]).unwrap();
    assert_eq!(config.client_addr, at("127.0.0.1:2182"));
    assert_eq!(config.ensemble.my_id, Some(2));
    assert_eq!(config.ensemble.members.servers.len(), 3);
    assert_eq!(
        notices,
        [Notice {
            level: Level::Error,
            text: "ensembles (quorum) not in this version, the server starts without: 3 server.N \
                   lines (zoo.cfg); it runs standalone and replicates nothing"
                .to_owned()
        }]
    );
    let two = format!("{THREE}clientPort=2182\nclientPortAddress=127.0.0.1\n");
    let (config, _) = load_with(two.as_bytes(), &[], &[("myid", "2")]).unwrap();
    assert_eq!(config.client_addr, at("127.0.0.1:2182"));
    let other = format!("{THREE}clientPort=2181\n");
    let error = load_with(other.as_bytes(), &[], &[("myid", "2")]).unwrap_err();
    assert_eq!(
        error.text,
        "zoo.cfg: client address for this server (id = 2) in static config file is 0.0.0.0:2181 is \
         different from client address found in dynamic file: 127.0.0.1:2182"
    );
}

#[test]
fn a_bad_myid_is_refused() {
    for (others, expected, exit_code) in [
        (&[][..], "DIR/myid: myid file is missing", 2),
        (&[("myid", "one")], "DIR/myid: serverid one is not a number", 2),
        (&[("myid", "2 ")], "DIR/myid: serverid 2  is not a number", 2),
        (&[("myid", "+2")], "DIR/myid: serverid +2 is not a number", 2),
        (&[("myid", "")], "DIR/myid: serverid null is not a number", 2),
        (&[("myid", "7")], "DIR/myid: My id 7 not in the peer list", 1),
    ] {
        let error = load_with(THREE.as_bytes(), &[], others).unwrap_err();
        assert!(error.text.starts_with(expected), "{error}");
        assert_eq!(error.exit_code, exit_code);
    }
}

#[test]
fn a_dynamic_file_holds_the_members_and_nothing_else() {
    let name = "zoo.cfg.dynamic.100000000";
    let file = "dataDir=DIR\ninitLimit=10\nsyncLimit=5\n\
        dynamicConfigFile=DIR/zoo.cfg.dynamic.100000000\n";
    let load = |file: &str, dynamic: &str| {
        load_with(file.as_bytes(), &[], &[(name, dynamic), ("myid", "1")])
    };
    let members = "server.1=a:1:2:participant;2181\nserver.2=b:1:2:participant;2181\n";
    let (config, _) = load(file, members).unwrap();
    assert_eq!(config.ensemble.members.version, 0x1_0000_0000);
    assert_eq!(config.ensemble.members.voters(), 2);
    assert_eq!(config.client_addr, at("0.0.0.0:2181"));
    let dynamic = "zoo.cfg.dynamic.100000000";
    for (dynamic_text, expected) in [
        ("tickTime=5", format!("{dynamic}:1: Unrecognised parameter: tickTime")),
        (
            "server.1=a:1:2\nversion=5",
            format!("{dynamic}:2: dynamic file shouldn't have version inside"),
        ),
    ] {
        assert_eq!(load(file, dynamic_text).unwrap_err().text, expected);
    }
    let both = format!("{file}server.2=b:1:2\n");
    let error = load(&both, members).unwrap_err();
    assert_eq!(
        error.text,
        "zoo.cfg:5: server.2=b:1:2: parameter: server.2 must be in a separate dynamic config file \
         (dynamicConfigFile is set)"
    );
}

/// Shapes of files that tools write, with one value of each that shows it was understood.
#[test]
fn files_that_others_generate_start() {
    // Kafka's sample.
    let (config, notices) =
        load_text("dataDir=/tmp/zk\n# no limit\nclientPort=2181\nmaxClientCnxns=0\nadmin.enableServer=false\n")
            .unwrap();
    assert_eq!((config.max_client_cnxns, config.admin.enabled), (0, false));
    assert_eq!(notices, []);

    // A container image that writes everything with its own defaults.
    let (config, notices) = load_text(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/bitnami/zookeeper/data\n\
         clientPort=2181\npreAllocSize=65536\nsnapCount=100000\nmaxCnxns=0\nmaxClientCnxns=60\n\
         autopurge.purgeInterval=0\nautopurge.snapRetainCount=3\nreconfigEnabled=false\n\
         quorumListenOnAllIPs=false\n4lw.commands.whitelist=srvr, mntr\nadmin.enableServer=true\n\
         admin.serverPort=8080\nmaxSessionTimeout=40000\n\
         metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
         metricsProvider.httpPort=9141\n",
    )
    .unwrap();
    assert_eq!(notices, []);
    assert!(config.four_letter_words.allows("mntr"));
    assert_eq!((config.metrics.exporter, config.metrics.port), (Exporter::Prometheus, 9141));

    // An operator for Kubernetes: several words, booleans in words, a dynamic file beside it.
    let (config, notices) = load_with(
        b"4lw.commands.whitelist=cons, envi, conf, crst, srvr, stat, mntr, ruok\ndataDir=DIR\n\
         standaloneEnabled=false\nreconfigEnabled=true\nskipACL=yes\n\
         metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
         metricsProvider.httpPort=7000\nmetricsProvider.exportJvmInfo=true\ninitLimit=10\n\
         syncLimit=2\ntickTime=2000\nglobalOutstandingLimit=1000\npreAllocSize=65536\n\
         snapCount=10000\ncommitLogCount=500\nsnapSizeLimitInKb=4194304\nmaxCnxns=0\n\
         maxClientCnxns=60\nminSessionTimeout=4000\nmaxSessionTimeout=40000\n\
         autopurge.snapRetainCount=3\nautopurge.purgeInterval=1\nquorumListenOnAllIPs=false\n\
         admin.serverPort=8080\ndynamicConfigFile=DIR/zoo.cfg.dynamic\n",
        &[],
        &[
            ("myid", "1\n"),
            ("zoo.cfg.dynamic", "server.1=zk-0.svc:2888:3888:participant;0.0.0.0:2181\n"),
        ],
    )
    .unwrap();
    let levels: Vec<Level> = notices.iter().map(|notice| notice.level).collect();
    assert_eq!(levels, [Level::Warn, Level::Error, Level::Warn], "{notices:?}");
    assert_eq!(config.client_addr, at("0.0.0.0:2181"));
    assert_eq!((config.snap_count, config.autopurge.interval_hours), (10_000, 1));
}

#[test]
fn our_own_samples_are_clean() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    for name in ["zoo_minimal.cfg", "zoo_sample.cfg"] {
        let text = std::fs::read_to_string(conf.join(name)).unwrap();
        let (config, notices) = load_text(&text).unwrap();
        assert_eq!(notices, [], "{name}");
        assert_eq!(config.client_addr, at("0.0.0.0:2181"));
    }
    // A line that is commented out shows a default, so that taking the # away changes nothing but
    // the examples among them.
    let text = std::fs::read_to_string(conf.join("zoo_sample.cfg")).unwrap();
    let mut shown = 0;
    for line in text.lines() {
        let Some((name, value)) = line.strip_prefix('#').and_then(|line| line.split_once('='))
        else {
            continue;
        };
        if name.starts_with(' ') || name.contains(' ') {
            continue;
        }
        let (key, own) = keys::find(name).unwrap();
        assert!(own, "{line}");
        if !key.default.is_empty() && name != "snapshot.compression.method" {
            assert_eq!(value, key.default, "{line}");
            shown += 1;
        }
    }
    assert!(shown > 25, "{shown}");
    let ensemble = std::fs::read_to_string(conf.join("zoo_ensemble.cfg")).unwrap();
    let ensemble = ensemble.replace("dataDir=./data", "dataDir=DIR");
    let (config, notices) = load_with(ensemble.as_bytes(), &[], &[("myid", "3\n")]).unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(config.ensemble.init_limit_ticks, Some(10));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_load_or_fail_in_one_line(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        check_any(&bytes)?;
    }

    #[test]
    fn any_values_load_or_fail_in_one_line(
        lines in prop::collection::vec((0usize..400, "[-0-9a-z:;.,\\\\ ]{0,12}"), 0..8)
    ) {
        let names: Vec<_> = known_keys().collect();
        let text: String = lines
            .iter()
            .map(|(key, value)| format!("{} = {value}\n", names[key % names.len()]))
            .collect();
        // A name to look up would leave the machine.
        let text = text.replace("clientPortAddress", "dataLogDir").replace("server.*", "server.1");
        check_any(text.as_bytes())?;
    }
}

fn check_any(bytes: &[u8]) -> Result<(), TestCaseError> {
    let file = [b"dataDir=/d\nclientPort=2181\n", bytes].concat();
    match load_with(&file, &[], &[]) {
        Ok((config, notices)) => {
            prop_assert!(config.min_session_timeout_ms <= config.max_session_timeout_ms);
            prop_assert!(config.tick_ms >= 1);
            prop_assert!(notices.iter().all(|notice| !notice.text.contains(['\n', '\r'])));
        }
        Err(e) => prop_assert!(!e.text.is_empty() && !e.text.contains(['\n', '\r'])),
    }
    Ok(())
}
