//! What every driver does, whichever backend it stands on: one suite, run over both.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::driver::{ConnId, Driver, Event};
use super::probe::{Backend, IoMode, probe};

macro_rules! on_both_backends {
    ($($(#[$attribute:meta])* fn $name:ident($rig:ident) $body:block)*) => {
        mod over_epoll {
            use super::*;
            $($(#[$attribute])* #[test] fn $name() { super::$name(Rig::new(Backend::Epoll)); })*
        }
        mod over_uring {
            use super::*;
            $($(#[$attribute])* #[test] fn $name() {
                // Where the kernel denies it there is nothing to test; the probe says so itself.
                if let Ok((backend, _)) = probe(IoMode::Uring) {
                    super::$name(Rig::new(backend));
                }
            })*
        }
        $(fn $name(mut $rig: Rig) $body)*
    };
}

/// An [`Event`] that outlives its harvest.
#[derive(Debug)]
enum Seen {
    Accepted(OwnedFd, SocketAddr),
    Received(ConnId, Vec<u8>),
    Closed(ConnId, Option<io::Error>),
    Sent(ConnId, Vec<u8>),
}

struct Rig {
    driver: Driver,
    address: SocketAddr,
}

const SOON: Option<Duration> = Some(Duration::from_millis(20));

impl Rig {
    fn new(backend: Backend) -> Self {
        let mut driver = Driver::new(backend).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(driver.listen(listener).unwrap(), 0);
        Self { driver, address }
    }

    fn harvest(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        self.driver.harvest(|event| {
            seen.push(match event {
                Event::Accepted { socket, peer, .. } => Seen::Accepted(socket, peer),
                Event::Received { conn, bytes } => Seen::Received(conn, bytes.to_vec()),
                Event::Closed { conn, error } => Seen::Closed(conn, error),
                Event::Sent { conn, buffer } => Seen::Sent(conn, buffer),
            });
        });
        seen
    }

    fn turn(&mut self, timeout: Option<Duration>) -> Vec<Seen> {
        self.driver.wait(timeout).unwrap();
        self.harvest()
    }

    /// Turns until `done` has something to return; fails after ten seconds without any event.
    fn until<T>(&mut self, mut done: impl FnMut(&mut Driver, Seen) -> Option<T>) -> T {
        let mut idle_turns = 0;
        while idle_turns < 500 {
            let mut found = None;
            idle_turns += 1;
            for seen in self.turn(SOON) {
                idle_turns = 0;
                found = found.or(done(&mut self.driver, seen));
            }
            if let Some(found) = found {
                return found;
            }
        }
        panic!("what was waited for did not happen");
    }

    fn connect(&mut self) -> (TcpStream, ConnId) {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let ours = client.local_addr().unwrap();
        let conn = self.until(|driver, seen| match seen {
            Seen::Accepted(socket, peer) => {
                assert_eq!(peer, ours);
                Some(driver.adopt(socket).unwrap())
            }
            Seen::Received(..) | Seen::Closed(..) | Seen::Sent(..) => None,
        });
        (client, conn)
    }

    /// Receives `len` bytes of one connection, and nothing else of it but `Sent`.
    fn receive(&mut self, from: ConnId, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        self.until(|_, seen| {
            match seen {
                Seen::Received(conn, bytes) if conn == from => all.extend(bytes),
                Seen::Closed(conn, error) if conn == from => panic!("closed: {error:?}"),
                Seen::Accepted(..) | Seen::Received(..) | Seen::Closed(..) | Seen::Sent(..) => {}
            }
            (all.len() >= len).then_some(())
        });
        assert_eq!(all.len(), len);
        all
    }

    fn until_closed(&mut self, which: ConnId) -> Option<io::Error> {
        self.until(|_, seen| match seen {
            Seen::Closed(conn, error) if conn == which => Some(error),
            Seen::Accepted(..) | Seen::Received(..) | Seen::Closed(..) | Seen::Sent(..) => None,
        })
    }

    fn until_no_sockets(&mut self) {
        for _ in 0..500 {
            if self.driver.open_sockets() == 0 {
                return;
            }
            self.turn(SOON);
        }
        panic!("{} sockets stay open", self.driver.open_sockets());
    }
}

/// Bytes that tell their place: the period is a prime, so no buffer is as long.
fn pattern(len: usize) -> Vec<u8> {
    let period: Vec<u8> =
        (0..65_521u32).map(|at| u8::try_from((at ^ at >> 8) & 0xff).unwrap()).collect();
    let mut bytes = period.repeat(len.div_ceil(period.len()));
    bytes.truncate(len);
    bytes
}

fn exactly(client: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

on_both_backends! {
    fn an_echo_comes_back_and_so_does_its_buffer(rig) {
        let (mut client, conn) = rig.connect();
        for round in 0..20u8 {
            client.write_all(&[round; 100]).unwrap();
            let bytes = rig.receive(conn, 100);
            rig.driver.send(conn, bytes);
            // One turn that does not block is enough: the buffer is free for the next reply.
            let sent = rig.turn(Some(Duration::ZERO));
            assert!(
                matches!(&sent[..], [Seen::Sent(of, buffer)]
                    if *of == conn && buffer.is_empty() && buffer.capacity() >= 100),
                "{sent:?}",
            );
            assert_eq!(exactly(&mut client, 100), [round; 100]);
        }
    }

    fn pipelined_bytes_keep_their_order(rig) {
        let (mut client, conn) = rig.connect();
        let (mut other, other_conn) = rig.connect();
        let sent = pattern(50_000);
        for part in sent.chunks(700) {
            client.write_all(part).unwrap();
        }
        other.write_all(b"not lost between them").unwrap();
        let mut others = Vec::new();
        let mut all = Vec::new();
        rig.until(|_, seen| {
            if let Seen::Received(of, bytes) = seen {
                if of == conn { all.extend(bytes) } else if of == other_conn { others.extend(bytes) }
            }
            (all.len() == sent.len() && !others.is_empty()).then_some(())
        });
        assert!(all == sent);
        assert_eq!(others, b"not lost between them");
    }

    fn more_than_all_receive_buffers_hold_arrives_in_order(rig) {
        let (client, conn) = rig.connect();
        let sent = pattern(12 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| (&client).write_all(&sent).unwrap());
            let received = rig.receive(conn, sent.len());
            assert!(received == sent);
        });
    }

    fn a_large_send_waits_for_a_slow_reader_and_holds_nobody_up(rig) {
        let (mut slow, slow_conn) = rig.connect();
        let (mut quick, quick_conn) = rig.connect();
        let large = pattern(16 << 20);
        rig.driver.send(slow_conn, large.clone());
        for _ in 0..10 {
            quick.write_all(b"ping").unwrap();
            let ping = rig.receive(quick_conn, 4);
            rig.driver.send(quick_conn, ping);
            for seen in rig.turn(Some(Duration::ZERO)) {
                assert!(matches!(seen, Seen::Sent(conn, _) if conn == quick_conn), "{seen:?}");
            }
            assert_eq!(exactly(&mut quick, 4), b"ping");
        }
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| exactly(&mut slow, large.len()));
            rig.until(|_, seen| {
                matches!(seen, Seen::Sent(conn, _) if conn == slow_conn).then_some(())
            });
            assert!(reader.join().unwrap() == large);
        });
    }

    fn the_end_of_a_large_send_is_an_event(rig) {
        let (mut client, conn) = rig.connect();
        let slice = pattern(200 << 10);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| exactly(&mut client, 5 * slice.len()));
            for _ in 0..5 {
                rig.driver.send(conn, slice.clone());
                // Without a timeout: it would hang if the send were silent.
                while rig.turn(None).is_empty() {}
            }
            assert!(reader.join().unwrap() == slice.repeat(5));
        });
    }

    fn a_paused_connection_delivers_nothing_until_it_is_resumed(rig) {
        let (mut client, conn) = rig.connect();
        client.write_all(b"before").unwrap();
        rig.receive(conn, 6);
        rig.driver.pause(conn);
        rig.turn(Some(Duration::ZERO));
        rig.turn(SOON);
        client.write_all(b"meanwhile").unwrap();
        for _ in 0..5 {
            let seen = rig.turn(SOON);
            assert!(seen.is_empty(), "{seen:?}");
        }
        rig.driver.resume(conn);
        assert_eq!(rig.receive(conn, 9), b"meanwhile");
    }

    fn pausing_at_any_moment_loses_nothing(rig) {
        let (client, conn) = rig.connect();
        let sent = pattern(6 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| (&client).write_all(&sent).unwrap());
            let mut all = Vec::new();
            let mut turns = 0u32;
            while all.len() < sent.len() {
                turns += 1;
                assert!(turns < 100_000, "stuck after {} bytes", all.len());
                for seen in rig.turn(Some(Duration::from_millis(1))) {
                    if let Seen::Received(_, bytes) = seen {
                        all.extend(bytes);
                    }
                }
                match turns % 7 {
                    0 | 3 => rig.driver.pause(conn),
                    1 | 4 => rig.driver.resume(conn),
                    5 => {
                        rig.driver.pause(conn);
                        rig.driver.resume(conn);
                    }
                    _ => {}
                }
            }
            assert!(all == sent);
        });
    }

    fn bytes_that_come_after_wait_wait_for_the_next_one(rig) {
        let (mut client, conn) = rig.connect();
        rig.turn(Some(Duration::ZERO));
        for _ in 0..20 {
            rig.driver.wait(Some(Duration::ZERO)).unwrap();
            client.write_all(b"late").unwrap();
            let seen = rig.harvest();
            assert!(seen.is_empty(), "{seen:?}");
            assert_eq!(rig.receive(conn, 4), b"late");
        }
    }

    fn a_close_sends_what_was_queued_before_it(rig) {
        let (mut client, conn) = rig.connect();
        let last = pattern(8 << 20);
        rig.driver.send(conn, last.clone());
        rig.driver.close(conn);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut all = Vec::new();
                client.read_to_end(&mut all).unwrap();
                all
            });
            while !reader.is_finished() {
                let seen = rig.turn(SOON);
                assert!(seen.is_empty(), "a closed connection has no events: {seen:?}");
            }
            assert!(reader.join().unwrap() == last);
        });
        rig.until_no_sockets();
    }

    fn unread_bytes_do_not_turn_a_close_into_a_reset(rig) {
        let (mut client, conn) = rig.connect();
        rig.driver.pause(conn);
        rig.turn(Some(Duration::ZERO));
        rig.turn(Some(Duration::ZERO));
        client.write_all(&pattern(40_000)).unwrap();
        rig.driver.send(conn, b"refused".to_vec());
        rig.driver.close(conn);
        rig.until_no_sockets();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"refused");
    }

    fn an_abort_does_not_wait_for_a_peer_that_never_reads(rig) {
        for closes_first in [false, true] {
            let (mut client, conn) = rig.connect();
            rig.driver.send(conn, pattern(32 << 20));
            rig.turn(Some(Duration::ZERO));
            if closes_first {
                rig.driver.close(conn);
                rig.turn(SOON);
                assert_eq!(rig.driver.open_sockets(), 1, "it still sends");
            }
            rig.driver.abort(conn);
            rig.until_no_sockets();
            let error = client.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }

    fn a_waker_ends_a_wait_from_another_thread(rig) {
        let waker = rig.driver.waker();
        let posted = AtomicU32::new(0);
        let taken = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=2000 {
                    posted.store(round, Ordering::Release);
                    waker.wake();
                    while taken.load(Ordering::Acquire) < round {
                        std::thread::yield_now();
                    }
                }
            });
            while taken.load(Ordering::Relaxed) < 2000 {
                rig.driver.prepare_park();
                if posted.load(Ordering::Acquire) == taken.load(Ordering::Relaxed) {
                    // A wake-up that is lost hangs here.
                    rig.driver.wait(None).unwrap();
                    assert!(rig.harvest().is_empty());
                } else {
                    rig.driver.cancel_park();
                }
                taken.store(posted.load(Ordering::Acquire), Ordering::Release);
            }
        });
        // Nobody sleeps: the wake-up costs nothing, and ends no later wait.
        rig.turn(Some(Duration::ZERO));
        waker.clone().wake();
        assert!(rig.turn(SOON).is_empty());
    }

    fn a_peer_that_half_closes_still_gets_its_reply(rig) {
        let (mut client, conn) = rig.connect();
        client.write_all(b"ruok").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut seen = Vec::new();
        rig.until(|_, event| {
            let is_end = matches!(event, Seen::Closed(..));
            seen.push(event);
            is_end.then_some(())
        });
        assert!(
            matches!(&seen[..], [Seen::Received(_, bytes), Seen::Closed(of, None)]
                if bytes == b"ruok" && *of == conn),
            "{seen:?}",
        );
        for _ in 0..3 {
            let more = rig.turn(SOON);
            assert!(more.is_empty(), "the end is reported once: {more:?}");
        }
        rig.driver.send(conn, b"imok".to_vec());
        rig.driver.close(conn);
        rig.until_no_sockets();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"imok");
    }

    fn a_reset_is_reported_once_whether_or_not_something_is_on_its_way(rig) {
        for sends in [false, true] {
            let (client, conn) = rig.connect();
            if sends {
                rig.driver.send(conn, pattern(32 << 20));
                rig.turn(Some(Duration::ZERO));
            }
            rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
            drop(client);
            assert!(rig.until_closed(conn).is_some());
            // In vain, and without harm.
            rig.driver.send(conn, b"too late".to_vec());
            for _ in 0..3 {
                let more = rig.turn(SOON);
                assert!(more.is_empty(), "{more:?}");
            }
            rig.driver.close(conn);
            rig.until_no_sockets();
        }
    }

    fn a_failing_send_is_reported_when_only_the_end_was_before(rig) {
        let (client, conn) = rig.connect();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(rig.until_closed(conn).is_none());
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        rig.driver.send(conn, pattern(1 << 20));
        assert!(rig.until_closed(conn).is_some());
        rig.driver.close(conn);
        rig.until_no_sockets();
    }

    fn an_old_id_does_not_reach_who_has_its_slot_now(rig) {
        let (mut first, old) = rig.connect();
        rig.driver.close(old);
        rig.until_no_sockets();
        assert_eq!(first.read(&mut [0; 8]).unwrap(), 0);
        let (mut client, new) = rig.connect();
        assert_eq!(new.slot, old.slot);
        assert_ne!(new.generation, old.generation);
        rig.driver.send(old, b"for nobody".to_vec());
        rig.driver.pause(old);
        rig.driver.close(old);
        rig.driver.abort(old);
        client.write_all(b"here").unwrap();
        assert_eq!(rig.receive(new, 4), b"here");
        rig.driver.send(new, b"there".to_vec());
        rig.turn(Some(Duration::ZERO));
        assert_eq!(exactly(&mut client, 5), b"there");
    }

    fn two_hundred_connections_come_and_go_and_leave_nothing(rig) {
        let mut slots = 0;
        for round in 0..4u8 {
            let mut clients: Vec<_> = (0..200).map(|_| rig.connect()).collect();
            assert_eq!(rig.driver.open_sockets(), 200);
            for (client, _) in &mut clients {
                client.write_all(&[round; 10]).unwrap();
            }
            let mut heard = 0;
            rig.until(|driver, seen| {
                if let Seen::Received(conn, bytes) = seen {
                    slots = slots.max(conn.slot);
                    heard += bytes.len();
                    driver.send(conn, bytes);
                }
                (heard == 2000).then_some(())
            });
            for (at, (client, conn)) in clients.iter_mut().enumerate() {
                match at % 3 {
                    0 => rig.driver.close(*conn),
                    1 => rig.driver.abort(*conn),
                    _ => {
                        client.shutdown(Shutdown::Both).unwrap();
                        assert!(rig.until_closed(*conn).is_none());
                        rig.driver.close(*conn);
                    }
                }
            }
            rig.until_no_sockets();
            // The peer sees the end only when the last reference to the socket is gone.
            for (client, _) in &mut clients {
                let _ = client.read_to_end(&mut Vec::new());
            }
        }
        assert!(slots < 200, "slots are used again: {slots}");
    }

    fn connections_that_nobody_waits_for_are_dropped_with_the_driver(rig) {
        let (mut client, conn) = rig.connect();
        rig.driver.send(conn, pattern(32 << 20));
        rig.turn(Some(Duration::ZERO));
        drop(rig);
        let mut received = Vec::new();
        // Either the end or a reset, but no hang.
        let _ = client.read_to_end(&mut received);
        assert!(received.len() < 32 << 20);
    }

    fn any_order_of_calls_keeps_each_stream_whole(rig) {
        // A client's stream, the server's end of it, and what the server got so far.
        struct Pair {
            client: Option<TcpStream>,
            conn: ConnId,
            written: usize,
            read: usize,
            sending: bool,
            ended: bool,
        }
        let stream = pattern(4 << 20);
        let mut dice = 0x9e37_79b9_7f4a_7c15u64;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((dice >> 33) % sides).unwrap()
        };
        let mut pairs: Vec<Pair> = Vec::new();
        for _ in 0..6000 {
            let at = if pairs.is_empty() { 0 } else { roll(pairs.len() as u64) };
            let has_room = pairs.len() < 30;
            match (roll(16), pairs.get_mut(at)) {
                (0, _) | (_, None) if has_room => {
                    let client = TcpStream::connect(rig.address).unwrap();
                    let mut adopted = None;
                    while adopted.is_none() {
                        rig.driver.wait(SOON).unwrap();
                        let mut socket = None;
                        for seen in rig.harvest() {
                            match seen {
                                Seen::Accepted(accepted, _) => socket = Some(accepted),
                                other @ (Seen::Received(..) | Seen::Closed(..) | Seen::Sent(..)) => {
                                    note(&mut pairs, &stream, other);
                                }
                            }
                        }
                        adopted = socket.map(|socket| rig.driver.adopt(socket).unwrap());
                    }
                    client.set_nonblocking(true).unwrap();
                    pairs.push(Pair {
                        client: Some(client),
                        conn: adopted.unwrap(),
                        written: 0,
                        read: 0,
                        sending: false,
                        ended: false,
                    });
                }
                (1..=4, Some(pair)) => {
                    let most = if roll(4) == 0 { 60_000 } else { 300 };
                    let len = 1 + roll(most);
                    if let Some(client) = &mut pair.client {
                        let part = &stream[pair.written..(pair.written + len).min(stream.len())];
                        pair.written += client.write(part).unwrap_or(0);
                    }
                }
                (5 | 6, Some(pair)) if !pair.sending && !pair.ended => {
                    pair.sending = true;
                    let most = if roll(4) == 0 { 3 << 20 } else { 500 };
                    let len = 1 + roll(most);
                    rig.driver.send(pair.conn, stream[..len].to_vec());
                }
                (7, Some(pair)) => rig.driver.pause(pair.conn),
                (8 | 9, Some(pair)) => rig.driver.resume(pair.conn),
                (10, Some(pair)) => {
                    if let Some(client) = pair.client.take()
                        && roll(2) == 0
                    {
                        let now = Some(Duration::ZERO);
                        rustix::net::sockopt::set_socket_linger(&client, now).unwrap();
                    }
                }
                (11, Some(pair)) if pair.ended || roll(3) == 0 => {
                    rig.driver.close(pair.conn);
                    if roll(2) == 0 {
                        rig.driver.abort(pair.conn);
                    }
                    pairs.swap_remove(at);
                }
                (12, Some(pair)) => {
                    if let Some(client) = &mut pair.client {
                        let _ = client.read(&mut vec![0; 100_000]);
                    }
                }
                _ => {
                    for seen in rig.turn(Some(Duration::ZERO)) {
                        note(&mut pairs, &stream, seen);
                    }
                }
            }
        }
        for pair in pairs.drain(..) {
            rig.driver.abort(pair.conn);
        }
        rig.until_no_sockets();

        fn note(pairs: &mut [Pair], stream: &[u8], seen: Seen) {
            let (Seen::Received(of, _) | Seen::Closed(of, _) | Seen::Sent(of, _)) = &seen else {
                panic!("nobody connects: {seen:?}")
            };
            let pair = pairs.iter_mut().find(|pair| pair.conn == *of);
            let pair = pair.expect("a closed connection has no events");
            match seen {
                Seen::Received(_, bytes) => {
                    assert!(bytes == stream[pair.read..pair.read + bytes.len()], "a hole");
                    pair.read += bytes.len();
                    assert!(pair.read <= pair.written);
                }
                Seen::Closed(_, error) => {
                    assert!(pair.client.is_none(), "{error:?}");
                    pair.ended = true;
                }
                Seen::Sent(_, buffer) => {
                    assert!(pair.sending && buffer.is_empty());
                    pair.sending = false;
                }
                Seen::Accepted(..) => {}
            }
        }
    }

    fn a_want_of_descriptors_pauses_accepting_and_ends_with_it(rig) {
        // The limit is the process's, so the test runs once more in a process of its own.
        if std::env::var_os(ALONE).is_none() {
            let name = format!("{}::{}", module_path!(), match rig.driver {
                Driver::Uring(_) => "over_uring::a_want_of_descriptors_pauses_accepting_and_ends_with_it",
                Driver::Epoll(_) => "over_epoll::a_want_of_descriptors_pauses_accepting_and_ends_with_it",
            });
            let name = name.split_once("::").expect("the crate comes first").1;
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--test-threads=1"])
                .env(ALONE, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            return;
        }
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(64);
        setrlimit(Resource::Nofile, limit).unwrap();
        // Anew, since the kernel notes the limit when an accept is armed.
        let backend = match rig.driver {
            Driver::Uring(_) => Backend::Uring,
            Driver::Epoll(_) => Backend::Epoll,
        };
        rig = Rig::new(backend);
        let (connected, _) = rig.connect();
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
        let mut hog = Vec::new();
        while let Ok(descriptor) = rustix::io::dup(&connected) {
            hog.push(descriptor);
        }
        let mut accepted = Vec::new();
        let mut take = |seen| match seen {
            Seen::Accepted(socket, _) => accepted.push(socket),
            Seen::Received(..) | Seen::Closed(..) | Seen::Sent(..) => panic!("{seen:?}"),
        };
        rig.turn(SOON).into_iter().for_each(&mut take);
        let start = clock_gettime(ClockId::Monotonic);
        for _ in 0..5 {
            rig.turn(Some(Duration::from_secs(5))).into_iter().for_each(&mut take);
        }
        let took = Duration::try_from(clock_gettime(ClockId::Monotonic) - start).unwrap();
        let paused = Duration::from_millis(150)..Duration::from_secs(4);
        assert!(paused.contains(&took), "neither spins nor stops: {took:?}");
        drop(hog);
        let mut left = clients.len() - accepted.len();
        assert!(left > 0, "the limit was felt");
        while left > 0 {
            rig.until(|_, seen| matches!(seen, Seen::Accepted(..)).then(|| left -= 1));
        }
    }
}

const ALONE: &str = "RINGKEEPER_TEST_ALONE";
