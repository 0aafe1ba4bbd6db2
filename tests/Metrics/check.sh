#!/usr/bin/env bash
# Starts the service, makes calls of all kinds, and lets promtool judge what /metrics shows. Usage: check.sh PROMTOOL. Needs curl.
set -euo pipefail
cd "$(dirname "$0")/../.."
promtool=$1 work=$(mktemp -d) service=""
stop() {
    [ -z "$service" ] || { kill "$service" 2>/dev/null || true; wait "$service" 2>/dev/null || true; }
    rm -rf "$work"
}
trap stop EXIT

dotnet build src/Api -c Release --nologo -v quiet >"$work/build" || { cat "$work/build"; exit 1; }
Sync__Timeout=00:00:00.100 Telemetry__SessionSeries=2 Storage__Engine=memory ASPNETCORE_URLS=http://127.0.0.1:0 \
    dotnet exec src/Api/bin/Release/net10.0/BnService.Api.dll >"$work/log" 2>&1 &
service=$!
url=""
for _ in $(seq 240); do
    url=$(sed -n 's/.*Now listening on: [^h]*\(http:[^" ]*\).*/\1/p' "$work/log" | head -1)
    [ -z "$url" ] || break
    kill -0 $service 2>/dev/null || { cat "$work/log"; exit 1; }
    sleep 0.25
done

# call STATUS METHOD PATH [BODY [HEADER]]
call() {
    local status
    status=$(curl -sS -o "$work/answer" -w '%{http_code}' -X "$2" "$url$3" ${4:+-H 'Content-Type: application/json' -d "$4"} ${5:+-H "$5"})
    [ "$status" = "$1" ] || { echo "$2 $3: expected $1, got $status: $(cat "$work/answer")"; exit 1; }
}
x='[[1,2],[3,5],[4,4]]'
for session in a b c d; do
    call 201 POST /v1/sessions "{\"name\":\"$session\",\"num_features\":2}"
    call 200 POST /v1/sessions/$session/train-step "{\"x\":$x}" 'Idempotency-Key: once'
    call 200 POST /v1/sessions/$session/train-step "{\"x\":$x}" 'Idempotency-Key: once'
    call 200 POST /v1/sessions/$session/inference "{\"x\":$x}"
    call 200 POST /v1/sessions/$session/backward "{\"x\":$x,\"dy\":$x}"
    call 200 POST /v2/models/$session/infer '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
done
call 201 POST /v1/sessions/a/snapshots
call 200 POST /v2/models/a/versions/2/infer '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
call 200 POST /v1/normalize "{\"kind\":\"layer_norm\",\"normalized_shape\":[2],\"x\":$x}"
call 200 POST /v1/sessions/a/calibration/batches "{\"x\":$x}"
call 200 POST '/v1/sessions/a/sync/g/train-step?rank=0&world_size=1' "{\"x\":$x}"
call 504 POST '/v1/sessions/a/sync/g/train-step?rank=0&world_size=2' "{\"x\":$x}"
call 422 POST /v1/sessions/a/train-step '{"x":[[1,2,3]]}'
call 404 GET /v1/sessions/nosuch
call 404 GET /nosuch

curl -sS --fail "$url/metrics" >"$work/metrics"
"$promtool" check metrics <"$work/metrics" >"$work/judgement" 2>&1 || { cat "$work/judgement"; exit 1; }
[ ! -s "$work/judgement" ] || { cat "$work/judgement"; exit 1; }
for family in bnservice_http_request_duration_seconds bnservice_session_train_steps_total nv_inference_request_success \
    http_server_request_duration_seconds kestrel_active_connections dotnet_process_cpu_count; do
    grep -q "^# TYPE $family " "$work/metrics" || { echo "$family is missing"; exit 1; }
done
# promtool would have found something: it refuses this one.
if printf '# HELP bad x\n# TYPE bad counter\nbad 1\n' | "$promtool" check metrics >/dev/null 2>&1; then echo "promtool accepts anything"; exit 1; fi
echo "metrics: $(grep -c '^# TYPE' "$work/metrics") families, nothing to say against them"
