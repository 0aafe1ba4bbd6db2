#!/usr/bin/env bash
# Runs the README as a reader would: starts the service with the README's own command and runs the README's shell blocks in their
# order, on another port and with a file of its own, so that nothing that runs or lies here already is in the way. Then checks what the walk is there to show: every
# feature of the wines normalized to a mean of 0 and a variance of 1.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
service=""
stop() {
    [ -z "$service" ] || { kill -TERM -- "-$service" 2>/dev/null || true; wait "$service" 2>/dev/null || true; }
    rm -rf "$work"
}
trap stop EXIT

# Each ```sh block becomes a file of its own.
awk -v dir="$work" '/^```sh$/ { block++; inside = 1; next } /^```$/ { inside = 0 } inside { print > sprintf("%s/%02d.block", dir, block) }' README.md
start=$(grep -l '^dotnet run ' "$work"/*.block)
[ "$(wc -l <"$start")" = 1 ] || { echo "the block that starts the service must hold that one command"; exit 1; }

# Below the ports that connections are given.
port=$(awk 'BEGIN { srand(); print 20000 + int(rand() * 12000) }')
set -m # a process group of its own: dotnet run starts the service as a child
Storage__Path="$work/bn.db" ASPNETCORE_URLS="http://localhost:$port" bash "$start" >"$work/service.log" 2>&1 &
service=$!
set +m
for _ in $(seq 240); do
    ! curl -sf "http://localhost:$port/health/ready" >/dev/null || break
    kill -0 "$service" 2>/dev/null || { cat "$work/service.log"; exit 1; }
    sleep 0.5
done

# The other blocks run in one shell, as a reader's would. The two that are parts of the tests themselves are left to them.
blocks=()
for block in "$work"/*.block; do
    if [ "$block" != "$start" ] && ! grep -qE '^(\./test\.sh|docker/smoke\.sh)' "$block"; then blocks+=("$block"); fi
done
[ ${#blocks[@]} -ge 4 ] || { echo "only ${#blocks[@]} blocks were found in the README"; exit 1; }
cat "${blocks[@]}" | sed "s/localhost:5000/localhost:$port/g" >"$work/walk.sh"
bash -euo pipefail "$work/walk.sh" >"$work/walk.out" 2>"$work/walk.err" || { echo "the walk failed:"; tail -n 40 "$work/walk.out" "$work/walk.err"; exit 1; }
cat "$work/walk.out"

# The table behind the exact batch: 13 features, |mean| < 1e-6, variance within 1e-3 of 1.
awk '/after, with the exact batch/ { inside = 1; next }
     inside && $1 ~ /^[0-9]+$/ { if ($2 < 0) $2 = -$2; if (!($2 < 1e-6 && $3 > 0.999 && $3 < 1.001)) { print "not normalized:", $0; bad = 1 }; good++ }
     inside && NF == 0 { inside = 0 }
     END { if (good != 13) print "expected 13 normalized features, saw", good + 0; exit bad || good != 13 }' "$work/walk.out"
echo "readme: ${#blocks[@]} blocks run, 13 features normalized"
