//! The real program, from outside.

mod commands;
mod postgres;
mod program;
mod secrets;
mod serving;
mod stopping;
