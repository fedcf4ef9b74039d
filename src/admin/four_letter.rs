//! The texts of the four-letter words (ZooKeeper: `org.apache.zookeeper.server.command`).
//!
//! Thread: the shard's whose connection asks; a word may read `/proc` or walk the data directory.
//! Invariants: byte for byte what a Java 3.9.5 standalone server answers in the same state, but
//! where a COMPAT comment says otherwise. Lists are sorted, so that equal states read equal.
//! Not here: whether a word is allowed, and where the [`Facts`] come from (`server/words.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;

pub use super::Context;
use super::date::java_date;
use super::host;
use super::metrics::{Figures, METRICS, Source, Unit};
use crate::parts::{ConnectionFacts, Facts, Gather};
use crate::storage::dir_size_bytes;
use crate::storage::disk::Dir;
use crate::types::{Millis, SessionId, Zxid};
use crate::wire::four_letter::Word;

/// What the other parts must tell before `word` can be answered.
pub fn needs(word: Word) -> Option<Gather> {
    match word {
        Word::Stat | Word::Cons => Some(Gather::Connections),
        Word::Dump => Some(Gather::Dump),
        Word::Wchs | Word::Wchc | Word::Wchp => Some(Gather::Watches),
        Word::Crst => Some(Gather::ResetConnections),
        Word::Srst => Some(Gather::ResetServer),
        Word::Hash => Some(Gather::Digests),
        Word::Conf
        | Word::Dirs
        | Word::Envi
        | Word::Gtmk
        | Word::Isro
        | Word::Mntr
        | Word::Ruok
        | Word::Srvr
        | Word::Stmk
        | Word::TelnetClose => None,
    }
}

/// The answer, with the facts of [`needs`] and, for `stmk`, the number behind the word.
pub fn render(word: Word, context: &Context<'_>, facts: &Facts, argument: Option<i64>) -> Vec<u8> {
    let text = match word {
        Word::Ruok => "imok".to_owned(),
        Word::Isro => "rw".to_owned(),
        Word::Srvr => srvr(context),
        Word::Stat => stat(context, facts),
        Word::Mntr => mntr(context),
        Word::Cons => cons(facts),
        Word::Conf => conf(context),
        Word::Dirs => dirs(context),
        Word::Envi => envi(),
        Word::Hash => hash(facts),
        Word::Wchs => wchs(facts),
        Word::Crst => "Connection stats reset.\n".to_owned(),
        Word::Srst => "Server stats reset.\n".to_owned(),
        Word::Gtmk => context.trace_mask.load(Ordering::Relaxed).to_string(),
        Word::Stmk => {
            if let Some(mask) = argument {
                context.trace_mask.store(mask, Ordering::Relaxed);
            }
            context.trace_mask.load(Ordering::Relaxed).to_string()
        }
        // Paths need not be UTF-8.
        Word::Dump => return dump(facts),
        Word::Wchc => return wchc(facts),
        Word::Wchp => return wchp(facts),
        Word::TelnetClose => String::new(),
    };
    text.into_bytes()
}

/// Appends a line. A `String` takes every write.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {
        writeln!($text, $($format)*).expect("a String takes all")
    };
}

fn srvr(context: &Context<'_>) -> String {
    format!("Zookeeper version: {}\n{}", super::version(), server(context))
}

fn stat(context: &Context<'_>, facts: &Facts) -> String {
    let mut text = format!("Zookeeper version: {}\nClients:\n", super::version());
    for connection in connections(facts) {
        brief(&mut text, connection);
        text.push_str(")\n");
    }
    text.push('\n');
    text + &server(context)
}

/// What `srvr` and `stat` have in common. COMPAT: Datadog reads the lines by number.
fn server(context: &Context<'_>) -> String {
    let figures = Figures::of(context);
    let latency = &figures.requests;
    let mut text = String::new();
    line!(
        text,
        "Latency min/avg/max: {}/{}/{}",
        Unit::Ns.whole(latency.min),
        decimal(Unit::Ns.mean(latency)),
        Unit::Ns.whole(latency.max),
    );
    line!(text, "Received: {}", figures.received);
    line!(text, "Sent: {}", figures.sent);
    line!(text, "Connections: {}", figures.connections);
    line!(text, "Outstanding: {}", figures.outstanding);
    line!(text, "Zxid: {}", Zxid(figures.zxid));
    line!(text, "Mode: standalone");
    line!(text, "Node count: {}", figures.znodes);
    text
}

/// One to four decimals. COMPAT: Java would print less than 0.001 as `5.0E-4`, which no parser of
/// `stat` takes and which its whole ms seldom reach; our means do, so they stay plain.
fn decimal(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}

