//! The wire, whole: real use cases on a real store, stream and agent client, spoken to as a client would.
//!
//! Numbers in doc comments are those of the lists of behaviours in the public contract of the resource.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod access;
mod agents;
mod api_keys;
mod authentication;
mod checkpoints;
mod conventions;
mod cors;
mod deployment_history;
mod deployments;
mod documents;
mod endpoints;
mod events;
mod forwarding;
mod gateways;
mod health;
mod hidden;
mod hidden_latency;
mod logs;
mod messages;
mod recording;
mod retention;
mod retries;
mod rights;
mod rights_agents;
mod rights_registration;
mod rpc;
mod schedules;
mod spans;
mod states;
mod stream_metrics;
mod streams;
mod support;
mod tasks;
mod trackers;
mod turns;
