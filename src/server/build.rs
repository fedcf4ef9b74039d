//! Puts a server's parts together and on their threads.

use super::acceptor::Acceptor;
use super::*;
use crate::session::ThrottleRules;
use crate::types::Millis;

pub(super) struct Build {
    config: Arc<Config>,
    options: Options,
    backend: Backend,
    clock: Clock,
    dirs: Dirs,
    addr: SocketAddr,
    pub(super) stage: Arc<AtomicU8>,
    pub(super) wakers: Vec<Waker>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) blocking: Option<Blocking>,
}

/// What a thread of the data path needs to build itself: the ring belongs to the thread that made
/// it, so drivers are made there and their wakers come back.
struct Seat {
    shard: Option<ShardSeat>,
    pipeline: Option<PipelineParts>,
    listener: Option<TcpListener>,
}

struct PipelineParts {
    pipeline: Pipeline,
    results: Arc<ArrayQueue<pipeline::Done>>,
    flush_jobs: crossbeam::channel::Sender<flusher::FlushJob>,
    disk_jobs: crossbeam::channel::Sender<disk::DiskJob>,
}

impl Build {
    pub(super) fn new(
        config: Config,
        options: Options,
        backend: Backend,
        clock: Clock,
        dirs: Dirs,
        addr: SocketAddr,
    ) -> Self {
        Self {
            config: Arc::new(config),
            options,
            backend,
            clock,
            dirs,
            addr,
            stage: Arc::new(AtomicU8::new(stage::RUNNING)),
            wakers: Vec::new(),
            threads: Vec::new(),
            blocking: None,
        }
    }

    /// Shards, and whether the pipeline has a thread of its own.
    fn placement(&self) -> (usize, bool) {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        match self.options.shards {
            Some(shards) => (shards.max(1), cores >= 4),
            None if cores < 4 => (1, false),
            // One core for the pipeline, one for the flusher, disk and whatever else runs here.
            None => (cores - 2, true),
        }
    }

