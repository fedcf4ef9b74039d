//! Our client library: sessions that survive their connections.
//!
//! A [`Client`] is one session. Its I/O thread (`session.rs`) connects to one of the servers,
//! re-attaches the session to another one when that fails, repeats credentials and watches there,
//! and pings; callers block in methods, or pipeline with [`Client::submit`]. Layers, from below:
//! [`raw`] (one connection, nothing decided), `hosts` (which server, when), `watches` (the table
//! that is restored), `request` (bytes of requests and replies), `session` (the thread).
//!
//! What it promises is what ZooKeeper's own client does: requests of one client are answered in the
//! order they were made; a request whose connection broke ends with [`Error::ConnectionLoss`] and is
//! not sent again, since only the caller knows whether that is safe; a watch is heard once, and
//! before the data that a later read would show; [`Error::SessionExpired`] is final.
//!
//! ```no_run
//! use ringkeeper::client::{Client, Options, acl};
//! use ringkeeper::wire::codes::CreateMode;
//!
//! # fn main() -> Result<(), ringkeeper::client::Error> {
//! let client = Client::connect("127.0.0.1:2181,127.0.0.1:2182", Options::default())?;
//! client.create("/greeting", b"hello", acl::OPEN, CreateMode::Ephemeral)?;
//! let (data, stat) = client.get_data("/greeting", Some(&client.default_watcher()))?;
//! assert_eq!((data.as_slice(), stat.version), (&b"hello"[..], 0));
//! client.set_data("/greeting", b"bye", stat.version)?;
//! while let Ok(event) = client.events().recv() {
//!     println!("{event:?}"); // Connected, then NodeDataChanged of /greeting.
//!     # break;
//! }
//! client.close()
//! # }
//! ```
//!
//! Not here: TLS, SASL; a client that was given to a read-only server stays there until that server
//! lets it go.

pub mod acl;
pub mod clock;
mod error;
mod hosts;
pub mod raw;
mod request;
mod session;
#[cfg(test)]
mod tests;
mod watches;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

pub use error::Error;
pub use hosts::{Backoff, ConnectString};
pub use request::{Reply, Request};
pub use watches::{EventKind, State, WatchedEvent, Watcher};

use crate::wire::client::{AclList, Stat};
use crate::wire::codes::{AddWatchMode, CreateMode, ErrorCode, WatcherType};
use acl::Acl;
use hosts::Hosts;
use session::{Command, Session, Shared};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Wanted session timeout; the server may grant another one.
    pub timeout: Duration,
    /// How long [`Client::connect`] waits for the first connection.
    pub patience: Duration,
    /// Scheme and credentials, sent first on every connection.
    pub auth: Vec<(String, Vec<u8>)>,
    /// Whether a server without a quorum, that serves reads only, will do.
    pub read_only: bool,
    /// Id and password of a session to go on with.
    pub session: Option<(i64, Vec<u8>)>,
    /// Whether to try the servers in an order of one's own; clients that agree on the order all
    /// go to the same server.
    pub shuffle: bool,
    /// Pauses between attempts.
    pub backoff: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            patience: Duration::from_secs(30),
            auth: Vec::new(),
            read_only: false,
            session: None,
            shuffle: true,
            backoff: Backoff::default(),
        }
    }
}

/// One session. Methods may be called from any number of threads.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    events: Receiver<WatchedEvent>,
    default_watcher: Watcher,
    thread: Option<JoinHandle<()>>,
}

/// A reply on its way.
#[derive(Debug)]
pub struct Pending {
    reply: Receiver<Result<Reply, Error>>,
    shared: Arc<Shared>,
}

impl Pending {
    /// Waits for it. It always comes: when the connection breaks, as [`Error::ConnectionLoss`].
    pub fn wait(self) -> Result<Reply, Error> {
        self.reply.recv().unwrap_or_else(|_| Err(ended(&self.shared)))
    }
}