/// COMPAT: always this form, `key TAB value`; Java's changes with the metrics provider, which
/// breaks telegraf.
fn mntr(context: &Context<'_>) -> String {
    let figures = Figures::of(context);
    let mut text = String::with_capacity(16 * 1024);
    line!(text, "zk_version\t{}", super::version());
    line!(text, "zk_server_state\tstandalone");
    for metric in METRICS {
        let name = metric.name;
        let (unit, spread, percentiles) = match metric.source {
            Source::Gauge(read) => {
                line!(text, "zk_{name}\t{}", read(&figures));
                continue;
            }
            Source::Decimal(read) => {
                line!(text, "zk_{name}\t{}", decimal(read(&figures)));
                continue;
            }
            Source::Counter(read) => {
                line!(text, "zk_{name}\t{}", read(&figures));
                continue;
            }
            Source::Summary(unit, read) => (unit, read(&figures), false),
            Source::Timings(read) => (Unit::Ns, read(&figures), true),
        };
        line!(text, "zk_avg_{name}\t{}", decimal(unit.mean(spread)));
        line!(text, "zk_min_{name}\t{}", unit.whole(spread.min));
        line!(text, "zk_max_{name}\t{}", unit.whole(spread.max));
        line!(text, "zk_cnt_{name}\t{}", spread.count);
        line!(text, "zk_sum_{name}\t{}", unit.whole(spread.sum));
        if percentiles {
            for (quantile, per_mille) in [("p50", 500), ("p95", 950), ("p99", 990), ("p999", 999)] {
                let value = unit.whole(spread.percentile_ns(per_mille));
                line!(text, "zk_{quantile}_{name}\t{value}");
            }
        }
    }
    text
}

fn connections(facts: &Facts) -> impl Iterator<Item = &ConnectionFacts> {
    facts.shares.iter().flat_map(|share| &share.connections)
}

/// A connection as `stat` has it and `cons` begins it. The number in brackets is the interest set
/// of Java's NIO: 1 for reading, 0 for the connection that asks.
fn brief(text: &mut String, connection: &ConnectionFacts) {
    write!(
        text,
        " /{}[{}](queued={},recved={},sent={}",
        connection.peer,
        u8::from(!connection.asks),
        connection.queued,
        connection.received,
        connection.sent,
    )
    .expect("a String takes all");
}

fn cons(facts: &Facts) -> String {
    let mut text = String::new();
    for connection in connections(facts) {
        brief(&mut text, connection);
        if let Some(session) = &connection.session {
            let latency = &session.latency;
            let cxid = session.last_cxid.map(|cxid| format!(",lcxid={cxid:#x}"));
            write!(
                text,
                ",sid={},lop={},est={},to={}{},lzxid={:#x},lresp={},llat={},minlat={},avglat={},maxlat={}",
                session.id,
                session.last_operation,
                session.established_wall_ms,
                session.timeout_ms,
                cxid.unwrap_or_default(),
                session.last_zxid,
                session.last_response_ms,
                latency.last_ms,
                if latency.count == 0 { 0 } else { latency.min_ms },
                latency.sum_ms.checked_div(latency.count).unwrap_or(0),
                latency.max_ms,
            )
            .expect("a String takes all");
        }
        text.push_str(")\n");
    }
    text.push('\n');
    text
}

fn conf(context: &Context<'_>) -> String {
    let config = context.config;
    let path = |dir| {
        let path = context.dirs.path(dir);
        std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
    };
    let (data_bytes, log_bytes) = sizes(context);
    let mut text = String::new();
    line!(text, "clientPort={}", context.client_port);
    line!(text, "secureClientPort=-1");
    line!(text, "dataDir={}", path(Dir::Snap));
    line!(text, "dataDirSize={data_bytes}");
    line!(text, "dataLogDir={}", path(Dir::Log));
    line!(text, "dataLogSize={log_bytes}");
    line!(text, "tickTime={}", config.tick_ms);
    line!(text, "maxClientCnxns={}", config.max_client_cnxns);
    line!(text, "minSessionTimeout={}", config.min_session_timeout_ms);
    line!(text, "maxSessionTimeout={}", config.max_session_timeout_ms);
    line!(text, "clientPortListenBacklog={}", config.client_port_listen_backlog);
    // COMPAT: a standalone server's id is 0, whatever `myid` says.
    line!(text, "serverId=0");
    text
}

fn dirs(context: &Context<'_>) -> String {
    let (data_bytes, log_bytes) = sizes(context);
    format!("datadir_size: {data_bytes}\nlogdir_size: {log_bytes}\n")
}

/// Of the directory of snapshots and that of logs. COMPAT: lengths, preallocation included, and
/// all files twice if it is one directory.
fn sizes(context: &Context<'_>) -> (u64, u64) {
    let size = |dir| -> u64 {
        let path: &Path = context.dirs.path(dir);
        dir_size_bytes(path)
    };
    (size(Dir::Snap), size(Dir::Log))
}

