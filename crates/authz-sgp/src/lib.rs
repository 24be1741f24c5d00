#![doc = include_str!("../README.md")]

mod answer;
mod authenticator;
mod cache;
mod calls;
mod credentials;
mod provider;
mod sgp;
mod tls;
mod wire;

pub use authenticator::{AuthenticatorOptions, ProviderAuthenticator};
pub use cache::{CacheClock, SystemClock};
pub use credentials::Forward;
pub use provider::{ProviderAuthorizer, ProviderOptions};
pub use sgp::{ParentLookup, SgpAuthorizer, SgpOptions, SgpPaths, SgpRegister};
pub use wire::{SetupError, WireOptions};
