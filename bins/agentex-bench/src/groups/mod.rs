//! What is measured. Each group starts servers of its own.

mod authz;
mod calls;
mod chunks;
mod memory;
mod redis_viewers;
mod rows;
mod schedules;
mod start;
mod viewers;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::deployment::Backend;
use crate::options::{Effort, Group};
use crate::report::Line;

/// Longest time one group may take on one backend.
const LIMIT: Duration = Duration::from_secs(600);

/// What every group needs.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    /// The server program.
    pub(crate) program: PathBuf,
    pub(crate) effort: Effort,
    pub(crate) redis_url: String,
}

impl Bench {
    /// Measures a group on one backend.
    pub(crate) async fn measure(&self, group: Group, backend: Backend) -> anyhow::Result<Vec<Line>> {
        let bench = self.clone();
        // A task of its own, so that a panic of the test kit (a server that does not start) is a failure of this group.
        let work = tokio::spawn(async move {
            match group {
                Group::Agent => rows::agent(&bench, backend).await,
                Group::Agents => rows::agents(&bench, backend).await,
                Group::Messages => rows::messages(&bench, backend).await,
                Group::Writes => writes::measure(&bench, backend).await,
                Group::Rpc => calls::measure(&bench, backend).await,
                Group::Schedules => schedules::measure(&bench, backend).await,
                Group::Authz => authz::measure(&bench, backend).await,
                Group::Chunks => chunks::measure(&bench, backend).await,
                Group::Viewers => viewers::measure(&bench, backend).await,
                Group::Start => start::measure(&bench, backend).await,
                Group::Memory => memory::measure(&bench, backend).await,
            }
        });
        let stop = work.abort_handle();
        match tokio::time::timeout(LIMIT, work).await {
            Ok(outcome) => outcome.context("it panicked")?,
            Err(_) => {
                stop.abort();
                anyhow::bail!("it was given up after {} s", LIMIT.as_secs())
            }
        }
    }
}
