use std::pin::Pin;
use std::task::{Context, Poll};

use sqlx::pool::MaybePoolConnection;
use sqlx::{PgPool, Postgres, SqlStr, Transaction};

type Began = Result<Transaction<'static, Postgres>, sqlx::Error>;

/// Begins a transaction. Dropping it rolls back, and so does dropping the answer before it is there.
///
/// The pool's own `begin` leaves the transaction open when its caller goes away before the server has answered: whoever
/// gets the connection next then writes into a transaction that nobody commits.
pub(crate) async fn begin(pool: &PgPool) -> Began {
    begin_as(pool, None).await
}

/// As [`begin`], by a statement of the caller's.
pub(crate) async fn begin_with(pool: &PgPool, statement: &'static str) -> Began {
    begin_as(pool, Some(SqlStr::from_static(statement))).await
}

async fn begin_as(pool: &PgPool, statement: Option<SqlStr>) -> Began {
    let connection = MaybePoolConnection::PoolConnection(pool.acquire().await?);
    Finished(Some(Transaction::begin(connection, statement))).await
}

/// Goes on by itself when it is dropped before its end; what it comes to is dropped then.
struct Finished(Option<Pin<Box<dyn Future<Output = Began> + Send>>>);

impl Future for Finished {
    type Output = Began;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Began> {
        let beginning = self.0.as_mut().expect("a future is not polled after its end");
        let began = std::task::ready!(beginning.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(began)
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        // Without a runtime the connection cannot be used again either.
        if let (Some(beginning), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(beginning);
        }
    }
}
