//! The table of metrics: one line each, with its kind and where its value comes from.
//!
//! `mntr` is its first face (`four_letter.rs`); a Prometheus page will be another, so the table
//! knows kinds and not texts. Thread: whichever asks. Invariants: the names are those of a Java
//! 3.9.5 standalone server, every one (a missing series silences an alert and empties a panel),
//! and ours, which begin with `rk_`; no name is there twice.
//! Not here: counting (`parts/figures.rs`).

use super::{Context, host};
use crate::parts::figures::{Figure, ShardFigures, Spread};

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// ZooKeeper's name, without the `zk_` of `mntr`.
    pub name: &'static str,
    /// Kind and value.
    pub source: Source,
}

/// Kind of a metric, and how to read it.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// What is now, a whole number.
    Gauge(fn(&Figures) -> i64),
    /// What is now, told with a decimal point.
    Decimal(fn(&Figures) -> f64),
    /// What happened so far; `srst` forgets it.
    Counter(fn(&Figures) -> u64),
    /// Count, sum, extremes and mean. ZooKeeper: `DetailLevel.BASIC`.
    Summary(Unit, fn(&Figures) -> &Spread),
    /// The same of times, and percentiles. ZooKeeper: `DetailLevel.ADVANCED`.
    Timings(fn(&Figures) -> &Spread),
}

/// What a [`Spread`] counts. Times are kept in ns and told in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As it is.
    One,
    /// Time.
    Ns,
}

impl Unit {
    /// A value as it is told.
    pub fn whole(self, value: u64) -> u64 {
        match self {
            Self::One => value,
            Self::Ns => value / 1_000_000,
        }
    }

    /// The mean as it is told. PERF: Java's is of whole ms, ours of ns: most reads take less than
    /// one ms, and a mean of zeros says nothing.
    pub fn mean(self, spread: &Spread) -> f64 {
        if spread.count == 0 {
            return 0.0;
        }
        let per_unit = match self {
            Self::One => 1.0,
            Self::Ns => 1_000_000.0,
        };
        spread.sum as f64 / per_unit / spread.count as f64
    }
}

/// All figures of the server at one time, those of all shards added up.
#[derive(Debug, Default)]
pub struct Figures {
    /// Open client connections.
    pub connections: u64,
    /// Packets received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Watch events sent.
    pub notifications: u64,
    /// ConnectRequests.
    pub connect_requests: u64,
    /// Failed auth packets.
    pub auth_failures: u64,
    /// Connections that never sent a ConnectRequest.
    pub sessionless_expired: u64,
    /// Requests not answered yet.
    pub outstanding: u64,
    /// Watches.
    pub watches: u64,
    /// Sizes of replies.
    pub reply_bytes: Spread,
    /// Size of the latest reply of the shards' largest, -1 before the first.
    pub last_reply_bytes: i64,
    /// Latencies of reads.
    pub reads: Spread,
    /// Latencies of writes.
    pub updates: Spread,
    /// Latencies of all requests.
    pub requests: Spread,
    /// Newest published zxid.
    pub zxid: u64,
    /// Znodes, as Java counts.
    pub znodes: u64,
    /// Bytes of paths and data.
    pub data_bytes: u64,
    /// Ephemerals.
    pub ephemerals: u64,
    /// Sessions.
    pub sessions: u64,
    /// Sessions that expired.
    pub sessions_expired: u64,
    /// Re-attachments.
    pub revalidations: u64,
    /// Txns.
    pub txns: u64,
    /// Records a sync.
    pub batch_records: Spread,
    /// Syncs of the log.
    pub fsync: Spread,
    /// Snapshots, in ms.
    pub snapshot_ms: Spread,
    /// zxids left in this epoch.
    pub zxids_left: u64,
    /// Since the start.
    pub uptime_ms: i64,
    /// Whether io_uring carries the data path.
    pub io_uring: bool,
    /// Of what never happens here.
    pub nothing: Spread,
}

