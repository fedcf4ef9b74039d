//! Whole files and command lines: what comes out, what is said, what is refused.

use super::*;

/// Loads a file of this text, named zoo.cfg in a directory of its own, with `--set` pairs.
fn load_text(text: &[u8], sets: &[(&str, &str)]) -> Result<(Config, Vec<Notice>), ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zoo.cfg");
    std::fs::write(&file, text).unwrap();
    let sets: Vec<_> = sets.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    load(Some(&file), &sets)
}

#[test]
fn without_a_file_it_serves_port_2181_from_data() {
    let (config, notices) = load(None, &[]).unwrap();
    assert_eq!(config.client_addr, Some("0.0.0.0:2181".parse().unwrap()));
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(config.data_log_dir, config.data_dir);
    assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (6_000, 60_000));
    assert_eq!(notices, []);
}

#[test]
fn a_file_wins_over_set_and_a_plain_name_over_a_prefixed_one() {
    let file = b"dataDir=/d\nclientPort=2181\nzookeeper.snapCount=7\nmaxCnxns=5\n\
        zookeeper.maxCnxns=6";
    let sets = [("zookeeper.snapCount", "9"), ("maxCnxns", "8"), ("zookeeper.skipACL", "yes")];
    let (config, _) = load_text(file, &sets).unwrap();
    assert_eq!((config.snap_count, config.max_cnxns, config.skip_acl), (7, 5, true));
}
