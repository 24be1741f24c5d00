use async_trait::async_trait;

/// Why a dependency is not usable. The text names no hosts or credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProbeError(pub String);

/// Tells readiness whether a dependency answers.
#[async_trait]
pub trait Probe: Send + Sync {
    /// The name readiness reports it under: `postgres`, `sqlite`, `redis`.
    fn name(&self) -> &'static str;

    /// Asks the dependency something trivial. The caller sets the deadline.
    async fn probe(&self) -> Result<(), ProbeError>;
}
