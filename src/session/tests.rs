//! Scenarios in words, captures from Java, and the slow twin of the wheel.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::fmt::Write as _;

use super::*;
use crate::types::ConnId;

const TICK_MS: i32 = 1000;

fn owner(shard: u16) -> ConnRef {
    ConnRef { shard, conn: ConnId { slot: u32::from(shard), generation: 0 } }
}

#[test]
fn ids_hold_server_time_and_count() {
    let mut ids = SessionIds::new(1, 0x1a2_0861_91c8);
    let shown: Vec<String> = (0..3).map(|_| format!("{:x}", ids.next_id().0)).collect();
    // The first as Java computes it from the same clock.
    assert_eq!(shown, ["1a2086191c80000", "1a2086191c80001", "1a2086191c80002"]);
    assert_eq!(SessionIds::new(255, 0x1a2_0861_91c8).next_id().0, 0xffa2_0861_91c8_0000_u64 as i64);
}

#[test]
fn no_session_has_the_id_that_marks_containers() {
    let mut ids = SessionIds::new(128, 1 << 40);
    assert_eq!(ids.next_id(), SessionId(i64::MIN + 1));
    // The count runs over into it from the server id below.
    let mut ids = SessionIds { next: SessionId(i64::MAX) };
    assert_eq!([ids.next_id(), ids.next_id()], [SessionId(i64::MAX), SessionId(i64::MIN + 1)]);
}

#[test]
fn passwords_are_javas() {
    // The first from a server, the others from java.util.Random itself.
    for (session, expected) in [
        (0x0100_004d_cd8d_0000_u64, 0xe9f7_c002_c215_46f0_6f5b_3c38_dbf0_ce4d_u128),
        (0xff00_004d_cd8d_0003, 0xd6d6_c602_22ca_66ab_7a18_d50c_0868_ba80),
        (1, 0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005),
        (0x8000_0000_0000_0001, 0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005),
    ] {
        let got = u128::from_be_bytes(password(SessionId(session.cast_signed())));
        assert_eq!(got, expected, "{session:x}");
    }
}

/// Runs one command a line at the time it opens with: `add ID TIMEOUT`, `attach ID TIMEOUT SHARD`,
/// `detach ID SHARD`, `standing ID SHARD`, `touch ID`, `close ID`, `reopen ID`, `remove ID`,
/// `restart`, `expire [shard 1 has looked until]`, `dump`. Sessions are added by shard 1.
fn check(script: &str, expected: Expect) {
    let mut table = SessionTable::new(TICK_MS);
    let mut text = String::new();
    for line in script.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).map(|word| word.parse::<i64>().unwrap());
        let int = |at: usize| i32::try_from(number(at).unwrap()).unwrap();
        let shard = |at: usize| owner(u16::try_from(number(at).unwrap()).unwrap());
        let (now, session) = (number(0).unwrap(), SessionId(number(2).unwrap_or(0)));
        let outcome = match words[1] {
            "add" => {
                table.add(session, int(3), Some(owner(1)), now);
                String::new()
            }
            "attach" => match table.attach(session, int(3), shard(4), now) {
                Some(attached) => {
                    format!("displaced {:?}", attached.displaced.map(|owner| owner.shard))
                }
                None => "refused".into(),
            },
            "detach" => {
                table.detach(session, shard(3));
                String::new()
            }
            "standing" => format!("{:?}", table.standing(session, shard(3))),
            "touch" => table.touch(session, now).to_string(),
            "close" => table.set_closing(session).to_string(),
            "reopen" => {
                table.reopen(session, now);
                String::new()
            }
            "remove" => table.remove(session).is_some().to_string(),
            "restart" => {
                table.restart_timers(now);
                String::new()
            }
            "expire" => {
                let mut expired = Vec::new();
                let looked = number(2).unwrap_or(now);
                table.expire(now, |_| looked, &mut expired);
                let expired: Vec<i64> = expired.iter().map(|session| session.0).collect();
                format!("{expired:?}, next {:?}", table.next_due())
            }
            "dump" => format!("{:?}", table.ends()),
            other => panic!("{other}"),
        };
        writeln!(text, "{}", format!("{line:<24} {outcome}").trim_end()).unwrap();
    }
    expected.assert_eq(&text);
}

