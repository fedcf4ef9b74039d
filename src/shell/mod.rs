//! Stub.
use std::process::ExitCode;
/// Stub.
#[derive(Debug, clap::Args)]
pub struct Args {}
/// Stub.
pub fn run(_: &Args) -> ExitCode { ExitCode::SUCCESS }
