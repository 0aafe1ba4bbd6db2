#!/usr/bin/env bash
# Builds the image, starts it and checks from outside that it works: that it needs a key, the answers with their numbers, the user, the
# health check, the log, and that a stop lets the request in flight finish. Ends at the first failure, with the container's log.
#
# Usage: docker/smoke.sh
#   SMOKE_ENGINE=docker|podman|buildah   the engine to use; by default the first one that works, in this order
#   SMOKE_KEEP=1                         leave the image behind, localhost/bnservice:smoke-<process id>
# Needs bash, curl and python3. With buildah (as root; neither registry nor daemon needed) the service runs on the network
# of this machine, and docker/base-images.sh makes the base images that cannot be pulled.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

image=localhost/bnservice:smoke-$$ # its own, so that two runs do not remove each other's
engine=${SMOKE_ENGINE:-}
work=$(mktemp -d)
container='' # its id, once it is made
volume=bnservice-smoke-$$ # its data, which outlives the runs of the program before it; with buildah they lie in the container
key=''       # what calls are made with
runner=''    # the `buildah run` that the service is below, while it runs
checks=0

ok() { checks=$((checks + 1)); echo "ok: $*"; }
fail() { touch "$work/reported"; echo "FAILED: $*" >&2; exit 1; }

cleanup() {
    local status=$? pid
    trap - EXIT
    trap '' INT TERM # the cleaning up itself is not to be cut short
    set +e
    if [[ $status != 0 ]]; then
        [[ -e $work/reported ]] || echo "FAILED: unexpected error (status $status)" >&2
        fetch_log
        if [[ -s $work/log || -s $work/stderr ]]; then
            echo '--- log of the container:' >&2
            tail -q -n 100 "$work/log" "$work/stderr" >&2
        fi
    fi
    if [[ -n $runner ]]; then
        pid=$(service_pid) && kill -KILL "$pid"
        wait "$runner" 2>/dev/null
    fi
    case $engine in
        buildah)
            [[ -z $container ]] || buildah rm "$container" >/dev/null
            [[ ${SMOKE_KEEP:-} == 1 ]] || buildah rmi "$image" >/dev/null 2>&1 ;;
        docker | podman)
            [[ -z $container ]] || "$engine" rm -f "$container" >/dev/null
            "$engine" volume rm -f "$volume" >/dev/null 2>&1
            [[ ${SMOKE_KEEP:-} == 1 ]] || "$engine" rmi "$image" >/dev/null 2>&1 ;;
    esac
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# --- What the engines do differently ----------------------------------------------------------------------------------

pick_engine() {
    [[ -z $engine ]] || return 0
    for engine in docker podman; do
        # That the command exists proves little: there may be no daemon, or no right to use it.
        if command -v "$engine" >/dev/null && timeout 20 "$engine" info >/dev/null 2>&1; then return 0; fi
    done
    engine=buildah
}

build() {
    # Where there is a choice, in the docker format, because the OCI format has no health check.
    case $engine in
        docker) docker build -t "$image" . ;;
        podman) podman build --format docker -t "$image" . ;;
        buildah) base_images && buildah bud --pull-never --format docker -t "$image" . ;;
    esac
}

# base_images: gets them from their registry if it can be reached, and otherwise has stand-ins made.
base_images() {
    command -v buildah >/dev/null || docker/base-images.sh || return
    local base
    for base in $(docker/base-images.sh --list); do
        buildah inspect --type image "$base" >/dev/null 2>&1 || timeout 300 buildah pull "$base" || docker/base-images.sh || return
    done
}

# configured KEY: a list in the image's configuration, a line for each item. What runs here is what the image says.
configured() {
    if [[ $engine == buildah ]]; then buildah inspect --type image --format "{{range .Docker.Config.$1}}{{println .}}{{end}}" "$image"
    else "$engine" image inspect --format "{{range .Config.$1}}{{println .}}{{end}}" "$image"; fi | sed '/^$/d'
}

# once ARGUMENTS...: runs the program until it ends by itself, with the data that the container has later.
once() {
    if [[ $engine == buildah ]]; then
        local command
        mapfile -t command < <(configured Entrypoint)
        [[ -n $container ]] || container=$(buildah from --pull-never "$image")
        buildah run --env ASPNETCORE_HTTP_PORTS=0 "$container" -- "${command[@]}" "$@" </dev/null
    else
        timeout 60 "$engine" run --rm -v "$volume:/data" --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges "$image" "$@"
    fi
}

