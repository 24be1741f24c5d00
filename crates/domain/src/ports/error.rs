/// The error of whatever library an adapter is built on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a store call did not do its job. Absence is not here: look-ups return `Option`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A unique constraint refused the write; nothing was changed.
    #[error("{what} already exists")]
    Duplicate {
        /// What exists already, for example `agent`.
        what: &'static str,
    },
    /// The row refers to one that does not exist; nothing was changed.
    #[error("{what} refers to something that does not exist")]
    Dangling {
        /// What was written, for example `message`.
        what: &'static str,
    },
    /// A row exists but is not a valid entity: a bug or a foreign writer.
    #[error("{table} row {id} is not readable")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The intent under which the row was to be written has been given up by somebody else; nothing was changed.
    #[error("registration was given up")]
    IntentLost,
    /// The store could not be reached or did not answer in time. Reads may be retried.
    #[error("store unavailable")]
    Unavailable(#[source] BoxError),
    /// The store refused the statement for another reason: a bug here.
    #[error("store refused a statement")]
    Failed(#[source] BoxError),
}

/// Why a stream call did not do its job.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The backend cannot be reached or did not answer in time; nothing was consumed.
    #[error("stream backend unavailable")]
    Unavailable(#[source] BoxError),
    /// The text is not a cursor of this backend.
    #[error("not a stream cursor")]
    BadCursor,
}
