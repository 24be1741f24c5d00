use std::sync::Arc;

use agentex_domain::ports::{EventStream, Probe};
use agentex_inprocess::{InProcessOptions, InProcessStream};
#[cfg(feature = "redis")]
use agentex_redis::{RedisOptions, RedisStream};

use crate::BuildError;

/// Where task streams live, before anything is set up.
#[derive(Debug)]
pub(crate) enum StreamsChoice {
    /// `None`: the default options, on the clock of the whole.
    InProcess(Option<InProcessOptions>),
    #[cfg(feature = "redis")]
    Redis(RedisOptions),
}

/// The stream backend.
#[derive(Debug)]
pub(crate) enum OpenStreams {
    InProcess(Arc<InProcessStream>),
    #[cfg(feature = "redis")]
    Redis(Arc<RedisStream>),
}

impl OpenStreams {
    /// Sets it up without talking to anybody.
    pub(crate) fn open(choice: StreamsChoice, defaults: InProcessOptions) -> Result<Self, BuildError> {
        match choice {
            StreamsChoice::InProcess(options) => {
                Ok(Self::InProcess(Arc::new(InProcessStream::new(options.unwrap_or(defaults)))))
            }
            #[cfg(feature = "redis")]
            StreamsChoice::Redis(options) => {
                RedisStream::connect(options).map(|stream| Self::Redis(Arc::new(stream))).map_err(BuildError::Streams)
            }
        }
    }

    pub(crate) fn port(&self) -> Arc<dyn EventStream> {
        match self {
            Self::InProcess(stream) => Arc::clone(stream) as Arc<dyn EventStream>,
            #[cfg(feature = "redis")]
            Self::Redis(stream) => Arc::clone(stream) as Arc<dyn EventStream>,
        }
    }

    /// What readiness asks; memory always answers.
    pub(crate) fn probes(&self) -> Vec<Arc<dyn Probe>> {
        match self {
            Self::InProcess(_) => Vec::new(),
            #[cfg(feature = "redis")]
            Self::Redis(stream) => vec![Arc::clone(stream) as Arc<dyn Probe>],
        }
    }

    /// Ends all subscriptions.
    pub(crate) fn close(&self) {
        match self {
            Self::InProcess(stream) => stream.shutdown(),
            #[cfg(feature = "redis")]
            Self::Redis(stream) => stream.shutdown(),
        }
    }
}
