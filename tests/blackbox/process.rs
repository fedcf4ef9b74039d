//! The program: signals, exit codes, what it says when it cannot serve, `ringkeeper cli`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ringkeeper::client::{Client, Error, Options, Request, acl, clock};
use ringkeeper::wire::codes::CreateMode;
use rustix::process::Signal;

use crate::clients::{client, client_with};
use crate::world::{
    PATIENCE, Process, await_that, files, four_letter, free_port, ringkeeper, write_config,
};

/// A directory with a zoo.cfg, the kernel's port.
fn home(lines: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), &format!("clientPort={}\n{lines}", free_port()));
    dir
}

/// Numbered nodes, as fast as one session makes them, until the server is gone. Returns how many
/// creates were acknowledged.
fn load(addr: SocketAddr, prefix: &str, on_ack: impl Fn(usize)) -> usize {
    const DEPTH: usize = 100;
    let session = client(addr);
    let mut acknowledged = 0;
    let mut pending = std::collections::VecDeque::new();
    for next in 0.. {
        pending.push_back(session.submit(Request::Create {
            path: format!("{prefix}{next}"),
            data: Some(vec![b'.'; 200]),
            acl: acl::OPEN.bytes.to_vec(),
            mode: CreateMode::Persistent,
            ttl_ms: 0,
        }));
        if pending.len() == DEPTH {
            match pending.pop_front().unwrap().wait() {
                Ok(_) => acknowledged += 1,
                Err(Error::ConnectionLoss) => break,
                Err(error) => panic!("{error}"),
            }
            on_ack(acknowledged);
        }
    }
    acknowledged + pending.into_iter().map(|last| usize::from(last.wait().is_ok())).sum::<usize>()
}

/// Ends a server with `signal` under load and looks for every acknowledged node behind a restart.
fn nothing_acknowledged_is_lost(lines: &str, signal: Signal, rounds: usize) -> tempfile::TempDir {
    let dir = home(lines);
    let mut written = Vec::new();
    for round in 0..=rounds {
        let server = Process::serve(dir.path(), &[]);
        let addr = server.addr();
        let session = client(addr);
        for (prefix, count) in &written {
            for i in 0..*count {
                let path = format!("{prefix}{i}");
                assert!(session.exists(&path, None).unwrap().is_some(), "{path} is lost");
            }
        }
        session.close().unwrap();
        if round == rounds {
            break;
        }
        let (enough, many) = mpsc::channel();
        let counts = thread::scope(|scope| {
            let loads: Vec<_> = ["a", "b"]
                .into_iter()
                .map(|name| {
                    let prefix = format!("/{name}-{round}-");
                    let enough = enough.clone();
                    scope.spawn(move || {
                        let count = load(addr, &prefix, |count| {
                            if count == 1_000 {
                                // The receiver waits for both.
                                let _ = enough.send(());
                            }
                        });
                        (prefix, count)
                    })
                })
                .collect();
            for _ in 0..2 {
                many.recv_timeout(PATIENCE).unwrap();
            }
            server.signal(signal);
            let began = clock::elapsed();
            let (status, log) = server.wait();
            if signal == Signal::TERM {
                assert_eq!(status.code(), Some(0), "{log}");
                let took = clock::elapsed() - began;
                assert!(took < Duration::from_secs(3), "took {took:?} to stop");
            }
            loads.into_iter().map(|load| load.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(counts.iter().all(|(_, count)| *count >= 1_000));
        written.extend(counts);
    }
    dir
}

#[test]
fn sigterm_under_load_ends_well_and_loses_nothing() {
    nothing_acknowledged_is_lost("", Signal::TERM, 2);
}

#[test]
fn sigkill_amid_rolls_and_snapshots_loses_nothing() {
    let dir = nothing_acknowledged_is_lost(
        "preAllocSize=64\nsnapCount=300\nsnapSizeLimitInKb=200",
        Signal::KILL,
        3,
    );
    let names = files(&dir.path().join("data"));
    let count = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
    assert!(count("snapshot.") >= 2 && count("log.") >= 10, "{names:?}");
}

#[test]
fn autopurge_leaves_a_directory_that_loads() {
    let dir = home("snapCount=100\nsnapSizeLimitInKb=64\npreAllocSize=64");
    let data = dir.path().join("data");
    let snapshots = || files(&data).iter().filter(|name| name.starts_with("snapshot.")).count();
    let server = Process::serve(dir.path(), &[]);
    let session = client(server.addr());
    let mut next = 0;
    await_that("six snapshots", || {
        for _ in 0..100 {
            let path = format!("/n{next}");
            session.create(&path, &[b'.'; 500], acl::OPEN, CreateMode::Persistent).unwrap();
            next += 1;
        }
        snapshots() >= 6
    });
    session.close().unwrap();
    server.signal(Signal::TERM);
    server.wait();
    let logs_before = files(&data).len();
    let lines = "autopurge.purgeInterval=1\nautopurge.snapRetainCount=3";
    write_config(dir.path(), &format!("clientPort={}\n{lines}", free_port()));
    let server = Process::serve(dir.path(), &[]);
    await_that("the purge", || server.log().contains("Purge task completed."));
    assert_eq!(snapshots(), 3, "{}", server.log());
    assert!(files(&data).len() < logs_before);
    server.signal(Signal::KILL);
    server.wait();
    let server = Process::serve(dir.path(), &[]);
    let session = client(server.addr());
    for i in 0..next {
        assert!(session.exists(&format!("/n{i}"), None).unwrap().is_some(), "/n{i}");
    }
}

/// Runs a server that does not serve: its exit code and what it says on stderr.
fn refused(command: Command) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let (status, stderr) = Process::spawn(dir.path(), command).wait();
    (status.code().unwrap(), stderr)
}

/// The lines that are for a human, not for the log.
fn plain(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.starts_with("ringkeeper: ")).collect()
}

fn serve_command(dir: &Path) -> Command {
    let mut command = ringkeeper();
    command.arg("server").arg(dir.join("zoo.cfg"));
    command
}

#[test]
fn a_directory_serves_one_server() {
    let dir = home("");
    let first = Process::serve(dir.path(), &[]);
    let addr = first.addr();
    let (code, stderr) = refused(serve_command(dir.path()));
    assert_eq!(code, 3, "{stderr}");
    let [line] = plain(&stderr)[..] else { panic!("{stderr}") };
    assert!(line.contains(dir.path().to_str().unwrap()), "{line}");
    assert_eq!(four_letter(addr, "ruok"), "imok");
}

#[test]
fn a_port_serves_one_server() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), &format!("clientPort={port}"));
    let (code, stderr) = refused(serve_command(dir.path()));
    assert_eq!(code, 1, "{stderr}");
    let [line] = plain(&stderr)[..] else { panic!("{stderr}") };
    assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");
}