fn ended(shared: &Shared) -> Error {
    shared.info().ended.clone().unwrap_or(Error::ConnectionLoss)
}

/// BOUND: requests that wait for the I/O thread; beyond, `submit` waits.
const COMMANDS_MAX: usize = 4096;

impl Client {
    /// Opens a session on one of the servers of `connect_string` (`host:port,host:port/chroot`)
    /// and waits until it is there. Without an answer in `options.patience` the attempt is given up.
    pub fn connect(connect_string: &str, options: Options) -> Result<Self, Error> {
        let patience = options.patience;
        let client = Self::start(connect_string, options)?;
        let info = client.shared.wait_connected(patience);
        match info.ended {
            Some(error) => Err(error),
            None if info.state.is_connected() => Ok(client),
            None => {
                client.abandon();
                Err(Error::ConnectionLoss)
            }
        }
    }

    /// As [`Self::connect`], without waiting: requests wait for the connection, or for the first
    /// attempt that fails.
    pub fn start(connect_string: &str, options: Options) -> Result<Self, Error> {
        let ConnectString { servers, chroot } = ConnectString::parse(connect_string)?;
        let system = |error: std::io::Error| Error::System(error.to_string());
        let (session_id, passwd) = options.session.clone().unwrap_or_default();
        let granted = raw::Granted { session_id, passwd, timeout_ms: 0, read_only: None };
        let shared = Arc::new(Shared::new(granted).map_err(system)?);
        let (commands, queue) = bounded(COMMANDS_MAX);
        let (sender, events) = unbounded();
        let default_watcher = Watcher::new(sender);
        let hosts = Hosts::new(servers, options.shuffle, options.backoff);
        let watcher = default_watcher.clone();
        let session = Session::new(Arc::clone(&shared), queue, watcher, options, chroot, hosts);
        let thread = thread::Builder::new()
            .name("client-io".to_owned())
            .spawn(move || session.run())
            .map_err(system)?;
        Ok(Self { shared, commands, events, default_watcher, thread: Some(thread) })
    }

    /// Queues a request and does not wait for its reply. Replies come in the order of requests.
    pub fn submit(&self, request: Request) -> Pending {
        let (done, reply) = bounded(1);
        let pending = Pending { reply, shared: Arc::clone(&self.shared) };
        match request.check() {
            // There is room for one.
            Err(error) => drop(done.try_send(Err(error))),
            Ok(()) => {
                // Without a thread the sender of the reply is dropped, which says so.
                if self.commands.send(Command::Send(request, done)).is_ok() {
                    self.shared.wake();
                }
            }
        }
        pending
    }

    fn ask(&self, request: Request) -> Result<Reply, Error> {
        self.submit(request).wait()
    }

    /// Changes of the session's state, and what [`Self::default_watcher`] hears.
    pub fn events(&self) -> &Receiver<WatchedEvent> {
        &self.events
    }

    /// The watcher whose events come out of [`Self::events`].
    pub fn default_watcher(&self) -> Watcher {
        self.default_watcher.clone()
    }

    /// A watcher of its own; it also hears changes of state while a watch is set.
    pub fn watcher(&self) -> (Watcher, Receiver<WatchedEvent>) {
        let (sender, receiver) = unbounded();
        (Watcher::new(sender), receiver)
    }

    /// Id and password, for [`Options::session`].
    pub fn session(&self) -> (i64, Vec<u8>) {
        let info = self.shared.info();
        (info.granted.session_id, info.granted.passwd.clone())
    }

