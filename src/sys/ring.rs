//! An io_uring with its provided-buffer ring, as a safe type.
//!
//! Built with `SINGLE_ISSUER | DEFER_TASKRUN`: the kernel works for this ring only inside
//! [`Ring::enter`], so the thread that built it must be the one that enters it, and what
//! [`Ring::completions`] holds was taken before `enter` returned.
//!
//! Invariants, on which the safety of the whole file rests:
//! - A send's buffer lives in `sends` from the push of its entry until its completion was drained;
//!   [`Ring::take_buffer`] gives nothing out before.
//! - A receive buffer is the kernel's or ours, never both: `held` is set as its completion is
//!   drained and cleared as it is published again.
//! - `user_data` is written by [`Token`] alone, so a completion names the operation it ends.
//!
//! Not here: what a connection is, when to arm or cancel (`net/uring.rs`).
#![expect(unsafe_code, reason = "memory that the kernel reads and writes is handed to it here")]

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Multishot accept.
    Accept,
    /// Multishot receive.
    Recv,
    /// A part of a send.
    Send,
    /// Multishot poll of an eventfd.
    Poll,
    /// Cancels another operation.
    Cancel,
}

/// Names one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it does.
    pub op: Op,
    /// For whom; below 2^24.
    pub slot: u32,
    /// Tells the users of one slot apart.
    pub generation: u32,
}

impl Token {
    fn pack(self) -> u64 {
        assert!(self.slot < 1 << 24, "slots have 24 bits");
        u64::from(self.generation) << 32 | u64::from(self.slot) << 8 | self.op as u64
    }

    fn unpack(user_data: u64) -> Self {
        const OPS: [Op; 5] = [Op::Accept, Op::Recv, Op::Send, Op::Poll, Op::Cancel];
        Self {
            op: OPS[(user_data & 0xff) as usize],
            slot: (user_data >> 8 & 0xff_ffff) as u32,
            generation: (user_data >> 32) as u32,
        }
    }
}

/// The end, or for a multishot operation one result, of an operation.
#[derive(Debug)]
pub struct Completion {
    /// Which one.
    pub token: Token,
    /// The operation goes on; without it a multishot operation has to be armed again.
    pub more: bool,
    result: i32,
    buffer: Option<u16>,
}

impl Completion {
    /// Bytes received, or what else the operation counts.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn count(&self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }

    /// The socket that an [`Op::Accept`] accepted.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn into_socket(self) -> io::Result<OwnedFd> {
        assert_eq!(self.token.op, Op::Accept, "no other operation makes a socket");
        if self.result < 0 {
            return Err(io::Error::from_raw_os_error(-self.result));
        }
        // SAFETY: the kernel installed this descriptor for this completion, of which there is one
        // only (it is no `Clone`), and `self` is consumed: nobody else owns the descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(self.result) })
    }
}

/// A ring, its receive buffers, and the buffers that it is sending.
pub struct Ring {
    uring: IoUring,
    buffers: Buffers,
    /// By slot.
    sends: Vec<Option<Sending>>,
    /// Sends that complete silently, pushed since the last time all entries were consumed.
    silent: Vec<Token>,
    /// Entries that found the submission queue full, in order.
    backlog: VecDeque<squeue::Entry>,
    completions: Vec<Completion>,
}

#[derive(Debug)]
struct Sending {
    buffer: Vec<u8>,
    sent_bytes: usize,
    /// Of the part that the kernel has, or had last.
    asked_bytes: u32,
    part: Part,
}

/// Who has a send's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// We.
    None,
    /// The kernel, and it completes in any case.
    Loud,
    /// The kernel, and it completes only if it could not send all.
    Silent,
}

