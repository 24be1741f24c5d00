//! What schedules are called: in the authorization graph, by their scheduler, and in tasks.

use agentex_authz::ResourceRef;
use agentex_domain::{AgentId, RunScheduleId, Timestamp};

/// The sweep's schedule.
pub(crate) const SWEEP: &str = "retention-cleanup-sweep";
/// Longest name of a schedule.
const MAX_NAME_CHARS: usize = 64;

/// The clock of a run schedule.
pub(crate) fn clock_id(id: &RunScheduleId) -> String {
    format!("agent-run-schedule:{id}")
}

/// A run of a run schedule that somebody asked for.
#[expect(clippy::disallowed_methods, reason = "an occurrence is no entity, so there is no typed id for it")]
pub(crate) fn manual_fire_id(id: &RunScheduleId, now: Timestamp) -> String {
    format!("agent-run-schedule:{id}-manual-{}-{now}", uuid::Uuid::new_v4())
}

/// A run schedule in the authorization graph.
pub(crate) fn run_selector(agent: &AgentId, id: &str) -> String {
    format!("{}{id}", run_selector_prefix(agent))
}

/// What the selectors of an agent's run schedules begin with.
pub(crate) fn run_selector_prefix(agent: &AgentId) -> String {
    format!("run-schedule::{agent}::")
}

/// A run schedule in the authorization graph.
pub(crate) fn run_resource(agent: &AgentId, id: &str) -> ResourceRef {
    ResourceRef::schedule(run_selector(agent, id))
}

/// A workflow schedule, in the authorization graph and by its scheduler.
pub(crate) fn workflow_id(agent: &AgentId, name: &str) -> String {
    format!("{}{name}", workflow_prefix(agent))
}

/// What the ids of an agent's workflow schedules begin with.
pub(crate) fn workflow_prefix(agent: &AgentId) -> String {
    format!("{agent}--")
}

/// The name of the task that an occurrence creates.
pub(crate) fn task_name(id: &RunScheduleId, fire_id: &str) -> String {
    format!("scheduled-run:{id}:{fire_id}")
}

/// The moment a fire id ends with.
pub(crate) fn fire_time(fire_id: &str) -> Option<Timestamp> {
    let day_ends = fire_id.rfind('T')?;
    let text = fire_id.get(day_ends.checked_sub(10)?..)?;
    let digits =
        |range: std::ops::Range<usize>| text.get(range).is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let is_dated = digits(0..4) && digits(5..7) && digits(8..10) && digits(11..13);
    if is_dated { Timestamp::parse(text) } else { None }
}

/// Whether a handle is the id of a run schedule rather than a name.
pub(crate) fn is_row_id(handle: &str) -> bool {
    handle.len() == 36 && uuid::Uuid::try_parse(handle).is_ok()
}

/// Whether a schedule can have the name: 1 to 64 lower-case letters, digits and hyphens, with a letter or digit at either end.
pub(crate) fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= MAX_NAME_CHARS
        && bytes.first().is_some_and(allowed)
        && bytes.last().is_some_and(allowed)
        && bytes.iter().all(|byte| allowed(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// schedules §4: 14
    #[test]
    fn a_workflow_schedule_is_named_by_agent_and_name_whatever_hyphens_it_has() {
        let agent = AgentId::from("a");
        assert_eq!(workflow_id(&agent, "a--b"), "a--a--b");
        assert_eq!(workflow_id(&agent, "a--b").strip_prefix(&workflow_prefix(&agent)), Some("a--b"));
    }

    /// schedules §4: 33
    #[test]
    fn a_fire_time_is_read_from_the_end_of_a_fire_id() {
        let id = "01234567-89ab-4def-8123-456789abcdef";
        let at = Timestamp::parse("2026-03-04T05:06:07Z");
        for fire in [
            format!("agent-run-schedule:{id}-run-2026-03-04T05:06:07Z"),
            format!("agent-run-schedule:{id}-manual-{id}-2026-03-04T05:06:07Z"),
        ] {
            assert_eq!(fire_time(&fire), at, "{fire}");
        }
        for fire in ["", "T", "fire", "agent-run-schedule:x-run", "x-2026-03-04", "xxxxxxxxxxTZ", "é-03-04T05:06:07Z"]
        {
            assert_eq!(fire_time(fire), None, "{fire}");
        }
    }

    #[test]
    fn names_are_lower_case_words() {
        for good in ["a", "0", "a-b", "a--b", &"a".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-", "-a", "a-", "A", "a_b", "a b", "é", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_row_id("01234567-89ab-4def-8123-456789abcdef"));
        assert!(!is_row_id("0123456789ab4def8123456789abcdef"));
    }
}
