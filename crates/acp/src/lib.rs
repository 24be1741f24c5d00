#![doc = include_str!("../README.md")]

mod chat;
mod client;
mod forward;
mod headers;
mod health;
mod limit;
mod measure;
mod options;
mod reply;
mod request;
mod resolve;
mod stream;
mod tls;
mod transfer;

pub use chat::{ChatClients, ChatOptions, DirectoryClient, LinearClient, SlackClient};
pub use client::AcpClient;
pub use options::{AcpOptions, AcpSetupError, PassThrough};
pub use transfer::{AddressPolicy, HostResolver, HttpTransfer, TransferOptions};
