//! Numbers in place of texts: what the graph is made of, so that a decision compares integers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;

/// An object of one graph. Numbers of objects that are gone are given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node(u32);

impl Node {
    /// Stands for every object that has no relationships, so that a question about one takes no way of its own.
    pub(super) const UNKNOWN: Self = Self(u32::MAX);

    pub(super) fn of_index(index: usize) -> Self {
        Self(u32::try_from(index).expect("four thousand million objects do not fit into memory"))
    }

    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A text that many edges share: the name of a type or relation, the account of a caveat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Word(NonZeroU32);

/// Every [`Word`] of a graph. There are few, so none is ever taken back.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    numbers: HashMap<Arc<str>, Word>,
    texts: Vec<Arc<str>>,
}

impl Words {
    pub(super) fn find(&self, text: &str) -> Option<Word> {
        self.numbers.get(text).copied()
    }

    pub(super) fn number(&mut self, text: &Arc<str>) -> Word {
        if let Some(known) = self.find(text) {
            return known;
        }
        self.texts.push(Arc::clone(text));
        let number = u32::try_from(self.texts.len()).ok().and_then(NonZeroU32::new);
        let word = Word(number.expect("four thousand million texts do not fit into memory"));
        self.numbers.insert(Arc::clone(text), word);
        word
    }

    pub(super) fn text(&self, word: Word) -> &Arc<str> {
        &self.texts[word.0.get() as usize - 1]
    }
}

/// Hashing for keys made of our own numbers, which nobody outside chooses, so it need not resist anybody.
pub(super) type NumberHash = BuildHasherDefault<NumberHasher>;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write_u32(&mut self, number: u32) {
        // 2^64 divided by the golden ratio: spreads numbers that follow each other.
        self.0 = (self.0.rotate_left(32) ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    /// Of what is a hash already.
    fn write_u64(&mut self, hash: u64) {
        self.0 ^= hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
