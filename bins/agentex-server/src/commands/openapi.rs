use std::process::ExitCode;

/// Prints the document.
pub(crate) fn run() -> ExitCode {
    match serde_json::to_string_pretty(&agentex::http::openapi()) {
        Ok(document) => {
            super::say(&document);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("agentex: the document cannot be printed: {error}");
            ExitCode::FAILURE
        }
    }
}
