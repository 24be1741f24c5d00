use agentex_domain::ports::{Probe, ProbeError};
use async_trait::async_trait;

use crate::database::Database;

pub(crate) struct SqliteProbe {
    pub(crate) database: Database,
}

#[async_trait]
impl Probe for SqliteProbe {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn probe(&self) -> Result<(), ProbeError> {
        // Counting the schema reads the file; a constant would be answered without it.
        match sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&self.database.readers).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the database does not answer");
                Err(ProbeError("the database file cannot be read".to_owned()))
            }
        }
    }
}
