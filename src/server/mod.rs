//! A server: which thread runs which parts, and in which order they start and stop.
//!
//! Placement is data: on one or two cores one thread runs `[shard 0, pipeline]`; with more shards
//! each further one has a thread; from four cores on the pipeline has a thread of its own. The
//! flusher and the disk thread may block, the others never do.

mod acceptor;
mod build;
pub mod clock;
mod disk;
mod flusher;
pub mod logging;
mod thread;
mod words;

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use crate::auth::Schemes;
use crate::config::{self, Config};
use crate::limits;
use crate::net::driver::{Driver, Waker};
use crate::net::probe::{Backend, IoMode, probe};
use crate::parts::figures::ShardFigures;
use crate::parts::mesh::Mesh;
use crate::parts::pipeline::{self, Pipeline, PipelineFigures, Start};
use crate::parts::shard::{self, Shard};
use crate::prep::{self, Prep};
use crate::session::{SessionIds, SessionTable};
use crate::storage::disk::{Dirs, RealDisk};
use crate::storage::log::{LogOptions, LogWriter};
use crate::storage::recovery::{self, Progress, Recovered, RecoveryOptions};
use crate::storage::{self, DirLock, LockError};
use crate::sys::broadcast;
use crate::tree::TreeOptions;
use crate::types::{Map, Zxid, seed_maps};
use build::Build;
use clock::Clock;
use thread::{PartThread, PipelineSeat, ShardSeat, stage};
use words::Words;

/// How a server runs, beside what zoo.cfg says.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// io_uring or epoll.
    pub io: IoMode,
    /// Shards; `None` chooses by the cores of the machine.
    pub shards: Option<usize>,
    /// Connections that one shard serves before the next is opened: turns batch better on few
    /// shards.
    pub shard_connections: usize,
    /// Bound of a snapshot's I/O, bytes a second; 0 for none.
    pub snapshot_bytes_per_s: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            io: IoMode::Auto,
            shards: None,
            shard_connections: SHARD_CONNECTIONS,
            snapshot_bytes_per_s: SNAPSHOT_BYTES_PER_S,
        }
    }
}

/// See [`Options::shard_connections`].
const SHARD_CONNECTIONS: usize = 64;

/// A snapshot must not wreck the log's latency on a shared disk (field.md 3.1, 8).
const SNAPSHOT_BYTES_PER_S: u64 = 50 << 20;

/// Why a server did not start, with ZooKeeper's exit code.
#[derive(Debug)]
pub struct StartError {
    /// One line: what, where, what to do.
    pub text: String,
    /// 1 unexpected, 2 configuration, 3 data directory.
    pub exit_code: u8,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    fn new(exit_code: u8, text: impl Into<String>) -> Self {
        Self { text: text.into(), exit_code }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    stage: Arc<AtomicU8>,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<()>>,
    blocking: Blocking,
    _lock: DirLock,
    /// The embedded default's directory goes with the server.
    _temporary: Option<tempfile::TempDir>,
}

impl Server {
    /// Recovers, listens, serves.
    ///
    /// # Errors
    /// Whatever keeps it from serving, as one line with what to do.
    pub fn start(config: Config, options: Options) -> Result<Self, StartError> {
        Self::start_in(config, options, None)
    }

    /// A server for a test or an example: any free port of the loopback address, an empty
    /// directory that goes with it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn embedded() -> Result<Self, StartError> {
        let dir = tempfile::tempdir()
            .map_err(|error| StartError::new(3, format!("cannot make a directory: {error}")))?;
        let config = Config::embedded(dir.path().to_path_buf());
        Self::start_in(config, Options::default(), Some(dir))
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Finishes what was taken, makes it durable, sends the replies, ends the threads. Dropping a
    /// server does the same.
    pub fn stop(self) {
        drop(self);
    }

