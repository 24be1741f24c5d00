use std::io;

use agentex_domain::ports::SnapshotBody;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

/// How much of a document is held in memory; what is longer goes to a file that has no name.
const HELD: usize = 4 * 1024 * 1024;

/// Takes a document whose length is not known yet. It is written while a transaction is open and read when that is over, so
/// that a slow reader never holds the transaction.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    held: Vec<u8>,
    file: Option<tokio::fs::File>,
    length: u64,
}

impl Spool {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        self.held.extend_from_slice(bytes);
        if self.held.len() > HELD { self.spill().await } else { Ok(()) }
    }

    async fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = tokio::task::spawn_blocking(tempfile::tempfile).await.map_err(io::Error::other)??;
                none.insert(tokio::fs::File::from_std(file))
            }
        };
        file.write_all(&self.held).await?;
        self.held.clear();
        Ok(())
    }

    /// The document, from its beginning.
    pub(crate) async fn into_body(mut self) -> io::Result<SnapshotBody> {
        if self.file.is_some() {
            self.spill().await?;
        }
        let Self { held, file, length } = self;
        let chunks = match file {
            Some(mut file) => {
                file.flush().await?;
                file.rewind().await?;
                ReaderStream::with_capacity(file, 64 * 1024).boxed()
            }
            None => futures::stream::iter([Ok(Bytes::from(held))]).boxed(),
        };
        Ok(SnapshotBody { length, chunks })
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    async fn back(spool: Spool) -> (u64, Vec<u8>) {
        let body = spool.into_body().await.unwrap();
        let chunks: Vec<Bytes> = body.chunks.try_collect().await.unwrap();
        (body.length, chunks.concat())
    }

    #[tokio::test]
    async fn what_was_written_comes_back_in_order_from_memory_or_from_a_file() {
        for pieces in [0_usize, 1, 3, 11] {
            let mut spool = Spool::default();
            let mut expected = Vec::new();
            for piece in 0..pieces {
                let bytes = vec![u8::try_from(piece).unwrap(); 1024 * 1024];
                spool.write(&bytes).await.unwrap();
                expected.extend(bytes);
            }
            assert_eq!(spool.file.is_some(), pieces > 4, "{pieces}");

            assert!(back(spool).await == (expected.len() as u64, expected), "{pieces}");
        }
    }
}
