//! An agent that answers at once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::http;

/// Lines written to the connection at once, so that a stream is bounded by its reader.
const LINES_PER_WRITE: usize = 64;

/// How `message/send` is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    /// With one whole message.
    Whole,
    /// With a message in this many fragments, each in an HTTP chunk of its own.
    Fragments(usize),
}

/// An agent listening on the loopback interface. Every connection has a thread that blocks, so that nothing waits for a
/// scheduler.
pub(crate) struct InstantAgent {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
}

/// One call that a schedule caused.
#[derive(Debug, Clone)]
pub(crate) struct Fired {
    /// Which occurrence.
    pub(crate) fire_id: String,
    /// Whether it told the task its input; otherwise it created the task.
    pub(crate) is_input: bool,
    /// When its body had been read, by the machine's clock.
    pub(crate) at: SystemTime,
}

/// The calls of an agent that schedules caused, in the order in which they came. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub(crate) struct FireLog(Arc<Mutex<Vec<Fired>>>);

impl FireLog {
    /// How many calls there were so far.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes them out.
    pub(crate) fn take(&self) -> Vec<Fired> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, method: &str, body: &[u8]) {
        let at = SystemTime::now();
        let Some(fire_id) = fire_id(body) else { return };
        let fired = Fired { fire_id: fire_id.to_owned(), is_input: method == "event/send", at };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fired);
    }
}

/// The occurrence that a call is about, which the metadata of its task tells.
fn fire_id(body: &[u8]) -> Option<&str> {
    const MEMBER: &[u8] = br#""scheduled_fire_id":""#;
    let rest = &body[http::find(body, MEMBER)? + MEMBER.len()..];
    std::str::from_utf8(&rest[..http::find(rest, b"\"")?]).ok()
}

impl InstantAgent {
    pub(crate) fn start(reply: Reply) -> anyhow::Result<Self> {
        Self::listen(reply, None)
    }

    /// One that answers with whole messages and writes down what schedules tell it.
    pub(crate) fn noting(log: &FireLog) -> anyhow::Result<Self> {
        Self::listen(Reply::Whole, Some(log.clone()))
    }

    fn listen(reply: Reply, log: Option<FireLog>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let log = log.clone();
                // A connection that breaks is its caller's business.
                std::thread::spawn(move || serve(connection, reply, log.as_ref()));
            }
        });
        Ok(Self { address, stopping })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an agent registers as its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for InstantAgent {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it should end.
        let _ = TcpStream::connect(self.address);
    }
}

/// A call as the server makes it, to compare the way through the server with.
pub(crate) fn direct_call(method: &str) -> Bytes {
    let time = "2025-01-02T03:04:05.123456Z";
    let id = "0b0e3d6c-5f0a-4b57-9d53-000000000000";
    let content = json!({
        "type": "text", "author": "user", "style": "static", "format": "plain", "content": "hello", "attachments": null,
    });
    let mut params = json!({
        "agent": {
            "id": id, "docker_image": null, "name": "bench", "description": "Answers at once", "acp_type": "sync",
            "status": "Ready", "status_reason": "Agent registered successfully.", "acp_url": "http://127.0.0.1:1",
            "created_at": time, "updated_at": time, "registration_metadata": null, "registered_at": time,
            "agent_input_type": null, "production_deployment_id": null,
        },
        "task": {
            "id": id, "name": null, "status": "RUNNING", "status_reason": "Task created, forwarding to ACP server",
            "created_at": time, "updated_at": time, "cleaned_at": null, "params": null, "task_metadata": null,
        },
    });
    match method {
        "message/send" => {
            params["content"] = content;
            params["stream"] = Value::Bool(true);
        }
        "event/send" => {
            params["event"] = json!({
                "id": id, "sequence_id": 1, "task_id": id, "agent_id": id, "created_at": time, "content": content,
            });
            params["request"] = Value::Null;
        }
        _ => params["params"] = Value::Null,
    }
    let body = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": format!("{method}-{id}-{id}")});
    http::with_json("POST", "/api", &body)
}

#[derive(Deserialize)]
struct Call<'a> {
    method: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
}