# start: runs the container, locked up as in compose.yaml where the engine can do it, and sets port; a second time the same one again.
start() {
    if [[ $engine == buildah ]]; then
        local command
        mapfile -t command < <(configured Entrypoint)
        port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        [[ -n $container ]] || container=$(buildah from --pull-never "$image")
        buildah run --env "ASPNETCORE_HTTP_PORTS=$port" "$container" -- "${command[@]}" >"$work/log" 2>"$work/stderr" </dev/null &
        runner=$!
    else
        if [[ -n $container ]]; then "$engine" start "$container" >/dev/null; else container=$("$engine" run -d -p 127.0.0.1::8080 -v "$volume:/data" --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges "$image"); fi
        port=$("$engine" port "$container" 8080/tcp | sed -n '1s/.*://p')
    fi
}

# inside COMMAND...: runs it in the running container.
inside() {
    if [[ $engine == buildah ]]; then buildah run --env "ASPNETCORE_HTTP_PORTS=$port" "$container" -- "$@"
    else "$engine" exec "$container" "$@"; fi
}

# service_pid: under chroot isolation the service is an ordinary process of this machine, some levels below `buildah run`.
service_pid() {
    local pid=$runner
    while pid=$(cat /proc/[0-9]*/status 2>/dev/null | awk -v parent="$pid" '/^Pid:/ { pid = $2 } /^PPid:/ && $2 == parent { print pid; exit }'); [[ -n $pid ]]; do
        if [[ $(readlink "/proc/$pid/exe") == */dotnet ]]; then
            echo "$pid"
            return 0 # not just `return`: in a trap that would return the status from before the trap
        fi
    done
    return 1
}

user_id() {
    if [[ $engine == buildah ]]; then cat "/proc/$(service_pid)/status"
    else inside cat /proc/1/status; fi | awk '$1 == "Uid:" { print $3 }'
}

terminate() {
    if [[ $engine == buildah ]]; then kill -TERM "$(service_pid)"
    else "$engine" kill --signal TERM "$container" >/dev/null; fi
}

running() {
    if [[ $engine == buildah ]]; then kill -0 "$runner" 2>/dev/null
    else [[ $("$engine" inspect --format '{{.State.Running}}' "$container") == true ]]; fi
}

# exited: sets code to the exit code of the service, which is no longer running.
exited() {
    code=0
    if [[ $engine == buildah ]]; then
        wait "$runner" || code=$?
        runner=''
    else
        code=$("$engine" inspect --format '{{.State.ExitCode}}' "$container")
    fi
}

# fetch_log: brings $work/log and $work/stderr up to date; with buildah they always are.
fetch_log() {
    if [[ $engine != buildah && -n $container ]]; then "$engine" logs "$container" >"$work/log" 2>"$work/stderr"; fi
}

# --- Requests and what is to be found in answers and log --------------------------------------------------------------

