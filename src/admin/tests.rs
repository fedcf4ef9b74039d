//! Every word, from facts made up here; then the parsers that operators' tools bring.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use expect_test::{Expect, expect};

use super::Context;
use super::four_letter::{needs, render};
use crate::config::Config;
use crate::parts::figures::ShardFigures;
use crate::parts::pipeline::PipelineFigures;
use crate::parts::{ConnectionFacts, Facts, Latency, SessionFacts, ShardShare};
use crate::storage::disk::Dirs;
use crate::types::{Map, Now, SessionId, Zxid};
use crate::wire::four_letter::Word;

/// A server with two shards and what a test does to its figures.
struct Server {
    config: Config,
    dirs: Dirs,
    shards: Vec<Arc<ShardFigures>>,
    pipeline: PipelineFigures,
    trace_mask: AtomicI64,
}

impl Server {
    fn new(data_dir: &Path) -> Self {
        Self {
            config: Config::embedded(PathBuf::from(data_dir)),
            dirs: Dirs::new(data_dir, None),
            shards: vec![Arc::default(), Arc::default()],
            pipeline: PipelineFigures::default(),
            trace_mask: AtomicI64::new(306),
        }
    }

    /// One that has served something.
    fn used() -> Self {
        let server = Self::new(Path::new("/data"));
        let [first, second] = server.shards.as_slice() else { unreachable!("two") };
        first.received.set(200);
        second.received.set(126);
        first.sent.set(327);
        second.watches.set(4);
        second.outstanding.set(1);
        first.notifications.set(9);
        for us in [200, 400, 600] {
            first.read_ns.record(us * 1_000);
        }
        second.read_ns.record(11_300_000);
        second.write_ns.record(2_500_000);
        second.reply_bytes.record(20);
        second.reply_bytes.record(100);
        let pipeline = &server.pipeline;
        pipeline.published.set(0x133);
        pipeline.znodes.set(10);
        pipeline.data_bytes.set(194);
        pipeline.ephemerals.set(3);
        pipeline.sessions.set(2);
        pipeline.zxids_left.set(0xffff_fecc);
        pipeline.fsync_ns.record(1_000_000);
        pipeline.fsync_ns.record(4_000_000);
        pipeline.batch_records.record(1);
        pipeline.batch_records.record(2);
        server
    }

    fn context(&self) -> Context<'_> {
        Context {
            config: &self.config,
            dirs: &self.dirs,
            client_port: 2181,
            shards: &self.shards,
            pipeline: &self.pipeline,
            connections: 3,
            backend: "uring",
            trace_mask: &self.trace_mask,
            now: Now { mono_ms: 72_113, mono_ns: 72_113_000_000, wall_ms: 1_795_592_434_000 },
        }
    }

    fn answer(&self, word: Word, facts: &Facts) -> String {
        String::from_utf8(render(word, &self.context(), facts, None)).unwrap()
    }
}

const FIRST: SessionId = SessionId(0x0100_002f_e631_0000);
const SECOND: SessionId = SessionId(0x0100_002f_e631_0001);

fn connection(port: u16, session: Option<SessionFacts>) -> ConnectionFacts {
    ConnectionFacts {
        peer: format!("127.0.0.1:{port}"),
        queued: 0,
        received: 4,
        sent: 5,
        asks: false,
        session,
        expires_wall_ms: 1_795_592_442_001,
    }
}

