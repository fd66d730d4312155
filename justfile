# The words of this house. `just` lists them.
default:
    @just --list

# The whole gate, as CI runs it
check *ARGS:
    ./check {{ARGS}}

# Formatting, lints and Rust tests only
test:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# Everything in one process, with simulated people
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# 10,000 readings a second against the release binary, beside the disk's own bound
bench:
    cargo build --release --workspace
    ./benches/spine

# What a connection costs and how fast meters come in
bench-edge:
    cargo build --release --workspace
    cargo build --release -p broker --example crowd
    ./benches/edge

# A million bent messages through the listener
fuzz SEED="1" INPUTS="1000000":
    cargo build --release --workspace
    .venv/bin/python tests/fuzz/edge.py --seed {{SEED}} --inputs {{INPUTS}}

# What the store must carry: each figure beside its bound, about ten minutes
bench-store:
    cargo build --release --workspace
    cargo build --release -p store --example journal_bench
    ./benches/store

# Kill the release binary 200 times, cut its power 1,000 times, break its disk; compare the clients' lists with the store
crash SEED="1":
    cargo build --release --workspace
    python3 tests/crash/kill9.py --long --seed {{SEED}}
    python3 tests/crash/powerloss.py --long --seed {{SEED}}
    python3 tests/crash/outages.py
    python3 tests/crash/questdb_outages.py

# Rebuild the pages that are committed under dashboard-api/web/dist
web:
    cd dashboard-api/web && npm ci && npm run check && npm run build

# A real QuestDB on loopback with its console, on free ports; data in target/questdb/data
questdb:
    tests/questdb/server console

# Ends it
questdb-stop:
    tests/questdb/server stop

# What the rules cost: readings a second, bytes a patient, patient-years a second, allocations a reading.
rules-bench:
    cargo run --release -p rules --example rules_bench

# Rows a second to a real QuestDB, and how late they are visible
questdb-bench:
    cargo run --release -p store --example questdb_bench

# The rules against the virtual cohort: five seeds, every bar of the contract, naive thresholds beside them
truth:
    cargo build --release --workspace --example truth
    mkdir -p target/truth
    for seed in 1 2 3 4 5; do target/release/examples/truth cohort --seed $seed --counts target/truth/$seed.json > target/truth/$seed.txt; [ $? -le 1 ] || exit 2; done
    target/release/examples/truth pool target/truth/?.json

# A small cohort through the running service and through the pure evaluator: the same findings
truth-service *ARGS:
    cargo build --release --workspace
    cargo build --release --workspace --example truth
    python3 tests/truth/cohort.py {{ARGS}}

# Alerts on recorded readings of real people; prints docs/burden.md
burden FOLDER="../shared/data":
    cargo build --release --workspace --example truth
    target/release/examples/truth burden {{FOLDER}}

# A page of the worklist with 100,000 patients in the file, and a year of days, each beside the naive way
worklist-bench:
    cargo run --release -p store --example worklist_bench
