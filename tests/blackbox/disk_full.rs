//! A disk without room: writes are refused, reads go on, and room ends it.

use std::fs;
use std::process::Command;

use ringkeeper::client::{Error, acl};
use ringkeeper::wire::codes::CreateMode;

use crate::clients::client;
use crate::world::{Process, await_that, free_port, write_config};

/// What a namespace of its own for mounts takes on this machine: root, or user namespaces.
fn unshare() -> Option<&'static str> {
    ["-m", "-rm"].into_iter().find(|flags| {
        let probe = ["sh", "-c", "mount -t tmpfs tmpfs /mnt"];
        let outcome = Command::new("unshare").arg(flags).args(probe).output();
        outcome.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn a_full_disk_refuses_writes_and_goes_on_when_there_is_room() {
    let Some(flags) = unshare() else {
        assert!(std::env::var_os("CI").is_none(), "CI runs all tests: this machine cannot unshare");
        eprintln!("not run: this machine gives nobody a file system of 4 MiB");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let lines = "preAllocSize=512\nsnapCount=1000000";
    write_config(dir.path(), &format!("clientPort={}\n{lines}", free_port()));
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let mut command = Command::new("unshare");
    command.arg(flags).args([
        "sh",
        "-c",
        "mount -t tmpfs -o size=4m tmpfs \"$1\" && head -c 2000000 /dev/zero >\"$1/ballast\" && \
         exec \"$2\" server \"$3\"",
        "sh",
    ]);
    command.arg(&data).arg(env!("CARGO_BIN_EXE_ringkeeper")).arg(dir.path().join("zoo.cfg"));
    let server = Process::spawn(dir.path(), command);
    let addr = server.addr();
    let session = client(addr);
    let node = vec![b'.'; 10_000];
    session.create("/n", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    let mut made = 0;
    let refusal = loop {
        let path = format!("/n/{made}");
        match session.create(&path, &node, acl::OPEN, CreateMode::Persistent) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 500, "4 MiB took 5 MB");
    };
    assert_eq!(refusal, Error::ConnectionLoss);
    let log = server.log();
    assert!(log.contains("No more writes are taken: no room for the next log segment"), "{log}");
    // The session comes back, reads, and still cannot write.
    await_that("a read", || session.get_children("/n", None).is_ok());
    assert_eq!(session.get_children("/n", None).unwrap().0.len(), made);
    assert_eq!(
        session.create("/n/more", b"", acl::OPEN, CreateMode::Persistent),
        Err(Error::ConnectionLoss)
    );
    // The server's own view of the file system.
    let data = data.strip_prefix("/").unwrap();
    let ballast = format!("/proc/{}/root/{}/ballast", server.pid(), data.display());
    fs::remove_file(ballast).unwrap();
    await_that("a write", || {
        session.create("/n/more", b"", acl::OPEN, CreateMode::Persistent).is_ok()
    });
    assert!(server.log().contains("There is room for the log again"), "{}", server.log());
    assert_eq!(session.get_children("/n", None).unwrap().0.len(), made + 1);
}
