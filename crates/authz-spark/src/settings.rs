use std::fmt;
use std::time::Duration;

/// Where SpiceDB is and how to talk to it.
#[derive(Clone)]
pub struct SparkSettings {
    /// The URL of the gRPC endpoint; `https` is checked against the certificates the system trusts.
    pub endpoint: String,
    /// The preshared key, sent as a bearer token.
    pub token: Option<String>,
    /// How long one call to SpiceDB may take, connecting included. Five seconds unless changed.
    pub timeout: Duration,
    /// A list of more resources than this is an error instead of an answer. 50,000 unless changed.
    pub max_list_ids: usize,
}

impl SparkSettings {
    /// Settings for the endpoint at this URL, without a token.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), token: None, timeout: Duration::from_secs(5), max_list_ids: 50_000 }
    }

    /// The same with a preshared key.
    #[must_use]
    pub fn with_token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }
}

impl fmt::Debug for SparkSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SparkSettings")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.is_some())
            .field("timeout", &self.timeout)
            .field("max_list_ids", &self.max_list_ids)
            .finish()
    }
}

/// Settings nothing can be connected with.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// The endpoint is not an `http` or `https` URL.
    #[error("the SpiceDB endpoint must be an http or https URL")]
    Endpoint,
    /// The token holds characters a header cannot.
    #[error("the SpiceDB token holds characters that cannot be sent")]
    Token,
    /// TLS cannot be set up on this machine.
    #[error("TLS to SpiceDB cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_token() {
        let shown = format!("{:?}", SparkSettings::new("http://localhost:1").with_token("s3cret"));

        assert!(shown.contains("localhost") && !shown.contains("s3cret"), "{shown}");
    }
}