fn envi() -> String {
    let mut text = "Environment:\n".to_owned();
    for (key, value) in host::environment() {
        line!(text, "{key}={value}");
    }
    text
}

/// COMPAT: the digest is Java's `long`, so one above its range has a minus.
fn hash(facts: &Facts) -> String {
    let mut text = String::new();
    for (zxid, digest) in &facts.digests {
        line!(text, "{:x}: {}", zxid.0, digest.cast_signed());
    }
    text
}

/// Time of a bucket of connections, as Java's NIO has it.
const CONNECTION_BUCKET_MS: Millis = 10_000;

/// COMPAT: Java also lists buckets that became empty.
fn dump(facts: &Facts) -> Vec<u8> {
    let mut head = String::from("SessionTracker dump:\n");
    let sessions: usize = facts.expiry.iter().map(|(_, sessions)| sessions.len()).sum();
    line!(head, "Session Sets ({})/({sessions}):", facts.expiry.len());
    for (due_wall_ms, sessions) in &facts.expiry {
        line!(head, "{} expire at {}:", sessions.len(), java_date(*due_wall_ms));
        for session in sessions {
            line!(head, "\t{session}");
        }
    }
    line!(head, "ephemeral nodes dump:");
    line!(head, "Sessions with Ephemerals ({}):", facts.ephemerals.len());
    let mut text = head.into_bytes();
    let ephemerals: BTreeMap<SessionId, BTreeSet<&[u8]>> = facts
        .ephemerals
        .iter()
        .map(|(session, paths)| (*session, paths.iter().map(Vec::as_slice).collect()))
        .collect();
    for (session, paths) in ephemerals {
        text.extend_from_slice(format!("{session}:\n").as_bytes());
        indent(&mut text, paths);
    }

    let mut buckets = BTreeMap::<Millis, Vec<&ConnectionFacts>>::new();
    for connection in connections(facts) {
        let due = connection.expires_wall_ms.div_euclid(CONNECTION_BUCKET_MS) + 1;
        buckets.entry(due * CONNECTION_BUCKET_MS).or_default().push(connection);
    }
    let mut tail = String::from("Connections dump:\n");
    let count = connections(facts).count();
    line!(tail, "Connections Sets ({})/({count}):", buckets.len());
    for (due_wall_ms, connections) in buckets {
        line!(tail, "{} expire at {}:", connections.len(), java_date(due_wall_ms));
        for connection in connections {
            let session = connection.session.as_ref().map_or(SessionId(0), |session| session.id);
            line!(tail, "\tip: /{} sessionId: {session}", connection.peer);
        }
    }
    text.extend_from_slice(tail.as_bytes());
    text
}

/// Lines that begin with a TAB: what tools read of `dump`.
fn indent<'a>(text: &mut Vec<u8>, lines: impl IntoIterator<Item = &'a [u8]>) {
    for line in lines {
        text.push(b'\t');
        text.extend_from_slice(line);
        text.push(b'\n');
    }
}

/// Every watch: a path and who watches it, once a kind. COMPAT: Java leaves out child watches,
/// which its own `zk_watch_count` counts; ours are all there.
fn watches(facts: &Facts) -> impl Iterator<Item = (&[u8], SessionId)> {
    let pairs = facts.shares.iter().flat_map(|share| &share.watches);
    pairs.map(|(path, session)| (path.as_slice(), *session))
}

fn wchs(facts: &Facts) -> String {
    let connections: usize = facts.shares.iter().map(|share| share.watching_connections).sum();
    let paths: BTreeSet<&[u8]> = watches(facts).map(|(path, _)| path).collect();
    format!(
        "{connections} connections watching {} paths\nTotal watches:{}\n",
        paths.len(),
        watches(facts).count(),
    )
}

fn wchc(facts: &Facts) -> Vec<u8> {
    let mut sessions = BTreeMap::<SessionId, BTreeSet<&[u8]>>::new();
    for (path, session) in watches(facts) {
        sessions.entry(session).or_default().insert(path);
    }
    let mut text = Vec::new();
    for (session, paths) in sessions {
        text.extend_from_slice(format!("{session}\n").as_bytes());
        indent(&mut text, paths);
    }
    text.push(b'\n');
    text
}

fn wchp(facts: &Facts) -> Vec<u8> {
    let mut paths = BTreeMap::<&[u8], BTreeSet<SessionId>>::new();
    for (path, session) in watches(facts) {
        paths.entry(path).or_default().insert(session);
    }
    let mut text = Vec::new();
    for (path, sessions) in paths {
        text.extend_from_slice(path);
        text.push(b'\n');
        let sessions: Vec<String> = sessions.iter().map(SessionId::to_string).collect();
        indent(&mut text, sessions.iter().map(String::as_bytes));
    }
    text.push(b'\n');
    text
}