#[test]
fn a_bad_line_is_named_and_an_unknown_key_is_not_one() {
    let dir = home("maxSessionTimeout=many");
    let (code, stderr) = refused(serve_command(dir.path()));
    assert_eq!(code, 2, "{stderr}");
    let [line] = plain(&stderr)[..] else { panic!("{stderr}") };
    for part in ["zoo.cfg:9:", "maxSessionTimeout", "many"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let dir = home("noSuchKey=1");
    let server = Process::serve(dir.path(), &[]);
    server.addr();
    let log = server.log();
    let warning = log.lines().find(|line| line.contains("noSuchKey")).expect("a line on it");
    assert!(warning.contains("WARN"), "{warning}");
    let mut command = serve_command(dir.path());
    command.arg("--check-config");
    let (code, stderr) = refused(command);
    assert_eq!((code, plain(&stderr).len()), (2, 1), "{stderr}");
}

#[test]
fn a_kernel_that_denies_io_uring_still_serves() {
    let dir = home("");
    let denied = |io: &str| {
        let mut command = serve_command(dir.path());
        command.env("RINGKEEPER_TEST_DENY_URING", "EPERM").args(["--io", io]);
        command
    };
    let (code, stderr) = refused(denied("uring"));
    assert_eq!(code, 1, "{stderr}");
    let [line] = plain(&stderr)[..] else { panic!("{stderr}") };
    assert!(line.contains("io_uring") && line.contains("not permitted"), "{line}");
    let server = Process::spawn(dir.path(), denied("auto"));
    let addr = server.addr();
    client(addr).create("/a", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("WARN") && line.contains("io_uring"));
    assert_eq!(lines.count(), 1, "{log}");
}

#[test]
fn the_command_line_client_tells_by_its_exit_code() {
    let dir = home("");
    let server = Process::serve(dir.path(), &[]);
    let addr = server.addr().to_string();
    let cli = |words: &[&str]| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
        command.args(["cli", "--server", &addr, "--timeout", "10000"]).args(words);
        command.output().unwrap()
    };
    let text = |words: &[&str]| {
        let output = cli(words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{words:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(text(&["create", "/a", "hello"]), "Created /a\n");
    assert_eq!(text(&["get", "/a"]), "hello\n");
    assert_eq!(text(&["set", "/a", "bye"]), "");
    assert_eq!(text(&["create", "/a/b"]), "Created /a/b\n");
    assert_eq!(text(&["ls", "/"]), "[a, zookeeper]\n");
    assert_eq!(text(&["ls", "/a"]), "[b]\n");
    assert!(text(&["stat", "/a"]).contains("dataVersion = 1"));
    assert_eq!(text(&["delete", "/a/b"]), "");
    let fails = |words: &[&str], code: i32| {
        let output = cli(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words:?}");
    };
    fails(&["get", "/none"], 1);
    fails(&["create", "/a", "again"], 1);
    fails(&["create"], 1);
    fails(&["nosuch", "/a"], 127);
    server.signal(Signal::INT);
    assert_eq!(server.wait().0.code(), Some(0));
    let mut gone = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    gone.args(["cli", "--server", &addr, "--timeout", "300", "ls", "/"]);
    assert_eq!(gone.output().unwrap().status.code(), Some(1));
}

#[test]
fn a_session_outlives_a_killed_server() {
    let dir = home("");
    let server = Process::serve(dir.path(), &[]);
    let addr = server.addr();
    let session = client(addr);
    session.create("/mine", b"", acl::OPEN, CreateMode::Ephemeral).unwrap();
    let kept = session.session();
    session.create("/theirs", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    server.signal(Signal::KILL);
    server.wait();
    drop(session);
    // The same port: a supervisor starts again at once.
    write_config(dir.path(), &format!("clientPort={}", addr.port()));
    let server = Process::serve(dir.path(), &[]);
    assert_eq!(server.addr(), addr);
    let back: Client =
        client_with(addr, Options { session: Some(kept.clone()), ..Options::default() });
    assert_eq!(back.session().0, kept.0);
    assert_eq!(back.get_ephemerals("/").unwrap(), ["/mine"]);
    assert!(fs::metadata(dir.path().join("data")).unwrap().is_dir());
    back.close().unwrap();
    assert_eq!(client(addr).exists("/mine", None).unwrap(), None);
}
