//! Redis replies as our types. Agents write to the same keys with clients of their own, so an entry is taken as it
//! comes: nothing in it may make a whole reply unreadable.

use agentex_domain::ports::{Cursor, Entry};
use bytes::Bytes;
use redis::{ErrorKind, RedisError, RedisResult, Value};

/// The one field an entry has.
pub(crate) const DATA: &str = "data";

/// What Redis holds of one stream, without its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The oldest entry retained.
    oldest: Option<Cursor>,
    /// The newest entry ever written, whether retained or not; the start for a stream that does not exist.
    pub(crate) newest: Cursor,
    /// Whether entries were ever removed from it. Redis before version 7 does not say; false then.
    trimmed: bool,
}

impl Extent {
    /// From the answer to `XINFO STREAM`.
    pub(crate) fn parse(reply: Value) -> RedisResult<Self> {
        let reply = match reply {
            Value::ServerError(error) if error.details().is_some_and(|text| text.contains("no such key")) => {
                return Ok(Self::default());
            }
            reply => reply.extract_error()?,
        };
        let (mut oldest, mut newest, mut length, mut added) = (None, None, 0, None);
        for (name, value) in reply.into_map_iter().map_err(|_| unexpected("XINFO STREAM"))? {
            match as_bytes(&name) {
                b"first-entry" => {
                    oldest = entries(Value::Array(vec![value]))
                        .ok()
                        .and_then(|first| first.first().map(|entry| entry.cursor))
                }
                b"last-generated-id" => newest = cursor(&value),
                b"length" => length = as_int(&value).unwrap_or(0),
                b"entries-added" => added = as_int(&value),
                _ => {}
            }
        }
        let newest = newest.ok_or_else(|| unexpected("XINFO STREAM"))?;
        Ok(Self { oldest, newest, trimmed: added.is_some_and(|added| added > length) })
    }

    /// Whether everything ever written after `place` is retained, as far as can be told: a place before the oldest
    /// entry may stem from a former life of the stream, so only the very start counts as known.
    pub(crate) fn continues(&self, place: Cursor) -> bool {
        match self.oldest {
            _ if place > self.newest => false,
            _ if place == Cursor::start() => !self.trimmed,
            Some(oldest) => oldest <= place,
            None => place == self.newest,
        }
    }
}

/// The entries in the answer to `XRANGE` and the like.
pub(crate) fn entries(reply: Value) -> RedisResult<Vec<Entry>> {
    let entries = reply.into_sequence().map_err(|_| unexpected("stream entries"))?;
    entries.into_iter().map(entry).collect()
}

/// The streams in the answer to `XREAD`, by key; none when it timed out.
pub(crate) fn streams(reply: Value) -> RedisResult<Vec<(Vec<u8>, Vec<Entry>)>> {
    // The second version of the protocol answers with an array of pairs, the third with a map.
    let streams: Vec<(Value, Value)> = match reply {
        Value::Nil => Vec::new(),
        Value::Map(streams) => streams,
        Value::Array(streams) => streams.into_iter().map(pair).collect::<RedisResult<_>>()?,
        Value::ServerError(error) => return Err(error.into()),
        _ => return Err(unexpected("XREAD")),
    };
    streams
        .into_iter()
        .map(|(key, found)| match key {
            Value::BulkString(key) => Ok((key, entries(found)?)),
            _ => Err(unexpected("XREAD")),
        })
        .collect()
}

/// The id in the answer to `XADD`.
pub(crate) fn added(reply: Value) -> RedisResult<Cursor> {
    let reply = reply.extract_error()?;
    cursor(&reply).ok_or_else(|| unexpected("XADD"))
}

fn entry(value: Value) -> RedisResult<Entry> {
    let (id, fields) = pair(value)?;
    let cursor = cursor(&id).ok_or_else(|| unexpected("an entry id"))?;
    let fields = fields.into_map_iter().map(|fields| fields.collect()).unwrap_or_else(|_| Vec::new());
    let data = fields.into_iter().find(|(name, _)| as_bytes(name) == DATA.as_bytes());
    let data = match data {
        Some((_, Value::BulkString(data))) => Bytes::from(data),
        _ => Bytes::new(),
    };
    Ok(Entry { cursor, data })
}

fn pair(value: Value) -> RedisResult<(Value, Value)> {
    let values = value.into_sequence().unwrap_or_default();
    <[Value; 2]>::try_from(values).map(|[first, second]| (first, second)).map_err(|_| unexpected("a pair"))
}

fn cursor(value: &Value) -> Option<Cursor> {
    Cursor::parse(std::str::from_utf8(as_bytes(value)).ok()?)
}

fn as_bytes(value: &Value) -> &[u8] {
    match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.as_bytes(),
        _ => b"",
    }
}

fn as_int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

fn unexpected(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "not the reply Redis gives", what.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn raw_entry(id: &str, fields: &[&[u8]]) -> Value {
        let fields = fields.iter().map(|field| Value::BulkString(field.to_vec())).collect();
        Value::Array(vec![bulk(id), Value::Array(fields)])
    }

    fn at(millis: u64) -> Cursor {
        Cursor { millis, number: 0 }
    }

    #[test]
    fn an_odd_entry_does_not_spoil_the_others() {
        let reply = Value::Array(vec![
            raw_entry("1-0", &[b"data", b"one"]),
            raw_entry("2-0", &[b"other", b"x"]),
            raw_entry("3-0", &[b"\xff\xfe", b"\xff", b"data", b"\xff"]),
        ]);

        let data: Vec<_> = entries(reply).unwrap().into_iter().map(|entry| entry.data).collect();

        assert_eq!(data, [&b"one"[..], b"", b"\xff"]);
    }

    #[test]
    fn both_protocol_versions_are_read() {
        let found = Value::Array(vec![raw_entry("1-0", &[b"data", b"one"])]);
        let second = Value::Array(vec![Value::Array(vec![bulk("task:a"), found.clone()])]);
        let third = Value::Map(vec![(bulk("task:a"), found)]);

        assert_eq!(streams(second.clone()).unwrap(), streams(third).unwrap());
        assert_eq!(streams(second).unwrap()[0].0, b"task:a");
        assert_eq!(streams(Value::Nil).unwrap(), []);
    }

    #[test]
    fn a_place_is_continued_only_when_nothing_after_it_can_be_missing() {
        let absent = Extent::default();
        let whole = Extent { oldest: Some(at(5)), newest: at(9), trimmed: false };
        let trimmed = Extent { trimmed: true, ..whole };
        let emptied = Extent { oldest: None, newest: at(9), trimmed: true };

        for (extent, place, continues) in [
            (absent, at(0), true),
            (absent, at(4), false),
            (whole, at(0), true),
            (whole, at(4), false),
            (whole, at(5), true),
            (whole, at(9), true),
            (whole, at(10), false),
            (trimmed, at(0), false),
            (trimmed, at(7), true),
            (emptied, at(0), false),
            (emptied, at(8), false),
            (emptied, at(9), true),
        ] {
            assert_eq!(extent.continues(place), continues, "{extent:?} after {place}");
        }
    }
}
