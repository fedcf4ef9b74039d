//! Which backend this process can have: builds the very ring that the threads use and receives
//! through it once, since a kernel or a container may allow one part and deny another.
//!
//! Thread: the one that starts the server, before the others exist.
//! Not here: the other half of the choice, whether the async executors start (`server/`).

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::sys::ring::{Op, Ring};

/// What `--io` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoMode {
    /// io_uring if there is one, else epoll.
    #[default]
    Auto,
    /// io_uring, or do not start.
    Uring,
    /// epoll.
    Epoll,
}

/// What the whole process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

/// The backend for `mode` and, where `Auto` falls back to epoll, one line that says why and what to
/// do about it.
///
/// # Errors
/// The same line, when `Uring` was asked for and is denied.
pub fn probe(mode: IoMode) -> Result<(Backend, Option<String>), String> {
    choose(mode, || denied_by_test().map_or_else(try_uring, Err))
}

fn choose(
    mode: IoMode,
    trial: impl FnOnce() -> io::Result<()>,
) -> Result<(Backend, Option<String>), String> {
    if mode == IoMode::Epoll {
        return Ok((Backend::Epoll, None));
    }
    let denied = match trial() {
        Ok(()) => return Ok((Backend::Uring, None)),
        Err(error) => explain(&error, &Kernel::read()),
    };
    match mode {
        IoMode::Uring => Err(denied),
        IoMode::Auto | IoMode::Epoll => Ok((Backend::Epoll, Some(denied))),
    }
}

/// Receives a few bytes through a ring.
fn try_uring() -> io::Result<()> {
    const SENT: &[u8] = b"ringkeeper";
    let mut ring = Ring::new()?;
    ring.provide(2);
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::write(&theirs, SENT)?;
    ring.recv(ours.as_fd(), 0, 0);
    // The data is there: a second is for a machine under load, and the loop for other completions.
    for _ in 0..10 {
        ring.enter(Some(Duration::from_millis(100)))?;
        let mut completions = ring.completions();
        for completion in completions.drain(..) {
            if completion.token.op == Op::Recv {
                completion.count()?;
                // Without F_MORE it was one receive, not a multishot one.
                let works = completion.more && ring.bytes(&completion) == SENT;
                ring.release(completion);
                return if works { Ok(()) } else { Err(Errno::INVAL.into()) };
            }
        }
        ring.reuse(completions);
    }
    Err(Errno::TIMEDOUT.into())
}

/// The denial that a test asks for.
fn denied_by_test() -> Option<io::Error> {
    let errno = match std::env::var("RINGKEEPER_TEST_DENY_URING").ok()?.as_str() {
        "EPERM" => Errno::PERM,
        "ENOSYS" => Errno::NOSYS,
        "EINVAL" => Errno::INVAL,
        "ENOMEM" => Errno::NOMEM,
        _ => return None,
    };
    Some(errno.into())
}

/// What an explanation depends on.
#[derive(Debug)]
struct Kernel {
    release: String,
    /// Of `/proc/sys/kernel/io_uring_disabled`, which kernels before 6.6 do not have.
    io_uring_disabled: Option<String>,
}

impl Kernel {
    fn read() -> Self {
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        Self {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            io_uring_disabled: disabled.map(|value| value.trim().to_owned()),
        }
    }
}

