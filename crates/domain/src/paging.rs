use crate::{Message, MessageId, TaskId, Timestamp};

/// Ascending or descending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    #[default]
    Descending,
}

/// One page of an offset-paged list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Most rows to return, 1 to 1000.
    pub limit: u32,
    /// 1 is the first page.
    pub page_number: u64,
}

impl PageRequest {
    /// The page size when the caller names none.
    pub const DEFAULT_LIMIT: u32 = 50;
    /// The largest page.
    pub const MAX_LIMIT: u32 = 1000;

    /// Rows before this page; saturates far beyond any table.
    #[must_use]
    pub fn offset(self) -> i64 {
        let rows = self.page_number.saturating_sub(1).saturating_mul(u64::from(self.limit));
        i64::try_from(rows).unwrap_or(i64::MAX)
    }
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: Self::DEFAULT_LIMIT, page_number: 1 }
    }
}

/// Which side of a cursor to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimeDirection {
    /// Messages before the cursor.
    #[default]
    Older,
    /// Messages after the cursor, the nearest ones.
    Newer,
}

/// A place between two messages of a task. It holds all it needs, so the message it was taken from may be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageCursor {
    /// The message it was taken from.
    pub id: MessageId,
    /// That message's time.
    pub created_at: Timestamp,
    /// That message's place in insertion order; cursors of the reference's format have none.
    pub seq: Option<i64>,
    /// That message's task; cursors of the reference's format have none.
    pub task_id: Option<TaskId>,
}

/// One page of a cursor-paged list.
#[derive(Debug, Clone, PartialEq)]
pub struct MessagePage {
    /// Newest first, whatever the direction.
    pub messages: Vec<Message>,
    /// Where the next page in the same direction begins; `None` at the end.
    pub next: Option<MessageCursor>,
}
