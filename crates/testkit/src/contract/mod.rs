//! The promises of the ports as tests: every adapter runs them against its real service.

pub mod streams;