    pub(super) fn threads(
        &mut self,
        listener: TcpListener,
        recovered: Recovered,
    ) -> Result<(), StartError> {
        let (shards, pipeline_alone) = self.placement();
        let mesh =
            Arc::new(Mesh::new(shards, limits::SHARD_QUEUE_REQUESTS_MAX, limits::REPLY_QUEUE_MAX));
        let (ring, readers) = broadcast::broadcast(limits::CHANGE_RING_MAX, shards);
        let figures: Vec<Arc<ShardFigures>> =
            (0..shards).map(|_| Arc::new(ShardFigures::default())).collect();
        let pipeline_figures = Arc::new(PipelineFigures::default());
        let acceptor = Acceptor::new(
            self.config.max_client_cnxns,
            self.config.max_cnxns,
            shards,
            self.options.shard_connections,
        );
        let words = Arc::new(Words {
            config: Arc::clone(&self.config),
            dirs: self.dirs.clone(),
            client_port: self.addr.port(),
            shards: figures.clone(),
            pipeline: Arc::clone(&pipeline_figures),
            acceptor: Arc::clone(&acceptor),
            backend: match self.backend {
                Backend::Uring => "uring",
                Backend::Epoll => "epoll",
            },
            clock: self.clock,
            trace_mask: AtomicI64::new(306),
            asked: Mutex::new(Map::default()),
        });
        let schemes = schemes(&self.config);
        let last = recovered.tree.last_zxid();
        let shard_settings = self.shard_settings(&schemes);
        let mut seats: Vec<Seat> = Vec::new();
        for (index, changes) in readers.into_iter().enumerate() {
            let number = u16::try_from(index).expect("fewer shards than 65536");
            let shard = Shard::new(
                number,
                shard_settings.clone(),
                Arc::clone(&mesh),
                recovered.tree.reader(),
                changes,
                Arc::clone(&figures[index]),
            );
            let seat = ShardSeat { index, shard, peers: Map::default() };
            seats.push(Seat { shard: Some(seat), pipeline: None, listener: None });
        }
        seats[0].listener = Some(listener);
        let results = Arc::new(ArrayQueue::new(64));
        let (flush_jobs, flush_queue) = crossbeam::channel::unbounded();
        let (disk_jobs, disk_queue) = crossbeam::channel::unbounded();
        let pipeline = Pipeline::new(
            self.pipeline_settings(),
            self.start_state(recovered),
            Prep::new(self.prep_options(schemes)),
            mesh,
            ring,
            figures,
            pipeline_figures,
        );
        let parts = PipelineParts {
            pipeline,
            results: Arc::clone(&results),
            flush_jobs: flush_jobs.clone(),
            disk_jobs: disk_jobs.clone(),
        };
        let pipeline_seat = if pipeline_alone {
            seats.push(Seat { shard: None, pipeline: Some(parts), listener: None });
            seats.len() - 1
        } else {
            seats[0].pipeline = Some(parts);
            0
        };
        // Each thread makes its driver, tells its waker, and waits for everybody's.
        let (told, wakers) = mpsc::channel();
        let mut gates = Vec::new();
        for (index, seat) in seats.into_iter().enumerate() {
            let (gate, pass) = mpsc::channel::<Vec<Waker>>();
            gates.push(gate);
            let told = told.clone();
            let (clock, backend) = (self.clock, self.backend);
            let stage = Arc::clone(&self.stage);
            let (acceptor, words) = (Arc::clone(&acceptor), Arc::clone(&words));
            let name = match (&seat.shard, &seat.pipeline) {
                (Some(_), Some(_)) => "main".to_owned(),
                (Some(_), None) => format!("shard-{index}"),
                _ => "pipeline".to_owned(),
            };
            let thread = spawn(&name, move || {
                let driver = Driver::new(backend).and_then(|mut driver| {
                    if let Some(listener) = seat.listener {
                        driver.listen(listener)?;
                    }
                    Ok(driver)
                });
                let driver = match driver {
                    Ok(driver) => driver,
                    Err(error) => {
                        let _ = told.send((index, Err(error)));
                        return;
                    }
                };
                let _ = told.send((index, Ok(driver.waker())));
                // Without an answer another thread failed to start.
                let Ok(wakers) = pass.recv() else { return };
                let pipeline = seat.pipeline.map(|parts| PipelineSeat {
                    pipeline: parts.pipeline,
                    results: parts.results,
                    flush_jobs: parts.flush_jobs,
                    disk_jobs: parts.disk_jobs,
                });
                let pipeline_waker = wakers[pipeline_seat].clone();
                PartThread {
                    driver,
                    clock,
                    stage,
                    acceptor,
                    words,
                    shard_wakers: wakers,
                    pipeline_waker,
                    seat: seat.shard,
                    pipeline,
                }
                .run();
            })?;
            self.threads.push(thread);
        }
        let mut found: Vec<Option<Waker>> = vec![None; gates.len()];
        for _ in 0..gates.len() {
            let (index, waker) =
                wakers.recv().map_err(|_| StartError::new(1, "a thread ended before it began"))?;
            found[index] = Some(waker.map_err(|error| {
                StartError::new(1, format!("cannot set up the event loop: {error}"))
            })?);
        }
        self.wakers = found.into_iter().flatten().collect();
        let results =
            flusher::Results { queue: results, waker: self.wakers[pipeline_seat].clone() };
        self.blocking_threads(last, flush_queue, disk_queue, &flush_jobs, disk_jobs, results)?;
        for gate in gates {
            let _ = gate.send(self.wakers.clone());
        }
        Ok(())
    }

    fn blocking_threads(
        &mut self,
        last: Zxid,
        flush_queue: crossbeam::channel::Receiver<flusher::FlushJob>,
        disk_queue: crossbeam::channel::Receiver<disk::DiskJob>,
        flush_jobs: &crossbeam::channel::Sender<flusher::FlushJob>,
        disk_jobs: crossbeam::channel::Sender<disk::DiskJob>,
        results: flusher::Results,
    ) -> Result<(), StartError> {
        let size_limit = self.config.txn_log_size_limit_bytes;
        let own_disk_jobs = disk_jobs.clone();
        let flusher = flusher::Flusher {
            writer: LogWriter::new(
                LogOptions {
                    segment_bytes: self.config.pre_alloc_bytes,
                    size_limit_bytes: (size_limit > 0).then_some(size_limit),
                    force_sync: self.config.force_sync,
                },
                last,
            ),
            disk: RealDisk::new(self.dirs.clone()),
            jobs: flush_queue,
            disk_jobs,
            results: results.clone(),
            clock: self.clock,
            warn_ms: self.config.fsync_warning_threshold_ms,
        };
        let disk = disk::DiskThread {
            dirs: self.dirs.clone(),
            jobs: disk_queue,
            flush_jobs: flush_jobs.clone(),
            results,
            clock: self.clock,
            config: Arc::clone(&self.config),
            snapshot_bytes_per_s: self.options.snapshot_bytes_per_s,
            stage: Arc::clone(&self.stage),
        };
        self.blocking = Some(Blocking {
            flusher: Some(spawn("flusher", move || flusher.run())?),
            disk: Some(spawn("disk", move || disk.run())?),
            flush_jobs: flush_jobs.clone(),
            disk_jobs: own_disk_jobs,
        });
        Ok(())
    }

