//! A small HTTP client for tests: it follows no redirects, keeps the bytes as they came, and reads both kinds of streams.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::tls;

/// How long a reader waits for the next part of a stream before the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Calls one server.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    base: String,
    headers: HeaderMap,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is something else.
    #[must_use]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error} in the body of a {}: {}", self.status, self.text()),
        }
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON, once the status is what the test expects.
    ///
    /// # Panics
    /// When the status is another one; the text shows the body.
    #[must_use]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

impl HttpClient {
    /// Calls the server at `base`, for example `http://127.0.0.1:5003`.
    ///
    /// # Panics
    /// When there is no TLS provider, which [`tls::install`] rules out.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        tls::install();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(PATIENCE)
            .build()
            .unwrap();
        let base = base.into().trim_end_matches('/').to_owned();
        Self { client, base, headers: HeaderMap::new() }
    }

    /// The same client with a header on every request from now on.
    ///
    /// # Panics
    /// When it is not a valid header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    /// Where it calls.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body.to_string().into())).await
    }

    /// `PUT` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, Some(body.to_string().into())).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// Any request; a body is sent as it is, declared as JSON.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn send(&self, method: Method, path: &str, body: Option<Bytes>) -> Answer {
        let response = self.start(method, path, body).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        Answer { status, headers, body }
    }

    /// Opens a server-sent event stream.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn events(&self, path: &str) -> EventReader {
        EventReader { body: StreamedAnswer::of(self.start(Method::GET, path, None).await), frames: Frames::default() }
    }

    /// Posts JSON and reads the answer line by line as it comes.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn post_for_lines(&self, path: &str, body: &Value) -> LineReader {
        let response = self.start(Method::POST, path, Some(body.to_string().into())).await;
        LineReader { body: StreamedAnswer::of(response), buffer: BytesMut::new() }
    }

    async fn start(&self, method: Method, path: &str, body: Option<Bytes>) -> reqwest::Response {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).headers(self.headers.clone());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        match request.send().await {
            Ok(response) => response,
            Err(error) => panic!("no answer from {}{path}: {error:?}", self.base),
        }
    }
}

/// The head of an answer whose body is still coming.
pub struct StreamedAnswer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
}

impl StreamedAnswer {
    fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, chunks: response.bytes_stream().boxed() }
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    async fn chunk(&mut self) -> Option<Result<Bytes, Broken>> {
        match tokio::time::timeout(PATIENCE, self.chunks.next()).await {
            Ok(chunk) => chunk.map(|chunk| chunk.map_err(|_| Broken)),
            Err(_) => panic!("nothing more came within {PATIENCE:?}"),
        }
    }
}

/// The connection broke before the body was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// Reads a server-sent event stream frame by frame. Dropping it closes the connection.
pub struct EventReader {
    /// The head of the answer.
    pub body: StreamedAnswer,
    frames: Frames,
}

impl EventReader {
    /// The next frame, comments included; `None` when the server ended the stream.
    ///
    /// # Panics
    /// When nothing comes for ten seconds, or the connection breaks.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.next() {
                return Some(frame);
            }
            let chunk = self.body.chunk().await?.expect("the connection stays whole");
            self.frames.push(&chunk);
        }
    }

    /// The next frame that carries data, as JSON.
    ///
    /// # Panics
    /// As [`Self::next`], when the stream ends, or when the data is not JSON.
    pub async fn next_json(&mut self) -> Value {
        loop {
            let frame = self.next().await.expect("the stream goes on");
            if let Some(data) = frame.data {
                return serde_json::from_str(&data).unwrap();
            }
        }
    }
}

/// One frame of a server-sent event stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes, the blank line that ends it included.
    pub raw: Bytes,
    /// The `data` lines, joined by line feeds; `None` without any.
    pub data: Option<String>,
    /// The last `event`.
    pub event: Option<String>,
    /// The last `id`.
    pub id: Option<String>,
    /// The last `retry`.
    pub retry: Option<String>,
    /// What stands behind the colon of comment lines, as it is.
    pub comments: Vec<String>,
}

/// Cuts bytes into frames, however they were chunked.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What came after the last complete frame.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads one frame: lines up to a blank one.
    fn take(&mut self) -> Option<Bytes> {
        let mut start = 0;
        loop {
            let end = start + self.buffer[start..].iter().position(|byte| *byte == b'\n')? + 1;
            if matches!(&self.buffer[start..end], b"\n" | b"\r\n") {
                return Some(self.buffer.split_to(end).freeze());
            }
            start = end;
        }
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let raw = self.take()?;
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut frame = Frame { raw, ..Frame::default() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            if name.is_empty() {
                frame.comments.push(value.to_owned());
                continue;
            }
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match name {
                "data" => match &mut frame.data {
                    Some(data) => *data = format!("{data}\n{value}"),
                    none => *none = Some(value),
                },
                "event" => frame.event = Some(value),
                "id" => frame.id = Some(value),
                "retry" => frame.retry = Some(value),
                _ => {}
            }
        }
        Some(frame)
    }
}

/// Reads an answer line by line. Dropping it closes the connection.
pub struct LineReader {
    /// The head of the answer.
    pub body: StreamedAnswer,
    buffer: BytesMut,
}

impl LineReader {
    /// The next line without its line feed; `None` at the end. A last line without line feed counts.
    ///
    /// # Errors
    /// The connection broke before the body was complete.
    ///
    /// # Panics
    /// When nothing comes for ten seconds.
    pub async fn next(&mut self) -> Result<Option<String>, Broken> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            match self.body.chunk().await {
                Some(chunk) => self.buffer.extend_from_slice(&chunk?),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    let line = self.buffer.split();
                    return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                }
            }
        }
    }

    /// The next line as JSON.
    ///
    /// # Panics
    /// When there is none, or it is not JSON.
    pub async fn next_json(&mut self) -> Value {
        let line = self.next().await.unwrap().expect("the answer goes on");
        serde_json::from_str(&line).unwrap()
    }

    /// All lines that are left, as JSON.
    ///
    /// # Panics
    /// When the connection breaks, or a line is not JSON.
    pub async fn rest(mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        while let Some(line) = self.next().await.unwrap() {
            lines.push(serde_json::from_str(&line).unwrap());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_the_same_however_the_bytes_are_chunked() {
        let stream =
            b":ping\n\ndata: {\"a\":1}\n\nevent: x\r\nid:7\r\ndata: one\r\ndata:two\r\n\r\n: lonely\n\ndata: half";
        for size in 1..stream.len() {
            let mut frames = Frames::default();
            let mut read = Vec::new();
            for chunk in stream.chunks(size) {
                frames.push(chunk);
                read.extend(frames.by_ref());
            }

            assert_eq!(read.len(), 4);
            assert_eq!((read[0].raw.as_ref(), &read[0].data), (b":ping\n\n".as_slice(), &None));
            assert_eq!(read[0].comments, ["ping"]);
            assert_eq!(read[1].data.as_deref(), Some("{\"a\":1}"));
            assert_eq!((read[2].event.as_deref(), read[2].id.as_deref()), (Some("x"), Some("7")));
            assert_eq!(read[2].data.as_deref(), Some("one\ntwo"));
            assert_eq!(read[3].comments, [" lonely"]);
            assert_eq!(frames.rest(), b"data: half");
        }
    }
}