impl Figures {
    /// As of now.
    pub fn of(context: &Context<'_>) -> Self {
        let sum = |figure: fn(&ShardFigures) -> &Figure| {
            context.shards.iter().map(|shard| figure(shard).get()).fold(0, u64::wrapping_add)
        };
        let mut figures = Self {
            connections: context.connections as u64,
            received: sum(|shard| &shard.received),
            received_bytes: sum(|shard| &shard.received_bytes),
            sent: sum(|shard| &shard.sent),
            sent_bytes: sum(|shard| &shard.sent_bytes),
            notifications: sum(|shard| &shard.notifications),
            connect_requests: sum(|shard| &shard.connect_requests),
            auth_failures: sum(|shard| &shard.auth_failures),
            sessionless_expired: sum(|shard| &shard.sessionless_expired),
            outstanding: sum(|shard| &shard.outstanding),
            watches: sum(|shard| &shard.watches),
            last_reply_bytes: -1,
            zxid: context.pipeline.published.get(),
            znodes: context.pipeline.znodes.get(),
            data_bytes: context.pipeline.data_bytes.get(),
            ephemerals: context.pipeline.ephemerals.get(),
            sessions: context.pipeline.sessions.get(),
            sessions_expired: context.pipeline.expired.get(),
            revalidations: context.pipeline.revalidations.get(),
            txns: context.pipeline.proposals.get(),
            zxids_left: context.pipeline.zxids_left.get(),
            uptime_ms: context.now.mono_ms,
            io_uring: context.backend == "uring",
            ..Self::default()
        };
        for shard in context.shards {
            if shard.reply_bytes.count.get() > 0 {
                let last = whole(shard.reply_bytes.last.get());
                figures.last_reply_bytes = figures.last_reply_bytes.max(last);
            }
            figures.reply_bytes.add(&shard.reply_bytes);
            figures.reads.add_timings(&shard.read_ns);
            figures.updates.add_timings(&shard.write_ns);
        }
        figures.requests.merge(&figures.reads);
        figures.requests.merge(&figures.updates);
        figures.batch_records.add(&context.pipeline.batch_records);
        figures.fsync.add_timings(&context.pipeline.fsync_ns);
        figures.snapshot_ms.add(&context.pipeline.snapshot_ms);
        figures
    }

    /// Size of a reply, -1 before the first.
    fn reply_bytes(&self, value: u64) -> i64 {
        if self.reply_bytes.count == 0 { -1 } else { whole(value) }
    }
}

/// A count as Java's `long`.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const fn gauge(name: &'static str, read: fn(&Figures) -> i64) -> Metric {
    Metric { name, source: Source::Gauge(read) }
}

const fn decimal(name: &'static str, read: fn(&Figures) -> f64) -> Metric {
    Metric { name, source: Source::Decimal(read) }
}

const fn counter(name: &'static str, read: fn(&Figures) -> u64) -> Metric {
    Metric { name, source: Source::Counter(read) }
}

const fn summary(name: &'static str, unit: Unit, read: fn(&Figures) -> &Spread) -> Metric {
    Metric { name, source: Source::Summary(unit, read) }
}

const fn timings(name: &'static str, read: fn(&Figures) -> &Spread) -> Metric {
    Metric { name, source: Source::Timings(read) }
}

fn never(_: &Figures) -> u64 {
    0
}

fn nothing(figures: &Figures) -> &Spread {
    &figures.nothing
}

