//! HTTP/1.1 over one kept connection, written by hand: what a general client does per request would be measured, too.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest head of an answer.
const MAX_HEAD: usize = 16 * 1024;
const READ_AT_ONCE: usize = 16 * 1024;

/// A request for `path` without a body.
pub(crate) fn get(path: &str) -> Bytes {
    without_body("GET", path)
}

/// A request without a body.
pub(crate) fn without_body(method: &str, path: &str) -> Bytes {
    format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\n\r\n").into()
}

/// The same request with a bearer token.
pub(crate) fn with_token(request: &Bytes, token: &str) -> Bytes {
    with_header(request, "authorization", &format!("Bearer {token}"))
}

/// The same request with another header.
pub(crate) fn with_header(request: &Bytes, name: &str, value: &str) -> Bytes {
    let first_line = find(request, b"\r\n").map_or(request.len(), |end| end + 2);
    let header = format!("{name}: {value}\r\n");
    [&request[..first_line], header.as_bytes(), &request[first_line..]].concat().into()
}

/// A request with a JSON body.
pub(crate) fn with_json(method: &str, path: &str, body: &Value) -> Bytes {
    let body = body.to_string();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// Sends a request on a connection of its own and reads the JSON of its answer; for what is not measured.
pub(crate) async fn call(address: SocketAddr, request: &[u8]) -> anyhow::Result<Value> {
    let body = Connection::open(address).await?.exchange(request).await?;
    serde_json::from_slice(&body).context("an answer is not JSON")
}

/// A connection that carries one request after the other. After an error it must not be used again.
pub(crate) struct Connection {
    stream: TcpStream,
    read: BytesMut,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("the server does not accept connections")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::with_capacity(READ_AT_ONCE) })
    }

    /// Sends a request and reads its whole answer, which must be a 200.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Bytes> {
        let framing = self.head(request).await?;
        if let Framing::Length(length) = framing {
            while self.read.len() < length {
                self.fill().await?;
            }
            return Ok(self.read.split_to(length).freeze());
        }
        let mut body = BytesMut::new();
        let mut pieces = Pieces { connection: self, framing };
        while let Some(piece) = pieces.next().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// Sends a request and reads the head of its answer, which must be a 200; the body follows in pieces.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> anyhow::Result<Pieces<'_>> {
        let framing = self.head(request).await?;
        Ok(Pieces { connection: self, framing })
    }

    async fn head(&mut self, request: &[u8]) -> anyhow::Result<Framing> {
        self.stream.write_all(request).await?;
        let end = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(self.read.len() <= MAX_HEAD, "the head of an answer does not end");
            self.fill().await?;
        };
        let head = self.read.split_to(end);
        let head = std::str::from_utf8(&head).context("the head of an answer is not text")?;
        let framing = Framing::of(head)?;
        if head.split(' ').nth(1) != Some("200") {
            let mut body = Pieces { connection: self, framing };
            let text = body.next().await?.unwrap_or_default();
            bail!("{} {}", head.lines().next().unwrap_or_default(), String::from_utf8_lossy(&text));
        }
        Ok(framing)
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        self.read.reserve(READ_AT_ONCE);
        ensure!(
            self.stream.read_buf(&mut self.read).await? > 0,
            "the connection was closed in the middle of an answer"
        );
        Ok(())
    }
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// This many bytes are left.
    Length(usize),
    /// Chunks, each with its size before it.
    Chunked(Chunk),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// The line with the size is next.
    Size,
    /// This many bytes of the chunk are left.
    Data(usize),
    /// The line break after a chunk is next.
    Break,
    /// The line break after the last chunk is next.
    LastBreak,
    /// Nothing is left.
    End,
}

impl Framing {
    fn of(head: &str) -> anyhow::Result<Self> {
        for line in head.lines().skip(1) {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("content-length") {
                return Ok(Self::Length(value.trim().parse()?));
            }
            if name.eq_ignore_ascii_case("transfer-encoding") {
                ensure!(value.trim().eq_ignore_ascii_case("chunked"), "unknown transfer encoding");
                return Ok(Self::Chunked(Chunk::Size));
            }
        }
        Ok(Self::Length(0))
    }

