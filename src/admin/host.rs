//! What the kernel tells of this process and machine. Every answer is a small read of `/proc` or
//! one system call; what cannot be told is 0 or `?`.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// Open file descriptors of this process.
pub(super) fn open_files() -> i64 {
    // The walk itself has one open.
    fs::read_dir("/proc/self/fd")
        .map_or(0, |entries| i64::try_from(entries.count()).expect("few files") - 1)
}

/// How many may be open; -1 for no limit, as Java has it.
pub(super) fn max_files() -> i64 {
    getrlimit(Resource::Nofile).current.map_or(-1, |limit| i64::try_from(limit).unwrap_or(-1))
}

/// A `kB` line of a file in `/proc`, in MB.
fn proc_mb(file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// The environment as `envi` tells it: Java's keys that mean something without a JVM, in its order.
pub(super) fn environment() -> Vec<(&'static str, String)> {
    let uname = rustix::system::uname();
    let lossy = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let variable = |names: &[&str]| {
        names.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "?".to_owned())
    };
    let user_dir = std::env::current_dir().map_or("?".to_owned(), |dir| dir.display().to_string());
    vec![
        ("zookeeper.version", super::version()),
        ("host.name", lossy(uname.nodename())),
        ("os.name", lossy(uname.sysname())),
        ("os.arch", java_arch(&lossy(uname.machine())).to_owned()),
        ("os.version", lossy(uname.release())),
        ("user.name", variable(&["USER", "LOGNAME"])),
        ("user.home", variable(&["HOME"])),
        ("user.dir", user_dir),
        ("os.memory.free", format!("{}MB", proc_mb("/proc/meminfo", "MemAvailable:"))),
        ("os.memory.max", format!("{}MB", proc_mb("/proc/meminfo", "MemTotal:"))),
        ("os.memory.total", format!("{}MB", proc_mb("/proc/self/status", "VmRSS:"))),
    ]
}

/// Java's word for an architecture.
fn java_arch(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_counted() {
        let (at_most, before) = (max_files(), open_files());
        assert!(before >= 3, "{before}");
        assert!(at_most == -1 || at_most >= before, "{at_most}");
    }

    #[test]
    fn memory_is_told_in_mb() {
        let environment = environment();
        let mb = |key: &str| -> u64 {
            let (_, value) = environment.iter().find(|(name, _)| *name == key).unwrap();
            value.strip_suffix("MB").unwrap().parse().unwrap()
        };
        assert!(mb("os.memory.total") > 0);
        assert!(mb("os.memory.max") > mb("os.memory.total"));
        assert!(mb("os.memory.max") > mb("os.memory.free"));
    }
}
