# List the recipes.
default:
    @just --list

# Install what the tests need.
setup:
    scripts/setup

# Run the server on the embedded store.
serve *args:
    cargo run -- serve {{args}}

# Run every test.
test *args:
    scripts/test {{args}}

# What CI runs.
ci:
    bash .ci/run

# Format and lint.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --features agentex-server/full -- -D warnings

# Write the generated OpenAPI document anew.
openapi:
    UPDATE_OPENAPI=1 cargo nextest run -p agentex-http openapi

# Measure the hot paths and print one table.
bench *args:
    scripts/bench {{args}}

# Crash it many times and count rows without edges and edges without rows.
crash *args:
    scripts/crash {{args}}

# Check licences, sources and duplicate bans of the dependencies.
deny:
    cargo deny --offline check bans licenses sources
