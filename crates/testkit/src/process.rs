use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

/// A child process that does not outlive the test: killed on drop, and by the kernel when this process dies. What it
/// writes is kept for failure messages.
pub(crate) struct ChildProcess {
    child: Child,
    stop_signal: Signal,
    output: Output,
}

/// Lines a child wrote so far, standard output and error mixed as they came.
#[derive(Clone)]
pub(crate) struct Output {
    lines: Arc<Mutex<Vec<Line>>>,
    changed: watch::Receiver<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) stream: Stream,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl ChildProcess {
    /// Starts `command` with its output captured. `stop_signal` ends it, on drop and when this process dies.
    pub(crate) fn start(mut command: Command, stop_signal: Signal) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command, stop_signal)?;
        let output = Output::follow(&mut child);
        Ok(Self { child, stop_signal, output })
    }

    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // The child is only reaped by us, so its id cannot belong to somebody else yet.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, signal));
    }

    /// The exit status, when it came within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                _ => return None,
            }
        }
    }

    /// The same for tasks, which must not block.
    pub(crate) async fn exited(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.wait(Duration::ZERO) {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it at once and collects it.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::fmt::Debug for ChildProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildProcess").field("id", &self.child.id()).finish_non_exhaustive()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal(self.stop_signal);
        if self.wait(Duration::from_secs(5)).is_none() {
            self.kill();
        }
    }
}

impl Output {
    fn follow(child: &mut Child) -> Self {
        let (sender, changed) = watch::channel(0);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sender = Arc::new(sender);
        if let Some(pipe) = child.stdout.take() {
            read_lines(pipe, Stream::Out, Arc::clone(&lines), Arc::clone(&sender));
        }
        if let Some(pipe) = child.stderr.take() {
            read_lines(pipe, Stream::Err, Arc::clone(&lines), sender);
        }
        Self { lines, changed }
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap().clone()
    }

    /// Everything so far as one text.
    pub(crate) fn text(&self) -> String {
        self.lines().into_iter().map(|line| line.text + "\n").collect()
    }

    /// The first line for which `pick` answers something; `None` when the child closed its output, or `limit` passed,
    /// without one.
    pub(crate) async fn first<T>(&self, limit: Duration, pick: impl Fn(&Line) -> Option<T>) -> Option<T> {
        let mut changed = self.changed.clone();
        let mut seen = 0;
        let search = async {
            loop {
                // Asked before looking, so that lines that come between the look and the wait are not slept over.
                let open = changed.has_changed().is_ok();
                changed.mark_unchanged();
                let lines = self.lines();
                if let Some(found) = lines[seen..].iter().find_map(&pick) {
                    return Some(found);
                }
                seen = lines.len();
                if !open || (changed.changed().await.is_err() && self.lines.lock().unwrap().len() == seen) {
                    return None;
                }
            }
        };
        tokio::time::timeout(limit, search).await.ok().flatten()
    }
}

fn read_lines(
    pipe: impl Read + Send + 'static,
    stream: Stream,
    lines: Arc<Mutex<Vec<Line>>>,
    changed: Arc<watch::Sender<usize>>,
) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut raw = Vec::new();
        while matches!(reader.read_until(b'\n', &mut raw), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&raw).trim_end().to_owned();
            lines.lock().unwrap().push(Line { stream, text });
            changed.send_modify(|count| *count += 1);
            raw.clear();
        }
    });
}

type SpawnOrder = (Command, mpsc::Sender<io::Result<Child>>);

/// Spawns from one thread that lives as long as the process: the kernel sends the death signal when the spawning *thread*
/// ends, and test threads end early.
fn spawn(mut command: Command, death_signal: Signal) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<SpawnOrder>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<SpawnOrder>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    die_with_parent(&mut command, death_signal);
    let (answer, spawned) = mpsc::channel();
    spawner.send((command, answer)).expect("the spawner never ends");
    spawned.recv().expect("the spawner answers every order")
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command, signal: Signal) {
    use std::os::unix::process::CommandExt;

    #[expect(unsafe_code, reason = "the closure makes one system call, which is allowed between fork and exec")]
    // SAFETY: `prctl` is async-signal-safe and the closure neither allocates nor takes locks.
    unsafe {
        command.pre_exec(move || Ok(rustix::process::set_parent_process_death_signal(Some(signal))?));
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command, _signal: Signal) {}

/// A TCP port of the loopback interface that was free a moment ago. Whoever binds it must be ready to try another.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("the loopback interface has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}
