//! Log lines in the layout that collectors of ZooKeeper logs parse, and the bound on repeated ones.
//!
//! Thread: any; a line is formatted on the thread that logs it and written to stderr in one piece.
//! Layout: `2026-11-23 13:11:08,334 [myid:1] - INFO  [thread:module@line] - message`, the time in
//! UTC (images run in UTC; a zone needs the machine's zone file, which is not read here).
//! Invariants: one event is one line, whatever a client put into it.
//! Not here: which clock (`clock.rs` hands it in), where notices of the config come from.

use std::fmt::{self, Write as _};
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::types::Millis;

/// Sends all events that `levels` lets through to stderr, for the rest of the process.
///
/// `wall_ms` is the wall clock in milliseconds since 1970; `myid` is empty on a standalone server.
/// A second call in one process changes nothing, so that tests may start several servers.
pub fn init(levels: &Levels, myid: &str, wall_ms: fn() -> Millis) {
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Lines { myid: myid.to_owned(), wall_ms })
        .with_writer(io::stderr);
    let _ = tracing_subscriber::registry().with(levels.0.clone()).with(lines).try_init();
}

/// Which events become lines: a level for all, and levels for modules.
#[derive(Clone, Debug)]
pub struct Levels(Targets);

impl Levels {
    /// From `--log-level` or `RINGKEEPER_LOG`: `info`, or `warn,storage=debug,net::frame=trace`.
    /// Level names are those of Java's loggers, in any case; a module stands below `ringkeeper::`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut targets = Targets::new();
        let mut default = LevelFilter::INFO;
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None => default = level(part)?,
                Some((module, name)) => {
                    let module = module.trim();
                    let own = module == CRATE || module.starts_with("ringkeeper::");
                    let target = if own { module.to_owned() } else { format!("{CRATE}::{module}") };
                    targets = targets.with_target(target, level(name.trim())?);
                }
            }
        }
        Ok(Self(targets.with_default(default)))
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self(Targets::new().with_default(LevelFilter::INFO))
    }
}

fn level(name: &str) -> Result<LevelFilter, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "fatal" | "error" => LevelFilter::ERROR,
        "warn" | "warning" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" | "all" => LevelFilter::TRACE,
        _ => {
            return Err(format!(
                "unknown log level {name:?}: use off, error, warn, info, debug or trace, or \
                 module=level"
            ));
        }
    })
}

/// The layout of one line. ZooKeeper: `%d{ISO8601} [myid:%X{myid}] - %-5p [%t:%C{1}@%L] - %m%n`.
#[derive(Debug)]
struct Lines {
    myid: String,
    wall_ms: fn() -> Millis,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let time = Timestamp((self.wall_ms)());
        let level = level_name(*metadata.level());
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        write!(out, "{time} [myid:{}] - {level:<5} [{thread}:", self.myid)?;
        // Dots, since a collector takes the last colon for the end of the thread's name.
        let module = metadata.module_path().unwrap_or_else(|| metadata.target());
        let module = module.strip_prefix("ringkeeper::").unwrap_or(module);
        for (i, part) in module.split("::").enumerate() {
            write!(out, "{}{part}", if i == 0 { "" } else { "." })?;
        }
        write!(out, "@{}] - ", metadata.line().unwrap_or(0))?;
        let mut message = Message::default();
        event.record(&mut message);
        let mut out = OneLine(out);
        out.write_str(&message.text)?;
        out.write_str(&message.fields)?;
        out.0.write_char('\n')
    }
}

fn level_name(level: Level) -> &'static str {
    level.as_str()
}

/// The message of an event, and its other fields as ` name=value`.
#[derive(Default)]
struct Message {
    text: String,
    fields: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail, and a failing Debug must not take the server down.
        let _ = if field.name() == "message" {
            write!(self.text, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.text.push_str(value);
        } else {
            let _ = write!(self.fields, " {}={value}", field.name());
        }
    }
}

/// Escapes control characters: a path with a line feed must not forge a second line.
struct OneLine<'a>(Writer<'a>);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
            self.0.write_str(&rest[..at])?;
            let mut tail = rest[at..].chars();
            for escaped in tail.next().into_iter().flat_map(char::escape_default) {
                self.0.write_char(escaped)?;
            }
            rest = tail.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Milliseconds since 1970 as `2026-11-23 13:11:08,334`, UTC.
struct Timestamp(Millis);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        // Days since 0000-03-01, in eras of 400 years, so that a leap day ends its year.
        let days = days + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12 + 1;
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day_of_month:02} ")?;
        write!(f, "{hour:02}:{minute:02}:{second:02},{:03}", ms % 1_000)
    }
}

