use std::net::SocketAddr;
use std::time::Duration;

use agentex::app::SecretsKey;
use tracing_subscriber::EnvFilter;

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything.
    Text,
    /// `true`, `false`, `1` or `0` in any case.
    Bool,
    /// Like [`Kind::Bool`], with blanks around it; an empty text is no way to leave it unset.
    StrictBool,
    /// Like [`Kind::Bool`], and `yes` and `no`.
    Yes,
    /// A whole number.
    Whole {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A number of seconds, fractions allowed.
    Seconds {
        /// Whether it may be zero.
        zero: bool,
    },
    /// A part of a whole, from 0 to 1.
    Share,
    /// Texts separated by commas.
    List,
    /// Numbers of ports separated by commas.
    Ports,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// Where the store is.
    DatabaseUrl,
    /// Where a PostgreSQL server is.
    PostgresUrl,
    /// Where a Redis server is.
    RedisUrl,
    /// Where something is that is called over HTTP.
    HttpUrl,
    /// Where a SpiceDB is.
    SpiceDbEndpoint,
    /// An address and a port.
    Address,
    /// 32 bytes.
    SecretsKey,
    /// Log directives.
    LogFilter,
}

const POSTGRES: [&str; 3] = ["postgres://", "postgresql://", "postgresql+asyncpg://"];
const SQLITE: &str = "sqlite:";

impl Kind {
    /// Whether `text` is such a value.
    pub(crate) fn accepts(self, text: &str) -> bool {
        match self {
            Self::Text | Self::List => true,
            Self::Bool => boolean(text).is_some(),
            Self::StrictBool => boolean(text.trim()).is_some(),
            Self::Ports => ports(text).is_some_and(|ports| !ports.is_empty()),
            Self::Yes => yes(text).is_some(),
            Self::Whole { min, max } => text.parse::<u64>().is_ok_and(|number| (min..=max).contains(&number)),
            Self::Seconds { zero } => seconds(text).is_some_and(|time| zero || !time.is_zero()),
            Self::Share => share(text).is_some(),
            Self::OneOf(texts) => texts.contains(&text),
            Self::DatabaseUrl => is_postgres(text) || sqlite_path(text).is_some(),
            Self::PostgresUrl => is_postgres(text),
            Self::RedisUrl => ["redis://", "rediss://"].iter().any(|scheme| has_more(text, scheme)),
            Self::HttpUrl => is_plain_http(text),
            Self::SpiceDbEndpoint if text.contains("://") => is_plain_http(text),
            Self::SpiceDbEndpoint => is_plain_http(&format!("http://{text}")),
            Self::Address => text.parse::<SocketAddr>().is_ok(),
            Self::SecretsKey => SecretsKey::parse(text).is_ok(),
            Self::LogFilter => EnvFilter::builder().parse(text).is_ok(),
        }
    }

    /// What is allowed, in words.
    pub(crate) fn allowed(self) -> String {
        match self {
            Self::Text => "any text".to_owned(),
            Self::Bool | Self::StrictBool => "true/false/1/0".to_owned(),
            Self::Yes => "true/false/1/0/yes/no".to_owned(),
            Self::Whole { min, max } if max >= u64::from(u32::MAX) => format!("a whole number, at least {min}"),
            Self::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Self::Seconds { zero: true } => "a number of seconds, at least 0".to_owned(),
            Self::Seconds { zero: false } => "a number of seconds above 0".to_owned(),
            Self::Share => "a number from 0 to 1".to_owned(),
            Self::List => "texts separated by commas".to_owned(),
            Self::Ports => "numbers from 1 to 65535, separated by commas".to_owned(),
            Self::OneOf(texts) => texts.join("/"),
            Self::DatabaseUrl => "postgres://…, postgresql://…, postgresql+asyncpg://… or sqlite://PATH".to_owned(),
            Self::PostgresUrl => "postgres://…, postgresql://… or postgresql+asyncpg://…".to_owned(),
            Self::RedisUrl => "redis://… or rediss://…".to_owned(),
            Self::HttpUrl => "http://… or https://…, without user, query and fragment".to_owned(),
            Self::SpiceDbEndpoint => "HOST:PORT, http://… or https://…".to_owned(),
            Self::Address => "an address with a port, such as 127.0.0.1:9090".to_owned(),
            Self::SecretsKey => "32 bytes, as 64 hexadecimal digits or base64".to_owned(),
            Self::LogFilter => {
                "a level (error/warn/info/debug/trace) or directives such as info,agentex=debug".to_owned()
            }
        }
    }
}

