use agentex_domain::ports::StoreError;
use agentex_domain::{ClaimedFire, Fire, RunTrigger, Timer, TimerAction};

use super::Reader;

/// What actions are called in both tables.
pub(crate) fn action_columns(action: &TimerAction) -> (&'static str, Option<&str>) {
    match action {
        TimerAction::Run(schedule) => ("run", Some(schedule.as_str())),
        TimerAction::RetentionSweep => ("retention_sweep", None),
    }
}

fn read_action(read: &Reader<'_>, action: &str, schedule: Option<String>) -> Result<TimerAction, StoreError> {
    match (action, schedule) {
        ("run", Some(schedule)) => Ok(TimerAction::Run(schedule.into())),
        ("retention_sweep", None) => Ok(TimerAction::RetentionSweep),
        _ => Err(read.corrupt("an unknown action")),
    }
}

#[derive(sqlx::FromRow)]
pub(crate) struct TimerRow {
    id: String,
    timing: String,
    action: String,
    run_schedule_id: Option<String>,
    paused: bool,
    note: Option<String>,
    definition: Option<String>,
    skipped: String,
    next_at: Option<i64>,
    actions_taken: i64,
    missed: i64,
    last_action_at: Option<i64>,
    created_at: i64,
    version: i64,
}

/// The columns of [`TimerRow`].
macro_rules! timer_columns {
    () => {
        "id, timing, action, run_schedule_id, paused, note, definition, skipped, next_at, actions_taken, missed, \
         last_action_at, created_at, version"
    };
}
pub(crate) use timer_columns;

impl TryFrom<TimerRow> for Timer {
    type Error = StoreError;

    fn try_from(row: TimerRow) -> Result<Self, StoreError> {
        let TimerRow {
            id,
            timing,
            action,
            run_schedule_id,
            paused,
            note,
            definition,
            skipped,
            next_at,
            actions_taken,
            missed,
            last_action_at,
            created_at,
            version,
        } = row;
        let read = Reader { table: "schedule_timers", id: &id };
        let skipped: Vec<i64> = read.json(&skipped)?;
        Ok(Self {
            timing: read.json(&timing)?,
            action: read_action(&read, &action, run_schedule_id)?,
            paused,
            note,
            definition: read.optional_object(definition)?,
            skipped: skipped.into_iter().map(|micros| read.time(micros)).collect::<Result<_, _>>()?,
            next_at: read.optional_time(next_at)?,
            actions_taken: actions_taken.unsigned_abs(),
            missed: missed.unsigned_abs(),
            last_action_at: read.optional_time(last_action_at)?,
            created_at: read.time(created_at)?,
            version,
            id,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(crate) struct FireRow {
    id: String,
    timer_id: Option<String>,
    action: String,
    run_schedule_id: Option<String>,
    trigger_type: String,
    nominal_at: i64,
    attempts: u32,
    fence: i64,
}

/// The columns of [`FireRow`].
macro_rules! fire_columns {
    () => {
        "id, timer_id, action, run_schedule_id, trigger_type, nominal_at, attempts, fence"
    };
}
pub(crate) use fire_columns;

impl TryFrom<FireRow> for ClaimedFire {
    type Error = StoreError;

    fn try_from(row: FireRow) -> Result<Self, StoreError> {
        let FireRow { id, timer_id, action, run_schedule_id, trigger_type, nominal_at, attempts, fence } = row;
        let read = Reader { table: "schedule_fires", id: &id };
        Ok(Self {
            fire: Fire {
                timer_id,
                action: read_action(&read, &action, run_schedule_id)?,
                trigger: RunTrigger::parse(&trigger_type).ok_or_else(|| read.corrupt("an unknown trigger"))?,
                nominal_at: read.time(nominal_at)?,
                id,
            },
            attempt: attempts,
            fence,
        })
    }
}
