use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::authz::AuthzCommand;

/// The agentex control plane: registers agents, keeps their tasks and messages, carries calls and streamed replies.
///
/// Every setting can be a flag, an environment variable or a key of the configuration file; flags win over the
/// environment, which wins over the file. docs/configuration.md lists them all.
#[derive(Debug, Parser)]
#[command(
    name = "agentex",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  agentex serve                                  everything in one process, data in ./agentex-data
  DATABASE_URL=postgres://… agentex serve        rows in PostgreSQL
  agentex doctor                                 what would keep the server from working here?"
)]
pub(crate) struct Cli {
    /// Configuration file (TOML) [AGENTEX_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// What to log: a level, or directives such as info,agentex_acp=debug [RUST_LOG] [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,

    /// json or text; by default text on a terminal and in development [AGENTEX_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    #[command(
        long_about = "\
Runs the server until SIGTERM or SIGINT, then drains: readiness turns 503, open streams end, requests in flight finish. A
second signal ends it at once.

Without DATABASE_URL rows are in a SQLite file in the data folder, without REDIS_URL streams are in memory. The schema is
brought up to date first. When it is ready it prints one line with its URL; logs go to standard error.

Exit codes: 0 stopped as asked, 1 failed or did not drain in time, 2 the configuration is not usable.",
        after_help = "\
Examples:
  agentex serve
  agentex serve --port 0 --data-dir /var/lib/agentex
  agentex serve --config /etc/agentex.toml --validate
  DATABASE_URL=postgres://agentex@db/agentex REDIS_URL=redis://cache agentex serve

URLs and secrets have no flags, because other users of the machine can see the arguments of a process; use the environment
(DATABASE_URL, READ_ONLY_DATABASE_URL, REDIS_URL, AGENTEX_SECRETS_KEY, AGENTEX_API_KEY_PEPPER) or the file."
    )]
    Serve(Serve),

    /// Do background work only
    #[command(
        long_about = "\
Does what Temporal hands out: scheduled runs, health checks, retention sweeps. `agentex serve` does the same beside the API,
unless AGENTEX_BACKGROUND_WORK=false; workers of their own scale by themselves. Runs until SIGTERM or SIGINT, then finishes what
is under way.

Needs TEMPORAL_ADDRESS and a DATABASE_URL that the servers use, too. Without Temporal the servers work by themselves.",
        after_help = "\
Example:
  TEMPORAL_ADDRESS=temporal:7233 DATABASE_URL=postgres://agentex@db/agentex REDIS_URL=redis://cache agentex worker"
    )]
    Worker(Store),

    /// Bring the database schema up to date and exit
    #[command(
        long_about = "\
Applies the migrations that the database has not seen, and prints how many. Safe to run from several places at once: one
migrates, the others wait. `agentex serve` does the same before it starts, unless AGENTEX_MIGRATE_ON_START=false.

A database of the public project at its newest revision is adopted as it is.",
        after_help = "\
Examples:
  agentex migrate --data-dir /var/lib/agentex
  DATABASE_URL=postgres://agentex@db/agentex agentex migrate"
    )]
    Migrate(Store),

    /// Print the OpenAPI document
    #[command(
        long_about = "Prints the OpenAPI 3.1 document of the HTTP API as JSON. Needs no configuration and opens nothing.",
        after_help = "Example:\n  agentex openapi > openapi.json"
    )]
    Openapi,

    /// Ask about permissions and administer them
    #[command(
        long_about = "\
Works with the configuration, the store and the permission service that the server would use. On an embedded store most of it
works beside a running server; what writes relationships there needs the server to be stopped.",
        after_help = "\
Examples:
  agentex authz explain --as user:alice@acme update task:1f0c…
  agentex authz rollout set acme --dual-write on
  agentex authz token --agent echo"
    )]
    Authz(Authz),

    /// Check the configuration and everything it leads to
    #[command(
        long_about = "\
Checks what the server needs, without starting it: the configuration, the data folder, the store and its schema, Redis, the
clock, the port. Prints one line per check; exits with 1 when any failed. Changes nothing.",
        after_help = "\
Examples:
  agentex doctor
  DATABASE_URL=postgres://agentex@db/agentex REDIS_URL=redis://cache agentex doctor"
    )]
    Doctor(Doctor),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    listen: Listen,

    #[command(flatten)]
    store: Store,

    /// How long requests in flight may take after SIGTERM [AGENTEX_DRAIN_TIMEOUT] [default: 30]
    #[arg(long, value_name = "SECONDS")]
    drain_timeout: Option<String>,

    /// Whether to bring the schema up to date first [AGENTEX_MIGRATE_ON_START] [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    migrate_on_start: Option<String>,

    /// Serve GET /metrics beside the API [AGENTEX_METRICS] [default: only on loopback]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    metrics: Option<String>,

    /// Serve GET /metrics on an address and port of its own [AGENTEX_METRICS_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<String>,

    /// Load and check the configuration, connect nothing, and exit
    #[arg(long)]
    pub(crate) validate: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    listen: Listen,

    #[command(flatten)]
    store: Store,
}

