#![doc = include_str!("../README.md")]

mod compare;
mod deliberate;
mod document;
mod finding;
mod shape;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use deliberate::Deliberate;
use document::Document;

/// Compare an OpenAPI document with ours and print what is missing, narrower, wider or changed.
#[derive(Debug, Parser)]
#[command(name = "agentex-compat")]
struct Options {
    /// The document to compare with: YAML or JSON, OpenAPI 3.0 or 3.1.
    theirs: PathBuf,
    /// Our document.
    #[arg(long, default_value = "docs/openapi.json")]
    ours: PathBuf,
    /// The page whose table names the differences that are meant.
    #[arg(long, default_value = "docs/compatibility.md")]
    deliberate: PathBuf,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compat: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Prints the comparison; whether nothing is left to explain.
fn run(options: &Options) -> anyhow::Result<bool> {
    let theirs = Document::read(&options.theirs)?;
    let ours = Document::read(&options.ours)?;
    let deliberate = Deliberate::read(&options.deliberate)?;

    let report = deliberate.sort(compare::documents(&theirs, &ours));
    write!(std::io::stdout().lock(), "{report}").context("printing the report")?;
    Ok(report.is_clean())
}
