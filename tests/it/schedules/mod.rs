//! Schedules of both kinds over the real program: with Temporal and without, with the work done by the servers or by workers
//! of their own, and what is left when any of them is killed in the middle of an occurrence.
//!
//! What is promised of one occurrence: it creates one task, and is one event or one first message of that task, however often
//! it must be begun again. An agent that had the call already when the process died gets it once more, with the same ids and
//! the same `x-idempotency-key`; an agent that has answered does not.

mod kills;
mod life;
mod outages;
mod site;
