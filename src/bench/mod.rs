//! The load generator: `ringkeeper bench`.
//!
//! Thread: main plans, opens the sessions, sleeps through the measured time and reads /proc before
//! and after it; each generator thread (`load.rs`) drives its share of the sessions. It must cost
//! little beside the server, since both share the machine's processors: frames are made once,
//! nothing is allocated for an operation, and its own CPU is reported so that it can be subtracted.

mod echo;
mod load;
mod mix;
mod probe;
mod report;
mod setup;
mod watches;

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::client::clock;
use load::Plan;
use mix::{Frames, Mix, Op};
use report::{Reading, Report};

/// Arguments of `ringkeeper bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Servers, separated by commas: HOST:PORT,HOST:PORT; sessions go to them in turn
    #[arg(long, default_value = "127.0.0.1:2181")]
    server: String,
    /// Sessions
    #[arg(long, default_value_t = 16)]
    sessions: usize,
    /// Generator threads that share the sessions
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Requests in flight a session
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Operations and weights, of get set create delete exists children multi
    #[arg(long, default_value = "get:90,set:10")]
    mix: Mix,
    /// Bytes of data a node
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Preloaded nodes
    #[arg(long, default_value_t = 1000)]
    keys: u64,
    /// Where the nodes are
    #[arg(long, default_value = "/bench")]
    prefix: String,
    /// Measured seconds; 0 preloads and reports the server's memory
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before the measured ones
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// End after so many operations instead; no warm-up
    #[arg(long)]
    ops: Option<u64>,
    /// Open loop: requests a second, latency from the time a request was meant to leave
    #[arg(long)]
    rate: Option<f64>,
    /// Equal gaps in the open loop instead of random ones (Poisson)
    #[arg(long)]
    fixed_schedule: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// The server's process on this machine: its CPU, switches and memory are reported
    #[arg(long)]
    server_pid: Option<u32>,
    /// Each session watches so many paths; counts notifications of sets
    #[arg(long, conflicts_with_all = ["idle", "rate", "ops"])]
    watch: Option<u64>,
    /// Opens so many idle sessions and reports what the server's memory grew
    #[arg(long, conflicts_with_all = ["rate", "ops"])]
    idle: Option<usize>,
    /// Leaves the nodes there at the end
    #[arg(long)]
    keep: bool,
    /// Serves as the floor on --server instead: answers of the right length, nothing else
    #[arg(long)]
    echo_server: bool,
    /// Different loads for different seeds
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the load and prints its figures.
pub fn run(args: &Args) -> ExitCode {
    let outcome = if args.echo_server {
        echo::serve(&args.server, args.size)
    } else {
        measure(args).map(|report| {
            if args.json {
                println!("{}", report.json());
            } else {
                print!("{}", report.text());
            }
        })
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> io::Result<Report> {
    let refused = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()));
    if args.sessions == 0 || args.threads == 0 || args.depth == 0 {
        return refused("sessions, threads and depth must be positive");
    }
    if !args.prefix.starts_with('/') || args.prefix.ends_with('/') {
        return refused("the prefix must begin with / and not end with it");
    }
    if args.rate.is_some_and(|rate| rate <= 0.0) {
        return refused("the rate must be positive");
    }
    let keys = args.watch.unwrap_or(args.keys);
    if keys == 0 && args.seconds > 0.0 && args.idle.is_none() {
        return refused("the load needs at least one key");
    }
    setup::raise_descriptor_limit()?;
    let servers: Vec<&str> = args.server.split(',').collect();
    let mut run = Run {
        args,
        servers,
        keys,
        report: Report {
            asked: asked(args),
            seconds: 0.0,
            ops: 0,
            errors: crate::types::Map::default(),
            latency: Vec::new(),
            before: Reading::default(),
            after: Reading::default(),
            extra: Vec::new(),
        },
    };
    match args.idle {
        Some(count) => run.idle(count)?,
        None if args.watch.is_some() => run.watch()?,
        None => run.load()?,
    }
    Ok(run.report)
}

fn asked(args: &Args) -> serde_json::Value {
    json!({
        "server": args.server, "sessions": args.sessions, "threads": args.threads,
        "depth": args.depth, "mix": args.mix.to_string(), "size": args.size, "keys": args.keys,
        "rate": args.rate, "watch": args.watch, "idle": args.idle,
    })
}