    /// Takes the next piece of the body out of `read`. `None` when more must be read first.
    fn take(&mut self, read: &mut BytesMut) -> anyhow::Result<Option<Taken>> {
        loop {
            match self {
                Self::Length(0) | Self::Chunked(Chunk::End) => return Ok(Some(Taken::End)),
                Self::Length(left) | Self::Chunked(Chunk::Data(left)) => {
                    if read.is_empty() {
                        return Ok(None);
                    }
                    let piece = read.split_to(read.len().min(*left)).freeze();
                    *left -= piece.len();
                    if let Self::Chunked(Chunk::Data(0)) = self {
                        *self = Self::Chunked(Chunk::Break);
                    }
                    return Ok(Some(Taken::Piece(piece)));
                }
                Self::Chunked(Chunk::Size) => {
                    let Some(end) = find(read, b"\r\n") else { return Ok(None) };
                    let size = usize::from_str_radix(std::str::from_utf8(&read[..end])?.trim(), 16)?;
                    read.advance(end + 2);
                    *self = Self::Chunked(if size == 0 { Chunk::LastBreak } else { Chunk::Data(size) });
                }
                Self::Chunked(next @ (Chunk::Break | Chunk::LastBreak)) => {
                    if read.len() < 2 {
                        return Ok(None);
                    }
                    ensure!(read.starts_with(b"\r\n"), "a chunk does not end where it should");
                    read.advance(2);
                    *next = if *next == Chunk::Break { Chunk::Size } else { Chunk::End };
                }
            }
        }
    }
}

enum Taken {
    Piece(Bytes),
    End,
}

/// A body as it comes. Where it is cut means nothing.
pub(crate) struct Pieces<'a> {
    connection: &'a mut Connection,
    framing: Framing,
}

impl Pieces<'_> {
    /// The next piece, never empty; `None` at the end.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            match self.framing.take(&mut self.connection.read)? {
                Some(Taken::Piece(piece)) => return Ok(Some(piece)),
                Some(Taken::End) => return Ok(None),
                None => self.connection.fill().await?,
            }
        }
    }
}

/// Lines out of pieces that are cut anywhere.
#[derive(Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Passes on every line that `piece` ends, without its line break.
    pub(crate) fn push(
        &mut self,
        piece: &[u8],
        mut line: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if self.begun.is_empty() {
                line(&rest[..end])?;
            } else {
                self.begun.extend_from_slice(&rest[..end]);
                line(&self.begun)?;
                self.begun.clear();
            }
            rest = &rest[end + 1..];
        }
        self.begun.extend_from_slice(rest);
        Ok(())
    }
}

/// Where `wanted` begins in `text`.
pub(crate) fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The beginning of an answer, for error texts.
pub(crate) fn excerpt(answer: &[u8]) -> String {
    String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a body that arrives cut in two at `cut`.
    fn body(mut framing: Framing, wire: &[u8], cut: usize) -> (Vec<u8>, BytesMut) {
        let (mut read, mut body) = (BytesMut::from(&wire[..cut]), Vec::new());
        let mut rest = Some(&wire[cut..]);
        loop {
            match framing.take(&mut read).unwrap() {
                Some(Taken::Piece(piece)) => body.extend_from_slice(&piece),
                Some(Taken::End) => {
                    read.extend_from_slice(rest.unwrap_or_default());
                    return (body, read);
                }
                None => read.extend_from_slice(rest.take().unwrap()),
            }
        }
    }

    #[test]
    fn bodies_are_whole_wherever_they_are_cut_and_leave_the_next_answer_alone() {
        let chunked = b"3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\nHTTP";
        for cut in 0..chunked.len() - 4 {
            let (body, rest) = body(Framing::Chunked(Chunk::Size), chunked, cut);
            assert_eq!((body.as_slice(), &rest[..]), (&b"abc0123456789"[..], &b"HTTP"[..]), "cut at {cut}");
        }
        let (body, rest) = body(Framing::Length(3), b"abcHTTP", 1);
        assert_eq!((body.as_slice(), &rest[..]), (&b"abc"[..], &b"HTTP"[..]));
    }

    #[test]
    fn the_head_says_how_the_body_ends() {
        let framing = |headers: &str| Framing::of(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).unwrap();

        assert_eq!(framing("Content-Length: 12\r\n"), Framing::Length(12));
        assert_eq!(framing("x: y\r\ntransfer-encoding: chunked\r\n"), Framing::Chunked(Chunk::Size));
        assert_eq!(framing(""), Framing::Length(0));
    }

    #[test]
    fn a_token_is_one_more_header() {
        let with_token = with_token(&get("/x"), "secret");

        let expected = "GET /x HTTP/1.1\r\nauthorization: Bearer secret\r\nhost: 127.0.0.1\r\naccept: */*\r\n\r\n";
        assert_eq!(with_token, expected);
    }

    #[test]
    fn lines_are_whole_wherever_they_are_cut() {
        let text = b"id: 1-0\ndata: {}\n\n:ping\n";
        for cut in 0..text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in [&text[..cut], &text[cut..]] {
                let keep = |line: &[u8]| {
                    seen.push(line.to_vec());
                    Ok(())
                };
                lines.push(piece, keep).unwrap();
            }
            assert_eq!(seen, [&b"id: 1-0"[..], b"data: {}", b"", b":ping"], "cut at {cut}");
        }
    }
}