#[derive(Debug, Args)]
pub(crate) struct Authz {
    #[command(flatten)]
    store: Store,

    #[command(subcommand)]
    pub(crate) command: AuthzCommand,
}

#[derive(Debug, Args)]
struct Listen {
    /// Address or host name to listen on [AGENTEX_LISTEN_HOST] [default: 127.0.0.1]
    #[arg(long)]
    host: Option<String>,

    /// Port to listen on; 0 takes a free one [AGENTEX_LISTEN_PORT] [default: 5003]
    #[arg(long)]
    port: Option<String>,

    /// Permit an address that other machines can reach although nobody is authenticated [AGENTEX_ALLOW_UNAUTHENTICATED]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_unauthenticated: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Store {
    /// Folder of the embedded store; unused with DATABASE_URL [AGENTEX_DATA_DIR] [default: ./agentex-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl Cli {
    /// The flags that were given, by name. Their values are not looked at here, so that everything that is wrong with the
    /// configuration can be reported at once.
    pub(crate) fn flags(&self) -> BTreeMap<&'static str, String> {
        let mut flags = vec![("log", &self.log), ("log-format", &self.log_format)];
        match &self.command {
            Command::Serve(serve) => {
                flags.extend(serve.listen.flags());
                flags.extend(serve.store.flags());
                flags.extend([
                    ("drain-timeout", &serve.drain_timeout),
                    ("migrate-on-start", &serve.migrate_on_start),
                    ("metrics", &serve.metrics),
                    ("metrics-listen", &serve.metrics_listen),
                ]);
            }
            Command::Migrate(store) | Command::Worker(store) => flags.extend(store.flags()),
            Command::Doctor(doctor) => {
                flags.extend(doctor.listen.flags());
                flags.extend(doctor.store.flags());
            }
            Command::Authz(authz) => flags.extend(authz.store.flags()),
            Command::Openapi => {}
        }
        flags.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

impl Listen {
    fn flags(&self) -> [(&'static str, &Option<String>); 3] {
        [("host", &self.host), ("port", &self.port), ("allow-unauthenticated", &self.allow_unauthenticated)]
    }
}

impl Store {
    fn flags(&self) -> [(&'static str, &Option<String>); 1] {
        [("data-dir", &self.data_dir)]
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_switch_can_stand_alone_or_say_what_it_is() {
        let flags = |arguments: &[&str]| Cli::parse_from(["agentex", "serve"].iter().chain(arguments)).flags();

        assert_eq!(flags(&["--metrics", "--port=1"]), [("metrics", "true".into()), ("port", "1".into())].into());
        assert_eq!(flags(&["--metrics=false"]), [("metrics", "false".into())].into());
    }

    #[test]
    fn every_flag_of_the_settings_exists() {
        let mut all = Cli::command();
        all.build();
        let known = |flag: &str| {
            all.get_subcommands()
                .find(|command| command.get_name() == "serve")
                .unwrap()
                .get_arguments()
                .any(|argument| argument.get_long() == Some(flag))
        };

        for flag in crate::config::flags() {
            assert!(known(flag), "--{flag}");
        }
    }
}
