//! The figures of a run, as text and as JSON.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::{Map as Object, Value, json};

use super::probe::Process;
use crate::types::Map;

/// Readings at the begin or end of the measured time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// The server, when its pid was given.
    pub(super) server: Option<Process>,
    /// This process.
    pub(super) generator: Process,
    /// All processors.
    pub(super) machine_busy_us: u64,
}

/// One run.
#[derive(Debug)]
pub(super) struct Report {
    /// What was asked for, as JSON.
    pub(super) asked: Value,
    /// Measured time.
    pub(super) seconds: f64,
    /// Replies or notifications in it.
    pub(super) ops: u64,
    /// By code.
    pub(super) errors: Map<i32, u64>,
    /// Name and latencies in ns; the first is the sum of all.
    pub(super) latency: Vec<(&'static str, Histogram<u64>)>,
    /// Before.
    pub(super) before: Reading,
    /// After.
    pub(super) after: Reading,
    /// Figures of one mode only.
    pub(super) extra: Vec<(&'static str, Value)>,
}

fn per(amount: u64, ops: u64) -> f64 {
    amount as f64 / ops.max(1) as f64
}

/// Three decimals are more than any of these figures means.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let us = |ns: u64| rounded(per(ns, 1000));
    json!({
        "count": histogram.len(),
        "mean": rounded(histogram.mean() / 1000.0),
        "p50": us(histogram.value_at_quantile(0.5)),
        "p90": us(histogram.value_at_quantile(0.9)),
        "p99": us(histogram.value_at_quantile(0.99)),
        "p999": us(histogram.value_at_quantile(0.999)),
        "max": us(histogram.max()),
    })
}

impl Report {
    /// All figures. Latencies and CPU are in µs.
    #[expect(clippy::cast_possible_truncation, reason = "a rate is below 2^53")]
    pub(super) fn json(&self) -> Value {
        let latency: Object<String, Value> = self
            .latency
            .iter()
            .filter(|(_, histogram)| !histogram.is_empty())
            .map(|(name, histogram)| ((*name).to_owned(), percentiles(histogram)))
            .collect();
        let errors: Object<String, Value> =
            self.errors.iter().map(|(code, count)| (code.to_string(), json!(count))).collect();
        let generator_us = cpu(&self.after.generator) - cpu(&self.before.generator);
        let busy_us = self.after.machine_busy_us.saturating_sub(self.before.machine_busy_us);
        let mut all = json!({
            "asked": self.asked,
            "seconds": rounded(self.seconds),
            "ops": self.ops,
            "ops_per_second": (self.ops as f64 / self.seconds.max(1e-9)).round() as u64,
            "errors": errors,
            "latency_us": latency,
            "generator": { "cpu_us_per_op": rounded(per(generator_us, self.ops)) },
            "machine": { "busy_us_per_op_without_generator":
                rounded(per(busy_us.saturating_sub(generator_us), self.ops)) },
        });
        if let (Some(before), Some(after)) = (self.before.server, self.after.server) {
            let per_op = |f: fn(&Process) -> u64| {
                rounded(per(f(&after).saturating_sub(f(&before)), self.ops))
            };
            all["server"] = json!({
                "cpu_us_per_op": per_op(cpu),
                "user_us_per_op": per_op(|p| p.user_us),
                "system_us_per_op": per_op(|p| p.system_us),
                "context_switches_per_op": per_op(|p| p.switches),
                "rss_bytes": after.rss_bytes,
                "anon_bytes": after.anon_bytes,
            });
        }
        for (name, value) in &self.extra {
            all[*name] = value.clone();
        }
        all
    }

    /// The same for people.
    pub(super) fn text(&self) -> String {
        let all = self.json();
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            writeln!(text, "{name:<13}{value}").expect("a String takes everything");
        };
        line(
            "throughput",
            format!("{} ops/s ({} in {} s)", all["ops_per_second"], all["ops"], all["seconds"]),
        );
        let latency = all["latency_us"].as_object().into_iter().flatten();
        for (name, p) in latency {
            line(
                name,
                format!(
                    "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}  mean {} µs  ({})",
                    p["p50"], p["p90"], p["p99"], p["p999"], p["max"], p["mean"], p["count"]
                ),
            );
        }
        for (code, count) in all["errors"].as_object().into_iter().flatten() {
            line("errors", format!("{count} with code {code}"));
        }
        if let Some(server) = all.get("server") {
            line(
                "server",
                format!(
                    "{} µs CPU/op (user {}, system {})  {} switches/op  rss {:.1} MiB  anon {:.1} MiB",
                    server["cpu_us_per_op"],
                    server["user_us_per_op"],
                    server["system_us_per_op"],
                    server["context_switches_per_op"],
                    server["rss_bytes"].as_f64().unwrap_or(0.0) / 1048576.0,
                    server["anon_bytes"].as_f64().unwrap_or(0.0) / 1048576.0,
                ),
            );
        }
        line(
            "machine",
            format!(
                "{} µs busy/op without the generator, which took {} µs",
                all["machine"]["busy_us_per_op_without_generator"],
                all["generator"]["cpu_us_per_op"]
            ),
        );
        for (name, value) in &self.extra {
            line(name, format!(" {value}"));
        }
        text
    }
}

fn cpu(process: &Process) -> u64 {
    process.user_us + process.system_us
}
