//! Servers to be tested: in this process, or as a process that can be signalled and killed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringkeeper::client::clock;
use ringkeeper::config::{Config, FourLetterWords};
use ringkeeper::net::probe::{IoMode, probe};
use ringkeeper::server::clock::wall_ms;
use ringkeeper::server::logging::{self, Levels};
use ringkeeper::server::{Options, Server};
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for a machine that does much else; what is awaited takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `look` finds something.
pub(crate) fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = clock::elapsed() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::elapsed() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until `look` says so.
pub(crate) fn await_that(what: &str, mut look: impl FnMut() -> bool) {
    await_some(what, || look().then_some(()));
}

/// A server in this process, with short ticks and small files, and its directory.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) options: Options,
    server: Option<Server>,
}

/// Everything of a server that is small in a test.
pub(crate) fn small(config: &mut Config) {
    config.tick_ms = 100;
    config.min_session_timeout_ms = 200;
    config.max_session_timeout_ms = 60_000;
    config.max_client_cnxns = 0;
    config.sessionless_timeout_ms = 0;
    config.pre_alloc_bytes = 1 << 20;
    config.extended_types = true;
    config.four_letter_words = FourLetterWords::parse("*");
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        Self::with(options, |_| ())
    }

    pub(crate) fn with(options: Options, change: impl FnOnce(&mut Config)) -> Self {
        if let Ok(levels) = std::env::var("RINGKEEPER_LOG") {
            logging::init(&Levels::parse(&levels).unwrap(), "", wall_ms);
        }
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self { dir, options, server: None };
        world.start(change);
        world
    }

    pub(crate) fn start(&mut self, change: impl FnOnce(&mut Config)) {
        assert!(self.server.is_none());
        let mut config = Config::embedded(self.dir.path().to_path_buf());
        small(&mut config);
        change(&mut config);
        self.server = Some(Server::start(config, self.options).unwrap());
    }

    pub(crate) fn stop(&mut self) {
        self.server.take().unwrap().stop();
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.as_ref().unwrap().addr()
    }

    /// Names in `version-2`.
    pub(crate) fn files(&self) -> Vec<String> {
        files(self.dir.path())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

pub(crate) fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir.join("version-2")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Options of one combination; `None`, said aloud, where this machine has no io_uring.
pub(crate) fn combination(io: IoMode, shards: usize) -> Option<Options> {
    if let Err(why) = probe(io) {
        assert!(std::env::var_os("CI").is_none(), "CI runs all tests: {why}");
        eprintln!("not run: {why}");
        return None;
    }
    Some(Options { io, shards: Some(shards), ..Options::default() })
}

/// What a four-letter word answers.
pub(crate) fn four_letter(addr: SocketAddr, word: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A server in a process of its own; killed at the end.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// A port that nobody listens on, given once. `clientPort=0` means in a zoo.cfg that there is none;
/// those of the kernel's choice may become some client's end before the server takes them.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(7_919);
    await_some("a free port", || {
        let next = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(12_000 + next % 18_000).unwrap();
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    })
}

/// Its zoo.cfg: `lines` and what every test wants.
pub(crate) fn write_config(dir: &Path, lines: &str) -> PathBuf {
    let path = dir.join("zoo.cfg");
    let data = dir.join("data");
    let text = format!(
        "tickTime=200\ndataDir={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
         maxClientCnxns=0\npreAllocSize=256\n4lw.commands.whitelist=*\n{lines}\n",
        data.display()
    );
    fs::write(&path, text).unwrap();
    path
}

pub(crate) fn ringkeeper() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    // The tests read its lines.
    command.stdin(Stdio::null()).stdout(Stdio::null()).env_remove("RINGKEEPER_LOG");
    command
}

impl Process {
    /// Starts `command`, which serves in the end, with its log in `dir`.
    pub(crate) fn spawn(dir: &Path, mut command: Command) -> Self {
        let log = dir.join(format!("log-{}", clock::elapsed().as_nanos()));
        let child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    /// A server on the zoo.cfg of `dir`.
    pub(crate) fn serve(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = ringkeeper();
        command.arg("server").arg(dir.join("zoo.cfg")).args(arguments);
        Self::spawn(dir, command)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Where it serves, as its log says.
    pub(crate) fn addr(&self) -> SocketAddr {
        await_some("a line that says where it serves", || {
            let log = self.log();
            let at = log.split("serves clients on ").nth(1)?;
            at.split_once('\n')?.0.trim().parse().ok()
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = await_some("the end of the process", || {
            self.child.try_wait().unwrap_or_else(|error| panic!("{error}: {}", self.log()))
        });
        (status, self.log())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let status = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server ended with {status:?} and said:\n{}", self.log());
        }
    }
}
