//! `agentex authz …`: permissions from the command line, with the configuration the server has.

mod arguments;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agentex::Tools;
use agentex::app::{self, AgentSelector, BackfillEvent, BackfillOptions};
use agentex::authz::router::RolloutFlags;
use agentex::authz::{Authorizer, cases, model};
use anyhow::{Context as _, bail, ensure};

pub(crate) use arguments::AuthzCommand;
use arguments::{Backfill, IntentAction, Question, Rollout};

use super::say;
use crate::config::Config;
use crate::{telemetry, wire};

/// The question was answered, and the answer is no.
const DENIED: u8 = 3;

/// Commands that need neither a configuration nor a store.
pub(crate) async fn without_configuration(command: &AuthzCommand) -> Option<anyhow::Result<ExitCode>> {
    match command {
        AuthzCommand::Matrix => {
            let schema = model::Schema::parse(model::SCHEMA).context("the permission model is not readable");
            Some(schema.map(|schema| {
                super::print(&model::permission_matrix(&schema));
                ExitCode::SUCCESS
            }))
        }
        AuthzCommand::Test { files, backend: false } => {
            let run = async {
                let authorizer = cases::in_memory().await?;
                test(&authorizer, files).await
            };
            Some(run.await)
        }
        _ => None,
    }
}

pub(crate) async fn run(config: Config, command: AuthzCommand) -> anyhow::Result<ExitCode> {
    telemetry::install(&config.logs)?;
    // Driving intents writes relationships, which a server on an embedded store must do itself.
    let alone = matches!(command, AuthzCommand::Intents { action: Some(IntentAction::Run), .. })
        || matches!(command, AuthzCommand::Test { backend: true, .. });
    let tools = wire::tools(&config, alone).await?;
    let outcome = with(&tools, command).await;
    tools.close().await;
    outcome
}

async fn with(tools: &Tools, command: AuthzCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuthzCommand::Check(question) => check(tools, &question).await,
        AuthzCommand::Explain(question) => explain(tools, &question).await,
        AuthzCommand::Test { files, .. } => test(&**authorizer(tools)?, &files).await,
        AuthzCommand::Rollout(rollout) => flags(tools, rollout).await,
        AuthzCommand::Backfill(arguments) => backfill(tools, arguments).await,
        AuthzCommand::Intents { action, limit } => intents(tools, action, limit).await,
        AuthzCommand::Token { agent, days } => token(tools, agent, days).await,
        AuthzCommand::Matrix => bail!("needs no configuration"),
    }
}

fn authorizer(tools: &Tools) -> anyhow::Result<&Arc<dyn Authorizer>> {
    tools.authorizer.as_ref().context("authorization is off (AGENTEX_AUTHZ_BACKEND=disabled): everything is allowed")
}