impl Sending {
    fn end_part(&mut self, result: i32) {
        assert_ne!(self.part, Part::None, "a part ends once");
        self.part = Part::None;
        self.sent_bytes += usize::try_from(result).unwrap_or(0);
        assert!(self.sent_bytes <= self.buffer.len(), "no more is sent than was asked");
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("fd", &self.uring.as_raw_fd()).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring of the calling thread.
    ///
    /// # Errors
    /// EPERM, ENOSYS, EINVAL, ENOMEM where io_uring, or what of it is needed, is denied.
    pub fn new() -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(SUBMISSIONS)?;
        let params = uring.params();
        if !(params.is_feature_ext_arg() && params.is_feature_nodrop()) {
            return Err(Errno::INVAL.into());
        }
        let buffers = Buffers::new()?;
        // SAFETY: the entries are page-aligned and stay mapped until the ring is gone (`drop`).
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                buffers.base.as_ptr().expose_provenance() as u64,
                BUFFERS_MAX,
                BUFFER_GROUP,
                0,
            )?;
        }
        Ok(Self {
            uring,
            buffers,
            sends: Vec::new(),
            silent: Vec::new(),
            backlog: VecDeque::new(),
            completions: Vec::new(),
        })
    }

    /// Gives the kernel more receive buffers, until it has `count` or all there are. Few buffers
    /// stay in the processor's cache; too few end receives with ENOBUFS.
    pub fn provide(&mut self, count: usize) {
        let count = u16::try_from(count).unwrap_or(BUFFERS_MAX).min(BUFFERS_MAX);
        while self.buffers.provided < count {
            let buffer = self.buffers.provided;
            self.buffers.provided += 1;
            self.buffers.publish(buffer);
        }
    }

    /// Accepts until told otherwise.
    pub fn accept(&mut self, listener: BorrowedFd<'_>, slot: u32) {
        let token = Token { op: Op::Accept, slot, generation: 0 };
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()))
            .flags(SocketFlags::CLOEXEC.bits().cast_signed())
            .build();
        self.push(entry, token);
    }

    /// Completes whenever the eventfd is written; nobody needs to read it.
    pub fn poll(&mut self, eventfd: BorrowedFd<'_>) {
        let token = Token { op: Op::Poll, slot: 0, generation: 0 };
        let entry = opcode::PollAdd::new(Fd(eventfd.as_raw_fd()), u32::from(PollFlags::IN.bits()))
            .multi(true)
            .build();
        self.push(entry, token);
    }

    /// Receives into provided buffers until told otherwise, the end of the stream or an error;
    /// ENOBUFS is one.
    pub fn recv(&mut self, socket: BorrowedFd<'_>, slot: u32, generation: u32) {
        let token = Token { op: Op::Recv, slot, generation };
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), BUFFER_GROUP).build();
        self.push(entry, token);
    }

    /// Starts to send `buffer`. Every part ends with a completion; the first one of a send up to
    /// `silent_max` bytes does so without one from the kernel, when all went out at once.
    ///
    /// # Panics
    /// When the slot's last buffer was not taken back.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        slot: u32,
        generation: u32,
        buffer: Vec<u8>,
        silent_max: usize,
    ) {
        if self.sends.len() <= slot as usize {
            self.sends.resize_with(slot as usize + 1, || None);
        }
        let place = &mut self.sends[slot as usize];
        assert!(place.is_none(), "one send at a time");
        let silent = buffer.len() <= silent_max;
        *place = Some(Sending { buffer, sent_bytes: 0, asked_bytes: 0, part: Part::None });
        self.push_send(socket, Token { op: Op::Send, slot, generation }, silent);
    }

    /// Sends what a short send left, once the socket takes it. False when all went out.
    pub fn send_rest(&mut self, socket: BorrowedFd<'_>, slot: u32, generation: u32) -> bool {
        let sending = self.sends[slot as usize].as_ref().expect("its part just ended");
        assert_eq!(sending.part, Part::None, "one part at a time");
        if sending.sent_bytes == sending.buffer.len() {
            return false;
        }
        self.push_send(socket, Token { op: Op::Send, slot, generation }, false);
        true
    }

    /// The slot's buffer, whether or not it was sent.
    ///
    /// # Panics
    /// While the kernel has it.
    pub fn take_buffer(&mut self, slot: u32) -> Vec<u8> {
        let sending = self.sends[slot as usize].take().expect("it was sending");
        assert_eq!(sending.part, Part::None, "the kernel reads the buffer");
        sending.buffer
    }

    fn push_send(&mut self, socket: BorrowedFd<'_>, token: Token, silent: bool) {
        let sending = self.sends[token.slot as usize].as_mut().expect("the caller checked");
        let rest = &sending.buffer[sending.sent_bytes..];
        let len = u32::try_from(rest.len()).unwrap_or(u32::MAX).min(SEND_PART_BYTES_MAX);
        sending.asked_bytes = len;
        sending.part = if silent { Part::Silent } else { Part::Loud };
        // WAITALL makes the kernel count less than all as a failure, which posts a completion even
        // when success is silent; DONTWAIT keeps it from waiting silently.
        let mut flags = SendFlags::NOSIGNAL.bits() | RecvFlags::WAITALL.bits();
        if silent {
            flags |= SendFlags::DONTWAIT.bits();
        }
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), rest.as_ptr(), len)
            .flags(flags.cast_signed())
            .build();
        if silent {
            self.silent.push(token);
            self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), token);
        } else {
            self.push(entry, token);
        }
    }

    /// Ends an operation early; its own completion says how. Completes only if it found nothing.
    pub fn cancel(&mut self, target: Token) {
        let entry = opcode::AsyncCancel::new(target.pack()).build();
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), Token { op: Op::Cancel, ..target });
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        self.backlog.push_back(entry.user_data(token.pack()));
        self.fill();
    }

    /// Moves the backlog into the submission queue, as far as it fits.
    fn fill(&mut self) {
        let mut queue = self.uring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: accept, poll and cancel entries point to no memory, and a receive only to
            // the buffer ring, which lives as long as `self`. A send points into `sends`, where the
            // buffer stays, not reallocated, until its completion (`part`). `drop` ends
            // all of them before it frees the memory, or does not free it.
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Submits everything, then waits for a completion, but not longer than `timeout` and not at
    /// all while completions wait to be harvested. One system call, unless more was queued than the
    /// ring holds.
    ///
    /// # Errors
    /// Of the ring itself; interruptions and shortages of the moment are none.
    pub fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        loop {
            self.fill();
            let queued = self.uring.submission().len();
            let block = self.backlog.is_empty()
                && self.completions.is_empty()
                && timeout != Some(Duration::ZERO);
            let result = match timeout {
                Some(timeout) if block => {
                    let timeout = Timespec::from(timeout.min(TIMEOUT_MAX));
                    let args = SubmitArgs::new().timespec(&timeout);
                    self.uring.submitter().submit_with_args(1, &args)
                }
                // GETEVENTS even without waiting: deferred work runs in no other enter, and
                // `submit` would leave it out.
                Some(_) | None => {
                    let queued = u32::try_from(queued).expect("the queue is short");
                    // SAFETY: the counts are those of the queue, the flag needs no argument.
                    unsafe {
                        self.uring.submitter().enter::<()>(
                            queued,
                            u32::from(block),
                            EnterFlags::GETEVENTS.bits(),
                            None,
                        )
                    }
                }
            };
            self.drain();
            let error = result.err().and_then(|error| Errno::from_io_error(&error));
            match error {
                None | Some(Errno::TIME | Errno::INTR) => {}
                // Out of memory for the moment, or the completion queue was full: it is drained
                // now, and the next turn goes on.
                Some(Errno::AGAIN | Errno::BUSY) => return Ok(()),
                Some(error) => return Err(error.into()),
            }
            let left = self.uring.submission().len();
            if left > 0 && left == queued {
                return Ok(());
            }
            let overflown = self.uring.submission().cq_overflow();
            if left == 0 && self.backlog.is_empty() && !overflown {
                self.end_silent_sends();
                return Ok(());
            }
        }
    }

    /// What `enter` took, in order. Receives among them hold a buffer until [`Ring::release`].
    pub fn completions(&mut self) -> Vec<Completion> {
        mem::take(&mut self.completions)
    }

    /// Takes the emptied list back, to fill it again.
    pub fn reuse(&mut self, completions: Vec<Completion>) {
        assert!(completions.is_empty() && self.completions.is_empty(), "all was harvested");
        self.completions = completions;
    }

    /// What was received.
    pub fn bytes(&self, completion: &Completion) -> &[u8] {
        match (completion.buffer, usize::try_from(completion.result)) {
            (Some(buffer), Ok(len_bytes)) => self.buffers.bytes(buffer, len_bytes),
            (None, _) | (Some(_), Err(_)) => &[],
        }
    }

    /// Gives the completion's buffer back to the kernel, at once.
    pub fn release(&mut self, completion: Completion) {
        if let Some(buffer) = completion.buffer {
            assert!(self.buffers.held[usize::from(buffer)], "a buffer is given back once");
            self.buffers.publish(buffer);
        }
    }

    fn drain(&mut self) {
        for entry in self.uring.completion() {
            let token = Token::unpack(entry.user_data());
            let result = entry.result();
            let more = cqueue::more(entry.flags());
            let buffer = cqueue::buffer_select(entry.flags());
            if let Some(buffer) = buffer {
                let held = &mut self.buffers.held[usize::from(buffer)];
                assert!(!*held, "the kernel fills buffers that it has");
                *held = true;
            }
            match token.op {
                Op::Cancel => continue,
                Op::Send => {
                    let sending = self.sends[token.slot as usize].as_mut();
                    sending.expect("its buffer was not taken").end_part(result);
                }
                Op::Accept | Op::Recv | Op::Poll => {}
            }
            self.completions.push(Completion { token, more, result, buffer });
        }
    }

    /// All entries were consumed and all completions drained: a silent send whose part has not
    /// ended went out whole.
    fn end_silent_sends(&mut self) {
        for token in self.silent.drain(..) {
            let Some(sending) = &mut self.sends[token.slot as usize] else { continue };
            if sending.part != Part::Silent {
                continue; // Its completion said that it was short.
            }
            let result = i32::try_from(sending.asked_bytes).expect("at most SEND_PART_BYTES_MAX");
            sending.end_part(result);
            self.completions.push(Completion { token, more: false, result, buffer: None });
        }
    }
}

