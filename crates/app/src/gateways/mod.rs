//! Chats as another way in: what people say to a bot becomes a turn of an agent, and what the agent says goes back.
//!
//! What was said is stored before the chat application hears that it arrived, and is forgotten when the turn is over. In
//! between any process may carry it out: each turn is leased, of each conversation one at a time.

mod engine;
mod linear;
mod reply;
mod settings;
mod signature;
mod slack;
mod target;
mod turn;

use std::sync::Arc;

use agentex_domain::ports::{ChatProvider, ChatWorkspace, Clock, EventStream, GatewayDirectory, Stores};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::guard::Guard;
use crate::{Authentication, Error, Rpc};

pub use linear::{LinearGateway, LinearPrompt};
pub use settings::{ChatSettings, GatewaySettings, LinearSettings, ReplySettings, SlackSettings};
pub use slack::{AgentChoice, SlackGateway, SlackMessage};

use engine::Engine;

const SLACK: &str = "slack";
const LINEAR: &str = "linear";

/// The way out to chat applications.
#[derive(Clone, Default)]
pub struct ChatPorts {
    /// To Slack.
    pub slack: Option<Arc<dyn ChatWorkspace>>,
    /// To Linear.
    pub linear: Option<Arc<dyn ChatProvider>>,
    /// To the directory of configurations.
    pub directory: Option<Arc<dyn GatewayDirectory>>,
}

/// Chats whose people talk to agents.
#[derive(Clone)]
pub struct Gateways {
    engine: Arc<Engine>,
}

/// What [`Gateways`] are made of.
pub(crate) struct Parts {
    pub(crate) stores: Stores,
    pub(crate) guard: Guard,
    pub(crate) authentication: Authentication,
    pub(crate) rpc: Rpc,
    pub(crate) streams: Arc<dyn EventStream>,
    pub(crate) chat: ChatPorts,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) background: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    pub(crate) settings: GatewaySettings,
}

impl Gateways {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { engine: Arc::new(Engine::new(parts)) }
    }

    /// Slack, where it is on.
    #[must_use]
    pub fn slack(&self) -> Option<SlackGateway<'_>> {
        let settings = self.engine.settings().slack.as_ref()?;
        Some(SlackGateway { engine: &self.engine, settings })
    }

    /// Linear, where it is on.
    #[must_use]
    pub fn linear(&self) -> Option<LinearGateway<'_>> {
        let settings = self.engine.settings().linear.as_ref()?;
        Some(LinearGateway { engine: &self.engine, settings })
    }

    /// Carries out what is said until `stop` is cancelled. Turns that go on then are part of what
    /// [`App::drain`](crate::App::drain) waits for; those that only wait for an answer are left to the next process.
    pub async fn run(&self, stop: CancellationToken) {
        Arc::clone(&self.engine).run(stop).await;
    }

    /// Carries out everything that waits, and what comes of it, and answers how many turns that were.
    ///
    /// # Errors
    /// The store failed.
    pub async fn run_due(&self) -> Result<usize, Error> {
        self.engine.run_due().await
    }
}

impl std::fmt::Debug for Gateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateways").field("settings", self.engine.settings()).finish_non_exhaustive()
    }
}