/// At most one line an interval from one place in the code, however often its cause occurs.
///
/// The owner passes the time, so that a decider can hold one: `if let Some(held) =
/// lines.pass(now_ms) { warn!("..{}", Held(held)) }`.
#[derive(Clone, Debug)]
pub struct RateLimited {
    interval_ms: Millis,
    next_ms: Millis,
    held: u64,
}

impl RateLimited {
    /// One line every `interval_ms`; the first passes at once.
    pub const fn every(interval_ms: Millis) -> Self {
        Self { interval_ms, next_ms: Millis::MIN, held: 0 }
    }

    /// Whether a line may be written now, and if so how many were held back before it.
    pub fn pass(&mut self, now_ms: Millis) -> Option<Held> {
        if now_ms < self.next_ms {
            self.held += 1;
            return None;
        }
        self.next_ms = now_ms.saturating_add(self.interval_ms);
        Some(Held(std::mem::take(&mut self.held)))
    }
}

/// How many lines were held back; prints as nothing when there were none, else as
/// ` (N more like it were not logged)`, to end a message with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held(pub u64);

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " ({} more like it were not logged)", self.0) }
    }
}

const CRATE: &str = "ringkeeper";

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Captured {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// What `act` logs, with line numbers blotted out.
    fn lines(levels: &str, act: impl FnOnce()) -> String {
        let captured = Captured::default();
        let format = Lines { myid: "1".to_owned(), wall_ms: || 1_795_439_468_334 };
        let layer =
            tracing_subscriber::fmt::layer().event_format(format).with_writer(captured.clone());
        let subscriber =
            tracing_subscriber::registry().with(Levels::parse(levels).unwrap().0).with(layer);
        tracing::subscriber::with_default(subscriber, act);
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_has_the_layout_that_collectors_parse() {
        let line = std::thread::Builder::new()
            .name("main".to_owned())
            .spawn(|| lines("info", || tracing::info!(zxid = 5, "snapshot {}", "taken")))
            .unwrap()
            .join()
            .unwrap();
        let (head, tail) = line.split_once('@').unwrap();
        assert_eq!(head, "2026-11-23 13:11:08,334 [myid:1] - INFO  [main:server.logging.tests");
        let (number, message) = tail.split_once(']').unwrap();
        assert!(number.parse::<u32>().unwrap() > 0);
        assert_eq!(message, " - snapshot taken zxid=5\n");
    }

    #[test]
    fn a_message_stays_on_its_line() {
        let text = lines("info", || tracing::warn!("path /a\nFAKE\r\x1b[31m\ttab é"));
        assert!(text.ends_with("] - path /a\\nFAKE\\r\\u{1b}[31m\ttab é\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("[myid:1] - WARN  ["), "{text}");
    }

    #[test]
    fn levels_hold_for_all_and_for_modules() {
        let two = || {
            tracing::debug!(target: "ringkeeper::storage::log", "a");
            tracing::info!(target: "ringkeeper::net", "b");
        };
        for (levels, expected) in [
            ("", 1),
            ("INFO", 1),
            ("debug", 2),
            ("warn", 0),
            ("off,storage=debug", 1),
            ("warn, ringkeeper::storage = ALL", 1),
            ("storage::log=debug,net=error", 1),
        ] {
            assert_eq!(lines(levels, two).lines().count(), expected, "{levels}");
        }
        assert!(Levels::parse("loud").unwrap_err().contains("\"loud\""));
        assert!(Levels::parse("storage=2").is_err());
    }

    #[test]
    fn dates_hold_at_their_edges() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00,000"),
            (-1, "1969-12-31 23:59:59,999"),
            (951_782_400_000, "2000-02-29 00:00:00,000"),
            (951_868_800_000, "2000-03-01 00:00:00,000"),
            (4_107_542_399_999, "2100-02-28 23:59:59,999"),
            (4_107_542_400_000, "2100-03-01 00:00:00,000"),
            (1_735_689_599_001, "2024-12-31 23:59:59,001"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), expected);
        }
    }

    #[test]
    fn one_line_an_interval_and_the_next_says_how_many_were_held() {
        let mut limited = RateLimited::every(1_000);
        let passed: Vec<_> = [0, 1, 999, 1_000, 1_001, 5_000, 5_999]
            .map(|now| limited.pass(now).map(|held| held.to_string()))
            .into();
        let said = Some(" (2 more like it were not logged)".to_owned());
        let once = Some(" (1 more like it were not logged)".to_owned());
        assert_eq!(passed, [Some(String::new()), None, None, said, None, once, None]);
    }
}
