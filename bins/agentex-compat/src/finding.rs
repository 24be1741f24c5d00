//! One difference and how it is printed.

use std::fmt;

/// What a difference does to a client of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Theirs has it, ours has not.
    Missing,
    /// Ours refuses something in a request that theirs takes.
    Narrower,
    /// Ours answers with something that theirs never does.
    Wider,
    /// The same thing with another name or default.
    Changed,
    /// Ours alone has it. Breaks nobody.
    Extra,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Missing, Self::Narrower, Self::Wider, Self::Changed, Self::Extra];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Narrower => "narrower",
            Self::Wider => "wider",
            Self::Changed => "changed",
            Self::Extra => "extra",
        }
    }
}

/// One difference.
///
/// Ordered by kind, then by place. Two findings are about the same thing when [`Finding::key`] is equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    /// Where: an operation with one of its parts, or a field of a schema in a request or a response.
    pub(crate) place: String,
    /// What exactly; empty when kind and place say it all.
    pub(crate) detail: String,
}

impl Finding {
    /// What the table of deliberate differences names it by.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.kind.as_str(), self.place)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:<8} {}", self.kind.as_str(), self.place)?;
        if !self.detail.is_empty() {
            write!(out, ": {}", self.detail)?;
        }
        Ok(())
    }
}