fn facts() -> Facts {
    let mut latency = Latency::default();
    for ms in [0, 4, 1] {
        latency.add(ms);
    }
    let session = SessionFacts {
        id: SECOND,
        last_operation: "GETD",
        established_wall_ms: 1_795_440_996_253,
        timeout_ms: 30_000,
        last_cxid: Some(3),
        last_zxid: 7,
        last_response_ms: 9_153_699,
        latency,
    };
    let fresh = SessionFacts {
        id: FIRST,
        last_operation: "SESS",
        last_cxid: None,
        last_zxid: -1,
        latency: Latency::default(),
        ..session
    };
    let asks = ConnectionFacts { asks: true, received: 1, sent: 0, ..connection(55_638, None) };
    let late = ConnectionFacts {
        peer: "[::1]:55596".to_owned(),
        expires_wall_ms: 1_795_592_450_000,
        ..connection(0, Some(fresh))
    };
    let watch = |path: &str, session| (path.as_bytes().to_vec(), session);
    Facts {
        shares: vec![
            ShardShare {
                connections: vec![connection(55_608, Some(session)), asks],
                watches: vec![
                    watch("/nope", SECOND),
                    watch("/app", SECOND),
                    // A child watch on the same node.
                    watch("/app", SECOND),
                ],
                watching_connections: 1,
            },
            ShardShare {
                connections: vec![late],
                watches: vec![watch("/app", FIRST)],
                watching_connections: 1,
            },
        ],
        expiry: vec![(1_795_592_442_000, vec![FIRST]), (1_795_592_452_000, vec![SECOND])],
        ephemerals: vec![
            (SECOND, vec![b"/app/e3".to_vec()]),
            (FIRST, vec![b"/app/e2".to_vec(), b"/app/e1".to_vec()]),
        ],
        digests: vec![(Zxid(0x80), 12_094_302_422), (Zxid(0x100), u64::MAX)],
    }
}

/// The answer of the used server, `TAB` shown as an arrow; the version is no test's matter.
fn check(word: Word, expected: Expect) {
    let text = Server::used().answer(word, &facts());
    expected.assert_eq(&text.replace(&super::version(), "<version>").replace('\t', "→"));
}

