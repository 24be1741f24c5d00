use std::time::Duration;

use crate::{ForwardingSettings, GatewaySettings, RetentionSettings};

/// What can be tuned.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often an idle task stream gets a keepalive and re-checks the task and the caller's permission.
    pub stream_keepalive: Duration,
    /// How long a busy task stream goes on without looking at the task and the caller's permission again.
    pub stream_recheck: Duration,
    /// After how long without an event an open task stream is counted as stalled, once until the next event. Zero: never.
    pub stream_stall: Duration,
    /// How often the text of a reply in flight is stored, so that a crash loses at most this much of it.
    pub turn_checkpoint: Duration,
    /// Refuse a second `message/send` on a task while one is running in this process.
    pub one_turn_per_task: bool,
    /// Largest content of one message, in bytes of its JSON form.
    pub max_content_bytes: usize,
    /// Most messages in one batch.
    pub max_batch: usize,
    /// How long one readiness probe may take.
    pub probe_timeout: Duration,
    /// How permissions are applied; without an authorizer it has no effect.
    pub authorization: AuthorizationSettings,
    /// How unfinished changes of the authorization graph are finished.
    pub relay: RelaySettings,
    /// Base of the webhook URLs shown to callers, for example `https://agents.example.com`.
    pub public_url: Option<String>,
    /// How requests of outsiders are passed on to agents.
    pub forwarding: ForwardingSettings,
    /// How contents of tasks are taken away and carried.
    pub retention: RetentionSettings,
    /// Which schedules there are, and how they run.
    pub schedules: ScheduleSettings,
    /// Which chats reach agents, and how.
    pub gateways: GatewaySettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stream_keepalive: Duration::from_secs(15),
            stream_recheck: Duration::from_secs(60),
            stream_stall: Duration::from_secs(30),
            turn_checkpoint: Duration::from_secs(1),
            one_turn_per_task: false,
            max_content_bytes: 1024 * 1024,
            max_batch: 1000,
            probe_timeout: Duration::from_secs(2),
            authorization: AuthorizationSettings::strict(),
            relay: RelaySettings::default(),
            public_url: None,
            forwarding: ForwardingSettings::default(),
            retention: RetentionSettings::default(),
            schedules: ScheduleSettings::default(),
            gateways: GatewaySettings::default(),
        }
    }
}

/// How permissions are applied. No setting makes an unknown answer a permission, and none but
/// [`Self::spans_are_guarded`] shows what is hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationSettings {
    /// What a pod must present to register.
    pub registration: RegistrationAuth,
    /// Whether the identity a registering pod states in its body is believed.
    pub trust_body_principal: bool,
    /// What an agent may do with its own key.
    pub agent_scope: AgentScope,
    /// What happens to a call on a task that is not linked to the agent called.
    pub task_agent_link: LinkRule,
    /// Whether spans are seen and changed by those only who may see and change their task. Otherwise they are everybody's, as
    /// they are without authorization.
    pub spans_are_guarded: bool,
    /// Whether an unreachable authentication provider looks like wrong credentials (401) instead of an outage (503).
    pub collapse_authentication_errors: bool,
    /// How long a registration token is good for.
    pub registration_token_lifetime: Duration,
    /// Whether somebody who cannot own anything may make a schedule. Nobody will own it, so that it never does anything that
    /// takes a permission.
    pub ownerless_schedules: bool,
}

impl AuthorizationSettings {
    /// Every door closed: the default.
    #[must_use]
    pub const fn strict() -> Self {
        Self {
            registration: RegistrationAuth::Credential,
            trust_body_principal: false,
            agent_scope: AgentScope::Own,
            task_agent_link: LinkRule::Enforce,
            spans_are_guarded: true,
            collapse_authentication_errors: false,
            registration_token_lifetime: Duration::from_secs(90 * 24 * 3600),
            ownerless_schedules: false,
        }
    }

    /// As pods and clients of the public project expect it: they register without credentials, and an agent's key opens
    /// everything.
    #[must_use]
    pub const fn compat() -> Self {
        Self {
            registration: RegistrationAuth::Open,
            trust_body_principal: true,
            agent_scope: AgentScope::All,
            task_agent_link: LinkRule::Warn,
            collapse_authentication_errors: true,
            ownerless_schedules: true,
            ..Self::strict()
        }
    }
}

impl Default for AuthorizationSettings {
    fn default() -> Self {
        Self::strict()
    }
}

/// What a pod must present to register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationAuth {
    /// Nothing. Whoever reaches the port can take over any name, and learns the agent's key.
    Open,
    /// The agent's key, a registration token, or a principal who may.
    Credential,
}

/// What an agent may do with its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentScope {
    /// See and run itself, work on the tasks it is linked to, and whatever a principal may do whose credential it passes on.
    Own,
    /// Everything.
    All,
}

/// What happens to a call on a task that is not linked to the agent called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRule {
    /// The task is absent.
    Enforce,
    /// It goes through and is logged.
    Warn,
}

/// How unfinished changes of the authorization graph are finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// How often to look for work.
    pub interval: Duration,
    /// How long an unfinished change is left to the request that began it. Longer than any call to a permission service may
    /// take.
    pub grace: Duration,
    /// Pause after the first failure; it doubles with each further one.
    pub first_retry: Duration,
    /// Longest pause between attempts.
    pub longest_retry: Duration,
    /// Pause between attempts at what the permission service keeps refusing.
    pub refused_retry: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            grace: Duration::from_secs(60),
            first_retry: Duration::from_secs(1),
            longest_retry: Duration::from_secs(300),
            refused_retry: Duration::from_secs(6 * 3600),
        }
    }
}

/// Which schedules there are, and how they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSettings {
    /// Whether there are run schedules: those that create tasks of agents.
    pub run_schedules: bool,
    /// Whether there are workflow schedules: those that start workflows of other people's workers. They also take a scheduler
    /// that can.
    pub workflow_schedules: bool,
    /// How often in a row the creator of a run schedule may lack a permission before the schedule is paused.
    pub denials_before_pause: u32,
    /// Queue of this product's own workflows.
    pub task_queue: String,
    /// Whether agents are asked how they are.
    pub health_checks: bool,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self {
            run_schedules: true,
            workflow_schedules: true,
            denials_before_pause: 5,
            task_queue: "agentex-server".to_owned(),
            health_checks: false,
        }
    }
}
