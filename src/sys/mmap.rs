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

use memmap2::{Advice, MmapRaw, UncheckedAdvice};

/// A file mapped for writing, shared with the page cache.
#[derive(Debug)]
pub struct MappedFile {
    map: MmapRaw,
    file: File,
    /// Pages before this are not kept in this process.
    released: usize,
}

/// How much behind the stores stays resident, at most twice: a log's segment is written once, from
/// front to back, and would else end as 64 MiB of resident memory that nobody looks at.
const RESIDENT_BYTES: usize = 4 << 20;

impl MappedFile {
    /// Maps all of `file`, which must be open for reading and writing.
    pub fn new(file: File) -> io::Result<Self> {
        let map = MmapRaw::map_raw(&file)?;
        // PERF: readahead would bring large folios into the page cache, and then a 256-byte store
        // dirties, and writes, the whole folio (`benches/log.rs` watches the disk bytes).
        map.advise(Advice::Random)?;
        Ok(Self { map, file, released: 0 })
    }

    /// Length of the mapping.
    pub fn len_bytes(&self) -> usize {
        self.map.len()
    }

    /// Stores `bytes` at `offset`, from front to back. Nothing is durable before [`Self::sync`]
    /// returned; but whoever is killed on the way leaves the stores before that point and none
    /// behind it, because the page cache outlives the process and the processor does not hold
    /// retired stores back. Recovery counts on that: a copy in any other order would leave holes
    /// that look like damage (found by the crash loop, with `memcpy`, which begins at the end).
    ///
    /// # Panics
    /// When the range leaves the file.
    pub fn store(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len()).expect("an offset in a file");
        assert!(end <= self.map.len(), "a store at {offset} ends behind the mapping");
        // SAFETY: `offset..end` lies within the mapping (asserted above), which lives as long as
        // `self.map`.
        let base = unsafe { self.map.as_mut_ptr().add(offset) };
        let head_bytes = base.align_offset(align_of::<u64>()).min(bytes.len());
        let (head, rest) = bytes.split_at(head_bytes);
        let (words, tail) = rest.as_chunks::<8>();
        let tail_at = bytes.len() - tail.len();
        // Volatile stores keep their order.
        for (at, byte) in head.iter().enumerate() {
            // SAFETY: see `put`.
            unsafe { put(base, at, *byte) };
        }
        for (n, word) in words.iter().enumerate() {
            // SAFETY: see `put`; `head_bytes` made the place aligned.
            unsafe { put(base, head_bytes + 8 * n, u64::from_ne_bytes(*word)) };
        }
        for (at, byte) in tail.iter().enumerate() {
            // SAFETY: see `put`.
            unsafe { put(base, tail_at + at, *byte) };
        }
        self.release(offset);
    }

    /// Lets go of the pages well before `offset`: out of this process, not of the page cache.
    fn release(&mut self, offset: usize) {
        let upto = offset - offset % RESIDENT_BYTES;
        if upto <= self.released {
            return;
        }
        let len = upto - self.released;
        // SAFETY: the mapping is shared, so what was stored is in the page cache, which keeps it,
        // dirty or not; a later access maps the page again. Nobody holds a reference into it.
        let advised = unsafe {
            self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, self.released, len)
        };
        // Only memory is at stake, and the next try covers the range again.
        if advised.is_ok() {
            self.released = upto;
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

/// One store, `at` bytes behind `base`.
///
/// # Safety
/// The place lies within a live mapping that only the caller stores into, aligned for `T`: `&mut
/// MappedFile` makes this the only store, and no method hands out a slice of the mapping. The file
/// is neither shortened nor written by others while it is mapped: the data directory is locked, and
/// `RealDisk` unmaps before it truncates.
unsafe fn put<T>(base: *mut u8, at: usize, value: T) {
    // SAFETY: by the caller's promise.
    unsafe { base.add(at).cast::<T>().write_volatile(value) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_place_and_length_is_stored_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, [0; 4096]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut mapped = MappedFile::new(file).unwrap();
        let bytes: Vec<u8> = (1..=40).collect();
        for (offset, len) in (0..16).flat_map(|offset| (0..40).map(move |len| (offset, len))) {
            mapped.store(0, &[0; 64]);
            mapped.store(offset, &bytes[..len]);
            let found = std::fs::read(&path).unwrap();
            let expected = [&vec![0; offset][..], &bytes[..len], &[0; 64][offset + len..]].concat();
            assert_eq!(found[..64], expected, "{len} bytes at {offset}");
        }
    }

    #[test]
    fn pages_that_were_let_go_keep_what_was_stored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![0; 3 * RESIDENT_BYTES]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut mapped = MappedFile::new(file).unwrap();
        let pages = 3 * RESIDENT_BYTES / 4096;
        for page in 0..pages {
            mapped.store(page * 4096 + 5, b"stored");
        }
        assert_eq!(mapped.released, 2 * RESIDENT_BYTES);
        // A store before the place it has come to is none of a log's, and still one.
        mapped.store(4100, b"again");
        mapped.sync().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[4096..4112], b"\0\0\0\0agained\0\0\0\0\0");
        for page in (0..pages).filter(|page| *page != 1) {
            assert_eq!(&bytes[page * 4096 + 5..][..6], b"stored", "page {page}");
        }
    }

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
