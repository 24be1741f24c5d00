use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use agentex_domain::ports::StoreError;
use sqlx::postgres::PgConnectOptions;

/// How to reach PostgreSQL and how much of it to use.
#[derive(Clone, PartialEq, Eq)]
pub struct PgOptions {
    /// The primary. `postgres://` or `postgresql://`; a driver named in the scheme (`postgresql+asyncpg://`) is
    /// ignored.
    pub url: String,
    /// A replica for lists; without one they share the primary's pool.
    pub read_only_url: Option<String>,
    /// Most connections per pool.
    pub max_connections: u32,
    /// Connections each pool keeps open while idle.
    pub min_connections: u32,
    /// How long a call may wait for a connection.
    pub acquire_timeout: Duration,
    /// How long the server may work on one statement. Migrations have limits of their own.
    pub statement_timeout: Duration,
    /// What the server shows the connections as.
    pub application_name: String,
    /// Whether to adopt a database that the reference has brought to a revision unknown here.
    pub allow_unknown_baseline: bool,
}

impl PgOptions {
    /// Options for `url` with the defaults: 2 to 30 connections, 30 s to get one, 60 s per statement, no replica.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            read_only_url: None,
            max_connections: 30,
            min_connections: 2,
            acquire_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(60),
            application_name: "agentex".to_owned(),
            allow_unknown_baseline: false,
        }
    }

    pub(crate) fn primary(&self) -> Result<PgConnectOptions, StoreError> {
        self.connect_options(&self.url)
    }

    pub(crate) fn replica(&self) -> Result<Option<PgConnectOptions>, StoreError> {
        self.read_only_url.as_deref().map(|url| self.connect_options(url)).transpose()
    }

    fn connect_options(&self, url: &str) -> Result<PgConnectOptions, StoreError> {
        // What the parser has to say is dropped on purpose: it may quote the URL, and with it the password.
        let options = PgConnectOptions::from_str(&without_driver(url)).map_err(|_| not_a_url())?;
        Ok(options.application_name(&self.application_name).options([
            ("statement_timeout", self.statement_timeout.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", "60s".to_owned()),
            // Every statement is short: it is over before code is compiled or workers are started for it.
            ("jit", "off".to_owned()),
            ("max_parallel_workers_per_gather", "0".to_owned()),
        ]))
    }
}

/// Connection URLs carry passwords, so they are left out.
impl fmt::Debug for PgOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOptions")
            .field("has_replica", &self.read_only_url.is_some())
            .field("max_connections", &self.max_connections)
            .field("min_connections", &self.min_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("application_name", &self.application_name)
            .field("allow_unknown_baseline", &self.allow_unknown_baseline)
            .finish_non_exhaustive()
    }
}

fn without_driver(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.split('+').next().unwrap_or(scheme)),
        None => url.to_owned(),
    }
}

fn not_a_url() -> StoreError {
    StoreError::Unavailable("the database URL is not a PostgreSQL URL".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_in_the_scheme_is_ignored() {
        for url in ["postgres://h/d", "postgresql://h/d", "postgresql+asyncpg://h/d"] {
            assert_eq!(PgOptions::new(url).primary().unwrap().get_host(), "h", "{url}");
        }
    }

    #[test]
    fn neither_options_nor_their_errors_show_the_password() {
        let options = PgOptions::new("postgres://u:s3cret@h:notaport/d");

        let error = options.primary().unwrap_err();

        for shown in [format!("{options:?}"), format!("{error:?}"), error.to_string()] {
            assert!(!shown.contains("s3cret") && !shown.contains("notaport"), "{shown}");
        }
    }
}
