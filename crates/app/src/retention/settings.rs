use agentex_domain::CleanExtent;

/// How contents of tasks are taken away and carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionSettings {
    /// What a clean takes away. Default everything.
    pub extent: CleanExtent,
    /// Largest snapshot that is downloaded, in bytes. Default 256 MiB.
    pub max_snapshot_bytes: u64,
    /// What is cleaned regularly.
    pub sweep: SweepSettings,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { extent: CleanExtent::default(), max_snapshot_bytes: 256 * 1024 * 1024, sweep: SweepSettings::default() }
    }
}

/// Which tasks are cleaned regularly, and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepSettings {
    /// Whether any are. Default false.
    pub enabled: bool,
    /// Names of the agents whose tasks are. Default none.
    pub agents: Vec<String>,
    /// For how many days nothing must have happened. Default 7.
    pub idle_days: u32,
    /// When a sweep begins: a cron expression, in UTC. Default `0 4 * * *`.
    pub cron: String,
    /// Tasks looked up at once, at least one. Default 200.
    pub page_size: u32,
    /// Tasks cleaned at the same time, at least one. Default 20.
    pub max_in_flight: usize,
    /// Look only, take nothing away. Default true.
    pub dry_run: bool,
    /// After how many days without anything happening a running task counts as abandoned; 0 never. Default 0.
    pub stale_running_days: u32,
}

impl Default for SweepSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            agents: Vec::new(),
            idle_days: 7,
            cron: "0 4 * * *".to_owned(),
            page_size: 200,
            max_in_flight: 20,
            dry_run: true,
            stale_running_days: 0,
        }
    }
}