#[test]
fn a_silent_session_ends_on_the_tick_after_its_timeout() {
    check(
        "0 add 2 2000
         100 add 1 2000
         999 add 3 2000
         1000 add 4 2000
         2999 expire
         3000 expire
         3000 standing 1 1
         3999 expire
         4000 expire",
        expect![[r#"
            0 add 2 2000
            100 add 1 2000
            999 add 3 2000
            1000 add 4 2000
            2999 expire              [], next Some(3000)
            3000 expire              [1, 2, 3], next Some(4000)
            3000 standing 1 1        Closing
            3999 expire              [], next Some(4000)
            4000 expire              [4], next None
        "#]],
    );
}

#[test]
fn touches_count_from_the_last_one() {
    check(
        "0 add 1 2000
         0 add 2 2000
         2999 touch 1
         3000 dump
         3000 expire
         3000 touch 2
         4999 expire
         5000 expire",
        expect![[r#"
            0 add 1 2000
            0 add 2 2000
            2999 touch 1             true
            3000 dump                {3000: [SessionId(2)], 5000: [SessionId(1)]}
            3000 expire              [2], next Some(5000)
            3000 touch 2             false
            4999 expire              [], next Some(5000)
            5000 expire              [1], next None
        "#]],
    );
}

#[test]
fn a_session_waits_for_its_shard_to_look_into_the_socket() {
    check(
        "0 add 1 2000
         0 add 2 2000
         0 detach 2 1
         3500 expire 2999
         3600 expire 2999
         3600 standing 1 1
         3600 touch 1
         3700 expire 3600
         6000 expire 6000",
        expect![[r#"
            0 add 1 2000
            0 add 2 2000
            0 detach 2 1
            3500 expire 2999         [2], next Some(3000)
            3600 expire 2999         [], next Some(3000)
            3600 standing 1 1        Live
            3600 touch 1             true
            3700 expire 3600         [], next Some(6000)
            6000 expire 6000         [1], next None
        "#]],
    );
}

#[test]
fn a_re_attach_displaces_the_owner_and_renews_the_timeout() {
    check(
        "0 add 1 2000
         500 attach 1 15000 2
         500 standing 1 1
         500 standing 1 2
         500 detach 1 1
         500 attach 1 15000 2
         3000 expire
         15999 expire
         15999 detach 1 2
         15999 standing 1 2
         15999 attach 1 15000 3
         16000 expire
         16000 attach 1 2000 3
         19000 expire",
        expect![[r#"
            0 add 1 2000
            500 attach 1 15000 2     displaced Some(1)
            500 standing 1 1         Moved
            500 standing 1 2         Live
            500 detach 1 1
            500 attach 1 15000 2     displaced None
            3000 expire              [], next Some(16000)
            15999 expire             [], next Some(16000)
            15999 detach 1 2
            15999 standing 1 2       Moved
            15999 attach 1 15000 3   displaced None
            16000 expire             [], next Some(31000)
            16000 attach 1 2000 3    displaced None
            19000 expire             [1], next None
        "#]],
    );
}

#[test]
fn a_closing_session_takes_nothing_more() {
    check(
        "0 add 1 2000
         10 close 1
         10 close 1
         10 standing 1 1
         10 attach 1 2000 2
         10 touch 1
         9000 expire
         9000 reopen 1
         9000 standing 1 1
         12000 expire
         12000 remove 1
         12000 remove 1
         12000 standing 1 1
         12000 attach 1 2000 2
         12000 touch 1",
        expect![[r#"
            0 add 1 2000
            10 close 1               true
            10 close 1               false
            10 standing 1 1          Closing
            10 attach 1 2000 2       refused
            10 touch 1               false
            9000 expire              [], next None
            9000 reopen 1
            9000 standing 1 1        Live
            12000 expire             [1], next None
            12000 remove 1           true
            12000 remove 1           false
            12000 standing 1 1       Unknown
            12000 attach 1 2000 2    refused
            12000 touch 1            false
        "#]],
    );
}

#[test]
fn a_new_leader_gives_everybody_the_full_timeout() {
    check(
        "0 add 1 2000
         0 add 2 30000
         0 add 3 2000
         0 close 3
         90000 restart
         90000 dump
         91000 expire
         93000 expire
         121000 expire",
        expect![[r#"
            0 add 1 2000
            0 add 2 30000
            0 add 3 2000
            0 close 3                true
            90000 restart
            90000 dump               {93000: [SessionId(1)], 121000: [SessionId(2)]}
            91000 expire             [], next Some(93000)
            93000 expire             [1], next Some(121000)
            121000 expire            [2], next None
        "#]],
    );
}

#[test]
fn a_session_that_is_added_again_keeps_its_shared_word() {
    let mut table = SessionTable::new(TICK_MS);
    let first = table.add(SessionId(1), 2000, None, 0);
    table.add(SessionId(1), 4000, Some(owner(1)), 500);
    first.touch(700);
    first.touch(600);
    assert_eq!(table.get(SessionId(1)).unwrap().heard().last(), 700);
    assert_eq!(table.heard_since(700).collect::<Vec<_>>(), [(SessionId(1), 4000)]);
    assert_eq!(table.heard_since(701).count(), 0);
    assert_eq!(table.len(), 1);
}

#[derive(Clone, Debug)]
enum Op {
    Add(i64, i32),
    Touch(i64),
    Attach(i64, i32),
    Close(i64),
    Remove(i64),
    Wait(i64),
}

fn op() -> impl Strategy<Value = Op> {
    let session = 1..6_i64;
    let timeout = prop::sample::select(vec![2000, 2500, 4000, 9000]);
    prop_oneof![
        (session.clone(), timeout.clone()).prop_map(|(s, t)| Op::Add(s, t)),
        session.clone().prop_map(Op::Touch),
        (session.clone(), timeout).prop_map(|(s, t)| Op::Attach(s, t)),
        session.clone().prop_map(Op::Close),
        session.prop_map(Op::Remove),
        (0..3000_i64).prop_map(Op::Wait),
    ]
}

proptest! {
    /// The twin keeps of each session its timeout and last touch, and looks at all of them at
    /// every millisecond that matters: a session ends after its timeout, at most a tick late.
    #[test]
    fn ends_are_never_early_and_at_most_a_tick_late(ops in prop::collection::vec(op(), 1..100)) {
        let mut table = SessionTable::new(TICK_MS);
        let mut twin = std::collections::BTreeMap::<i64, (i32, Millis)>::new();
        let mut now = 0;
        for op in ops {
            match op {
                Op::Add(session, timeout) => {
                    if table.get(SessionId(session)).is_none() {
                        table.add(SessionId(session), timeout, Some(owner(1)), now);
                        twin.insert(session, (timeout, now));
                    }
                }
                Op::Touch(session) => {
                    let touched = table.touch(SessionId(session), now);
                    prop_assert_eq!(touched, twin.contains_key(&session));
                    twin.entry(session).and_modify(|entry| entry.1 = now);
                }
                Op::Attach(session, timeout) => {
                    let attached = table.attach(SessionId(session), timeout, owner(1), now);
                    prop_assert_eq!(attached.is_some(), twin.contains_key(&session));
                    twin.entry(session).and_modify(|entry| *entry = (timeout, now));
                }
                Op::Close(session) => {
                    let closing = table.set_closing(SessionId(session));
                    prop_assert_eq!(closing, twin.remove(&session).is_some());
                }
                Op::Remove(session) => {
                    table.remove(SessionId(session));
                    twin.remove(&session);
                }
                Op::Wait(ms) => {
                    // As the driver does: it wakes when something is due, and at the end.
                    let until = now + ms;
                    while now < until {
                        now = table.next_due().map_or(until, |due| due.clamp(now, until));
                        let mut expired = Vec::new();
                        table.expire(now, |_| now, &mut expired);
                        for session in expired {
                            let (timeout, heard) = twin.remove(&session.0).expect("it lived");
                            let silent = now - heard - Millis::from(timeout);
                            prop_assert!(silent > 0, "{} ended early", session);
                            prop_assert!(silent <= Millis::from(TICK_MS), "{} late", session);
                        }
                        for (session, (timeout, heard)) in &twin {
                            let silent = now - heard - Millis::from(*timeout);
                            prop_assert!(silent < Millis::from(TICK_MS), "{} lives on", session);
                        }
                    }
                }
            }
            let living: usize = table.ends().values().map(Vec::len).sum();
            prop_assert_eq!(living, twin.len());
        }
    }
}
