use std::fmt;
use std::time::Duration;

/// Where Redis is and how the task streams are kept there.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// `redis://[user:password@]host:port[/db]`, or `rediss://` for TLS (the process must have a rustls provider
    /// installed). Default `redis://127.0.0.1:6379`.
    pub url: String,
    /// Entries kept per task, approximately: Redis may keep some more. Default 10 000.
    pub max_len: usize,
    /// Seconds after the last entry published here when a task's stream is forgotten; 0 never. Default 3600.
    pub ttl_seconds: u64,
    /// Put before `task:<task_id>`. Agents write to the same keys, so it is empty unless they use it too.
    pub key_prefix: String,
    /// How long to wait for a connection to be made. Default 20 s.
    pub connection_timeout: Duration,
    /// How long to wait for the answer to a command. Default 30 s.
    pub response_timeout: Duration,
    /// The pause after the first failure to read; it doubles with each further one, up to thirty times as long. Default
    /// 1 s, that is 1, 2, 4, 8, 16, 30 s.
    pub retry_base: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            max_len: 10_000,
            ttl_seconds: 3600,
            key_prefix: String::new(),
            connection_timeout: Duration::from_secs(20),
            response_timeout: Duration::from_secs(30),
            retry_base: Duration::from_secs(1),
        }
    }
}

impl RedisOptions {
    /// The pause after the `failures`-th failure in a row, counted from 1.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        self.retry_base * 2_u32.pow(failures.saturating_sub(1).min(5)).min(30)
    }
}

impl fmt::Debug for RedisOptions {
    // The URL is left out: it holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("max_len", &self.max_len)
            .field("ttl_seconds", &self.ttl_seconds)
            .field("key_prefix", &self.key_prefix)
            .field("connection_timeout", &self.connection_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("retry_base", &self.retry_base)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_thirty_times_the_first() {
        let options = RedisOptions::default();

        let pauses: Vec<_> = (1..=8).map(|failures| options.pause(failures).as_secs()).collect();

        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn the_password_is_not_in_the_debug_text() {
        let options = RedisOptions { url: "redis://:secret@host".into(), ..RedisOptions::default() };

        assert!(!format!("{options:?}").contains("secret"));
    }
}