fn explain(error: &io::Error, kernel: &Kernel) -> String {
    let release = &kernel.release;
    let why = match (Errno::from_io_error(error), kernel.io_uring_disabled.as_deref()) {
        (Some(Errno::PERM | Errno::ACCESS), Some("2")) => {
            "sysctl kernel.io_uring_disabled=2 denies it to all: set it to 0".to_owned()
        }
        (Some(Errno::PERM | Errno::ACCESS), Some("1")) => {
            "sysctl kernel.io_uring_disabled=1 denies it to this user: set it to 0, or put the \
             user into the group of sysctl kernel.io_uring_group"
                .to_owned()
        }
        (Some(Errno::PERM | Errno::ACCESS), _) => {
            "a seccomp profile or security module denies it (container runtimes do by default): \
             allow io_uring_setup, io_uring_enter and io_uring_register in the profile"
                .to_owned()
        }
        (Some(Errno::NOSYS), _) => format!(
            "kernel {release} has none, or a seccomp profile hides it: use kernel 6.1 or later \
             with CONFIG_IO_URING, and allow the io_uring_* calls in the profile"
        ),
        (Some(Errno::INVAL), _) => format!(
            "kernel {release} is too old for it (SINGLE_ISSUER, DEFER_TASKRUN and multishot \
             receive): use kernel 6.1 or later"
        ),
        (Some(Errno::NOMEM), _) => {
            "too little locked memory: raise the memlock limit (ulimit -l, LimitMEMLOCK= in a \
             systemd unit, --ulimit memlock= for a container)"
                .to_owned()
        }
        (Some(_) | None, _) => "its trial run failed: see the kernel log".to_owned(),
    };
    format!("io_uring is not available ({error}): {why}; or choose --io epoll")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(errno: Errno, io_uring_disabled: Option<&str>, expected: Expect) {
        let kernel = Kernel {
            release: "5.15.0".to_owned(),
            io_uring_disabled: io_uring_disabled.map(str::to_owned),
        };
        expected.assert_eq(&explain(&errno.into(), &kernel));
    }

    #[test]
    fn each_denial_has_its_remedy() {
        check(
            Errno::PERM,
            Some("2"),
            expect![
                "io_uring is not available (Operation not permitted (os error 1)): sysctl kernel.io_uring_disabled=2 denies it to all: set it to 0; or choose --io epoll"
            ],
        );
        check(
            Errno::PERM,
            Some("1"),
            expect![
                "io_uring is not available (Operation not permitted (os error 1)): sysctl kernel.io_uring_disabled=1 denies it to this user: set it to 0, or put the user into the group of sysctl kernel.io_uring_group; or choose --io epoll"
            ],
        );
        check(
            Errno::PERM,
            Some("0"),
            expect![
                "io_uring is not available (Operation not permitted (os error 1)): a seccomp profile or security module denies it (container runtimes do by default): allow io_uring_setup, io_uring_enter and io_uring_register in the profile; or choose --io epoll"
            ],
        );
        check(
            Errno::NOSYS,
            None,
            expect![
                "io_uring is not available (Function not implemented (os error 38)): kernel 5.15.0 has none, or a seccomp profile hides it: use kernel 6.1 or later with CONFIG_IO_URING, and allow the io_uring_* calls in the profile; or choose --io epoll"
            ],
        );
        check(
            Errno::INVAL,
            None,
            expect![
                "io_uring is not available (Invalid argument (os error 22)): kernel 5.15.0 is too old for it (SINGLE_ISSUER, DEFER_TASKRUN and multishot receive): use kernel 6.1 or later; or choose --io epoll"
            ],
        );
        check(
            Errno::NOMEM,
            Some("0"),
            expect![
                "io_uring is not available (Cannot allocate memory (os error 12)): too little locked memory: raise the memlock limit (ulimit -l, LimitMEMLOCK= in a systemd unit, --ulimit memlock= for a container); or choose --io epoll"
            ],
        );
    }

    #[test]
    fn epoll_needs_no_trial() {
        let chosen = choose(IoMode::Epoll, || panic!("no trial was asked for"));
        assert_eq!(chosen, Ok((Backend::Epoll, None)));
    }

    #[test]
    fn a_ring_that_works_is_taken() {
        for mode in [IoMode::Auto, IoMode::Uring] {
            assert_eq!(choose(mode, || Ok(())), Ok((Backend::Uring, None)));
        }
    }

    #[test]
    fn any_denial_chooses_epoll_in_auto_and_is_the_error_of_uring() {
        for errno in [Errno::PERM, Errno::NOSYS, Errno::INVAL, Errno::NOMEM, Errno::MFILE] {
            let why = explain(&errno.into(), &Kernel::read());
            let auto = choose(IoMode::Auto, || Err(errno.into()));
            assert_eq!(auto, Ok((Backend::Epoll, Some(why.clone()))));
            assert_eq!(choose(IoMode::Uring, || Err(errno.into())), Err(why));
        }
    }
}
