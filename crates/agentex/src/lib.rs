#![doc = include_str!("../README.md")]

mod authorization;
mod builder;
#[cfg(feature = "sqlite")]
mod data_folder;
mod error;
mod running;
mod scheduling;
mod store;
mod streams;
mod tools;

#[cfg(all(feature = "sgp", feature = "spark"))]
pub use authorization::Routed;
#[cfg(feature = "spark")]
pub use authorization::SparkOptions;
pub use authorization::{Authorization, AuthorizationLimits};
pub use builder::{Builder, Presets};
pub use error::BuildError;
pub use running::{Agentex, StillBusy, WorkerHandle};
pub use tools::{Tools, ToolsUse};

/// Calling agents.
pub mod acp {
    pub use agentex_acp::*;
}

/// The use cases.
pub mod app {
    pub use agentex_app::*;
}

/// Who may do what.
pub mod authz {
    pub use agentex_authz::*;
}

/// Authentication by OpenID Connect tokens.
#[cfg(feature = "oidc")]
pub mod oidc {
    pub use agentex_authz_oidc::*;
}

/// Permission services over HTTP.
#[cfg(feature = "sgp")]
pub mod sgp {
    pub use agentex_authz_sgp::*;
}

/// Permissions in SpiceDB.
#[cfg(feature = "spark")]
pub mod spark {
    pub use agentex_authz_spark::*;
}

/// Entities and ports.
pub mod domain {
    pub use agentex_domain::*;
}

/// The HTTP surface.
pub mod http {
    pub use agentex_http::*;
}

/// Task streams in memory.
pub mod inprocess {
    pub use agentex_inprocess::*;
}

/// The store on PostgreSQL.
#[cfg(feature = "postgres")]
pub mod postgres {
    pub use agentex_postgres::*;
}

/// Task streams on Redis.
#[cfg(feature = "redis")]
pub mod redis {
    pub use agentex_redis::*;
}

/// Schedules and background work on Temporal.
#[cfg(feature = "temporal")]
pub mod temporal {
    pub use agentex_temporal::*;
}

/// The store on a SQLite file.
#[cfg(feature = "sqlite")]
pub mod sqlite {
    pub use agentex_sqlite::*;
}
