//! Where and with what the figures were taken.

use std::time::SystemTime;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};

use crate::process::field;

/// What has to be said next to the figures.
#[derive(Debug)]
pub(crate) struct Machine {
    date: String,
    processor: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    postgres: String,
    redis: String,
}

impl Machine {
    pub(crate) async fn describe(postgres_url: &str, redis_url: &str) -> anyhow::Result<Self> {
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = field(&processor, "model name").map_or("unknown", |name| name.trim_start_matches([':', ' ']));
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let kib: f64 = field(&memory, "MemTotal:").unwrap_or("0").trim_end_matches("kB").trim().parse()?;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let now: DateTime<Utc> = SystemTime::now().into();
        Ok(Self {
            date: now.format("%Y-%m-%d").to_string(),
            processor: processor.to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: kib / (1024.0 * 1024.0),
            kernel: kernel.trim().to_owned(),
            postgres: describe_postgres(postgres_url).await.context("PostgreSQL")?,
            redis: describe_redis(redis_url).await.context("Redis")?,
        })
    }

    /// A list in Markdown.
    pub(crate) fn markdown(&self, command: &str) -> String {
        let Self { date, processor, cores, memory_gib, kernel, postgres, redis } = self;
        let build = if cfg!(debug_assertions) { "**debug; these figures mean nothing**" } else { "release" };
        format!(
            "- Date: {date}\n- Command: `{command}`\n- Build: {build}\n- Processor: {processor}, {cores} cores (load, \
             server and database share them)\n- Memory: {memory_gib:.0} GiB\n- Kernel: Linux {kernel}\n- PostgreSQL \
             {postgres}\n- Redis {redis}\n"
        )
    }
}

async fn describe_postgres(url: &str) -> anyhow::Result<String> {
    let mut connection = PgConnection::connect(url).await?;
    let mut described = Vec::new();
    for (statement, name) in [
        ("SHOW server_version", ""),
        ("SHOW fsync", "fsync="),
        ("SHOW synchronous_commit", "synchronous_commit="),
        ("SHOW full_page_writes", "full_page_writes="),
    ] {
        let value: String = sqlx::query_scalar(statement).fetch_one(&mut connection).await?;
        described.push(format!("{name}{value}"));
    }
    connection.close().await?;
    Ok(described.join(", "))
}

async fn describe_redis(url: &str) -> anyhow::Result<String> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    Ok(field(&info, "redis_version:").context("Redis names no version")?.to_owned())
}