async fn check(tools: &Tools, question: &Question) -> anyhow::Result<ExitCode> {
    let Question { subject, operation, resource } = question;
    let decision = authorizer(tools)?.check(&subject.0, *operation, resource).await?;
    say(if decision.is_allowed() { "allowed" } else { "denied" });
    Ok(if decision.is_allowed() { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

async fn explain(tools: &Tools, question: &Question) -> anyhow::Result<ExitCode> {
    let Question { subject, operation, resource } = question;
    let explanation = authorizer(tools)?.explain(&subject.0, *operation, resource).await?;
    super::print(&explanation.to_string());
    Ok(if explanation.holds { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

async fn test(authorizer: &dyn Authorizer, files: &[std::path::PathBuf]) -> anyhow::Result<ExitCode> {
    let mut suites = Vec::new();
    for file in files {
        let text = tokio::fs::read_to_string(file).await.with_context(|| format!("cannot read {}", file.display()))?;
        suites.push((file.display().to_string(), text));
    }
    if files.is_empty() {
        suites.extend(cases::CASES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
    }
    let (mut held, mut assertions, mut failed) = (0_usize, 0_usize, 0_usize);
    for (name, yaml) in &suites {
        // Ids that nothing in a shared backend has.
        let unique = agentex::domain::IntentId::generate();
        for report in cases::run(authorizer, yaml, unique.as_str()).await.with_context(|| name.clone())? {
            assertions += report.assertions;
            if report.holds() {
                held += 1;
            } else {
                failed += 1;
                for failure in &report.failures {
                    say(&format!("FAIL  {name}: {}: {failure}", report.name));
                }
            }
        }
    }
    say(&format!("{held} cases hold, {failed} do not ({assertions} assertions)"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn flags(tools: &Tools, rollout: Rollout) -> anyhow::Result<ExitCode> {
    let store = tools.rollout.as_ref().context("this store keeps no rollout flags")?;
    let line = |account: &str, flags: RolloutFlags| {
        let word = |on| if on { "on" } else { "off" };
        format!("{account}  dual-write {}  read {}", word(flags.dual_write), word(flags.read))
    };
    match rollout {
        Rollout::Show { account: Some(account) } => {
            let flags = store.flags(&account).await?.unwrap_or_default();
            say(&line(&account, flags));
        }
        Rollout::Show { account: None } => {
            let all = store.list().await?;
            for (account, flags) in &all {
                say(&line(account, *flags));
            }
            if all.is_empty() {
                say("no account has flags: every account uses the legacy service");
            }
        }
        Rollout::Set { account, dual_write, read } => {
            ensure!(dual_write.is_some() || read.is_some(), "give --dual-write, --read or both");
            let before = store.flags(&account).await?.unwrap_or_default();
            let flags =
                RolloutFlags { dual_write: dual_write.unwrap_or(before.dual_write), read: read.unwrap_or(before.read) };
            ensure!(
                flags.is_valid(),
                "reads cannot come from SpiceDB while registrations do not go there: dual-write must be on"
            );
            store.set(&account, flags).await?;
            say(&line(&account, flags));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn backfill(tools: &Tools, arguments: Backfill) -> anyhow::Result<ExitCode> {
    let Backfill { account, dry_run, rate, after } = arguments;
    let target = tools.spark.as_ref().context("there is no SpiceDB: AGENTEX_AUTHZ_BACKEND must be routed or spark")?;
    let backfill = app::Backfill::new(Arc::clone(&tools.stores.owners), Arc::clone(target));
    let options = BackfillOptions { dry_run, per_second: rate, after };
    let mut last = None;
    let outcome = backfill
        .run(&account, &options, |event| match event {
            BackfillEvent::Registered(resource) => last = Some(resource.clone()),
            BackfillEvent::OwnedByAnother(resource) => {
                last = Some(resource.clone());
                say(&format!("{resource}  SpiceDB has another owner"));
            }
            BackfillEvent::Unowned(resource) => say(&format!("{resource}  no owner is recorded")),
        })
        .await;
    if let (Err(_), Some(last)) = (&outcome, &last) {
        say(&format!("broken off; go on with --after {last}"));
    }
    let report = outcome?;
    let verb = if dry_run { "would be registered" } else { "registered" };
    say(&format!(
        "{} {verb}, {} owned by another, {} without an owner",
        report.registered, report.refused, report.unowned
    ));
    Ok(if report.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn intents(tools: &Tools, action: Option<IntentAction>, limit: u32) -> anyhow::Result<ExitCode> {
    if action.is_some() {
        authorizer(tools)?;
        let relayed = tools.app.relay.run_due().await?;
        say(&format!("{} driven", relayed.driven));
    }
    let backlog = tools.stores.intents.backlog().await?;
    for intent in tools.stores.intents.list(limit).await? {
        let error = intent.last_error.as_deref().map(|error| format!("  {error}")).unwrap_or_default();
        say(&telemetry::redact(&format!(
            "{}  {}  {}  since {}  attempts {}  next {}{error}",
            intent.id,
            intent.step.as_str(),
            intent.resource,
            intent.created_at,
            intent.attempts,
            intent.due_at
        )));
    }
    say(&format!("{} unfinished, {} of them failing", backlog.open, backlog.failing));
    Ok(ExitCode::SUCCESS)
}

async fn token(tools: &Tools, agent: String, days: u32) -> anyhow::Result<ExitCode> {
    let by_id = AgentSelector::Id(agent.as_str().into());
    let lifetime = Duration::from_secs(u64::from(days) * 24 * 3600);
    let token = match tools.app.registrations.issue_token(&AgentSelector::Name(agent), lifetime).await {
        Err(app::Error::NotFound(_)) => tools.app.registrations.issue_token(&by_id, lifetime).await?,
        other => other?,
    };
    say(&token);
    Ok(ExitCode::SUCCESS)
}
