//! A million watches: bytes each, and the time to set and to fire one.
//!
//! Claims: at most 100 bytes a watch, and under 200 ns to fire one where a change has many watchers.
//! Each case runs in a process of its own (this program again), or its memory would be that of pages
//! used before. CPU time of the thread, which a busy machine changes little. `cargo bench --bench
//! watch`.

use std::process::Command;

use ringkeeper::watch::{ConnKey, Event, Modes, Sink, WatchTable};
use ringkeeper::wire::codes::EventType;

const WATCHES: usize = 1_000_000;

/// Connections, and whether all watch the same paths.
const CASES: [(usize, bool); 5] =
    [(1000, true), (10, true), (100_000, true), (1000, false), (1, false)];

/// Counts and does nothing else.
#[derive(Debug, Default)]
struct Count(usize);

impl Sink for Count {
    fn event(&mut self, _event: &Event<'_>) {}
    fn notify(&mut self, _conn: ConnKey) {
        self.0 += 1;
    }
}

fn cpu_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a count of pages") * 4096
}

fn measure(conns: usize, shared: bool) {
    let paths: Vec<Vec<u8>> = (0..if shared { WATCHES / conns } else { WATCHES })
        .map(|path| format!("/service/config/{path:08}").into_bytes())
        .collect();
    let each = WATCHES / conns;
    let of_conn = |conn: usize| if shared { &paths[..] } else { &paths[conn * each..][..each] };
    let mut table = WatchTable::new();
    let (before, start) = (resident_bytes(), cpu_ns());
    for conn in 0..conns {
        let key = ConnKey(u32::try_from(conn).expect("a few"));
        of_conn(conn).iter().for_each(|path| table.set(path, key, Modes::DATA));
    }
    let set_ns = (cpu_ns() - start) / WATCHES as f64;
    let bytes = (resident_bytes() - before) as f64 / WATCHES as f64;
    let (mut count, start) = (Count::default(), cpu_ns());
    paths.iter().for_each(|path| table.fire(EventType::NodeDataChanged, path, &mut count));
    let fire_ns = (cpu_ns() - start) / WATCHES as f64;
    assert_eq!((count.0, table.watch_count()), (WATCHES, 0));
    println!(
        "{conns:>6} connections, {}: {bytes:.0} B, set {set_ns:.0} ns, fire {fire_ns:.0} ns a watch",
        if shared { "shared paths" } else { "own paths   " }
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(case) = arguments.iter().position(|argument| argument == "--case") {
        let (conns, shared) = CASES[arguments[case + 1].parse::<usize>().expect("a number")];
        return measure(conns, shared);
    }
    if arguments.iter().any(|argument| argument == "--test") {
        return; // `cargo test --benches` only wants to know that it builds.
    }
    for case in 0..CASES.len() {
        let own = std::env::current_exe().expect("this program");
        let status = Command::new(own).args(["--case", &case.to_string()]).status();
        assert!(status.expect("this program again").success(), "case {case}");
    }
}
