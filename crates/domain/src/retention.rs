use crate::{Message, TaskId, TaskState, Timestamp};

/// How much of a task a clean takes away. The row of the task, its metadata and the names and times of its spans always
/// stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CleanExtent {
    /// Messages, states and events, as the reference does.
    Contents,
    /// Also what else holds content: the parameters, the payloads of spans, the saved states of graphs.
    #[default]
    Everything,
}

/// When a task may be cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanRules {
    /// Its last interaction must be before this. `None`: however recent it is.
    pub idle_since: Option<Timestamp>,
    /// A running task whose last interaction is before this counts as abandoned. `None`: none does.
    pub abandoned_since: Option<Timestamp>,
}

/// What decides whether a task may be cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskActivity {
    /// When it was cleaned, if its contents are gone.
    pub cleaned_at: Option<Timestamp>,
    /// Whether its status is RUNNING.
    pub is_running: bool,
    /// Last change of the row or newest message, whichever is later.
    pub last_interaction: Option<Timestamp>,
    /// Whether an agent has an event ahead of its cursor.
    pub has_unprocessed_events: bool,
}

/// What comes of asking for a clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanVerdict {
    /// Its contents are gone since then.
    AlreadyCleaned(Timestamp),
    /// Not now.
    Refused(CleanRefusal),
    /// It may be cleaned.
    Allowed(CleanOverrides),
}

/// Why a task is not cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanRefusal {
    /// It is running and not abandoned.
    Running,
    /// It was used too recently.
    NotIdle,
    /// An agent has not processed all of its events.
    UnprocessedEvents,
}

/// Guards that were passed over because the task is abandoned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanOverrides {
    /// It is running.
    pub running: bool,
    /// Events of it were never processed.
    pub unprocessed_events: bool,
}

impl CleanRules {
    /// Whether a task like this may be cleaned. A task without any interaction is idle.
    #[must_use]
    pub fn judge(&self, task: &TaskActivity) -> CleanVerdict {
        if let Some(cleaned_at) = task.cleaned_at {
            return CleanVerdict::AlreadyCleaned(cleaned_at);
        }
        let quiet_since = |moment: Timestamp| task.last_interaction.is_none_or(|last| last < moment);
        let abandoned = task.is_running && self.abandoned_since.is_some_and(quiet_since);
        if task.is_running && !abandoned {
            return CleanVerdict::Refused(CleanRefusal::Running);
        }
        if self.idle_since.is_some_and(|moment| !quiet_since(moment)) {
            return CleanVerdict::Refused(CleanRefusal::NotIdle);
        }
        if task.has_unprocessed_events && !abandoned {
            return CleanVerdict::Refused(CleanRefusal::UnprocessedEvents);
        }
        CleanVerdict::Allowed(CleanOverrides {
            running: abandoned,
            unprocessed_events: abandoned && task.has_unprocessed_events,
        })
    }
}

/// How many rows of each kind a clean took away or emptied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanCounts {
    /// Messages deleted.
    pub messages: u64,
    /// States deleted.
    pub states: u64,
    /// Events deleted.
    pub events: u64,
    /// Saved states of graphs deleted.
    pub checkpoints: u64,
    /// Spans whose payloads were emptied.
    pub spans: u64,
}

/// The contents of a task, to be put back.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The task all of it belongs to.
    pub task_id: TaskId,
    /// Its messages, in the order in which they are to be inserted.
    pub messages: Vec<Message>,
    /// Its states, in the order in which they are to be inserted.
    pub states: Vec<TaskState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000).unwrap()
    }

    const QUIET: TaskActivity =
        TaskActivity { cleaned_at: None, is_running: false, last_interaction: None, has_unprocessed_events: false };
    const FORCED: CleanRules = CleanRules { idle_since: None, abandoned_since: None };

    #[test]
    fn a_cleaned_task_is_not_looked_at_further() {
        let cleaned = TaskActivity { cleaned_at: Some(at(5)), is_running: true, ..QUIET };

        assert_eq!(FORCED.judge(&cleaned), CleanVerdict::AlreadyCleaned(at(5)));
    }

    #[test]
    fn the_first_guard_that_fails_gives_the_reason() {
        let rules = CleanRules { idle_since: Some(at(10)), abandoned_since: None };
        let busy =
            TaskActivity { is_running: true, last_interaction: Some(at(11)), has_unprocessed_events: true, ..QUIET };

        assert_eq!(rules.judge(&busy), CleanVerdict::Refused(CleanRefusal::Running));
        let ended = TaskActivity { is_running: false, ..busy };
        assert_eq!(rules.judge(&ended), CleanVerdict::Refused(CleanRefusal::NotIdle));
        assert_eq!(FORCED.judge(&ended), CleanVerdict::Refused(CleanRefusal::UnprocessedEvents));
        let idle = TaskActivity { last_interaction: Some(at(9)), ..ended };
        assert_eq!(rules.judge(&idle), CleanVerdict::Refused(CleanRefusal::UnprocessedEvents));
        let done = TaskActivity { has_unprocessed_events: false, ..idle };
        assert_eq!(rules.judge(&done), CleanVerdict::Allowed(CleanOverrides::default()));
    }

    #[test]
    fn idle_means_strictly_before_the_moment_or_never_used() {
        let rules = CleanRules { idle_since: Some(at(10)), abandoned_since: None };
        let used = |second| TaskActivity { last_interaction: Some(at(second)), ..QUIET };

        assert_eq!(rules.judge(&used(10)), CleanVerdict::Refused(CleanRefusal::NotIdle));
        assert_eq!(rules.judge(&used(9)), CleanVerdict::Allowed(CleanOverrides::default()));
        assert_eq!(rules.judge(&QUIET), CleanVerdict::Allowed(CleanOverrides::default()));
    }

    /// retention §8: 7
    #[test]
    fn only_running_tasks_can_be_abandoned_and_only_then_are_their_events_given_up() {
        let rules = CleanRules { idle_since: Some(at(90)), abandoned_since: Some(at(30)) };
        let running =
            TaskActivity { is_running: true, last_interaction: Some(at(29)), has_unprocessed_events: true, ..QUIET };

        let both = CleanOverrides { running: true, unprocessed_events: true };
        assert_eq!(rules.judge(&running), CleanVerdict::Allowed(both));
        let processed = TaskActivity { has_unprocessed_events: false, ..running };
        let one = CleanOverrides { running: true, unprocessed_events: false };
        assert_eq!(rules.judge(&processed), CleanVerdict::Allowed(one));
        let recent = TaskActivity { last_interaction: Some(at(30)), ..running };
        assert_eq!(rules.judge(&recent), CleanVerdict::Refused(CleanRefusal::Running));
        let completed = TaskActivity { is_running: false, ..running };
        assert_eq!(rules.judge(&completed), CleanVerdict::Refused(CleanRefusal::UnprocessedEvents));
    }
}
