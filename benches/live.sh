#!/bin/sh
# The live test at its large size: 4 domains, 40 mailboxes, 20,000 stored messages, 110 kills and cuts; RUNS times in a row (3).
# As root, with the packages that tests/run installs. Each run prints what became of the messages, or fails.
cd "$(dirname "$0")/.." || exit
run=0
while [ "$run" -lt "${1:-3}" ]; do
    run=$((run + 1))
    echo "run $run"
    CUTOVER_LIVE=large cargo test --quiet --locked --test all live:: -- --nocapture || exit
done