fn serve(connection: TcpStream, reply: Reply, log: Option<&FireLog>) -> anyhow::Result<()> {
    connection.set_nodelay(true)?;
    let mut writer = connection.try_clone()?;
    let mut reader = BufReader::new(connection);
    let mut body = Vec::new();
    while read_request(&mut reader, &mut body)? {
        let call: Call<'_> = serde_json::from_slice(&body).context("not a call")?;
        if let Some(log) = log {
            log.note(call.method, &body);
        }
        let id = call.id.get();
        match (call.method, reply) {
            ("message/send", Reply::Whole) => {
                let update = update("full", &content("You said: hello"));
                writer.write_all(&whole("application/x-ndjson", &line(&update, id)))?;
            }
            ("message/send", Reply::Fragments(count)) => fragments(&mut writer, id, count)?,
            _ => writer.write_all(&whole("application/json", &line(r#"{"status":"processing"}"#, id)))?,
        }
    }
    Ok(())
}

/// Reads one request; false when the caller has closed the connection.
fn read_request(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> anyhow::Result<bool> {
    let mut length = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(false);
        }
        let text = std::str::from_utf8(&line)?.trim_end();
        if text.is_empty() {
            break;
        }
        if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    body.resize(length, 0);
    reader.read_exact(body)?;
    Ok(true)
}

/// An update of the one message of a reply; `more` are its further members.
fn update(kind: &str, more: &str) -> String {
    format!(r#"{{"type":"{kind}","index":0,"parent_task_message":null{more}}}"#)
}

fn content(text: &str) -> String {
    let content = r#""type":"text","author":"agent","style":"static","format":"plain","attachments":null"#;
    format!(r#","content":{{{content},"content":"{text}"}}"#)
}

fn line(result: &str, id: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"result\":{result},\"error\":null,\"id\":{id}}}\n")
}

fn whole(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

fn fragments(writer: &mut TcpStream, id: &str, count: usize) -> anyhow::Result<()> {
    let chunk = |update: &str| {
        let line = line(update, id);
        format!("{:x}\r\n{line}\r\n", line.len())
    };
    let start = chunk(&update("start", &content("")));
    let delta = chunk(&update("delta", r#","delta":{"type":"text","text_delta":"lorem "}"#));
    let done = chunk(&update("done", ""));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    writer.write_all(format!("{head}{start}").as_bytes())?;
    let batch = delta.repeat(LINES_PER_WRITE);
    for _ in 0..count / LINES_PER_WRITE {
        writer.write_all(batch.as_bytes())?;
    }
    let rest = delta.repeat(count % LINES_PER_WRITE);
    writer.write_all(format!("{rest}{done}0\r\n\r\n").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Connection;

    #[test]
    fn a_call_of_a_schedule_is_known_by_the_metadata_of_its_task() {
        let log = FireLog::default();
        log.note("task/create", br#"{"params":{"task":{"task_metadata":null}}}"#);
        log.note("event/send", br#"{"task_metadata":{"scheduled_fire_id":"s-run-2026-01-01T00:00:00Z","x":""}}"#);

        assert_eq!(log.len(), 1);
        let [fired] = log.take().try_into().unwrap();
        assert_eq!((fired.fire_id.as_str(), fired.is_input, log.len()), ("s-run-2026-01-01T00:00:00Z", true, 0));
    }

    #[tokio::test]
    async fn both_kinds_of_reply_echo_the_id_and_keep_the_connection() {
        let whole = InstantAgent::start(Reply::Whole).unwrap();
        let mut connection = Connection::open(whole.address()).await.unwrap();
        for method in ["message/send", "event/send", "task/create"] {
            let answer = connection.exchange(&direct_call(method)).await.unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert!(answer["id"].as_str().unwrap().starts_with(method), "{answer}");
        }

        let count = LINES_PER_WRITE * 2 + 3;
        let pieces = InstantAgent::start(Reply::Fragments(count)).unwrap();
        let mut connection = Connection::open(pieces.address()).await.unwrap();
        for _ in 0..2 {
            let answer = connection.exchange(&direct_call("message/send")).await.unwrap();
            let kinds: Vec<String> = answer
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| serde_json::from_slice::<Value>(line).unwrap()["result"]["type"].to_string())
                .collect();
            assert_eq!(kinds.len(), count + 2);
            assert_eq!((kinds[0].as_str(), kinds[count + 1].as_str()), ("\"start\"", "\"done\""));
        }
    }
}
