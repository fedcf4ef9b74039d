//! The layers of ARCHITECTURE.md, held as a table: nothing names a module above its own layer,
//! deciders name neither a clock nor a file, and only `sys/` may be unsafe.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests may fail loudly")]

use std::fs;
use std::path::{Path, PathBuf};

/// From the top down. A module may name its own layer and those below.
const LAYERS: [(&str, &[&str]); 4] = [
    ("drivers", &["server", "net", "admin", "client", "shell", "bench", "sim"]),
    ("deciders", &["parts", "zab", "election", "prep", "session", "watch", "auth"]),
    ("state", &["tree", "storage"]),
    ("leaves", &["wire", "config", "sys", "types", "limits"]),
];

/// Modules of one layer that must not see each other.
const STRANGERS: [(&str, &[&str]); 6] = [
    ("client", &["server", "net", "admin", "parts"]),
    ("shell", &["server", "net", "admin", "parts"]),
    ("bench", &["server", "net", "admin", "parts"]),
    ("net", &["server", "admin", "parts"]),
    ("watch", &["parts", "prep", "session", "auth"]),
    ("session", &["parts", "prep", "watch", "auth"]),
];

/// What a decider must not name: time, files, threads, locks, sockets.
const WORLD: [&str; 8] = [
    "std::fs",
    "std::thread",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "Instant::",
    "SystemTime::",
    "std::net::TcpStream",
    "rustix::",
];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Module of a file, and its code without comments and without its tests.
fn sources() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 30, "src/ was not found");
    let module = |path: &Path| {
        let first = path.strip_prefix(&src).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    files
        .into_iter()
        .filter(|path| !path.ends_with("main.rs") && !path.ends_with("lib.rs"))
        .filter(|path| !path.ends_with("tests.rs") && !path.iter().any(|part| part == "tests"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code: Vec<&str> =
                code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            (module(&path), path, code.join("\n"))
        })
        .collect()
}

/// Modules that `code` names as `crate::module`, also inside `use crate::{a, b}`.
fn named(code: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split('}').next().unwrap_or_default();
            found.extend(group.split(',').map(|item| word(item.trim())));
        } else {
            found.push(word(rest));
        }
    }
    found
}

#[test]
fn nothing_points_up() {
    for (module, path, code) in sources() {
        let layer = layer_of(&module).unwrap_or_else(|| panic!("{module} has no layer"));
        for target in named(&code) {
            let Some(below) = layer_of(&target) else { continue };
            assert!(below >= layer, "{}: {module} names {target} above it", path.display());
            for (one, others) in STRANGERS {
                let strange = one == module && others.contains(&target.as_str());
                assert!(!strange, "{}: {module} must not see {target}", path.display());
            }
        }
    }
}

#[test]
fn deciders_do_not_touch_the_world() {
    for (module, path, code) in sources() {
        if layer_of(&module) != Some(1) {
            continue;
        }
        for name in WORLD {
            assert!(!code.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn only_sys_is_unsafe() {
    for (module, path, code) in sources() {
        assert!(
            module == "sys" || !code.contains("unsafe {"),
            "{}: unsafe outside sys/",
            path.display()
        );
    }
}

#[test]
fn the_scanner_sees_grouped_and_plain_names() {
    assert_eq!(named("use crate::tree::Change; crate::{parts, net::x}"), ["tree", "parts", "net"]);
}