impl Drop for Ring {
    /// Nothing may write to memory that is freed: all operations end first, and where the kernel
    /// cannot promise that, the memory is left to the process's end.
    fn drop(&mut self) {
        let timeout = Timespec::from(Duration::from_secs(1));
        let ended =
            self.uring.submitter().register_sync_cancel(Some(timeout), CancelBuilder::any());
        let none_left = match &ended {
            Ok(()) => true,
            Err(error) => Errno::from_io_error(error) == Some(Errno::NOENT),
        };
        if none_left {
            return;
        }
        mem::forget(mem::take(&mut self.sends));
        self.buffers.leak = true;
    }
}

/// The provided buffers: one mapping, the kernel's ring of entries first, then the buffers.
#[derive(Debug)]
struct Buffers {
    base: NonNull<u8>,
    tail: u16,
    /// Buffers that are in use at all; the others' pages were never touched.
    provided: u16,
    /// By buffer: it is ours, not the kernel's.
    held: Vec<bool>,
    leak: bool,
}

impl Buffers {
    fn new() -> io::Result<Self> {
        // SAFETY: a new anonymous mapping at an address that the kernel chooses overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                MAPPING_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let base = NonNull::new(base.cast()).expect("the kernel maps nothing at 0 by itself");
        let held = vec![true; usize::from(BUFFERS_MAX)];
        Ok(Self { base, tail: 0, provided: 0, held, leak: false })
    }

