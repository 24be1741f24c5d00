use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentex_domain::ports::DirectoryCaller;
use agentex_domain::{Agent, AgentStatus, Task, Timestamp};

use super::engine::{Chat, Engine, Said};
use crate::{Absent, Error};

/// How long the directory is taken at its word, and of how many names.
const KNOWN_FOR: Duration = Duration::from_secs(300);
const MOST_KNOWN: usize = 1000;

/// Which configuration is meant: by whose directory, in which account, under which name.
type ConfigKey = (String, Option<String>, String);

/// The configurations that the directory knew lately, each with when it did.
#[derive(Default)]
pub(super) struct Configs(Mutex<HashMap<ConfigKey, (String, Timestamp)>>);

impl Configs {
    fn get(&self, key: &ConfigKey, now: Timestamp) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(_, at)| is_young(*at, now)).map(|(id, _)| id.clone())
    }

    fn put(&self, key: ConfigKey, id: String, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.retain(|_, (_, at)| is_young(*at, now));
        }
        if known.len() < MOST_KNOWN {
            known.insert(key, (id, now));
        }
    }
}

fn is_young(at: Timestamp, now: Timestamp) -> bool {
    u128::from(now.as_micros().abs_diff(at.as_micros())) < KNOWN_FOR.as_micros()
}

/// Whom something said is for.
pub(super) struct Target {
    pub(super) agent: Agent,
    /// The name of the task.
    pub(super) task_name: String,
    /// The configuration for a new task.
    pub(super) config: Option<String>,
    /// What is left of the text.
    pub(super) prompt: String,
}

/// What the first word of a text is.
enum Selection {
    Config(String),
    Agent(Box<Agent>),
    Nothing,
}

impl Engine {
    /// Whom something said is for: whoever its first word names, else whoever the conversation is with, else the default
    /// agent. Somebody else than the conversation is with gets a task of its own.
    pub(super) async fn target(&self, chat: &Chat<'_>, said: &Said) -> Result<Target, Error> {
        let selector = said.text.split_whitespace().next();
        let selection = match selector {
            Some(selector) => self.select(chat, selector).await?,
            None => Selection::Nothing,
        };
        let rest = || said.text.trim_start()[selector.map_or(0, str::len)..].trim().to_owned();
        let partner = self.partner(&said.session).await?;
        let settings = chat.settings;
        let (agent, config, prompt) = match selection {
            Selection::Config(id) => (self.default_agent(chat).await?, Some(id), rest()),
            Selection::Agent(agent) => {
                let config = settings.default_config.clone().filter(|_| agent.name.as_str() == settings.default_agent);
                (*agent, config, rest())
            }
            Selection::Nothing => match &partner {
                Some((_, agent)) => (agent.clone(), None, said.text.clone()),
                None => (self.default_agent(chat).await?, settings.default_config.clone(), said.text.clone()),
            },
        };
        let task_name = match &partner {
            Some((_, partner)) if partner.id != agent.id => format!("{}:{}", said.session, agent.name),
            _ => said.session.clone(),
        };
        Ok(Target { agent, task_name, config, prompt })
    }

    /// The task of the conversation and its agent.
    async fn partner(&self, session: &str) -> Result<Option<(Task, Agent)>, Error> {
        let tasks = &self.stores().tasks;
        let Some(task) = tasks.find_by_name(session).await? else { return Ok(None) };
        let agents = tasks.agents_of(std::slice::from_ref(&task.id)).await?;
        Ok(agents.into_iter().next().map(|(_, agent)| (task, agent)))
    }

    async fn default_agent(&self, chat: &Chat<'_>) -> Result<Agent, Error> {
        let name = &chat.settings.default_agent;
        let found = self.stores().agents.find_by_name(name).await?;
        found.ok_or_else(|| Error::NotFound(Absent::Name(name.clone())))
    }

    async fn select(&self, chat: &Chat<'_>, selector: &str) -> Result<Selection, Error> {
        if let Some(id) = self.config(chat, selector).await {
            return Ok(Selection::Config(id));
        }
        // One that cannot be called would only fail: then the word is part of what is said.
        let found = self.stores().agents.find_by_name(selector).await?;
        let ready = found.filter(|agent| agent.status == AgentStatus::Ready);
        Ok(ready.map_or(Selection::Nothing, |agent| Selection::Agent(Box::new(agent))))
    }

    /// The configuration of this name. A directory that does not answer knows none.
    async fn config(&self, chat: &Chat<'_>, name: &str) -> Option<String> {
        let directory = self.parts().chat.directory.as_ref()?;
        let settings = chat.settings;
        let (base, api_key) = (settings.directory.clone()?, settings.api_key.clone()?);
        let key = (base.clone(), settings.account.clone(), name.to_owned());
        let now = self.now();
        if let Some(known) = self.configs().get(&key, now) {
            return Some(known);
        }
        let caller = DirectoryCaller { base, api_key, account: settings.account.clone() };
        match directory.find_config(&caller, name).await {
            Ok(found) => {
                if let Some(id) = &found {
                    self.configs().put(key, id.clone(), now);
                }
                found
            }
            Err(error) => {
                tracing::warn!(%error, "the directory of configurations did not answer");
                None
            }
        }
    }
}
