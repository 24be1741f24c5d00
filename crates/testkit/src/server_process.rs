//! The real `agentex` program as a test runs it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{ChildProcess, Stream};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A running server, or a worker without a URL. It ends with the value; a failing test shows what it wrote.
pub struct ServerProcess {
    process: ChildProcess,
    url: String,
}

impl ServerProcess {
    /// Starts the program at `bin` and waits for the line on its standard output that names its URL. It sees the
    /// environment of the test plus `env`.
    ///
    /// # Panics
    /// When it does not start or names no URL within a minute; the text shows what it wrote.
    pub async fn start<A, K, V>(
        bin: impl AsRef<Path>,
        args: impl IntoIterator<Item = A>,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Self
    where
        A: AsRef<OsStr>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let mut command = Command::new(bin.as_ref());
        command.args(args).envs(env);
        Self::launch(command, url_in).await
    }

    /// Starts the program at `bin` with something to do that has no URL, and waits for the first line on its standard
    /// output.
    ///
    /// # Panics
    /// When it does not start or writes nothing within a minute; the text shows what it logged.
    pub async fn start_worker<A, K, V>(
        bin: impl AsRef<Path>,
        args: impl IntoIterator<Item = A>,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Self
    where
        A: AsRef<OsStr>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let mut command = Command::new(bin.as_ref());
        command.args(args).envs(env);
        Self::launch(command, |_| Some(String::new())).await
    }

    async fn launch(command: Command, ready: fn(&str) -> Option<String>) -> Self {
        let bin = command.get_program().to_owned();
        let process = match ChildProcess::start(command, Signal::TERM) {
            Ok(process) => process,
            Err(error) => panic!("{} does not start: {error}", bin.display()),
        };
        let url = process
            .output()
            .first(START_LIMIT, |line| (line.stream == Stream::Out).then(|| ready(&line.text)).flatten());
        match url.await {
            Some(url) => Self { process, url },
            None => panic!("{} did not say that it is ready:\n{}", bin.display(), process.output().text()),
        }
    }

    /// Where it listens, without a slash at the end; empty for a worker.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// All it wrote so far, standard output and error mixed.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output().text()
    }

    /// Waits until a line of its output holds `text`, and returns the line.
    ///
    /// # Panics
    /// When no such line comes within `limit`.
    pub async fn wrote(&self, text: &str, limit: Duration) -> String {
        let found = self.process.output().first(limit, |line| line.text.contains(text).then(|| line.text.clone()));
        match found.await {
            Some(line) => line,
            None => panic!("the server did not write {text:?}:\n{}", self.output()),
        }
    }

    /// Kills it as a crash would.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// Asks it to stop (SIGTERM) and returns its exit code; `None` when a signal ended it.
    ///
    /// # Panics
    /// When it is still running after a minute.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.exit_code().await
    }

    /// Sends SIGTERM without waiting, for tests that watch it drain.
    pub fn ask_to_stop(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits until it ends by itself and returns its exit code; `None` when a signal ended it.
    ///
    /// # Panics
    /// When it is still running after a minute.
    pub async fn exit_code(&mut self) -> Option<i32> {
        match self.process.exited(STOP_LIMIT).await {
            Some(status) => status.code(),
            None => panic!("the server does not stop:\n{}", self.output()),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- output of the server at {}\n{}---", self.url, self.output());
        }
    }
}

fn url_in(line: &str) -> Option<String> {
    let url = line[line.find("http://")?..].split_whitespace().next()?;
    Some(url.trim_end_matches(['/', '.', ',', '"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_found_in_the_line() {
        assert_eq!(url_in("listening on http://127.0.0.1:5003"), Some("http://127.0.0.1:5003".to_owned()));
        assert_eq!(url_in("agentex at http://[::1]:80/ (embedded)"), Some("http://[::1]:80".to_owned()));
        assert_eq!(url_in("starting"), None);
    }
}