    fn bytes(&self, buffer: u16, len_bytes: usize) -> &[u8] {
        assert!(self.held[usize::from(buffer)], "the kernel has the buffer");
        assert!(len_bytes <= BUFFER_BYTES, "the kernel was told its length");
        // SAFETY: within the mapping, which is initialized with zeros and lives as long as `self`;
        // the kernel writes to a buffer only between `publish`, which needs `&mut self`, and the
        // completion that made it `held`.
        unsafe { std::slice::from_raw_parts(self.data(buffer).as_ptr(), len_bytes) }
    }

    fn publish(&mut self, buffer: u16) {
        self.held[usize::from(buffer)] = false;
        let address = self.data(buffer).as_ptr().expose_provenance() as u64;
        let place = usize::from(self.tail % BUFFERS_MAX);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the mapping starts with `BUFFERS_MAX` entries, initialized (zeros are valid). The
        // kernel reads an entry only after the release store of a tail beyond it, and there are
        // never more than `BUFFERS_MAX` published, so this one was consumed. The tail lies in the
        // unused part of the first entry, is aligned, and only this thread writes it.
        unsafe {
            let entries = self.base.cast::<BufRingEntry>().as_ptr();
            let entry = entries.add(place);
            (*entry).set_addr(address);
            (*entry).set_len(BUFFER_LEN);
            (*entry).set_bid(buffer);
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn data(&self, buffer: u16) -> NonNull<u8> {
        assert!(buffer < BUFFERS_MAX, "buffers have small numbers");
        // SAFETY: the offset of a buffer below `BUFFERS_MAX` lies within the mapping.
        unsafe { self.base.add(ENTRIES_BYTES + usize::from(buffer) * BUFFER_BYTES) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.leak {
            return;
        }
        // SAFETY: the mapping is ours, of this length, and nobody borrows from `self` any more. The
        // ring is closed (it is dropped before this field) and its operations have ended.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), MAPPING_BYTES) };
        debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
    }
}

/// Entries that one enter can submit; more are submitted in several.
const SUBMISSIONS: u32 = 512;

/// Completions between two enters; beyond it the kernel keeps them aside.
const COMPLETIONS: u32 = 4096;

/// Provided buffers: one for each connection that may be ready in one turn, up to this.
pub const BUFFERS_MAX: u16 = 1024;

/// A buffer is the most that one completion carries.
pub const BUFFER_BYTES: usize = BUFFER_LEN as usize;

const BUFFER_LEN: u32 = 16 << 10;

/// The only group.
const BUFFER_GROUP: u16 = 0;

const ENTRIES_BYTES: usize = BUFFERS_MAX as usize * size_of::<BufRingEntry>();

const MAPPING_BYTES: usize = ENTRIES_BYTES + BUFFERS_MAX as usize * BUFFER_BYTES;

/// A completion counts in 31 bits.
const SEND_PART_BYTES_MAX: u32 = 1 << 30;

/// An early return does no harm.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

const _: () = {
    assert!(BUFFERS_MAX.is_power_of_two(), "the kernel wants a power of two");
    assert!(size_of::<BufRingEntry>() == 16, "as the kernel has it");
};