/// All of them, in the order of `mntr`. `never` and `nothing` stand where a Java server counts what
/// has no counterpart here (its queues between threads, Netty, caches, a quorum's work), or what
/// nobody counts yet.
pub const METRICS: &[Metric] = &[
    gauge("ephemerals_count", |f| whole(f.ephemerals)),
    gauge("num_alive_connections", |f| whole(f.connections)),
    decimal("avg_latency", |f| Unit::Ns.mean(&f.requests)),
    gauge("min_latency", |f| whole(Unit::Ns.whole(f.requests.min))),
    gauge("max_latency", |f| whole(Unit::Ns.whole(f.requests.max))),
    gauge("outstanding_requests", |f| whole(f.outstanding)),
    gauge("znode_count", |f| whole(f.znodes)),
    gauge("global_sessions", |f| whole(f.sessions)),
    gauge("local_sessions", |_| 0),
    gauge("packets_sent", |f| whole(f.sent)),
    gauge("packets_received", |f| whole(f.received)),
    gauge("last_client_response_size", |f| f.last_reply_bytes),
    gauge("max_client_response_size", |f| f.reply_bytes(f.reply_bytes.max)),
    gauge("min_client_response_size", |f| f.reply_bytes(f.reply_bytes.min)),
    decimal("connection_drop_probability", |_| 0.0),
    gauge("watch_count", |f| whole(f.watches)),
    gauge("auth_failed_count", |f| whole(f.auth_failures)),
    gauge("non_mtls_remote_conn_count", |_| 0),
    gauge("non_mtls_local_conn_count", |_| 0),
    gauge("outstanding_tls_handshake", |_| 0),
    gauge("approximate_data_size", |f| whole(f.data_bytes)),
    gauge("open_file_descriptor_count", |_| host::open_files()),
    gauge("max_file_descriptor_count", |_| host::max_files()),
    gauge("uptime", |f| f.uptime_ms),
    // Ours.
    gauge("rk_io_uring", |f| i64::from(f.io_uring)),
    gauge("rk_zxids_left", |f| whole(f.zxids_left)),
    counter("rk_watch_events_sent", |f| f.notifications),
    // Counters.
    counter("bytes_received_count", |f| f.received_bytes),
    counter("connection_request_count", |f| f.connect_requests),
    counter("connection_revalidate_count", |f| f.revalidations),
    counter("prep_processor_request_queued", |f| f.updates.count),
    counter("response_bytes", |f| f.sent_bytes),
    counter("sessionless_connections_expired", |f| f.sessionless_expired),
    counter("stale_sessions_expired", |f| f.sessions_expired),
    counter("sync_processor_request_queued", |f| f.txns),
    counter("add_dead_watcher_stall_time", never),
    counter("cnxn_closed_without_zk_server_running", never),
    counter("commit_count", never),
    counter("connection_drop_count", never),
    counter("connection_rejected", never),
    counter("dead_watchers_cleared", never),
    counter("dead_watchers_queued", never),
    counter("diff_count", never),
    counter("digest_mismatches_count", never),
    counter("ensemble_auth_fail", never),
    counter("ensemble_auth_skip", never),
    counter("ensemble_auth_success", never),
    counter("insecure_admin_count", never),
    counter("large_requests_rejected", never),
    counter("learner_commit_received_count", never),
    counter("learner_proposal_received_count", never),
    counter("looking_count", never),
    counter("outstanding_changes_queued", never),
    counter("outstanding_changes_removed", never),
    counter("proposal_count", never),
    counter("quit_leading_due_to_disloyal_voter", never),
    counter("request_commit_queued", never),
    counter("request_throttle_wait_count", never),
    counter("requests_not_forwarded_to_commit_processor", never),
    counter("response_packet_cache_hits", never),
    counter("response_packet_cache_misses", never),
    counter("response_packet_get_children_cache_hits", never),
    counter("response_packet_get_children_cache_misses", never),
    counter("restore_error_count", never),
    counter("restore_rate_limited_count", never),
    counter("revalidate_count", never),
    counter("skip_learner_request_to_next_processor_count", never),
    counter("snap_count", never),
    counter("snapshot_error_count", never),
    counter("snapshot_rate_limited_count", never),
    counter("stale_replies", never),
    counter("stale_requests", never),
    counter("stale_requests_dropped", never),
    counter("throttled_ops", never),
    counter("tls_handshake_exceeded", never),
    counter("unrecoverable_error_count", never),
    counter("unsuccessful_handshake", never),
    counter("watch_bytes", never),
    // Summaries.
    summary("fsynctime", Unit::Ns, |f| &f.fsync),
    summary("snapshottime", Unit::One, |f| &f.snapshot_ms),
    summary("sync_processor_batch_size", Unit::One, |f| &f.batch_records),
    summary("commit_commit_proc_req_queued", Unit::One, nothing),
    summary("commit_process_time", Unit::One, nothing),
    summary("concurrent_request_processing_in_commit_processor", Unit::One, nothing),
    summary("connection_token_deficit", Unit::One, nothing),
    summary("dbinittime", Unit::One, nothing),
    summary("election_time", Unit::One, nothing),
    summary("follower_sync_time", Unit::One, nothing),
    summary("inflight_diff_count", Unit::One, nothing),
    summary("inflight_snap_count", Unit::One, nothing),
    summary("leader_unavailable_time", Unit::One, nothing),
    summary("learner_request_processor_queue_size", Unit::One, nothing),
    summary("netty_queued_buffer_capacity", Unit::One, nothing),
    summary("node_changed_watch_count", Unit::One, nothing),
    summary("node_children_watch_count", Unit::One, nothing),
    summary("node_created_watch_count", Unit::One, nothing),
    summary("node_deleted_watch_count", Unit::One, nothing),
    summary("observer_sync_time", Unit::One, nothing),
    summary("pending_session_queue_size", Unit::One, nothing),
    summary("prep_process_time", Unit::One, nothing),
    summary("prep_processor_queue_size", Unit::One, nothing),
    summary("proposal_process_time", Unit::One, nothing),
    summary("read_commit_proc_issued", Unit::One, nothing),
    summary("read_commit_proc_req_queued", Unit::One, nothing),
    summary("reads_after_write_in_session_queue", Unit::One, nothing),
    summary("reads_issued_from_session_queue", Unit::One, nothing),
    summary("requests_in_session_queue", Unit::One, nothing),
    summary("restore_time", Unit::One, nothing),
    summary("session_queues_drained", Unit::One, nothing),
    summary("socket_closing_time", Unit::One, nothing),
    summary("startup_snap_load_time", Unit::One, nothing),
    summary("startup_txns_load_time", Unit::One, nothing),
    summary("startup_txns_loaded", Unit::One, nothing),
    summary("sync_process_time", Unit::One, nothing),
    summary("sync_processor_queue_size", Unit::One, nothing),
    summary("time_waiting_empty_pool_in_commit_processor_read_ms", Unit::One, nothing),
    summary("unavailable_time", Unit::One, nothing),
    summary("write_batch_time_in_commit_processor", Unit::One, nothing),
    summary("write_commit_proc_issued", Unit::One, nothing),
    summary("write_commit_proc_req_queued", Unit::One, nothing),
    // Summaries with percentiles, all of times.
    timings("propagation_latency", |f| &f.updates),
    timings("readlatency", |f| &f.reads),
    timings("sync_processor_queue_flush_time_ms", |f| &f.fsync),
    timings("updatelatency", |f| &f.updates),
    timings("close_session_prep_time", nothing),
    timings("commit_propagation_latency", nothing),
    timings("dead_watchers_cleaner_latency", nothing),
    timings("jvm_pause_time_ms", nothing),
    timings("local_write_committed_time_ms", nothing),
    timings("om_commit_process_time_ms", nothing),
    timings("om_proposal_process_time_ms", nothing),
    timings("prep_processor_queue_time_ms", nothing),
    timings("proposal_ack_creation_latency", nothing),
    timings("proposal_latency", nothing),
    timings("quorum_ack_latency", nothing),
    timings("read_commitproc_time_ms", nothing),
    timings("read_final_proc_time_ms", nothing),
    timings("request_throttle_queue_time_ms", nothing),
    timings("server_write_committed_time_ms", nothing),
    timings("sync_processor_queue_and_flush_time_ms", nothing),
    timings("sync_processor_queue_time_ms", nothing),
    timings("write_commitproc_time_ms", nothing),
    timings("write_final_proc_time_ms", nothing),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Set;

    #[test]
    fn no_name_is_there_twice() {
        let mut names = Set::default();
        for metric in METRICS {
            assert!(names.insert(metric.name), "{}", metric.name);
        }
    }

    #[test]
    fn a_mean_of_times_is_finer_than_ms() {
        let spread =
            Spread { count: 4, sum: 1_000_000, min: 100_000, max: 400_000, ..Spread::default() };
        assert_eq!(Unit::Ns.mean(&spread), 0.25);
        assert_eq!(Unit::Ns.whole(spread.max), 0);
        assert_eq!(Unit::One.mean(&spread), 250_000.0);
        assert_eq!(Unit::One.mean(&Spread::default()), 0.0);
    }
}