#[test]
fn srvr_adds_the_shards_up() {
    check(
        Word::Srvr,
        expect![[r#"
        Zookeeper version: <version>
        Latency min/avg/max: 0/3.0/11
        Received: 326
        Sent: 327
        Connections: 3
        Outstanding: 1
        Zxid: 0x133
        Mode: standalone
        Node count: 10
    "#]],
    );
}

#[test]
fn a_fresh_server_counts_nothing() {
    let server = Server::new(Path::new("/data"));
    server.pipeline.znodes.set(5);
    let text = server.answer(Word::Srvr, &Facts::default());
    expect![[r#"
        Zookeeper version: <version>
        Latency min/avg/max: 0/0.0/0
        Received: 0
        Sent: 0
        Connections: 3
        Outstanding: 0
        Zxid: 0x0
        Mode: standalone
        Node count: 5
    "#]]
    .assert_eq(&text.replace(&super::version(), "<version>"));
}

#[test]
fn stat_lists_connections() {
    check(
        Word::Stat,
        expect![[r#"
        Zookeeper version: <version>
        Clients:
         /127.0.0.1:55608[1](queued=0,recved=4,sent=5)
         /127.0.0.1:55638[0](queued=0,recved=1,sent=0)
         /[0:0:0:0:0:0:0:1]:55596[1](queued=0,recved=4,sent=5)

        Latency min/avg/max: 0/3.0/11
        Received: 326
        Sent: 327
        Connections: 3
        Outstanding: 1
        Zxid: 0x133
        Mode: standalone
        Node count: 10
    "#]],
    );
}

#[test]
fn cons_tells_of_sessions() {
    // Every line begins with a blank, which expect-test would take for the indent.
    let text = Server::used().answer(Word::Cons, &facts());
    expect![[r#"
        cons
         /127.0.0.1:55608[1](queued=0,recved=4,sent=5,sid=0x100002fe6310001,lop=GETD,est=1795440996253,to=30000,lcxid=0x3,lzxid=0x7,lresp=9153699,llat=1,minlat=0,avglat=1,maxlat=4)
         /127.0.0.1:55638[0](queued=0,recved=1,sent=0)
         /[0:0:0:0:0:0:0:1]:55596[1](queued=0,recved=4,sent=5,sid=0x100002fe6310000,lop=SESS,est=1795440996253,to=30000,lzxid=0xffffffffffffffff,lresp=9153699,llat=0,minlat=0,avglat=0,maxlat=0)

    "#]]
    .assert_eq(&format!("cons\n{text}"));
}

#[test]
fn dump_tells_who_ends_when_and_what_goes_then() {
    check(
        Word::Dump,
        expect![[r#"
        SessionTracker dump:
        Session Sets (2)/(2):
        1 expire at Wed Nov 25 07:40:42 UTC 2026:
        →0x100002fe6310000
        1 expire at Wed Nov 25 07:40:52 UTC 2026:
        →0x100002fe6310001
        ephemeral nodes dump:
        Sessions with Ephemerals (2):
        0x100002fe6310000:
        →/app/e1
        →/app/e2
        0x100002fe6310001:
        →/app/e3
        Connections dump:
        Connections Sets (2)/(3):
        2 expire at Wed Nov 25 07:40:50 UTC 2026:
        →ip: /127.0.0.1:55608 sessionId: 0x100002fe6310001
        →ip: /127.0.0.1:55638 sessionId: 0x0
        1 expire at Wed Nov 25 07:41:00 UTC 2026:
        →ip: /[0:0:0:0:0:0:0:1]:55596 sessionId: 0x100002fe6310000
    "#]],
    );
}

#[test]
fn an_empty_dump_has_all_heads() {
    let text = Server::used().answer(Word::Dump, &Facts::default());
    expect![[r#"
        SessionTracker dump:
        Session Sets (0)/(0):
        ephemeral nodes dump:
        Sessions with Ephemerals (0):
        Connections dump:
        Connections Sets (0)/(0):
    "#]]
    .assert_eq(&text);
}

#[test]
fn watches_of_all_kinds_are_counted() {
    check(
        Word::Wchs,
        expect![[r#"
        2 connections watching 2 paths
        Total watches:4
    "#]],
    );
    check(
        Word::Wchc,
        expect![[r#"
        0x100002fe6310000
        →/app
        0x100002fe6310001
        →/app
        →/nope

    "#]],
    );
    check(
        Word::Wchp,
        expect![[r#"
        /app
        →0x100002fe6310000
        →0x100002fe6310001
        /nope
        →0x100002fe6310001

    "#]],
    );
}

#[test]
fn without_watches_there_is_an_empty_line() {
    let server = Server::used();
    assert_eq!(server.answer(Word::Wchc, &Facts::default()), "\n");
    assert_eq!(server.answer(Word::Wchp, &Facts::default()), "\n");
    assert_eq!(
        server.answer(Word::Wchs, &Facts::default()),
        "0 connections watching 0 paths\nTotal watches:0\n"
    );
}

#[test]
fn a_path_that_is_no_utf8_goes_out_as_it_is() {
    let share = ShardShare { watches: vec![(b"/\xff".to_vec(), FIRST)], ..ShardShare::default() };
    let facts = Facts { shares: vec![share], ..Facts::default() };
    let text = render(Word::Wchp, &Server::used().context(), &facts, None);
    assert_eq!(text, b"/\xff\n\t0x100002fe6310000\n\n");
}

#[test]
fn short_words_end_without_a_newline() {
    for (word, text) in [
        (Word::Ruok, "imok"),
        (Word::Isro, "rw"),
        (Word::Gtmk, "306"),
        (Word::TelnetClose, ""),
        (Word::Crst, "Connection stats reset.\n"),
        (Word::Srst, "Server stats reset.\n"),
    ] {
        assert_eq!(Server::used().answer(word, &Facts::default()), text);
    }
}

#[test]
fn stmk_sets_what_gtmk_tells() {
    let server = Server::used();
    let facts = Facts::default();
    assert_eq!(render(Word::Stmk, &server.context(), &facts, Some(-2)), b"-2");
    assert_eq!(render(Word::Gtmk, &server.context(), &facts, None), b"-2");
}

#[test]
fn hash_lists_digests_as_javas_longs() {
    check(
        Word::Hash,
        expect![[r#"
        80: 12094302422
        100: -1
    "#]],
    );
}

#[test]
fn conf_and_dirs_count_all_files_of_one_directory_twice() {
    let root = tempfile::tempdir().unwrap();
    let version = root.path().join("version-2");
    std::fs::create_dir(&version).unwrap();
    std::fs::write(version.join("log.1"), [0; 300]).unwrap();
    std::fs::write(version.join("snapshot.0"), [0; 50]).unwrap();
    let server = Server::new(root.path());
    let text = server.answer(Word::Conf, &Facts::default());
    expect![[r#"
        clientPort=2181
        secureClientPort=-1
        dataDir=<dir>/version-2
        dataDirSize=350
        dataLogDir=<dir>/version-2
        dataLogSize=350
        tickTime=3000
        maxClientCnxns=60
        minSessionTimeout=6000
        maxSessionTimeout=60000
        clientPortListenBacklog=-1
        serverId=0
    "#]]
    .assert_eq(&text.replace(root.path().to_str().unwrap(), "<dir>"));
    let text = server.answer(Word::Dirs, &Facts::default());
    assert_eq!(text, "datadir_size: 350\nlogdir_size: 350\n");
}

#[test]
fn directories_of_their_own_are_counted_apart() {
    let root = tempfile::tempdir().unwrap();
    let (data, log) = (root.path().join("data"), root.path().join("log"));
    for (dir, name, len) in [(&data, "snapshot.0", 50), (&log, "log.1", 300)] {
        std::fs::create_dir_all(dir.join("version-2")).unwrap();
        std::fs::write(dir.join("version-2").join(name), vec![0; len]).unwrap();
    }
    let mut server = Server::new(&data);
    server.dirs = Dirs::new(&data, Some(&log));
    let text = server.answer(Word::Dirs, &Facts::default());
    assert_eq!(text, "datadir_size: 50\nlogdir_size: 300\n");
}

#[test]
fn envi_has_javas_keys_without_the_jvms() {
    let text = Server::used().answer(Word::Envi, &Facts::default());
    let keys: Vec<&str> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
    expect![[r#"
        Environment:
        zookeeper.version
        host.name
        os.name
        os.arch
        os.version
        user.name
        user.home
        user.dir
        os.memory.free
        os.memory.max
        os.memory.total"#]]
    .assert_eq(&keys.join("\n"));
    assert!(text.contains(&format!("\nzookeeper.version={}\n", super::version())), "{text}");
}

#[test]
fn only_words_about_connections_sessions_and_watches_wait_for_facts() {
    let waiting: Vec<String> = Word::ALL
        .iter()
        .filter_map(|word| Some(format!("{} {:?}", word.name(), needs(*word)?)))
        .collect();
    expect![[r#"
        cons Connections
        crst ResetConnections
        dump Dump
        hash Digests
        srst ResetServer
        stat Connections
        wchc Watches
        wchp Watches
        wchs Watches"#]]
    .assert_eq(&waiting.join("\n"));
}

// ---- mntr -------------------------------------------------------------------------------------

/// `mntr` of a Java 3.9.5 standalone server that nobody has used.
const JAVA: &str = include_str!("../../tests/fixtures/admin/mntr-java-3.9.5-standalone.txt");

fn pairs(mntr: &str) -> Vec<(&str, &str)> {
    mntr.lines().map(|line| line.split_once('\t').expect("key, TAB, value")).collect()
}

#[test]
fn mntr_has_every_key_of_java_in_its_form_and_no_other_but_ours() {
    let text = Server::used().answer(Word::Mntr, &Facts::default());
    let ours: Map<&str, &str> = pairs(&text).into_iter().collect();
    assert_eq!(ours.len(), pairs(&text).len(), "a key is there twice");
    let java: Map<&str, &str> = pairs(JAVA).into_iter().collect();
    assert_eq!(java.len(), 494, "the fixture is whole");
    for (key, value) in &java {
        let ours = ours.get(key).unwrap_or_else(|| panic!("{key} is missing"));
        if *key != "zk_version" && *key != "zk_server_state" {
            assert_eq!(ours.contains('.'), value.contains('.'), "{key} {value} {ours}");
            ours.parse::<f64>().unwrap();
        }
    }
    let mut added: Vec<&str> =
        ours.keys().filter(|key| !java.contains_key(*key)).copied().collect();
    added.sort_unstable();
    assert_eq!(added, ["zk_rk_io_uring", "zk_rk_watch_events_sent", "zk_rk_zxids_left"]);
}

#[test]
fn a_fresh_server_tells_javas_values() {
    let server = Server::new(Path::new("/data"));
    server.pipeline.znodes.set(5);
    server.pipeline.data_bytes.set(44);
    let text = server.answer(Word::Mntr, &Facts::default());
    let ours: Map<&str, &str> = pairs(&text).into_iter().collect();
    let differ: Vec<&str> = pairs(JAVA)
        .into_iter()
        .filter(|(key, _)| !key.ends_with("file_descriptor_count"))
        .filter(|(key, value)| ours[key] != *value)
        .map(|(key, _)| key)
        .collect();
    // The captured server had heard one word, and this process is another one.
    expect![[r#"
        zk_version
        zk_num_alive_connections
        zk_packets_sent
        zk_packets_received
        zk_uptime
        zk_bytes_received_count"#]]
    .assert_eq(&differ.join("\n"));
}

#[test]
fn mntr_tells_what_was_counted() {
    let text = Server::used().answer(Word::Mntr, &Facts::default());
    let told: Vec<String> = pairs(&text)
        .into_iter()
        .filter(|(key, value)| {
            let machines = key.ends_with("file_descriptor_count") || *key == "zk_version";
            !machines && *value != "0" && *value != "0.0"
        })
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    expect![[r#"
        zk_server_state standalone
        zk_ephemerals_count 3
        zk_num_alive_connections 3
        zk_avg_latency 3.0
        zk_max_latency 11
        zk_outstanding_requests 1
        zk_znode_count 10
        zk_global_sessions 2
        zk_packets_sent 327
        zk_packets_received 326
        zk_last_client_response_size 100
        zk_max_client_response_size 100
        zk_min_client_response_size 20
        zk_watch_count 4
        zk_approximate_data_size 194
        zk_uptime 72113
        zk_rk_io_uring 1
        zk_rk_zxids_left 4294966988
        zk_rk_watch_events_sent 9
        zk_prep_processor_request_queued 1
        zk_avg_fsynctime 2.5
        zk_min_fsynctime 1
        zk_max_fsynctime 4
        zk_cnt_fsynctime 2
        zk_sum_fsynctime 5
        zk_avg_sync_processor_batch_size 1.5
        zk_min_sync_processor_batch_size 1
        zk_max_sync_processor_batch_size 2
        zk_cnt_sync_processor_batch_size 2
        zk_sum_sync_processor_batch_size 3
        zk_avg_propagation_latency 2.5
        zk_min_propagation_latency 2
        zk_max_propagation_latency 2
        zk_cnt_propagation_latency 1
        zk_sum_propagation_latency 2
        zk_p50_propagation_latency 2
        zk_p95_propagation_latency 2
        zk_p99_propagation_latency 2
        zk_p999_propagation_latency 2
        zk_avg_readlatency 3.125
        zk_max_readlatency 11
        zk_cnt_readlatency 4
        zk_sum_readlatency 12
        zk_p95_readlatency 11
        zk_p99_readlatency 11
        zk_p999_readlatency 11
        zk_avg_sync_processor_queue_flush_time_ms 2.5
        zk_min_sync_processor_queue_flush_time_ms 1
        zk_max_sync_processor_queue_flush_time_ms 4
        zk_cnt_sync_processor_queue_flush_time_ms 2
        zk_sum_sync_processor_queue_flush_time_ms 5
        zk_p50_sync_processor_queue_flush_time_ms 1
        zk_p95_sync_processor_queue_flush_time_ms 4
        zk_p99_sync_processor_queue_flush_time_ms 4
        zk_p999_sync_processor_queue_flush_time_ms 4
        zk_avg_updatelatency 2.5
        zk_min_updatelatency 2
        zk_max_updatelatency 2
        zk_cnt_updatelatency 1
        zk_sum_updatelatency 2
        zk_p50_updatelatency 2
        zk_p95_updatelatency 2
        zk_p99_updatelatency 2
        zk_p999_updatelatency 2"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn means_are_plain_decimals() {
    let server = Server::new(Path::new("/data"));
    server.shards[0].read_ns.record(500);
    server.shards[0].read_ns.record(900);
    let text = server.answer(Word::Mntr, &Facts::default());
    assert!(text.contains("\nzk_avg_readlatency\t0.0007\n"), "{text}");
    server.shards[0].read_ns.record(60_000_000_000_000);
    let text = server.answer(Word::Mntr, &Facts::default());
    assert!(text.contains("\nzk_avg_readlatency\t20000000.0005\n"), "{text}");
}

// ---- parsers of tools ---------------------------------------------------------------------------

/// telegraf: `^zk_(\w+)\s+([\w\.\-]+)`, and a line that does not match fails the gather.
fn telegraf(line: &str) -> Option<(&str, &str)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = line.strip_prefix("zk_")?;
    let key = &rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())];
    let after = &rest[key.len()..];
    let blank = after.trim_start();
    let value = &blank[..blank.find(|c| !(word(c) || c == '.' || c == '-')).unwrap_or(blank.len())];
    (!key.is_empty() && blank.len() < after.len() && !value.is_empty()).then_some((key, value))
}

#[test]
fn telegraf_takes_every_line() {
    let text = Server::used().answer(Word::Mntr, &Facts::default());
    for line in text.lines() {
        let (key, value) = telegraf(line).unwrap_or_else(|| panic!("{line}"));
        match key {
            "version" => assert!(value.starts_with("3.9.5-ringkeeper-"), "{value}"),
            "server_state" => assert_eq!(value, "standalone"),
            _ => assert!(value.parse::<f64>().is_ok(), "{line}"),
        }
    }
    assert_eq!(telegraf("mntr is not executed because it is not in the whitelist."), None);
}

/// Datadog's check reads `stat` line by line.
#[test]
fn datadog_reads_stat_in_its_line_order() {
    let text = Server::used().answer(Word::Stat, &facts());
    let mut lines = text.lines();
    let version = lines.next().unwrap().strip_prefix("Zookeeper version: ").unwrap();
    let number = version.split('-').next().unwrap();
    let numbers: Vec<u32> = number.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(numbers.len() == 3 && numbers >= vec![3, 4, 4], "there is a Connections line");
    assert_eq!(lines.next(), Some("Clients:"));
    let clients: Vec<&str> = lines.by_ref().take_while(|line| !line.trim().is_empty()).collect();
    assert_eq!(clients.len(), 3);
    for client in clients {
        // ` /ip:port[n](queued=…,recved=…,sent=…)`
        let (peer, counts) = client.strip_prefix(" /").unwrap().split_once("](").unwrap();
        let (address, interest) = peer.rsplit_once('[').unwrap();
        assert!(address.parse::<std::net::SocketAddr>().is_ok(), "{address}");
        assert!(interest == "0" || interest == "1", "{interest}");
        let counts = counts.strip_suffix(')').unwrap().split(',');
        let names: Vec<&str> = counts.map(|count| count.split('=').next().unwrap()).collect();
        assert_eq!(names, ["queued", "recved", "sent"]);
    }
    let mut value = |name: &str| {
        let (key, value) = lines.next().unwrap().split_once(':').unwrap();
        assert_eq!(key, name);
        value.trim()
    };
    let latency: Vec<f64> =
        value("Latency min/avg/max").split('/').map(|part| part.parse().unwrap()).collect();
    assert_eq!(latency, [0.0, 3.0, 11.0]);
    assert_eq!(value("Received"), "326");
    assert_eq!(value("Sent"), "327");
    assert_eq!(value("Connections"), "3");
    assert_eq!(value("Outstanding"), "1");
    assert_eq!(u64::from_str_radix(&value("Zxid")[2..], 16), Ok(0x133));
    assert_eq!(value("Mode"), "standalone");
    assert_eq!(value("Node count"), "10");
    assert_eq!(lines.next(), None);
}

/// Solr's status page: TAB splits `mntr` and `=` splits `conf` in two, `ruok` is compared.
#[test]
fn solr_splits_mntr_and_conf() {
    let server = Server::used();
    assert_eq!(server.answer(Word::Ruok, &Facts::default()), "imok");
    for (word, separator) in [(Word::Mntr, '\t'), (Word::Conf, '=')] {
        for line in server.answer(word, &Facts::default()).lines() {
            assert_eq!(line.split(separator).count(), 2, "{line}");
        }
    }
}

/// `zkServer.sh status`: what follows `Mode: `; Metricbeat: prefixes of `srvr`.
#[test]
fn scripts_find_their_lines_in_srvr() {
    let text = Server::used().answer(Word::Srvr, &Facts::default());
    for prefix in [
        "Zookeeper version: 3.9.5",
        "Latency min/avg/max: ",
        "Received: ",
        "Sent: ",
        "Connections: ",
        "Outstanding: ",
        "Zxid: 0x",
        "Mode: standalone",
        "Node count: ",
    ] {
        let lines = text.lines().filter(|line| line.starts_with(prefix)).count();
        assert_eq!(lines, 1, "{prefix}");
    }
}
