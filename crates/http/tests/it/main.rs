//! The wire, whole: real use cases on a real store, stream and agent client, spoken to as a client would.
//!
//! Numbers in doc comments are those of the lists of behaviours in the public contract of the resource.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod access;
mod agents;
mod api_keys;
mod authentication;
mod conventions;
mod cors;
mod documents;
mod endpoints;
mod forwarding;
mod health;
mod hidden;
mod logs;
mod messages;
mod recording;
mod rights;
mod rights_agents;
mod rights_registration;
mod rpc;
mod streams;
mod support;
mod tasks;
mod turns;
