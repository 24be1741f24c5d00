//! The real services adapters are tested against.
//!
//! Each is looked for in this order: its URL in the environment (as `testenv` exports it), a program on this machine
//! started privately on a free loopback port, a container run by `docker`. When there is none the test fails with
//! what was tried and the command that installs the service; it is never skipped.

mod containers;
mod locate;
pub mod postgres;
pub mod redis;
pub mod spicedb;
pub mod temporal;

use std::fmt;

/// Why a service could not be had: every way that was tried, and what to install.
#[derive(Debug, Clone)]
pub struct Missing {
    service: &'static str,
    tried: Vec<String>,
    install: &'static str,
}

impl Missing {
    fn new(service: &'static str, install: &'static str) -> Self {
        Self { service, tried: Vec::new(), install }
    }

    fn tried(&mut self, what: impl Into<String>) {
        self.tried.push(what.into());
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is needed by this test and could not be had:", self.service)?;
        for what in &self.tried {
            writeln!(f, "  - {what}")?;
        }
        write!(f, "Install it with: {}", self.install)
    }
}

impl std::error::Error for Missing {}
