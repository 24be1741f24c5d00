use std::sync::Arc;
use std::time::Duration;

use agentex_domain::ports::EventStream;
use agentex_redis::{RedisOptions, RedisStream};
use agentex_testkit::services::redis::{RedisServer, TestRedis, redis};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline};

/// Options for tests: nobody waits a second after a failure.
pub(crate) fn options(url: impl Into<String>) -> RedisOptions {
    RedisOptions { url: url.into(), retry_base: Duration::from_millis(20), ..RedisOptions::default() }
}

/// A stream on the Redis all tests share.
pub(crate) async fn shared() -> (Arc<dyn EventStream>, Raw, TestRedis) {
    let server = redis().await;
    (connect(options(server.url())), Raw::connect(server.url()).await, server)
}

/// A stream on a Redis of its own.
pub(crate) async fn alone() -> (Arc<dyn EventStream>, Raw, RedisServer) {
    let server = RedisServer::start().await;
    (connect(options(server.url())), Raw::connect(&server.url()).await, server)
}

pub(crate) fn connect(options: RedisOptions) -> Arc<dyn EventStream> {
    Arc::new(RedisStream::connect(options).unwrap())
}

/// A client that knows nothing of ours, as an agent's.
pub(crate) struct Raw(MultiplexedConnection);

impl Raw {
    pub(crate) async fn connect(url: &str) -> Self {
        Self(redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap())
    }

    pub(crate) async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> T {
        command.query_async(&mut self.0).await.unwrap()
    }

    pub(crate) async fn run_all(&mut self, commands: &Pipeline) {
        commands.exec_async(&mut self.0).await.unwrap();
    }

    /// Runs a command given as words.
    pub(crate) async fn say<T: FromRedisValue>(&mut self, words: &str) -> T {
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        self.run(&command).await
    }

    /// Appends an entry with these fields.
    pub(crate) async fn append(&mut self, key: &str, fields: &[(&[u8], &[u8])]) -> String {
        let mut command = redis::cmd("XADD");
        command.arg(key).arg("*");
        for (name, value) in fields {
            command.arg(*name).arg(*value);
        }
        self.run(&command).await
    }
}
