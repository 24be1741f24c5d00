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
    UPDATE_OPENAPI=1 cargo nextest run -p agentex-http committed_document

# Compare our OpenAPI document with another one (YAML or JSON) and print what is missing, narrower, wider, changed or extra.
compat spec:
    cargo run -q -p agentex-compat -- '{{join(invocation_directory(), spec)}}'

# Measure the hot paths and print one table.
bench *args:
    scripts/bench {{args}}

# Measure whether refusals of what is hidden take as long as refusals of what is absent; wants a machine that does nothing else.
latency:
    cargo test --release -p agentex-http --test it -- --ignored --nocapture hidden_latency

# Crash it many times and count rows without edges and edges without rows.
crash *args:
    scripts/crash {{args}}

# Make requests from the API document, valid and broken, and look at the answers.
fuzz *args:
    cargo build -p agentex-server -p agentex-testkit --features agentex-server/full --bins
    scripts/fuzz {{args}}

# Check licences, sources and duplicate bans of the dependencies.
deny:
    cargo deny --offline check bans licenses sources