struct Run<'a> {
    args: &'a Args,
    servers: Vec<&'a str>,
    keys: u64,
    report: Report,
}

impl Run<'_> {
    fn reading(&self) -> io::Result<Reading> {
        Ok(Reading {
            server: self.args.server_pid.map(|pid| probe::process(Some(pid))).transpose()?,
            generator: probe::process(None)?,
            machine_busy_us: probe::machine_busy_us()?,
        })
    }

    /// Begin and end of the measured time.
    fn window(&self) -> io::Result<(u64, u64)> {
        let ns = |seconds: f64| {
            Duration::try_from_secs_f64(seconds)
                .ok()
                .and_then(|duration| u64::try_from(duration.as_nanos()).ok())
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such duration"))
        };
        let begin = clock::nanos() + ns(self.args.warmup)?;
        Ok((begin, begin.saturating_add(ns(self.args.seconds)?)))
    }

    /// Sleeps from now to the end and reads at both ends; this thread costs nothing between.
    fn read_window(&mut self, (begin, end): (u64, u64)) -> io::Result<()> {
        let until = |at: u64| {
            thread::sleep(Duration::from_nanos(at.saturating_sub(clock::nanos())));
        };
        until(begin);
        self.report.before = self.reading()?;
        until(end);
        self.report.after = self.reading()?;
        Ok(())
    }

    fn load(&mut self) -> io::Result<()> {
        let args = self.args;
        let mut main = setup::connect(&self.servers, 0)?;
        if args.seconds <= 0.0 && args.ops.is_none() {
            return self.preload_only(main);
        }
        setup::preload(&mut main, &args.prefix, self.keys, args.size)?;
        // Nobody pings for it, so it would not outlive a long run.
        main.close()?;
        let frames = Frames::new(&args.prefix, args.size);
        let threads = args.threads.min(args.sessions);
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for i in 0..args.sessions {
            shares[i % threads].push(setup::connect(&self.servers, i)?.into_stream());
        }
        let (mut begin_ns, mut end_ns) = self.window()?;
        if args.ops.is_some() {
            (begin_ns, end_ns) = (clock::nanos(), u64::MAX);
            self.report.before = self.reading()?;
        }
        // Names differ from run to run even when an earlier one was cut off before it tidied up.
        let first_created = u64::from(std::process::id()) << 40;
        let count = threads as u64;
        let plans: Vec<Plan> = (0..count)
            .map(|thread| Plan {
                mix: args.mix.clone(),
                keys: self.keys,
                depth: args.depth,
                rate: args.rate.map(|rate| rate / threads as f64),
                poisson: !args.fixed_schedule,
                begin_ns,
                end_ns,
                ops_max: args
                    .ops
                    .map_or(u64::MAX, |ops| ops / count + u64::from(thread < ops % count)),
                seed: args.seed.wrapping_mul(1_000_003).wrapping_add(thread),
                first_created: first_created
                    + thread * (args.sessions as u64) * load::CREATED_PER_SESSION,
            })
            .collect();
        let seen: Vec<io::Result<load::Seen>> = thread::scope(|scope| {
            let frames = &frames;
            let threads: Vec<_> = plans
                .iter()
                .zip(shares)
                .map(|(plan, share)| {
                    thread::Builder::new()
                        .name("bench".to_owned())
                        .spawn_scoped(scope, move || load::run(plan, frames, share))
                })
                .collect::<io::Result<_>>()?;
            if args.ops.is_none() {
                self.read_window((begin_ns, end_ns))?;
            }
            Ok(threads
                .into_iter()
                .map(|thread| thread.join().expect("a panic aborts the process"))
                .collect())
        })
        .map_err(|error: io::Error| error)?;
        if args.ops.is_some() {
            self.report.after = self.reading()?;
        }
        let mut main = setup::connect(&self.servers, 0)?;
        self.collect(seen, begin_ns, end_ns, &mut main)?;
        if !args.keep {
            setup::delete_preloaded(&mut main, &args.prefix, self.keys)?;
        }
        main.close()
    }

    fn collect(
        &mut self,
        seen: Vec<io::Result<load::Seen>>,
        begin_ns: u64,
        end_ns: u64,
        main: &mut crate::client::raw::Connection,
    ) -> io::Result<()> {
        let mut last_ns = begin_ns;
        let mut latency: Vec<hdrhistogram::Histogram<u64>> = Vec::new();
        for seen in seen {
            let seen = seen?;
            if latency.is_empty() {
                latency = seen.latency;
            } else {
                for (sum, each) in latency.iter_mut().zip(&seen.latency) {
                    sum.add(each).expect("all have the same bounds");
                }
            }
            self.report.ops += seen.ops;
            last_ns = last_ns.max(seen.last_ns);
            for (code, count) in seen.errors {
                *self.report.errors.entry(code).or_default() += count;
            }
            setup::close(seen.streams)?;
            for range in seen.created {
                setup::delete_created(main, &self.args.prefix, range)?;
            }
        }
        self.report.seconds = seconds(last_ns.min(end_ns) - begin_ns);
        let mut all = latency[0].clone();
        latency[1..].iter().for_each(|each| all.add(each).expect("all have the same bounds"));
        self.report.latency.push(("all", all));
        if latency.iter().filter(|histogram| !histogram.is_empty()).count() > 1 {
            self.report.latency.extend(Op::ALL.map(Op::name).into_iter().zip(latency));
        }
        Ok(())
    }

    /// Fills the server and says what its memory grew.
    fn preload_only(&mut self, mut main: crate::client::raw::Connection) -> io::Result<()> {
        self.report.before = self.reading()?;
        let begin_ns = clock::nanos();
        setup::preload(&mut main, &self.args.prefix, self.keys, self.args.size)?;
        self.report.seconds = seconds(clock::nanos() - begin_ns);
        self.report.ops = self.keys;
        self.report.after = self.reading()?;
        self.growth("anon_bytes_per_node", self.keys);
        if !self.args.keep {
            setup::delete_preloaded(&mut main, &self.args.prefix, self.keys)?;
        }
        main.close()
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn growth(&mut self, name: &'static str, count: u64) {
        if let (Some(before), Some(after)) = (self.report.before.server, self.report.after.server) {
            let grown = after.anon_bytes as f64 - before.anon_bytes as f64;
            self.report.extra.push((name, json!((grown / count.max(1) as f64).round())));
        }
    }

    fn idle(&mut self, count: usize) -> io::Result<()> {
        self.report.before = self.reading()?;
        let begin_ns = clock::nanos();
        let streams = setup::connect_idle(&self.servers, count)?;
        self.report.seconds = seconds(clock::nanos() - begin_ns);
        self.report.ops = count as u64;
        self.report.after = self.reading()?;
        self.growth("anon_bytes_per_session", count as u64);
        setup::close(streams)
    }

    fn watch(&mut self) -> io::Result<()> {
        let args = self.args;
        let mut main = setup::connect(&self.servers, 0)?;
        setup::preload(&mut main, &args.prefix, self.keys, args.size)?;
        main.close()?;
        let mut watchers = (0..args.sessions)
            .map(|i| setup::connect(&self.servers, i))
            .collect::<io::Result<Vec<_>>>()?;
        self.report.before = self.reading()?;
        for watcher in &mut watchers {
            watches::arm(watcher, &args.prefix, self.keys)?;
        }
        self.report.after = self.reading()?;
        self.growth("anon_bytes_per_watch", self.keys * args.sessions as u64);
        let writer = setup::connect(&self.servers, 0)?.into_stream();
        let watchers = watchers.into_iter().map(|watcher| watcher.into_stream()).collect();
        let frames = Frames::new(&args.prefix, args.size);
        let window = self.window()?;
        let keys = self.keys;
        let seen = thread::scope(|scope| {
            let load =
                || watches::run(&args.prefix, keys, args.depth, &frames, window, writer, watchers);
            let thread =
                thread::Builder::new().name("bench".to_owned()).spawn_scoped(scope, load)?;
            self.read_window(window)?;
            thread.join().expect("a panic aborts the process")
        })?;
        self.report.seconds = seconds(window.1 - window.0);
        self.report.ops = seen.notifications;
        self.report.extra.push(("sets", json!(seen.sets)));
        self.report.latency.push(("notification", seen.latency));
        setup::close(seen.streams)?;
        if args.keep {
            return Ok(());
        }
        let mut main = setup::connect(&self.servers, 0)?;
        setup::delete_preloaded(&mut main, &args.prefix, self.keys)?;
        main.close()
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 ns")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
