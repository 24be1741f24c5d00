use std::time::Duration;

use agentex_domain::MessageUpdate;
use agentex_domain::ports::{AgentCallError, UpdateStream};
use futures::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::client::broken;
use crate::measure::Measured;
use crate::reply;
use crate::request::RequestId;

/// A streamed answer being read. The connection is read only when no complete line is left; dropping this closes it.
pub(crate) struct Updates {
    pub(crate) response: reqwest::Response,
    pub(crate) id: RequestId,
    pub(crate) lines: Lines,
    pub(crate) idle_timeout: Duration,
    pub(crate) measured: Measured,
    /// Held until the stream ends: an open stream uses up one of the agent's slots.
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Updates {
    /// The updates in order, up to the end of the answer or the first error, whichever comes first.
    pub(crate) fn into_stream(self) -> UpdateStream {
        futures::stream::unfold(Some(self), |reading| async move {
            let mut reading = reading?;
            match reading.next().await {
                Ok(Some(update)) => Some((Ok(update), Some(reading))),
                Ok(None) => None,
                Err(error) => {
                    reading.measured.failed(&error);
                    Some((Err(error), None))
                }
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<MessageUpdate>, AgentCallError> {
        loop {
            while let Some(line) = self.lines.next()? {
                let payload = payload(line);
                if !payload.is_empty() {
                    return reply::update(payload, &self.id).map(Some);
                }
            }
            if self.lines.ended {
                return Ok(None);
            }
            match tokio::time::timeout(self.idle_timeout, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => self.lines.push(&chunk),
                Ok(Ok(None)) => self.lines.end(),
                Ok(Err(error)) => return Err(broken(error)),
                Err(_) => return Err(AgentCallError::TimedOut),
            }
        }
    }
}

/// What a line carries: itself, or what follows `data:` where an agent frames its lines as server-sent events.
fn payload(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii();
    line.strip_prefix(b"data:").map_or(line, <[u8]>::trim_ascii)
}

/// Cuts a byte stream into lines without ever holding more than one incomplete line and the last piece received.
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Where the first line not yet handed out begins.
    start: usize,
    /// Up to where that line was searched for its end.
    searched: usize,
    max_line: usize,
    /// How many bytes may still be handed out.
    remaining: usize,
    ended: bool,
}

impl Lines {
    /// Allows lines of `max_line` bytes and `max_total` bytes in all, line ends included.
    pub(crate) fn new(max_line: usize, max_total: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, max_line, remaining: max_total, ended: false }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Nothing more will come: what is left is a line, with or without a line end.
    fn end(&mut self) {
        self.ended = true;
    }

    /// The next complete line without its line end, or `None` when more bytes are needed.
    fn next(&mut self) -> Result<Option<&[u8]>, AgentCallError> {
        let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let (end, next) = match found {
            Some(offset) => (self.searched + offset, self.searched + offset + 1),
            None if self.ended && self.start < self.buffer.len() => (self.buffer.len(), self.buffer.len()),
            None => {
                self.searched = self.buffer.len();
                if self.searched - self.start > self.max_line.min(self.remaining) {
                    return Err(AgentCallError::TooLarge);
                }
                return Ok(None);
            }
        };
        let (begin, taken) = (self.start, next - self.start);
        if end - begin > self.max_line || taken > self.remaining {
            return Err(AgentCallError::TooLarge);
        }
        (self.start, self.searched) = (next, next);
        self.remaining -= taken;
        Ok(Some(&self.buffer[begin..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(lines: &mut Lines, into: &mut Vec<String>) -> bool {
        loop {
            match lines.next() {
                Ok(Some(line)) => into.push(String::from_utf8_lossy(payload(line)).into_owned()),
                Ok(None) => return true,
                Err(AgentCallError::TooLarge) => return false,
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    /// The lines of `pieces` put together, and whether the limits held.
    fn split(mut lines: Lines, pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(piece);
            if !drained(&mut lines, &mut out) {
                return (out, false);
            }
        }
        lines.end();
        let fine = drained(&mut lines, &mut out);
        (out, fine)
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive() {
        let bytes = "{\"a\":1}\n\n\r\ndata: {\"b\":\"é\"}\r\ndata:\n  {\"c\":3}  \n{\"tail\":true}".as_bytes();
        let expected = ["{\"a\":1}", "", "", "{\"b\":\"é\"}", "", "{\"c\":3}", "{\"tail\":true}"];

        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(split(Lines::new(100, 1000), &pieces), (expected.map(str::to_owned).to_vec(), true));
            }
        }
    }

    #[test]
    fn a_final_line_end_adds_no_line() {
        assert_eq!(split(Lines::new(10, 10), &[b"a\n"]), (vec!["a".to_owned()], true));
        assert_eq!(split(Lines::new(10, 10), &[]), (vec![], true));
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        let (fits, long) = ("a".repeat(8), "a".repeat(9));

        assert!(split(Lines::new(8, 100), &[fits.as_bytes(), b"\n", fits.as_bytes()]).1);
        assert!(!split(Lines::new(8, 100), &[long.as_bytes(), b"\n"]).1);
        assert!(!split(Lines::new(8, 100), &[format!("{long}\n").as_bytes()]).1);
        assert_eq!(split(Lines::new(8, 100), &[b"ok\n", long.as_bytes()]), (vec!["ok".to_owned()], false));
    }

    #[test]
    fn all_lines_together_are_bounded_empty_ones_included() {
        assert!(split(Lines::new(8, 6), &[b"ab\ncd\n"]).1);
        assert_eq!(split(Lines::new(8, 5), &[b"ab\ncd\n"]), (vec!["ab".to_owned()], false));
        assert!(!split(Lines::new(8, 5), &[b"\n\n\n\n\n\n"]).1);
        assert!(!split(Lines::new(8, 5), &[b"ab\ncde"]).1);
    }

    #[test]
    fn the_buffer_does_not_grow_with_the_number_of_lines() {
        let mut lines = Lines::new(100, usize::MAX);
        let mut out = Vec::new();

        for _ in 0..10_000 {
            lines.push(b"0123456789\n01234");
            lines.push(b"56789\n");
            assert!(drained(&mut lines, &mut out));
        }

        assert_eq!(out.len(), 20_000);
        assert!(lines.buffer.capacity() < 1024, "{}", lines.buffer.capacity());
    }
}
