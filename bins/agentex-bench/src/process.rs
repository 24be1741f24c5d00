//! What the kernel says about a process.

use std::time::Duration;

use anyhow::Context as _;

/// Length of a tick of the processor times in `/proc`, the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Resident memory, in MiB.
pub(crate) fn resident_mib(id: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let kib = field(&status, "VmRSS:").context("there is no VmRSS")?;
    Ok(kib.trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}

/// Processor time that all threads took so far, to a hundredth of a second.
pub(crate) fn processor_time(id: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    parse_processor_time(&stat).context("/proc/<id>/stat is not as expected")
}

fn parse_processor_time(stat: &str) -> Option<Duration> {
    // The name of the program comes second, in parentheses, and may hold blanks.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(TICK * (user + system))
}

/// The rest of the first line of `text` that begins with `name`.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Raises the limit of open files as far as it goes; children inherit it.
pub(crate) fn allow_many_files() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_user_and_system_together() {
        let stat = "12 (a (b) c) S 1 12 12 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 3 0 1 1 1";

        assert_eq!(parse_processor_time(stat), Some(Duration::from_millis(1750)));
        assert_eq!(parse_processor_time("12 (a"), None);
    }

    #[test]
    fn this_process_has_memory_and_takes_time() {
        let id = std::process::id();

        assert!(resident_mib(id).unwrap() > 0.5);
        assert!(processor_time(id).is_ok());
    }
}
