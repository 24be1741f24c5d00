use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{ChildProcess, Line, free_port};

// The first start may have to fetch the image.
const START_LIMIT: Duration = Duration::from_secs(300);

/// Runs `image` with its `container_port` on a free loopback port until a line of its output is `ready`, and answers the
/// port. The container ends with the process, which stays in the foreground for that, and is removed then.
pub(super) async fn run(
    image: &str,
    container_port: u16,
    options: &[&str],
    arguments: &[&str],
    ready: impl Fn(&Line) -> bool,
) -> anyhow::Result<(ChildProcess, u16)> {
    let port = free_port();
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--publish", &format!("127.0.0.1:{port}:{container_port}")]);
    command.args(options).arg(image).args(arguments);
    let process = ChildProcess::start(command, Signal::TERM)?;
    let started = process.output().first(START_LIMIT, |line| ready(line).then_some(())).await;
    anyhow::ensure!(started.is_some(), "{}", process.output().text());
    Ok((process, port))
}
