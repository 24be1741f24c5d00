-- migrate: no-transaction
-- The list of trackers in its usual order.

SET statement_timeout = 0;

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_agent_task_tracker_updated
    ON agent_task_tracker (updated_at DESC, created_at DESC, id DESC);

SET statement_timeout = '30s';
