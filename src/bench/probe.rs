//! What the kernel says about the server and the machine: /proc, read by the main thread before
//! and after the measured time, never during it.

use std::fs;
use std::io;

/// Counters of a process; differences of two are what a run cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// CPU in user mode, all threads, also ended ones.
    pub(super) user_us: u64,
    /// CPU in the kernel.
    pub(super) system_us: u64,
    /// Voluntary and involuntary, of the threads that live.
    pub(super) switches: u64,
    /// Resident memory.
    pub(super) rss_bytes: u64,
    /// Of it, memory without a file behind it.
    pub(super) anon_bytes: u64,
}

fn ticks_to_us(ticks: u64) -> u64 {
    ticks * 1_000_000 / rustix::param::clock_ticks_per_second()
}

/// Reads the counters of process `pid`; `None` is this process.
pub(super) fn process(pid: Option<u32>) -> io::Result<Process> {
    let dir = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
    let (user_us, system_us) = cpu(&fs::read_to_string(format!("{dir}/stat"))?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unknown form of stat"))?;
    let status = fs::read_to_string(format!("{dir}/status"))?;
    // The exact figures need a permission that the coarse ones do not.
    let rollup = fs::read_to_string(format!("{dir}/smaps_rollup")).unwrap_or_default();
    let kib = |text: &str, name| field(text, name).map(|kib| kib * 1024);
    let mut switches = 0;
    for task in fs::read_dir(format!("{dir}/task"))? {
        // A thread may end between the listing and the look.
        let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0)
            + field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
    }
    Ok(Process {
        user_us,
        system_us,
        switches,
        rss_bytes: kib(&rollup, "Rss:").or_else(|| kib(&status, "VmRSS:")).unwrap_or(0),
        anon_bytes: kib(&rollup, "Anonymous:").or_else(|| kib(&status, "RssAnon:")).unwrap_or(0),
    })
}

/// The whole machine's busy time, in µs summed over its processors.
pub(super) fn machine_busy_us() -> io::Result<u64> {
    Ok(busy(&fs::read_to_string("/proc/stat")?))
}

/// User and system time of a `stat` line; the name in parentheses may hold anything.
fn cpu(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let user = fields.next()?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    Some((ticks_to_us(user), ticks_to_us(system)))
}

/// The number behind `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn busy(stat: &str) -> u64 {
    let first = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> =
        first.split_whitespace().skip(1).map(|text| text.parse().unwrap_or(0)).collect();
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    let ticks = fields.iter().take(7).enumerate().filter(|(i, _)| *i != 3 && *i != 4);
    ticks_to_us(ticks.map(|(_, ticks)| ticks).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_skipped() {
        let line = "12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 300 200 0 0";
        let hz = rustix::param::clock_ticks_per_second();
        assert_eq!(cpu(line), Some((300_000_000 / hz, 200_000_000 / hz)));
    }

    #[test]
    fn idle_and_iowait_are_not_busy() {
        let hz = rustix::param::clock_ticks_per_second();
        assert_eq!(busy("cpu  1 2 4 1000 1000 8 16 32 64 0\n"), 31_000_000 / hz);
    }

    #[test]
    fn this_process_has_memory_and_a_thread() {
        let me = process(None).unwrap();
        assert!(me.rss_bytes > 0 && me.anon_bytes > 0 && me.switches > 0);
    }
}