/// Reads a strict boolean.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a boolean that may also be said in words.
pub(crate) fn yes(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        other => boolean(other),
    }
}

/// Reads a number of seconds, at most as many as a year has, so that adding it to a time cannot overflow.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    const YEAR: f64 = 366.0 * 86400.0;
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=YEAR).contains(number))?;
    Some(Duration::from_secs_f64(number))
}

/// Reads a number from 0 to 1.
pub(crate) fn share(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number))
}

/// Whether something can be called there without giving away more than where it is.
fn is_plain_http(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

/// Reads a comma-separated list; blanks around items and empty items do not count.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Whether the URL leads to PostgreSQL.
pub(crate) fn is_postgres(url: &str) -> bool {
    POSTGRES.iter().any(|scheme| has_more(url, scheme))
}

/// The file behind `sqlite://PATH` or `sqlite:PATH`; a third slash begins an absolute path.
pub(crate) fn sqlite_path(url: &str) -> Option<&str> {
    let rest = url.strip_prefix(SQLITE)?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    // A database in memory would be another one for every connection, and options after `?` are not passed on.
    (!path.is_empty() && !path.starts_with(':') && !path.contains('?')).then_some(path)
}

/// Reads a comma-separated list of ports.
pub(crate) fn ports(text: &str) -> Option<Vec<u16>> {
    list(text).iter().map(|item| item.parse().ok().filter(|port| *port > 0)).collect()
}

fn has_more(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// conventions §11: 55
    #[test]
    fn booleans_are_strict_in_any_case() {
        assert_eq!(["True", "1", "FALSE", "0"].map(boolean), [Some(true), Some(true), Some(false), Some(false)]);
        assert_eq!(["maybe", "yes", "", " true", "on"].map(boolean), [None; 5]);
        assert_eq!(["yes", "No", "on"].map(yes), [Some(true), Some(false), None]);
    }

    #[test]
    fn seconds_are_finite_and_not_negative() {
        assert_eq!(seconds("2.5"), Some(Duration::from_millis(2500)));
        assert_eq!(["-1", "inf", "NaN", "abc", "1e300", ""].map(seconds), [None; 6]);
        assert!(!Kind::Seconds { zero: false }.accepts("0") && Kind::Seconds { zero: true }.accepts("0"));
    }

    #[test]
    fn database_urls_name_postgresql_or_a_file() {
        for good in ["postgres://h/d", "postgresql://h/d", "postgresql+asyncpg://h/d", "sqlite://a.db", "sqlite:a.db"] {
            assert!(Kind::DatabaseUrl.accepts(good), "{good}");
        }
        for bad in ["mysql://h/d", "postgres://", "h/d", "sqlite://", "sqlite::memory:", "sqlite://a.db?mode=ro"] {
            assert!(!Kind::DatabaseUrl.accepts(bad), "{bad}");
        }
        assert_eq!(sqlite_path("sqlite:///var/lib/a.db"), Some("/var/lib/a.db"));
        assert_eq!(sqlite_path("sqlite://a/b.db"), Some("a/b.db"));
    }

    #[test]
    fn urls_of_services_carry_nothing_but_an_address() {
        for good in ["http://auth", "https://auth.example/base/", "http://[::1]:8080"] {
            assert!(Kind::HttpUrl.accepts(good), "{good}");
        }
        for bad in ["auth:8080", "ftp://auth", "http://", "http://u:p@auth", "https://auth?x=1", "https://auth#x"] {
            assert!(!Kind::HttpUrl.accepts(bad), "{bad}");
        }
        assert!(
            ["spicedb:50051", "http://spicedb:50051", "https://s"].iter().all(|it| Kind::SpiceDbEndpoint.accepts(it))
        );
        assert!(["grpc://spicedb:50051", "u:p@spicedb:1", ""].iter().all(|it| !Kind::SpiceDbEndpoint.accepts(it)));
    }

    #[test]
    fn lists_forgive_blanks_and_empty_items() {
        assert_eq!(list(" a, ,b,"), ["a", "b"]);
        assert!(list("").is_empty());
    }
}
