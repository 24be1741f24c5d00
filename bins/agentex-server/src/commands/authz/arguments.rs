use std::path::PathBuf;
use std::str::FromStr;

use agentex::app::BackfillCursor;
use agentex::authz::{Operation, Principal, ResourceKind, ResourceRef};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

/// What to do with permissions.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthzCommand {
    /// Ask whether somebody may do something; exits with 0 for yes, 3 for no
    #[command(after_help = "\
Examples:
  agentex authz check --as user:alice@acme read task:1f0c…
  agentex authz check --as service_account:ci@acme create agent:*")]
    Check(Question),

    /// Show how a decision comes about, relation by relation
    #[command(after_help = "Example:\n  agentex authz explain --as user:alice@acme cancel task:1f0c…")]
    Explain(Question),

    /// Print who may do what in the permission model
    Matrix,

    /// Run validation cases and say which do not hold
    #[command(
        long_about = "\
Runs validation cases (YAML) and prints one line per case that does not hold. The cases run in memory against the product's
permission model, unless --backend is given: then they are written to and asked of the configured backend, under names that
nothing else has. Exits with 1 when a case does not hold.

Without a file the product's own cases are run.",
        after_help = "Examples:\n  agentex authz test\n  agentex authz test team.yaml --backend"
    )]
    Test {
        /// Files with cases
        files: Vec<PathBuf>,
        /// Ask the configured backend instead of the model in memory
        #[arg(long)]
        backend: bool,
    },

    /// See or set which permission service an account uses (backend `routed`)
    #[command(subcommand)]
    Rollout(Rollout),

    /// Register what an account owns with SpiceDB, agents first
    #[command(
        long_about = "\
Registers every resource whose owner is recorded and belongs to the account with SpiceDB, agents first. It can be repeated:
registering again changes nothing. Prints one line per resource that could not be registered, and live resources that have no
recorded owner (of any account). When it is broken off, go on with --after and the last resource it printed.",
        after_help = "Examples:\n  agentex authz backfill --account acme --dry-run\n  agentex authz backfill --account acme --rate 50"
    )]
    Backfill(Backfill),

    /// Show changes of the authorization graph that are not finished
    #[command(after_help = "Examples:\n  agentex authz intents\n  agentex authz intents run")]
    Intents {
        /// `run` drives what is due, once
        #[arg(value_enum)]
        action: Option<IntentAction>,
        /// Most to show
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },

    /// Make a token with which pods of one agent can register
    #[command(
        long_about = "\
Prints a registration token, good for registering this agent and nothing else. Give it to the agent's pods in the user-info of
AGENTEX_BASE_URL (http://token:TOKEN@host:5003), or as the identity they state: the base64 of
{\"registration_token\": \"TOKEN\"} in AUTH_PRINCIPAL_B64. The token is not shown again; making another does not end it.",
        after_help = "Example:\n  agentex authz token --agent echo --days 30"
    )]
    Token {
        /// The agent's name, or its id
        #[arg(long, value_name = "AGENT")]
        agent: String,
        /// How long it is good for
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum IntentAction {
    /// Drive what is due, once
    Run,
}

#[derive(Debug, Args)]
pub(crate) struct Question {
    /// Who asks: user:ID@ACCOUNT or service_account:ID@ACCOUNT
    #[arg(long = "as", value_name = "SUBJECT")]
    pub(crate) subject: Subject,
    /// create, read, update, delete, execute or cancel
    #[arg(value_parser = operation)]
    pub(crate) operation: Operation,
    /// kind:selector, for example task:ID, or agent:* to create
    #[arg(value_parser = resource)]
    pub(crate) resource: ResourceRef,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Print the flags of one account, or of every account that has some
    Show {
        /// Only this account
        account: Option<String>,
    },
    /// Set an account's flags; what is not given stays
    Set {
        /// The account
        account: String,
        /// Whether registrations also go to SpiceDB
        #[arg(long, value_name = "on|off", value_parser = switch)]
        dual_write: Option<bool>,
        /// Whether SpiceDB answers checks and lists
        #[arg(long, value_name = "on|off", value_parser = switch)]
        read: Option<bool>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Backfill {
    /// The account
    #[arg(long)]
    pub(crate) account: String,
    /// Count, but register nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Most registrations a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Go on after this resource (kind:selector)
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) after: Option<BackfillCursor>,
}

/// Somebody, as the command line names them.
#[derive(Debug, Clone)]
pub(crate) struct Subject(pub(crate) Principal);

impl FromStr for Subject {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected user:ID@ACCOUNT or service_account:ID@ACCOUNT";
        let (kind, rest) = text.split_once(':').ok_or(EXPECTED)?;
        let (id, account) = rest.rsplit_once('@').map_or((rest, None), |(id, account)| (id, Some(account)));
        let member = match kind {
            "user" => "user_id",
            "service_account" => "service_account_id",
            _ => return Err(EXPECTED),
        };
        if id.is_empty() || account == Some("") {
            return Err(EXPECTED);
        }
        let mut members = Map::from_iter([(member.to_owned(), json!(id))]);
        members.extend(account.map(|account| ("account_id".to_owned(), json!(account))));
        Ok(Self(Principal::from_json(Value::Object(members))))
    }
}

fn operation(text: &str) -> Result<Operation, &'static str> {
    serde_json::from_value(json!(text)).map_err(|_| "expected create, read, update, delete, execute or cancel")
}

fn resource(text: &str) -> Result<ResourceRef, &'static str> {
    let (kind, selector) = text.split_once(':').ok_or("expected kind:selector")?;
    let kind: ResourceKind =
        serde_json::from_value(json!(kind)).map_err(|_| "the kind is agent, task, api_key or schedule")?;
    if selector.is_empty() {
        return Err("expected kind:selector");
    }
    Ok(ResourceRef { kind, selector: selector.to_owned() })
}

fn switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("expected on or off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_name_a_user_or_a_service_account_and_an_account() {
        let parsed = |text: &str| text.parse::<Subject>().map(|subject| subject.0.as_json().clone());

        assert_eq!(parsed("user:alice@acme").unwrap(), json!({"user_id": "alice", "account_id": "acme"}));
        assert_eq!(
            parsed("user:a@b.example@acme").unwrap(),
            json!({"user_id": "a@b.example", "account_id": "acme"}),
            "the last @ counts"
        );
        assert_eq!(parsed("service_account:ci").unwrap(), json!({"service_account_id": "ci"}));
        for bad in ["alice", "user:", "group:x@y", "user:@acme", "user:alice@"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resources_and_operations_are_those_of_the_model() {
        assert_eq!(resource("agent:*").unwrap(), ResourceRef::any(ResourceKind::Agent));
        assert_eq!(resource("schedule:run-schedule::a::1").unwrap(), ResourceRef::schedule("run-schedule::a::1"));
        for bad in ["", "task", "task:", "message:1"] {
            assert!(resource(bad).is_err(), "{bad}");
        }
        assert_eq!(operation("cancel").unwrap(), Operation::Cancel);
        assert!(operation("share").is_err());
    }
}