    fn start_in(
        config: Config,
        options: Options,
        temporary: Option<tempfile::TempDir>,
    ) -> Result<Self, StartError> {
        seed_maps(clock::seed());
        let clock = Clock::start();
        let (backend, why) = probe_aside(options.io)?;
        if let Some(why) = why {
            tracing::warn!("{why}");
        }
        let log_dir = (config.data_log_dir != config.data_dir).then_some(&config.data_log_dir);
        let dirs = Dirs::new(&config.data_dir, log_dir.map(PathBuf::as_path));
        let lock = DirLock::acquire(&dirs, config.data_dir_autocreate).map_err(|error| {
            if matches!(error, LockError::Io(..)) {
                tracing::error!("Unable to access datadir, exiting abnormally");
            }
            StartError::new(3, error.to_string())
        })?;
        let Some(wanted) = config.client_addr else {
            return Err(StartError::new(
                2,
                "no clientPort is given and there is no other port to serve clients on: set \
                 clientPort=2181",
            ));
        };
        let listener = listen(wanted, config.listen_backlog()).map_err(|error| {
            StartError::new(
                1,
                format!(
                    "cannot listen on {wanted}: {error}. Is another server running? Stop it or \
                     choose another clientPort"
                ),
            )
        })?;
        let addr = listener.local_addr().map_err(|error| StartError::new(1, error.to_string()))?;
        let recovered = recover(&config, &dirs, clock)?;
        tracing::info!("binding to port {}/{}", wanted.ip(), wanted);
        let mut build = Build::new(config, options, backend, clock, dirs, addr);
        build.threads(listener, recovered)?;
        let Build { stage, wakers, threads, blocking, .. } = build;
        let blocking = blocking.expect("all threads were started");
        Ok(Self { addr, stage, wakers, threads, blocking, _lock: lock, _temporary: temporary })
    }
}

/// The directory's lock, and the embedded default's directory, go behind the last thread that
/// writes there.
impl Drop for Server {
    fn drop(&mut self) {
        self.stage.store(stage::DRAINING, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
        for thread in self.threads.drain(..) {
            // A panic aborts the process, so there is nobody to hear of it here.
            let _ = thread.join();
        }
        self.blocking.stop();
    }
}

/// The two threads that may block. Each can give the other work, so neither ends by itself.
#[derive(Debug)]
struct Blocking {
    flusher: Option<JoinHandle<()>>,
    disk: Option<JoinHandle<()>>,
    flush_jobs: crossbeam::channel::Sender<flusher::FlushJob>,
    disk_jobs: crossbeam::channel::Sender<disk::DiskJob>,
}

impl Blocking {
    /// Behind the pipeline: whatever it wanted to be durable is.
    fn stop(&mut self) {
        let _ = self.flush_jobs.send(flusher::FlushJob::Stop);
        let _ = self.disk_jobs.send(disk::DiskJob::Stop);
        for thread in [self.flusher.take(), self.disk.take()].into_iter().flatten() {
            let _ = thread.join();
        }
    }
}

/// On a thread of its own: the kernel ends a ring on the thread that made it, and interrupts the
/// blocking system calls of an embedder's thread for that (EINTR).
fn probe_aside(io: IoMode) -> Result<(Backend, Option<String>), StartError> {
    let (told, heard) = mpsc::channel();
    let thread = build::spawn("probe", move || {
        // Without a listener nobody wants to know.
        let _ = told.send(probe(io));
    })?;
    let probed = heard.recv();
    // Joined, so that the ring is gone before the server's own are made.
    let _ = thread.join();
    probed
        .map_err(|_| StartError::new(1, "the probe of io_uring ended without an answer"))?
        .map_err(|why| StartError::new(1, why))
}

/// The port may still be taken for a moment: the kernel tears down the rings of a killed process
/// after its parent has seen it end, and an accept that is armed on a ring holds the listening
/// socket until then. Measured after SIGKILL of our own server: 0.6 to 1.4 s on a machine at load
/// 15. A supervisor that restarts at once must not see "address in use" for that.
fn listen(addr: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    const ATTEMPTS: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(50);
    let mut attempt = 1;
    loop {
        match listen_once(addr, backlog) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => {
                attempt += 1;
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

/// COMPAT: `0.0.0.0` means both families, as Java's dual-stack socket does.
fn listen_once(addr: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    if addr.is_ipv4() && addr.ip().is_unspecified() {
        let dual = SocketAddr::from((Ipv6Addr::UNSPECIFIED, addr.port()));
        match bind(dual, backlog) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::ADDRINUSE.raw_os_error()) => {}
            bound => return bound,
        }
    }
    bind(addr, backlog)
}

fn bind(addr: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &addr)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(TcpListener::from(socket))
}

/// Loads the data directory, telling how far it is now and then.
fn recover(config: &Config, dirs: &Dirs, clock: Clock) -> Result<Recovered, StartError> {
    let began = clock.now();
    let mut told_ms = began.mono_ms;
    let mut disk = RealDisk::new(dirs.clone());
    let options = RecoveryOptions {
        record_bytes_max: config.jute_maxbuffer_bytes + config.jute_extrasize_bytes,
        trust_empty: config.snapshot_trust_empty,
        ..RecoveryOptions::default()
    };
    let tree_options =
        TreeOptions { digest_enabled: config.digest_enabled, skip_acl: config.skip_acl };
    let mut progress = |progress: Progress<'_>| {
        let now_ms = clock.now().mono_ms;
        if now_ms - told_ms >= PROGRESS_MS {
            told_ms = now_ms;
            match progress {
                Progress::Snapshot { file, bytes } => {
                    tracing::info!("Reading snapshot {file}: {} MB so far", bytes >> 20);
                }
                Progress::Log { file, txns } => {
                    tracing::info!("Replaying {file}: {txns} txns so far");
                }
            }
        }
    };
    let mut recovered = recovery::recover(&mut disk, &options, tree_options, &mut progress)
        .map_err(|error| StartError::new(1, error.to_string()))?;
    for warning in &recovered.warnings {
        tracing::warn!("{warning}");
    }
    for cut in &recovered.cuts {
        tracing::warn!("{cut}");
    }
    if let Some(zxid) = recovered.first_mismatch {
        tracing::error!(
            "First digest mismatch on txn: {zxid}; {} in all. The tree may differ from the one \
             that was logged",
            recovered.digest_mismatches
        );
    }
    if recovered.ttl_nodes > 0 && !config.extended_types {
        tracing::warn!(
            "{} nodes have a time to live while extendedTypesEnabled is off. They are kept and \
             expire; a Java server started on this directory would delete them",
            recovered.ttl_nodes
        );
    }
    for session in recovered.remove_orphans() {
        tracing::warn!("Deleted the ephemeral nodes of session {session}, which does not exist");
    }
    tracing::info!(
        "Snapshot loaded in {} ms, highest zxid is {}, digest is {}",
        clock.now().mono_ms - began.mono_ms,
        recovered.last_zxid,
        recovered.tree.digest()
    );
    Ok(recovered)
}

/// A long start says how far it is.
const PROGRESS_MS: i64 = 1_000;

fn schemes(config: &Config) -> Schemes {
    Schemes {
        digest_enabled: config.digest_auth.enabled,
        digest_alg: config.digest_auth.alg,
        super_digest: config.digest_auth.super_digest.clone(),
    }
}

fn compression(config: &Config) -> storage::Compression {
    match config.snapshot_compression {
        config::Compression::None => storage::Compression::None,
        config::Compression::Gz => storage::Compression::Gzip,
        config::Compression::Snappy => storage::Compression::Snappy,
    }
}
