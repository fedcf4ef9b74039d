//! [`MappedFile`]: a file whose bytes are written by storing into memory.
//!
//! Thread: the flusher's. A store may fault, wait for the journal or raise SIGBUS, so no other
//! thread may touch the mapping.
//! Invariants: the mapping covers the whole file from the moment it is made until it is dropped;
//! its file was written to its full length before, so no page of it is a hole.
//! Not here: which bytes go where (`storage/log.rs`), when the mapping ends (`storage/disk.rs`).

#![expect(unsafe_code, reason = "a store into a shared mapping has no safe form")]

use std::fs::File;
use std::io;

use memmap2::{Advice, MmapRaw};

/// A file mapped for writing, shared with the page cache.
#[derive(Debug)]
pub struct MappedFile {
    map: MmapRaw,
    file: File,
}

impl MappedFile {
    /// Maps all of `file`, which must be open for reading and writing.
    pub fn new(file: File) -> io::Result<Self> {
        let map = MmapRaw::map_raw(&file)?;
        // PERF: readahead would bring large folios into the page cache, and then a 256-byte store
        // dirties, and writes, the whole folio (`benches/log.rs` watches the disk bytes).
        map.advise(Advice::Random)?;
        Ok(Self { map, file })
    }

    /// Length of the mapping.
    pub fn len_bytes(&self) -> usize {
        self.map.len()
    }

    /// Stores `bytes` at `offset`. Nothing is durable before [`Self::sync`] returned.
    ///
    /// # Panics
    /// When the range leaves the file.
    pub fn store(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len()).expect("an offset in a file");
        assert!(end <= self.map.len(), "a store at {offset} ends behind the mapping");
        // SAFETY: `offset..end` lies within the mapping (asserted above), which lives as long as
        // `self.map`; `&mut self` makes this the only store; `bytes` is ordinary memory, since no
        // method hands out a slice of the mapping, so the two cannot overlap. The file is neither
        // shortened nor written by others while it is mapped: the data directory is locked, and
        // `RealDisk` unmaps before it truncates.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.map.as_mut_ptr().add(offset),
                bytes.len(),
            );
        }
    }

    /// Makes every store so far durable (`fdatasync`: length and extents do not change).
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Unmaps and gives the file back.
    pub fn into_file(self) -> File {
        self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, [0; 8192]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut mapped = MappedFile::new(file).unwrap();
        assert_eq!(mapped.len_bytes(), 8192);
        mapped.store(4094, b"abcd");
        mapped.sync().unwrap();
        drop(mapped.into_file());
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[4092..4100], b"\0\0abcd\0\0");
    }
}
