#![expect(unsafe_code, reason = "slots are written and read without a lock, as the cursors allow")]
//! A bounded broadcast ring: one writer, a fixed set of readers, each sees every item once.
//!
//! Threads: the writer on one, each reader on one. Invariants: `cursor[i] <= head <= cursor[i] +
//! capacity`; a slot is overwritten only when every cursor has passed it.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Items written so far.
    head: CachePadded<AtomicU64>,
    /// Items each reader is done with.
    cursors: Box<[CachePadded<AtomicU64>]>,
}

// SAFETY: a slot is touched by the writer alone before `head` (release) passes it and by readers
// alone, through shared references, until every cursor (release) has passed it.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}
// SAFETY: the items are owned by the ring and move with it.
unsafe impl<T: Send + Sync> Send for Shared<T> {}

impl<T> Shared<T> {
    fn slot(&self, position: u64) -> *mut MaybeUninit<T> {
        let mask = self.slots.len() as u64 - 1;
        #[expect(clippy::cast_possible_truncation, reason = "masked by the slot count")]
        self.slots[(position & mask) as usize].get()
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let head = *self.head.get_mut();
        for position in head.saturating_sub(self.slots.len() as u64)..head {
            // SAFETY: the last `len` positions below `head` hold initialized items, and nobody
            // else is left to look at them.
            unsafe { (*self.slot(position)).assume_init_drop() };
        }
    }
}

/// The writing end.
pub struct Writer<T> {
    shared: Arc<Shared<T>>,
    head: u64,
    /// The smallest cursor when last looked at.
    floor: u64,
}

/// One reading end.
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    index: usize,
    cursor: u64,
}

impl<T> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer {{ head: {} }}", self.head)
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader {{ index: {}, cursor: {} }}", self.index, self.cursor)
    }
}

/// A ring of `capacity` slots, rounded up to a power of two, with `readers` readers.
pub fn broadcast<T: Send + Sync>(capacity: usize, readers: usize) -> (Writer<T>, Vec<Reader<T>>) {
    let capacity = capacity.next_power_of_two();
    let shared = Arc::new(Shared {
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        head: CachePadded::new(AtomicU64::new(0)),
        cursors: (0..readers).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
    });
    let readers = (0..readers)
        .map(|index| Reader { shared: Arc::clone(&shared), index, cursor: 0 })
        .collect();
    (Writer { shared, head: 0, floor: 0 }, readers)
}

impl<T: Send + Sync> Writer<T> {
    /// Whether `count` more items fit now. The slowest reader decides.
    pub fn has_room(&mut self, count: usize) -> bool {
        let capacity = self.shared.slots.len() as u64;
        if self.head + count as u64 - self.floor <= capacity {
            return true;
        }
        let cursors = self.shared.cursors.iter();
        self.floor =
            cursors.map(|cursor| cursor.load(Ordering::Acquire)).min().unwrap_or(self.head);
        self.head + count as u64 - self.floor <= capacity
    }

    /// Appends an item; gives it back when the slowest reader is a whole ring behind.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if !self.has_room(1) {
            return Err(item);
        }
        let slot = self.shared.slot(self.head);
        // SAFETY: every cursor has passed the position one capacity back (`has_room`, acquire),
        // so no reader holds a reference into the slot; it is initialized iff that position exists.
        unsafe {
            if self.head >= self.shared.slots.len() as u64 {
                (*slot).assume_init_drop();
            }
            (*slot).write(item);
        }
        self.head += 1;
        self.shared.head.store(self.head, Ordering::Release);
        Ok(())
    }
}

impl<T: Send + Sync> Reader<T> {
    /// The oldest item not yet passed by [`advance`](Self::advance).
    pub fn peek(&self) -> Option<&T> {
        if self.cursor == self.shared.head.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: the position is below `head` (acquire), so it is initialized, and not below this
        // reader's cursor, so the writer does not touch it while `self` is borrowed.
        Some(unsafe { (*self.shared.slot(self.cursor)).assume_init_ref() })
    }

    /// Whether this reader is a whole ring behind, so that the writer waits for it.
    pub fn is_full(&self) -> bool {
        let head = self.shared.head.load(Ordering::Acquire);
        head - self.cursor == self.shared.slots.len() as u64
    }

    /// Passes the item that `peek` showed.
    ///
    /// # Panics
    /// Without such an item.
    pub fn advance(&mut self) {
        assert!(self.peek().is_some(), "advance past the head of the ring");
        self.cursor += 1;
        self.shared.cursors[self.index].store(self.cursor, Ordering::Release);
    }

    /// Passes all items at once, without looking at them.
    pub fn skip_all(&mut self) {
        self.cursor = self.shared.head.load(Ordering::Acquire);
        self.shared.cursors[self.index].store(self.cursor, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_reader_bounds_the_ring() {
        let (mut writer, mut readers) = broadcast::<String>(2, 2);
        writer.push("a".into()).unwrap();
        writer.push("b".into()).unwrap();
        assert_eq!(writer.push("c".into()), Err("c".to_string()));
        readers[0].skip_all();
        assert!(!readers[0].is_full());
        assert!(readers[1].is_full());
        assert!(!writer.has_room(1));
        assert_eq!(readers[1].peek().map(String::as_str), Some("a"));
        readers[1].advance();
        writer.push("c".into()).unwrap();
        assert_eq!(readers[1].peek().map(String::as_str), Some("b"));
        assert_eq!(readers[0].peek().map(String::as_str), Some("c"));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test of threads")]
    fn each_reader_sees_each_item_once_in_order() {
        let (mut writer, readers) = broadcast::<Box<u64>>(64, 3);
        let threads: Vec<_> = readers
            .into_iter()
            .map(|mut reader| {
                std::thread::spawn(move || {
                    let mut expected = 0;
                    while expected < 20_000 {
                        if let Some(item) = reader.peek() {
                            assert_eq!(**item, expected);
                            expected += 1;
                            reader.advance();
                        } else {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        for value in 0..20_000 {
            let mut item = Box::new(value);
            while let Err(back) = writer.push(item) {
                item = back;
                std::thread::yield_now();
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
