//! The one-shot command line client: `ringkeeper cli`.
//!
//! Thread: main, over one [`Client`]. Results go to stdout and nothing else does; notes and errors
//! go to stderr. Unlike ZooKeeper's shell it closes its session, so an ephemeral node made here is
//! gone when the command returns. Exit codes: 0, 1 for a refusal, 127 for an unknown command.

mod command;
mod print;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, Error, Options, Reply, Request, acl};
use crate::wire::client::Stat;
use command::{Command, Refusal, USAGE};

/// Arguments of `ringkeeper cli`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Servers, separated by commas, and a chroot: HOST:PORT,HOST:PORT/PATH
    #[arg(long, default_value = "localhost:2181")]
    server: String,
    /// Session timeout in milliseconds, and how long to wait for a server
    #[arg(long, default_value_t = 30_000)]
    timeout: u64,
    /// A server that lost its quorum will do
    #[arg(long, short)]
    read_only: bool,
    /// One JSON object instead of ZooKeeper's text
    #[arg(long)]
    json: bool,
    /// ls, get, set, create, delete or stat, and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// Runs one command.
pub fn run(args: &Args) -> ExitCode {
    let mut notes = Vec::new();
    let command = Command::parse(&args.command, &mut notes);
    for note in notes {
        eprintln!("{note}");
    }
    let command = match command {
        Ok(command) => command,
        Err(Refusal::Unknown(name)) => {
            eprintln!("{USAGE}\nCommand not found: Command not found {name}");
            return ExitCode::from(127);
        }
        Err(Refusal::Usage(text)) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    };
    let path = match &command {
        Command::Ls { path, .. }
        | Command::Get { path, .. }
        | Command::Set { path, .. }
        | Command::Create { path, .. }
        | Command::Delete { path, .. }
        | Command::Stat { path } => path.clone(),
    };
    let patience = Duration::from_millis(args.timeout);
    let options =
        Options { timeout: patience, patience, read_only: args.read_only, ..Options::default() };
    let outcome = Client::connect(&args.server, options).and_then(|client| {
        let outcome = execute(&client, command);
        // The command has had its answer; a session that cannot be closed times out.
        let _ = client.close();
        outcome
    });
    match outcome {
        Ok(result) => match result.print(args.json) {
            Ok(()) => ExitCode::SUCCESS,
            // The reader has seen enough: `ringkeeper cli ls -R / | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("{}", print::error_text(&error, &path));
            ExitCode::FAILURE
        }
    }
}

/// What a command found, in both forms.
#[derive(Debug)]
struct Outcome {
    text: Vec<u8>,
    json: Value,
}

impl Outcome {
    fn new(text: impl Into<Vec<u8>>, json: Value) -> Self {
        Self { text: text.into(), json }
    }

    fn print(&self, as_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if as_json {
            writeln!(out, "{}", self.json)?;
        } else {
            out.write_all(&self.text)?;
        }
        out.flush()
    }

    /// Adds a stat when it was asked for; JSON always has it.
    fn with_stat(mut self, stat: &Stat, in_text: bool) -> Self {
        if in_text {
            self.text.extend_from_slice(print::stat_text(stat).as_bytes());
        }
        self.json["stat"] = print::stat_json(stat);
        self
    }
}

fn execute(client: &Client, command: Command) -> Result<Outcome, Error> {
    Ok(match command {
        Command::Ls { path, recursive: true, .. } => {
            let mut paths = Vec::new();
            walk(client, &path, &mut paths)?;
            Outcome::new(paths.join("\n") + "\n", json!({ "paths": paths }))
        }
        Command::Ls { path, stat: with_stat, recursive: false } => {
            let (mut names, stat) = client.get_children(&path, None)?;
            names.sort();
            let text = format!("[{}]\n", names.join(", "));
            Outcome::new(text, json!({ "path": path, "children": names }))
                .with_stat(&stat, with_stat)
        }
        Command::Get { path, stat: with_stat } => {
            let request = Request::GetData { path: path.clone(), watcher: None };
            let Reply::Data(data, stat) = client.submit(request).wait()? else {
                unreachable!("another reply answers no getData");
            };
            let json = match &data {
                None => json!({ "path": path, "data": null }),
                Some(data) => match std::str::from_utf8(data) {
                    Ok(text) => json!({ "path": path, "data": text }),
                    Err(_) => {
                        use base64::Engine as _;
                        let encoded = base64::engine::general_purpose::STANDARD.encode(data);
                        json!({ "path": path, "data_base64": encoded })
                    }
                },
            };
            let mut text = data.unwrap_or_else(|| b"null".to_vec());
            text.push(b'\n');
            Outcome::new(text, json).with_stat(&stat, with_stat)
        }
        Command::Set { path, data, version, stat: with_stat } => {
            let stat = client.set_data(&path, data.as_bytes(), version)?;
            Outcome::new("", json!({ "path": path })).with_stat(&stat, with_stat)
        }
        Command::Create { path, data, acl, mode, ttl_ms } => {
            let acl = acl.map_or_else(|| acl::OPEN.bytes.to_vec(), |list| acl::encode(&list));
            let data = data.map(String::into_bytes);
            let request = Request::Create { path, data, acl, mode, ttl_ms };
            let Reply::Created(path, stat) = client.submit(request).wait()? else {
                unreachable!("another reply answers no create");
            };
            let outcome = Outcome::new(format!("Created {path}\n"), json!({ "path": path }));
            outcome.with_stat(&stat.unwrap_or_default(), false)
        }
        Command::Delete { path, version } => {
            client.delete(&path, version)?;
            Outcome::new("", json!({ "path": path }))
        }
        Command::Stat { path } => {
            let missing = Error::Code(crate::wire::codes::ErrorCode::NoNode);
            let stat = client.exists(&path, None)?.ok_or(missing)?;
            Outcome::new("", json!({ "path": path })).with_stat(&stat, true)
        }
    })
}

/// Parents before children, siblings in order. A node that goes while we walk is left out.
fn walk(client: &Client, path: &str, paths: &mut Vec<String>) -> Result<(), Error> {
    let mut left = vec![path.to_owned()];
    while let Some(next) = left.pop() {
        let (mut names, _) = match client.get_children(&next, None) {
            Err(Error::Code(crate::wire::codes::ErrorCode::NoNode)) if next != path => continue,
            outcome => outcome?,
        };
        names.sort_unstable_by(|a, b| b.cmp(a));
        let parent = if next == "/" { "" } else { &next };
        left.extend(names.iter().map(|name| format!("{parent}/{name}")));
        paths.push(next);
    }
    Ok(())
}
