-- migrate: no-transaction
-- Indexes on the reference's tables. They may be large and in use, so each is built without blocking writers, which
-- cannot happen inside a transaction. The runner drops what an interrupted build left behind before it starts one
-- again.

-- A build takes as long as the table is large. A lock that it cannot get still stops it.
SET statement_timeout = 0;

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_task_agents_agent_task ON task_agents (agent_id, task_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_tasks_updated_created ON tasks (updated_at DESC, created_at DESC);

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_tasks_retention ON tasks (id) INCLUDE (updated_at) WHERE cleaned_at IS NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_events_task ON events (task_id, sequence_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_agent_task_tracker_task ON agent_task_tracker (task_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_spans_task_start ON spans (task_id, start_time DESC, id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_spans_start ON spans (start_time DESC, id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_agent_run_schedules_agent_created
    ON agent_run_schedules (agent_id, created_at DESC) WHERE deleted_at IS NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_agent_api_keys_agent_name_type
    ON agent_api_keys (agent_id, name, api_key_type);

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_agent_api_keys_api_key_digest ON agent_api_keys (api_key_digest);

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_deployment_history_agent_ts
    ON deployment_history (agent_id, deployment_timestamp DESC);

SET statement_timeout = '30s';
