//! One match: parse, run, exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringkeeper::config::{self, Level, Source};
use ringkeeper::net::probe::IoMode;
use ringkeeper::server::logging::{self, Levels};
use ringkeeper::server::{Options, Server, clock};

/// A coordination server that takes ZooKeeper's place.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: with a zoo.cfg, with `PORT DIR [TICKTIME] [MAXCNXNS]`, or by default on 0.0.0.0:2181
    /// with data in ./data.
    Server(ServerArgs),
    /// One command of a client: ls, get, set, create, delete, stat.
    Cli(ringkeeper::shell::Args),
    /// Put a server under load and measure it.
    Bench(ringkeeper::bench::Args),
}

#[derive(Debug, Args)]
struct ServerArgs {
    /// A zoo.cfg, or clientPort dataDir [tickTime] [maxClientCnxns].
    arguments: Vec<String>,
    /// A property, as `-Dzookeeper.KEY=VALUE` would set it; zoo.cfg wins over it.
    #[arg(long = "set", value_name = "KEY=VALUE", short = 'D')]
    sets: Vec<String>,
    /// What talks to the kernel; auto takes io_uring where it is allowed.
    #[arg(long, value_enum, default_value_t = Io::Auto)]
    io: Io,
    /// Shards, which are threads that serve clients; chosen by the number of cores.
    #[arg(long)]
    shards: Option<usize>,
    /// Connections that one shard serves before the next is opened.
    #[arg(long, default_value_t = 64)]
    shard_connections: usize,
    /// Bound of a snapshot's I/O in MB a second; 0 for none.
    #[arg(long, default_value_t = 50)]
    snapshot_mb_per_s: u64,
    /// `info`, or `warn,storage=debug`; RINGKEEPER_LOG does the same.
    #[arg(long)]
    log_level: Option<String>,
    /// Only say whether the configuration is one; an unknown key fails.
    #[arg(long)]
    check_config: bool,
    /// List every key with its default and unit.
    #[arg(long)]
    help_keys: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Io {
    Auto,
    Uring,
    Epoll,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Server(args) => server(&args),
        Command::Cli(args) => ringkeeper::shell::run(&args),
        Command::Bench(args) => ringkeeper::bench::run(&args),
    }
}

/// Logs the one line that says why not.
fn refuse(text: &str, exit_code: u8) -> ExitCode {
    tracing::error!("{text}");
    if exit_code == 2 {
        eprintln!("Invalid config, exiting abnormally");
    }
    ExitCode::from(exit_code)
}

fn server(args: &ServerArgs) -> ExitCode {
    if args.help_keys {
        // A closed pipe is no failure of ours.
        let _ = std::io::stdout().write_all(config::describe().as_bytes());
        return ExitCode::SUCCESS;
    }
    let levels = args.log_level.clone().or_else(|| std::env::var("RINGKEEPER_LOG").ok());
    let levels = match levels.as_deref().map_or_else(|| Ok(Levels::default()), Levels::parse) {
        Ok(levels) => levels,
        Err(why) => {
            logging::init(&Levels::default(), "", clock::wall_ms);
            return refuse(&format!("--log-level: {why}"), 2);
        }
    };
    logging::init(&levels, "", clock::wall_ms);
    // What zkServer.sh puts before a server's own flags.
    let mut sets = Vec::new();
    for variable in ["SERVER_JVMFLAGS", "JVMFLAGS"] {
        let flags = std::env::var(variable).unwrap_or_default();
        sets.extend(config::sets_of_jvm_flags(&flags));
    }
    for set in &args.sets {
        let Some((key, value)) = set.split_once('=') else {
            return refuse(&format!("--set {set}: write KEY=VALUE"), 2);
        };
        sets.push((key.to_owned(), value.to_owned()));
    }
    let source = match Source::from_arguments(&args.arguments) {
        Ok(source) => source,
        Err(error) => return refuse(&error.to_string(), error.exit_code),
    };
    let (config, notices) = match config::load_source(&source, &sets) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error.to_string(), error.exit_code),
    };
    for notice in &notices {
        match notice.level {
            Level::Info => tracing::info!("{}", notice.text),
            Level::Warn => tracing::warn!("{}", notice.text),
            Level::Error => tracing::error!("{}", notice.text),
        }
    }
    if args.check_config {
        if !config.unknown_keys.is_empty() {
            return refuse(&format!("unknown keys: {}", config.unknown_keys.join(", ")), 2);
        }
        return ExitCode::SUCCESS;
    }
    let options = Options {
        io: match args.io {
            Io::Auto => IoMode::Auto,
            Io::Uring => IoMode::Uring,
            Io::Epoll => IoMode::Epoll,
        },
        shards: args.shards,
        shard_connections: args.shard_connections,
        snapshot_bytes_per_s: args.snapshot_mb_per_s << 20,
    };
    // Before the threads, so that all of them leave these signals to this one.
    let mut signals = match signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
    ]) {
        Ok(signals) => signals,
        Err(error) => return refuse(&format!("cannot listen for signals: {error}"), 1),
    };
    let server = match Server::start(config, options) {
        Ok(server) => server,
        Err(error) => return refuse(&error.text, error.exit_code),
    };
    tracing::info!("ringkeeper {} serves clients on {}", env!("CARGO_PKG_VERSION"), server.addr());
    let _ = signals.forever().next();
    tracing::info!("stopping: finishing what was taken");
    server.stop();
    ExitCode::SUCCESS
}
