-- Which commits of an agent were deployed, and when.

CREATE TABLE deployment_history (
    id                   TEXT NOT NULL PRIMARY KEY,
    agent_id             TEXT NOT NULL REFERENCES agents (id),
    author_name          TEXT NOT NULL,
    author_email         TEXT NOT NULL,
    branch_name          TEXT NOT NULL,
    build_timestamp      INTEGER NOT NULL,
    deployment_timestamp INTEGER NOT NULL,
    commit_hash          TEXT NOT NULL
) STRICT;

CREATE INDEX ix_deployment_history_agent_ts ON deployment_history (agent_id, deployment_timestamp, id);

-- Deployments of an agent, newest first.
CREATE INDEX ix_deployments_agent_created ON deployments (agent_id, created_at, id);