ready() { [[ $(curl -s -m 2 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/health/ready") == 200 ]]; }

# eventually SECONDS COMMAND...: repeats the command until it succeeds.
eventually() {
    local deadline=$((SECONDS + $1)); shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# call STATUS METHOD PATH [BODY]: sends the request and puts the body of the answer into $work/answer.
call() {
    local expected=$1 method=$2 path=$3 body=${4:-} status
    status=$(curl -sS -m 30 -o "$work/answer" -w '%{http_code}' -X "$method" "http://127.0.0.1:$port$path" ${key:+-H "Authorization: Bearer $key"} \
        ${body:+-H 'Content-Type: application/json' --data-binary "$body"}) || fail "$method $path: no answer"
    [[ $status == "$expected" ]] || fail "$method $path: status $status instead of $expected, $(head -c 2000 "$work/answer")"
}

# decode FILE: takes an answer apart as it came over the network, in chunks or not; prints its status and puts its body
# into $work/answer.
decode() {
    python3 - "$1" "$work/answer" 2>/dev/null <<'PYTHON'
import http.client, sys

class Received:
    """As much of a socket as http.client asks for."""
    def makefile(self, *_):
        return open(sys.argv[1], "rb")

response = http.client.HTTPResponse(Received())
response.begin()
open(sys.argv[2], "wb").write(response.read())
print(response.status)
PYTHON
}

# answer FIELD: prints a field of the last answer (a.b is b within a).
# answer FIELD EXPRESSION: checks that its numbers are those of the Python expression, as closely as float32 allows.
answer() {
    python3 - "$work/answer" "$@" <<'PYTHON' || fail "the answer was $(head -c 2000 "$work/answer")"
import json, sys
from math import isclose, sqrt

file, field, *expression = sys.argv[1:]
value = json.load(open(file))
for key in field.split("."):
    if not isinstance(value, dict) or key not in value:
        sys.exit(f"the answer has no field {field}")
    value = value[key]
if not expression:
    print(value)
    sys.exit()

# Names for the expressions: the two columns of x with their mean, biased variance and inverse standard deviation, and
# each(f): f(column, element) for every element in row-major order.
columns = [1, 2, 3, 4], [10, 20, 30, 40]
mean, var = [2.5, 25], [1.25, 125]
inv = [1 / sqrt(v + 1e-5) for v in var]
each = lambda f: [f(c, columns[c][row]) for row in range(4) for c in range(2)]
xhat = each(lambda c, x: (x - mean[c]) * inv[c])

want = eval(expression[0])
got, want = (v if isinstance(v, list) else [v] for v in (value, want))
near = lambda g, w: isinstance(g, (int, float)) and isclose(g, w, rel_tol=1e-5, abs_tol=1e-5)
if len(got) != len(want) or not all(map(near, got, want)):
    sys.exit(f"{field} is {got} instead of {want}")
PYTHON
}

# logged COUNT PATTERN: whether that many lines of the log match the pattern.
logged() { fetch_log; [[ $(grep -cE "$2" "$work/log") == "$1" ]]; }

# one_event_each COUNT PATTERN: as logged, but an event may come a little after the answer.
one_event_each() { eventually 5 logged "$@" || fail "the log has $(grep -cE "$2" "$work/log") lines, not $1, for the requests to $2"; }

json_lines() {
    fetch_log
    python3 - "$work/log" <<'PYTHON' || fail 'the log does not consist of JSON lines'
import json, sys
for number, line in enumerate(open(sys.argv[1]), 1):
    try: event = json.loads(line)
    except ValueError: event = None
    if not isinstance(event, dict): sys.exit(f"line {number} is no JSON object: {line.rstrip()}")
PYTHON
}

# --- The checks -------------------------------------------------------------------------------------------------------

for tool in curl python3; do command -v "$tool" >/dev/null || fail "$tool is needed and not installed"; done
pick_engine
if [[ $engine == buildah ]]; then export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs} BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}; fi

SECONDS=0
build >"$work/build" 2>&1 || { tail -n 60 "$work/build" >&2; fail "the image does not build with $engine"; }
ok "image built with $engine in $SECONDS s"

if once >"$work/refused" 2>&1; then fail 'it starts without a key, where anybody could reach it'; fi
grep -q 'no key is stored.*Auth:Mode' "$work/refused" || { cat "$work/refused" >&2; fail 'it does not say why it does not start without a key'; }
ok 'without a key it does not start, and says what to do'

first=$(once keys create --name smoke --role admin 2>"$work/stderr") || { cat "$work/stderr" >&2; fail 'the first key cannot be created'; }
[[ $first =~ ^bn_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$ ]] || fail "the first key is '$first'"
ok 'the first key: created before the service runs'

SECONDS=0
start
ready_or_gone() { ready || ! running; }
eventually 60 ready_or_gone || fail 'not ready after 60 seconds'
running || fail 'the service ended by itself'
ok "ready after $SECONDS s"

user=$(user_id) || fail 'the process of the service cannot be found'
[[ $user =~ ^[1-9][0-9]*$ ]] || fail "the service runs as user '$user'"
ok "runs as user $user, not as root"

mapfile -t health < <(configured Healthcheck.Test)
[[ ${health[0]:-} == CMD ]] || fail "the image has no health check without a shell, but '${health[*]}'"
inside "${health[@]:1}" >"$work/health" 2>&1 || { cat "$work/health" >&2; fail "the health check of the image fails: ${health[*]:1}"; }
ok "health check: ${health[*]:1}"

call 401 GET /v1/keys
[[ $(answer code) == unauthorized ]] || fail "a call without a key is refused as $(answer code)"
key=$first
call 200 GET /v1/keys
ok 'calls need the key'

page=$(curl -sS -m 30 "http://127.0.0.1:$port/")
script=$(sed -n 's|.*src="\(/assets/[^"]*\.js\)".*|\1|p' <<<"$page")
[[ -n $script ]] || fail "the page at / names no script: ${page:0:500}"
[[ $(curl -sS -m 30 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port$script") == 200 ]] || fail "the page's script $script is not there"
ok 'the dashboard is there, without a key'

x='{"shape":[4,2],"data":[1,10,2,20,3,30,4,40]}'
session=/v1/sessions/smoke
call 201 POST /v1/sessions '{"name":"smoke","kind":"batch_norm","num_features":2}'
[[ $(answer name) == smoke ]] || fail "the session is called $(answer name)"
ok 'session created'

call 200 POST $session/train-step "{\"x\":$x}"
step=$(answer step_id)
answer y.shape '[4, 2]'
answer y.data xhat
answer batch_mean mean
answer batch_var var
answer num_batches_tracked 1
ok 'train-step: y, batch mean and batch variance'

call 200 GET $session/stats
answer running_mean '[0.25, 2.5]'
answer running_var '[0.9 + 0.1 * v * 4 / 3 for v in var]'
ok 'stats: running mean and variance after one step'

call 200 POST $session/inference "{\"x\":$x}"
answer y.data 'each(lambda c, x: (x - 0.1 * mean[c]) / sqrt(0.9 + 0.1 * var[c] * 4 / 3 + 1e-5))'
ok 'inference: y from the running statistics'

# A constant gradient moves all elements alike, which normalization takes out again: nothing of it reaches x.
call 200 POST $session/backward "{\"step_id\":\"$step\",\"dy\":{\"shape\":[4,2],\"data\":[1,1,1,1,1,1,1,1]}}"
answer dbeta '[4, 4]'
answer dgamma '[0, 0]'
answer dx.shape '[4, 2]'
answer dx.data '[0] * 8'
ok 'backward of a constant gradient: dx, dgamma and dbeta'

call 200 POST $session/train-step "{\"x\":$x}"
step=$(answer step_id)
call 200 POST $session/backward "{\"step_id\":\"$step\",\"dy\":{\"shape\":[4,2],\"data\":[1,0,0,0,0,0,0,0]}}"
answer dbeta '[1, 0]'
answer dgamma '[xhat[0], 0]'
answer dx.data 'each(lambda c, x: 0 if c == 1 else inv[0] * ((x == 1) - 1 / 4 - xhat[0] * (x - mean[0]) * inv[0] / 4))'
ok 'backward of a gradient in one element: dx, dgamma and dbeta'

call 422 POST $session/train-step '{"x":{"shape":[4,3],"data":[1,2,3,4,5,6,7,8,9,10,11,12]}}'
[[ $(answer code) == shape-mismatch ]] || fail "a wrong shape is refused as $(answer code)"
call 200 GET $session/stats
answer num_batches_tracked 2
answer running_mean '[0.475, 4.75]'
ok 'a wrong shape is refused and changes nothing'

json_lines
one_event_each 1 '/v1/sessions/?["? ]'
one_event_each 3 '/v1/sessions/[^/" ]+/train-step'
one_event_each 1 '/v1/sessions/[^/" ]+/inference'
one_event_each 2 '/v1/sessions/[^/" ]+/backward'
one_event_each 2 '/v1/sessions/[^/" ]+/stats'
ok 'the log consists of JSON lines, one event for each request'

# In flight beyond doubt: the service has asked for the body, has half of it, and closes its port before it gets the rest.
body="{\"x\":$x}"
half=$((${#body} / 2))
exec {connection}<>"/dev/tcp/127.0.0.1/$port"
printf '%s\r\n' "POST $session/train-step HTTP/1.1" "Host: 127.0.0.1:$port" 'Content-Type: application/json' "X-Api-Key: $key" \
    "Content-Length: ${#body}" 'Expect: 100-continue' 'Connection: close' '' >&"$connection"
read -r -t 10 line <&"$connection" || fail 'the service does not begin to read the request'
[[ $line == *' 100 '* ]] || fail "before the request's body came, the service answered: $line"
read -r -t 10 _ <&"$connection" # the empty line that ends this interim answer
printf %s "${body:0:half}" >&"$connection"
terminate
not_ready() { ! ready; }
eventually 20 not_ready || fail 'still ready 20 seconds after SIGTERM'
printf %s "${body:half}" >&"$connection"
timeout 30 cat <&"$connection" >"$work/response" || fail 'the request in flight was not answered to the end'
exec {connection}>&-
status=$(decode "$work/response") || fail 'the request in flight was answered with nothing, or not with HTTP'
[[ $status == 200 ]] || fail "the request in flight was answered with status $status, $(head -c 2000 "$work/answer")"
answer y.data xhat
answer num_batches_tracked 3
ok 'SIGTERM: the request in flight was answered'

stopped() { ! running; }
eventually 40 stopped || fail 'still running 40 seconds after SIGTERM'
exited
[[ $code == 0 ]] || fail "the exit code after SIGTERM is $code"
one_event_each 4 '/v1/sessions/[^/" ]+/train-step'
json_lines
ok 'SIGTERM: the service ended with exit code 0, after logging that request'

start
eventually 60 ready_or_gone || fail 'not ready 60 seconds after a second start'
call 200 GET $session/stats
answer num_batches_tracked 3
answer version 4
ok 'started again: the session is there as it was left'

fetch_log
if grep -qF "${key##*_}" "$work/log" "$work/stderr"; then fail 'the key is in the log'; fi
ok 'the key is nowhere in the log'

echo "smoke: $checks checks passed"
