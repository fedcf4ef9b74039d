//! Which snapshots and logs may go (ZooKeeper: `PurgeTxnLog`, autopurge; storage-format 9).
//!
//! Thread: the disk thread.
//! Invariants: what is kept loads, and so does what an interrupted purge leaves. The log being
//! written is never touched.
//! Not here: when to purge.

use std::io;

use super::Named;
use super::disk::{Dir, Disk, FileName, Job};
use super::recovery::candidates;
use crate::types::Zxid;

/// Files that go if the `retain` newest whole snapshots stay, in the order in which they must go:
/// first the old snapshots, oldest first, then the logs that only they need. So at no point is
/// there a snapshot whose logs are gone.
pub fn removable(disk: &dyn Disk, retain: usize) -> io::Result<Vec<FileName>> {
    let kept = candidates(disk, &mut Vec::new())?;
    let Some(oldest) = kept.iter().take(retain.max(1)).next_back() else {
        return Ok(Vec::new()); // Nothing to stand on: everything stays.
    };
    let needed = oldest.zxid;
    let mut snapshots: Vec<(Zxid, FileName)> = Vec::new();
    for entry in disk.list(Dir::Snap)? {
        if let Some(Named::Snapshot(zxid, _)) = Named::parse(&entry.name) {
            snapshots.push((zxid, FileName::new(Dir::Snap, entry.name)));
        }
    }
    let mut logs: Vec<(Zxid, FileName)> = Vec::new();
    for entry in disk.list(Dir::Log)? {
        if let Some(Named::Log(zxid)) = Named::parse(&entry.name) {
            logs.push((zxid, FileName::new(Dir::Log, entry.name)));
        }
    }
    snapshots.sort();
    logs.sort();
    // The newest log that begins at or before the snapshot may hold txns behind it.
    let first_log = logs.iter().rev().map(|(zxid, _)| *zxid).find(|zxid| *zxid <= needed);
    let old_snapshots = snapshots.into_iter().filter(|(zxid, _)| *zxid < needed);
    let old_logs =
        logs.into_iter().filter(|(zxid, _)| first_log.is_some_and(|first| *zxid < first));
    Ok(old_snapshots.chain(old_logs).map(|(_, file)| file).collect())
}

/// Removes them; says which.
pub fn purge(disk: &mut dyn Disk, retain: usize) -> io::Result<Vec<FileName>> {
    let files = removable(disk, retain)?;
    let mut last_dir = None;
    for file in &files {
        // Before the first log goes, the snapshots that need it must be gone for good.
        if let Some(dir) = last_dir.filter(|dir| *dir != file.dir) {
            disk.run(Job::SyncDir(dir))?;
        }
        last_dir = Some(file.dir);
        disk.run(Job::Remove(file))?;
    }
    if let Some(dir) = last_dir {
        disk.run(Job::SyncDir(dir))?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::disk::{Dirs, RealDisk};
    use super::*;

    fn removed(files: &[&str], retain: usize) -> String {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path(), None);
        std::fs::create_dir_all(dirs.path(Dir::Snap)).unwrap();
        for name in files {
            // What ends like a snapshot is one by its looks.
            let whole: &[u8] = if name.ends_with('!') { b"torn" } else { b"ZKSN......\0\0\0\x01/" };
            std::fs::write(dirs.path(Dir::Snap).join(name.trim_end_matches('!')), whole).unwrap();
        }
        let mut disk = RealDisk::new(dirs);
        let gone = purge(&mut disk, retain).unwrap();
        assert!(removable(&disk, retain).unwrap().is_empty(), "a second purge finds nothing");
        let left = disk.list(Dir::Snap).unwrap().len();
        assert_eq!(left + gone.len(), files.len());
        gone.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn purge_keeps_what_java_keeps() {
        // The example of storage-format 9, seen on a Java server.
        let files = "snapshot.0 snapshot.37 snapshot.5b snapshot.8e snapshot.a0 log.1 log.39 log.5d \
                     log.90 myid acceptedEpoch";
        let files: Vec<&str> = files.split(' ').filter(|name| !name.is_empty()).collect();
        assert_eq!(removed(&files, 3), "snapshot.0 snapshot.37 log.1");
        assert_eq!(removed(&files, 10), "");
    }

    #[test]
    fn torn_snapshots_do_not_count() {
        let files = ["snapshot.1", "snapshot.5", "snapshot.9!", "log.1", "log.2", "log.6"];
        assert_eq!(removed(&files, 1), "snapshot.1 log.1");
        assert_eq!(removed(&["snapshot.9!", "log.1", "log.2"], 3), "");
    }

    #[test]
    fn a_log_that_begins_at_the_snapshot_is_the_first_one_needed() {
        assert_eq!(removed(&["snapshot.5", "log.1", "log.5", "log.6"], 1), "log.1");
        assert_eq!(removed(&["snapshot.5", "log.6", "log.7"], 1), "");
    }
}
