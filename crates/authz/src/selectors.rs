use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A set of selectors in the order of their bytes. There may be ten thousands of them in every list request, so they lie
/// one after the other in one text, and a clone shares it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Selectors(Arc<Texts>);

#[derive(Default, PartialEq, Eq)]
struct Texts {
    text: String,
    /// Where each selector ends in `text`.
    ends: Vec<usize>,
}

impl Selectors {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// The selector at a place in the order.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&str> {
        let end = *self.0.ends.get(place)?;
        let start = place.checked_sub(1).map_or(0, |before| self.0.ends[before]);
        Some(&self.0.text[start..end])
    }

    /// The place of `selector` in the order.
    #[must_use]
    pub fn find(&self, selector: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle)?.cmp(selector) {
                Ordering::Equal => return Some(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Whether `selector` is among them.
    #[must_use]
    pub fn contains(&self, selector: &str) -> bool {
        self.find(selector).is_some()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.0.ends.iter().map(move |end| {
            let selector = &self.0.text[start..*end];
            start = *end;
            selector
        })
    }

    /// Of texts that are in order, possibly repeated.
    fn of_sorted<'a>(sorted: impl Iterator<Item = &'a str> + Clone) -> Self {
        let (count, length) = sorted.clone().fold((0, 0), |(count, length), text| (count + 1, length + text.len()));
        let (mut text, mut ends) = (String::with_capacity(length), Vec::with_capacity(count));
        let mut last = None;
        for selector in sorted {
            if last != Some(selector) {
                text.push_str(selector);
                ends.push(text.len());
                last = Some(selector);
            }
        }
        Self(Arc::new(Texts { text, ends }))
    }
}

impl<S: AsRef<str>> FromIterator<S> for Selectors {
    fn from_iter<I: IntoIterator<Item = S>>(selectors: I) -> Self {
        let selectors: Vec<S> = selectors.into_iter().collect();
        // Compares the first bytes before it looks at the rest, which is elsewhere in memory.
        let mut sorted: Vec<_> = selectors.iter().map(|one| (first_bytes(one.as_ref()), one.as_ref())).collect();
        sorted.sort_unstable();
        Self::of_sorted(sorted.iter().map(|(_, selector)| *selector))
    }
}

impl<S: AsRef<str>, const N: usize> From<[S; N]> for Selectors {
    fn from(selectors: [S; N]) -> Self {
        selectors.into_iter().collect()
    }
}

impl From<BTreeSet<String>> for Selectors {
    fn from(selectors: BTreeSet<String>) -> Self {
        Self::of_sorted(selectors.iter().map(String::as_str))
    }
}

impl fmt::Debug for Selectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for Selectors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Ordered like the texts, as far as they go.
fn first_bytes(text: &str) -> u64 {
    let mut first = [0; 8];
    let length = text.len().min(first.len());
    first[..length].copy_from_slice(&text.as_bytes()[..length]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_a_set_in_order(texts in prop::collection::vec("[ab\u{e9}]{0,10}", 0..40), other in "[ab]{0,3}") {
            let set: BTreeSet<String> = texts.iter().cloned().collect();
            let selectors: Selectors = texts.iter().collect();

            prop_assert_eq!(selectors.iter().collect::<Vec<_>>(), set.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!((selectors.len(), selectors.is_empty()), (set.len(), set.is_empty()));
            prop_assert_eq!(selectors.contains(&other), set.contains(&other));
            for (place, text) in set.iter().enumerate() {
                prop_assert_eq!((selectors.get(place), selectors.find(text)), (Some(text.as_str()), Some(place)));
            }
            prop_assert_eq!(selectors.get(set.len()), None);
            prop_assert_eq!(serde_json::to_string(&selectors).unwrap(), serde_json::to_string(&set).unwrap());
            prop_assert_eq!(Selectors::from(set), selectors);
        }
    }
}
