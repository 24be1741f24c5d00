#![doc = include_str!("../README.md")]

mod algorithm;
mod authenticator;
mod claims;
mod issuer;
mod keys;
mod rotation;
mod settings;
mod tls;
mod token;

pub use algorithm::{SigningAlgorithm, UnknownAlgorithm};
pub use authenticator::OidcAuthenticator;
pub use rotation::{KeyClock, SystemClock};
pub use settings::{OidcSettings, SetupError};
