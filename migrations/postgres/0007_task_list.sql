-- migrate: no-transaction
-- The list of live tasks in its usual order, with all that is needed to pass over the tasks a caller may not see: ids
-- are compared inside the index, and only the tasks of the page are read from the table. It takes the place of an index
-- that was not enough for that.

SET statement_timeout = 0;

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_tasks_live_updated
    ON tasks (updated_at DESC, created_at DESC, id DESC) WHERE status <> 'DELETED';

DROP INDEX CONCURRENTLY IF EXISTS ix_tasks_updated_created;

SET statement_timeout = '30s';
