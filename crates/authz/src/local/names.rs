use std::collections::HashSet;
use std::sync::Arc;

/// How many texts are remembered.
const REMEMBERED: usize = 10_000;

/// Gives equal texts one allocation: a million relationships have a handful of types and relations between them, and
/// often few subjects.
#[derive(Debug, Default)]
pub struct Names(HashSet<Arc<str>>);

impl Names {
    /// The text, shared with earlier ones that are equal unless there were too many others.
    pub fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        if self.0.len() < REMEMBERED {
            self.0.insert(Arc::clone(&new));
        }
        new
    }
}
