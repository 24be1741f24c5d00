#![doc = include_str!("../README.md")]

mod builder;
#[cfg(feature = "sqlite")]
mod data_folder;
mod error;
mod running;
mod store;
mod streams;

pub use builder::{Builder, Presets};
pub use error::BuildError;
pub use running::{Agentex, StillBusy, WorkerHandle};

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

/// The store on a SQLite file.
#[cfg(feature = "sqlite")]
pub mod sqlite {
    pub use agentex_sqlite::*;
}
