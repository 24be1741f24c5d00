//! An agent on a real port whose every move is written in the test: connections are accepted, requests read and bytes
//! written exactly when the test says so.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long something that must happen may take, and how long something that must not happen is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const ABSENCE: Duration = Duration::from_millis(150);

pub(crate) struct Agent {
    listener: TcpListener,
}

impl Agent {
    pub(crate) async fn listen() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    pub(crate) async fn accept(&self) -> Connection {
        let (socket, _) = timeout(PATIENCE, self.listener.accept()).await.expect("nobody connected").unwrap();
        Connection { socket, buffer: Vec::new() }
    }

    /// Accepts a connection and reads the request on it.
    pub(crate) async fn request(&self) -> (Connection, Received) {
        let mut connection = self.accept().await;
        let received = connection.request().await;
        (connection, received)
    }

    pub(crate) async fn nobody_connects(&self) -> bool {
        timeout(ABSENCE, self.listener.accept()).await.is_err()
    }
}

pub(crate) struct Received {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn id(&self) -> &str {
        self.body["id"].as_str().unwrap()
    }

    /// A response to this request, as one line.
    pub(crate) fn response(&self, result: Value) -> String {
        json!({"jsonrpc": "2.0", "result": result, "error": null, "id": self.id()}).to_string()
    }

    pub(crate) fn error(&self, code: i64, message: &str) -> String {
        let error = json!({"code": code, "message": message, "data": null});
        json!({"jsonrpc": "2.0", "result": null, "error": error, "id": self.id()}).to_string()
    }

    /// A line of a streamed answer carrying the words of message 0.
    pub(crate) fn words(&self, words: &str) -> String {
        let update = json!({
            "type": "delta", "index": 0, "parent_task_message": null, "delta": {"type": "text", "text_delta": words}
        });
        self.response(update) + "\n"
    }
}

pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn request(&mut self) -> Received {
        let head_end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            self.fill().await;
        };
        let head = String::from_utf8(self.buffer.drain(..head_end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a header line"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, length)| length.parse().unwrap());
        while self.buffer.len() < length {
            self.fill().await;
        }
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        Received { line, headers, body }
    }

    async fn fill(&mut self) {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.buffer)).await.expect("the request is incomplete");
        assert_ne!(read.unwrap(), 0, "the caller closed the connection");
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) async fn answer(&mut self, status: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        self.write(head + body).await;
    }

    /// Begins an answer of chunks.
    pub(crate) async fn begin(&mut self) {
        self.write("HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n").await;
    }

    pub(crate) async fn chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.write(format!("{:x}\r\n", bytes.len())).await;
        self.write(bytes).await;
        self.write("\r\n").await;
    }

    pub(crate) async fn end(&mut self) {
        self.write("0\r\n\r\n").await;
    }

    /// Writes chunks for as long as the caller takes them; how many bytes it took before it stopped, or `most`.
    pub(crate) async fn flood(&mut self, line: &str, most: usize) -> usize {
        let chunk = line.repeat(65_536 / line.len());
        let framed = format!("{:x}\r\n{chunk}\r\n", chunk.len());
        let mut sent = 0;
        while sent < most && timeout(Duration::from_secs(1), self.socket.write_all(framed.as_bytes())).await.is_ok() {
            sent += framed.len();
        }
        sent
    }

    /// Waits until the caller has closed the connection; `false` when it did not within a second.
    pub(crate) async fn is_closed_by_caller(&mut self) -> bool {
        let mut rest = Vec::new();
        timeout(Duration::from_secs(1), self.socket.read_to_end(&mut rest)).await.is_ok()
    }
}