    /// What the server granted.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.shared.info().granted.timeout_ms).unwrap_or(0))
    }

    /// How the session stands.
    pub fn state(&self) -> State {
        self.shared.info().state
    }

    /// The server of the connection, or of the last one.
    pub fn server(&self) -> String {
        self.shared.info().server.clone()
    }

    /// Newest zxid that a reply carried.
    pub fn last_zxid(&self) -> i64 {
        self.shared.info().last_zxid
    }

    /// Makes a node and returns its path.
    pub fn create(
        &self,
        path: &str,
        data: &[u8],
        acl: AclList<'_>,
        mode: CreateMode,
    ) -> Result<String, Error> {
        let Reply::Created(path, _) = self.ask(create(path, data, acl, mode))? else {
            unreachable!("another reply answers no create");
        };
        Ok(path)
    }

    /// Makes a node that goes when it is unchanged and childless for `ttl`.
    pub fn create_ttl(
        &self,
        path: &str,
        data: &[u8],
        acl: AclList<'_>,
        mode: CreateMode,
        ttl: Duration,
    ) -> Result<String, Error> {
        let mut request = create(path, data, acl, mode);
        if let Request::Create { ttl_ms, .. } = &mut request {
            *ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        }
        let Reply::Created(path, _) = self.ask(request)? else {
            unreachable!("another reply answers no create");
        };
        Ok(path)
    }

    /// Removes a childless node; -1 matches any version.
    pub fn delete(&self, path: &str, version: i32) -> Result<(), Error> {
        self.ask(Request::Delete { path: path.to_owned(), version }).map(|_| ())
    }

    /// The stat of a node, or none.
    pub fn exists(&self, path: &str, watcher: Option<&Watcher>) -> Result<Option<Stat>, Error> {
        let path = path.to_owned();
        let request = Request::Exists { path, watcher: watcher.cloned() };
        match self.stat(request) {
            Err(Error::Code(ErrorCode::NoNode)) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Data and stat; null data come as empty ones.
    pub fn get_data(
        &self,
        path: &str,
        watcher: Option<&Watcher>,
    ) -> Result<(Vec<u8>, Stat), Error> {
        let path = path.to_owned();
        let Reply::Data(data, stat) =
            self.ask(Request::GetData { path, watcher: watcher.cloned() })?
        else {
            unreachable!("another reply answers no getData");
        };
        Ok((data.unwrap_or_default(), stat))
    }

    /// Replaces data; -1 matches any version.
    pub fn set_data(&self, path: &str, data: &[u8], version: i32) -> Result<Stat, Error> {
        let (path, data) = (path.to_owned(), Some(data.to_vec()));
        self.stat(Request::SetData { path, data, version })
    }

    fn stat(&self, request: Request) -> Result<Stat, Error> {
        let Reply::Stat(stat) = self.ask(request)? else {
            unreachable!("another reply carries no stat");
        };
        Ok(stat)
    }

    /// Names of the children, in no order, and the node's stat.
    pub fn get_children(
        &self,
        path: &str,
        watcher: Option<&Watcher>,
    ) -> Result<(Vec<String>, Stat), Error> {
        let path = path.to_owned();
        let Reply::Children(names, Some(stat)) =
            self.ask(Request::GetChildren { path, watcher: watcher.cloned() })?
        else {
            unreachable!("another reply answers no getChildren2");
        };
        Ok((names, stat))
    }

    /// The ACL list and the stat.
    pub fn get_acl(&self, path: &str) -> Result<(Vec<Acl>, Stat), Error> {
        let Reply::Acl(list, stat) = self.ask(Request::GetAcl { path: path.to_owned() })? else {
            unreachable!("another reply answers no getACL");
        };
        Ok((list, stat))
    }

    /// Replaces the ACL list; -1 matches any aversion.
    pub fn set_acl(&self, path: &str, acl: AclList<'_>, version: i32) -> Result<Stat, Error> {
        self.stat(Request::SetAcl { path: path.to_owned(), acl: acl.bytes.to_vec(), version })
    }

    /// Brings the server up to date with the leader.
    pub fn sync(&self, path: &str) -> Result<(), Error> {
        self.ask(Request::Sync { path: path.to_owned() }).map(|_| ())
    }

    /// All or nothing. A refusal is [`Error::Multi`] with the row that caused it.
    pub fn multi(&self, rows: Vec<Request>) -> Result<Vec<Reply>, Error> {
        let results = self.rows(Request::Multi(rows))?;
        for (row, result) in results.iter().enumerate() {
            if let Err(Error::Code(cause)) = result {
                return Err(Error::Multi { row, cause: *cause });
            }
        }
        results.into_iter().collect()
    }

    /// Reads at one zxid; each row succeeds or fails alone.
    pub fn multi_read(&self, rows: Vec<Request>) -> Result<Vec<Result<Reply, Error>>, Error> {
        self.rows(Request::MultiRead(rows))
    }

    fn rows(&self, request: Request) -> Result<Vec<Result<Reply, Error>>, Error> {
        let Reply::Results(results) = self.ask(request)? else {
            unreachable!("another reply answers no multi");
        };
        Ok(results)
    }

    /// A watch that stays.
    pub fn add_watch(
        &self,
        path: &str,
        mode: AddWatchMode,
        watcher: &Watcher,
    ) -> Result<(), Error> {
        let (path, watcher) = (path.to_owned(), watcher.clone());
        self.ask(Request::AddWatch { path, mode, watcher }).map(|_| ())
    }

    /// Takes watches of all watchers away.
    pub fn remove_watches(&self, path: &str, kind: WatcherType) -> Result<(), Error> {
        self.ask(Request::RemoveWatches { path: path.to_owned(), kind }).map(|_| ())
    }

    /// Adds credentials, on this connection and all later ones.
    pub fn add_auth(&self, scheme: &str, auth: &[u8]) -> Result<(), Error> {
        let (scheme, auth) = (scheme.to_owned(), auth.to_vec());
        self.ask(Request::AddAuth { scheme, auth }).map(|_| ())
    }

    /// Scheme and user of every id of the connection.
    pub fn who_am_i(&self) -> Result<Vec<(String, String)>, Error> {
        let Reply::Ids(ids) = self.ask(Request::WhoAmI)? else {
            unreachable!("another reply answers no whoAmI");
        };
        Ok(ids)
    }

    /// This session's ephemerals whose paths begin with `prefix`.
    pub fn get_ephemerals(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let Reply::Paths(paths) = self.ask(Request::GetEphemerals { prefix: prefix.to_owned() })?
        else {
            unreachable!("another reply answers no getEphemerals");
        };
        Ok(paths)
    }

    /// Count of descendants at any depth.
    pub fn get_all_children_number(&self, path: &str) -> Result<i32, Error> {
        let Reply::Count(count) =
            self.ask(Request::GetAllChildrenNumber { path: path.to_owned() })?
        else {
            unreachable!("another reply answers no getAllChildrenNumber");
        };
        Ok(count)
    }

    /// Ends the session, after the requests submitted before; its ephemerals go. When no server can
    /// be reached the session ends by its timeout.
    pub fn close(mut self) -> Result<(), Error> {
        self.end();
        let end = ended(&self.shared);
        if end == Error::Closed { Ok(()) } else { Err(end) }
    }

    /// Ends the client and leaves the session to its timeout, or to whoever re-attaches to it.
    pub fn abandon(mut self) {
        self.shared.abandon();
        self.join();
    }

    fn end(&mut self) {
        self.shared.begin_close();
        if self.commands.send(Command::Close).is_ok() {
            self.shared.wake();
        }
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a panic aborts the process");
        }
    }
}

/// As [`Client::close`].
impl Drop for Client {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

/// A request to make a node, for [`Client::submit`] and [`Client::multi`].
pub fn create(path: &str, data: &[u8], acl: AclList<'_>, mode: CreateMode) -> Request {
    Request::Create {
        path: path.to_owned(),
        data: Some(data.to_vec()),
        acl: acl.bytes.to_vec(),
        mode,
        ttl_ms: 0,
    }
}
