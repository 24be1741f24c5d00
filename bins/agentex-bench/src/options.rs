use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::deployment::Backend;

/// Measures agentex on SQLite and on PostgreSQL and prints one Markdown table.
#[derive(Debug, Clone, Parser)]
#[command(name = "agentex-bench")]
pub(crate) struct Options {
    /// Few short rounds: shows that everything works; the figures are not worth comparing.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measure this group only; may be given several times.
    #[arg(long, value_name = "NAME", value_enum)]
    pub(crate) only: Vec<Group>,
    /// Measure on this store only; by default on both.
    #[arg(long, value_name = "STORE", value_enum)]
    pub(crate) store: Option<Backend>,
    /// Also write the page of the documentation, with the table in it, to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The server program; by default `agentex` beside this program.
    #[arg(long, value_name = "FILE")]
    pub(crate) server: Option<PathBuf>,
}

/// Rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// GET an agent by id.
    Agent,
    /// List 50 agents.
    Agents,
    /// POST a message.
    Messages,
    /// Spans, batches of messages, states and checkpoints.
    Writes,
    /// Calls to an agent that answers at once.
    Rpc,
    /// Schedules that fire.
    Schedules,
    /// What permissions cost.
    Authz,
    /// Streamed replies.
    Chunks,
    /// Viewers of a task.
    Viewers,
    /// From start to ready.
    Start,
    /// Resident memory.
    Memory,
}

impl Options {
    /// The groups to measure, in the order of the table.
    pub(crate) fn groups(&self) -> impl Iterator<Item = Group> {
        let wanted = |group: &Group| self.only.is_empty() || self.only.contains(group);
        Group::value_variants().iter().copied().filter(wanted)
    }

    /// How to repeat this run; names no paths.
    pub(crate) fn as_typed(&self) -> String {
        let mut command = "scripts/bench".to_owned();
        if self.quick {
            command += " --quick";
        }
        for group in &self.only {
            command += &format!(" --only {}", group.name());
        }
        if let Some(store) = self.store.as_ref().and_then(ValueEnum::to_possible_value) {
            command += &format!(" --store {}", store.get_name());
        }
        command
    }

    pub(crate) fn effort(&self) -> Effort {
        if self.quick { Effort::QUICK } else { Effort::FULL }
    }
}

impl Group {
    /// What `--only` calls it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// How long and how often things are measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds of which the median counts.
    pub(crate) rounds: usize,
    /// Length of a round under load; one caller alone gets half of it.
    pub(crate) round: Duration,
    /// Load before the first round.
    pub(crate) warm_up: Duration,
    /// Fragments of a streamed reply.
    pub(crate) fragments: usize,
    /// Events that a thousand viewers get, one every tenth of a second.
    pub(crate) steady_events: usize,
    /// Events that one viewer gets at once.
    pub(crate) burst_events: usize,
    /// Starts of which the median counts.
    pub(crate) starts: usize,
    /// Tasks among which a caller may see one in a hundred.
    pub(crate) tasks: u32,
    /// How long schedules are watched that fire now and then.
    pub(crate) watched: Duration,
    /// Schedules that are due at one moment.
    pub(crate) due_at_once: usize,
}

impl Effort {
    const FULL: Self = Self {
        rounds: 5,
        round: Duration::from_secs(2),
        warm_up: Duration::from_secs(1),
        fragments: 20_000,
        steady_events: 200,
        burst_events: 10_000,
        starts: 10,
        tasks: 1_000_000,
        watched: Duration::from_secs(60),
        due_at_once: 10_000,
    };
    const QUICK: Self = Self {
        rounds: 2,
        round: Duration::from_millis(300),
        warm_up: Duration::from_millis(200),
        fragments: 2_000,
        steady_events: 20,
        burst_events: 2_000,
        starts: 3,
        tasks: 20_000,
        watched: Duration::from_secs(10),
        due_at_once: 500,
    };
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn groups_keep_the_order_of_the_table_and_the_command_shows_no_paths() {
        let arguments = ["agentex-bench", "--only", "rpc", "--only", "agent", "--quick", "--out", "/tmp/x"];
        let options = Options::parse_from(arguments);

        assert_eq!(options.groups().collect::<Vec<_>>(), [Group::Agent, Group::Rpc]);
        assert_eq!(options.as_typed(), "scripts/bench --quick --only rpc --only agent");
    }
}
