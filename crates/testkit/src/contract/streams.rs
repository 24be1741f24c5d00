//! What every `EventStream` must do.