    /// Sessions get their whole timeout anew.
    fn start_state(&self, recovered: Recovered) -> Start {
        let now = self.clock.now();
        let mut sessions = SessionTable::new(clamped(self.config.tick_ms));
        for (session, timeout_ms) in &recovered.sessions {
            sessions.add(*session, *timeout_ms, None, now.mono_ms);
        }
        Start {
            sessions,
            // Of the wall clock, so that no earlier start gave the same ids.
            ids: SessionIds::new(STANDALONE_SERVER_ID, now.wall_ms),
            txns_since_snapshot: recovered.txns,
            log_bytes_since_snapshot: recovered.log_bytes,
            snapshot_len_bytes: recovered.snapshot.map_or(0, |snapshot| snapshot.len_bytes),
            tree: recovered.tree,
        }
    }

    fn shard_settings(&self, schemes: &Schemes) -> shard::Settings {
        shard::Settings {
            frame_bytes_max: self.config.jute_maxbuffer_bytes,
            min_timeout_ms: clamped(self.config.min_session_timeout_ms),
            max_timeout_ms: clamped(self.config.max_session_timeout_ms),
            skip_acl: self.config.skip_acl,
            schemes: schemes.clone(),
            sessionless_ms: self.config.sessionless_timeout_ms,
            outstanding_max: self.outstanding_max(),
        }
    }

    fn prep_options(&self, schemes: Schemes) -> prep::Options {
        prep::Options {
            extended_types: self.config.extended_types,
            enforce_quota: self.config.enforce_quota,
            skip_acl: self.config.skip_acl,
            reconfig_enabled: self.config.reconfig_enabled,
            digest_enabled: self.config.digest_enabled,
            schemes,
        }
    }

    /// COMPAT: with weights, the bucket and its fills count in tokens of a new session.
    fn throttle_rules(&self) -> ThrottleRules {
        let throttle = &self.config.connection_throttle;
        let (new_weight, renew_weight) = if throttle.weighted {
            (throttle.global_session_weight, throttle.renew_session_weight)
        } else {
            (1, 1)
        };
        ThrottleRules {
            tokens: throttle.tokens.saturating_mul(new_weight),
            fill_ms: throttle.fill_ms,
            fill_count: throttle.fill_count.saturating_mul(new_weight),
            freeze_ms: throttle.freeze_ms,
            drop_increase: throttle.drop_increase,
            drop_decrease: throttle.drop_decrease,
            decrease_ratio: throttle.decrease_ratio,
            new_weight,
            renew_weight,
        }
    }

    /// Writes in flight above which a connection with one of its own is not read on.
    fn outstanding_max(&self) -> usize {
        let limit = self.config.global_outstanding_limit as usize;
        match self.config.request_throttle.max_requests as usize {
            0 => limit,
            throttle => limit.min(throttle),
        }
    }

    fn pipeline_settings(&self) -> pipeline::Settings {
        let config = &self.config;
        pipeline::Settings {
            snap_count: u64::from(config.snap_count),
            snap_size_bytes: (config.snap_size_limit_bytes > 0)
                .then_some(config.snap_size_limit_bytes),
            throttle: self.throttle_rules(),
            segment_bytes: config.pre_alloc_bytes,
            container_check_ms: config.containers.check_interval_ms,
            container_per_minute: u64::from(config.containers.max_per_minute),
            container_never_used_ms: config.containers.max_never_used_ms,
        }
    }
}

/// COMPAT: the high byte of a standalone server's session ids (client-protocol.md 2.3).
const STANDALONE_SERVER_ID: i64 = 1;

/// Timeouts and ticks travel as 32 bits.
fn clamped(ms: Millis) -> i32 {
    i32::try_from(ms).unwrap_or(i32::MAX)
}

pub(super) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| StartError::new(1, format!("cannot start the thread {name}: {error}")))
}
