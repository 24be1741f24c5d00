use std::sync::Mutex;

use spicedb_grpc_tonic::v1::{Consistency, ZedToken, consistency::Requirement};

/// How much of what was written a read has to see.
///
/// Tokens cannot be compared, so one of them stands for all writes only when its write began after every other one had
/// ended and nobody else wrote meanwhile. In every other case reads ask for the newest state.
#[derive(Debug, Default)]
pub(crate) struct Freshness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Whether two of the running writes overlapped, or the outcome of one is not known.
    tangled: bool,
    seen: Seen,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Seen {
    #[default]
    NothingWritten,
    UpTo(ZedToken),
    Unclear,
}

/// A write that is under way. Dropping it without [`Write::done`] says that nobody knows whether it happened.
pub(crate) struct Write<'a> {
    freshness: &'a Freshness,
    token: Option<ZedToken>,
}

impl Freshness {
    pub(crate) fn begin_write(&self) -> Write<'_> {
        let mut state = self.state();
        state.tangled = state.running > 0;
        state.running += 1;
        Write { freshness: self, token: None }
    }

    /// The consistency of a read that has to count every completed write.
    pub(crate) fn of_read(&self) -> Consistency {
        let requirement = match &self.state().seen {
            Seen::NothingWritten => Requirement::MinimizeLatency(true),
            Seen::UpTo(token) => Requirement::AtLeastAsFresh(token.clone()),
            Seen::Unclear => Requirement::FullyConsistent(true),
        };
        Consistency { requirement: Some(requirement) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the state")
    }
}

/// The consistency of a read that has to see everything anybody wrote.
pub(crate) fn newest() -> Consistency {
    Consistency { requirement: Some(Requirement::FullyConsistent(true)) }
}

impl Write<'_> {
    /// The write happened, as of `token`.
    pub(crate) fn done(mut self, token: Option<ZedToken>) {
        self.token = token;
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        let mut state = self.freshness.state();
        state.running -= 1;
        state.seen = match self.token.take() {
            Some(token) if !state.tangled => Seen::UpTo(token),
            _ => Seen::Unclear,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Option<ZedToken> {
        Some(ZedToken { token: text.to_owned() })
    }

    fn asked(freshness: &Freshness) -> Requirement {
        freshness.of_read().requirement.unwrap()
    }

    #[test]
    fn reads_are_as_fresh_as_the_last_write_that_ran_alone() {
        let freshness = Freshness::default();
        assert_eq!(asked(&freshness), Requirement::MinimizeLatency(true));

        freshness.begin_write().done(token("1"));
        assert_eq!(asked(&freshness), Requirement::AtLeastAsFresh(token("1").unwrap()));

        freshness.begin_write().done(token("2"));
        assert_eq!(asked(&freshness), Requirement::AtLeastAsFresh(token("2").unwrap()));
    }

    #[test]
    fn overlapping_writes_make_reads_ask_for_the_newest_until_one_runs_alone() {
        let freshness = Freshness::default();
        let (first, second) = (freshness.begin_write(), freshness.begin_write());
        second.done(token("2"));
        assert_eq!(asked(&freshness), Requirement::FullyConsistent(true));
        first.done(token("1"));
        assert_eq!(asked(&freshness), Requirement::FullyConsistent(true), "nobody knows which of them was last");

        freshness.begin_write().done(token("3"));
        assert_eq!(asked(&freshness), Requirement::AtLeastAsFresh(token("3").unwrap()));
    }

    #[test]
    fn a_chain_of_overlaps_is_as_unclear_as_one() {
        let freshness = Freshness::default();
        let first = freshness.begin_write();
        let second = freshness.begin_write();
        first.done(token("1"));
        let third = freshness.begin_write();
        second.done(token("2"));
        third.done(token("3"));

        assert_eq!(asked(&freshness), Requirement::FullyConsistent(true));
    }

    #[test]
    fn a_write_that_was_given_up_may_have_happened() {
        let freshness = Freshness::default();
        drop(freshness.begin_write());

        assert_eq!(asked(&freshness), Requirement::FullyConsistent(true));
    }
}
