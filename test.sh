#!/usr/bin/env bash
# Runs every test of the project and ends with the line "N passed, N failed".
#
# Needs the .NET SDK. Installs what else the tests need where it is missing and it can (Debian's packages, as root); elsewhere it
# leaves out the parts that need it and names them at the end. With CI=true a part that is left out counts as failed.
#
# Usage: ./test.sh [--soak] [PART...]    parts: core core-avx2 core-128 api client experiments endtoend openinference python metrics openapi dashboard
# readme container; without any, all of them. --soak runs the long form of the tests that have one: 200,000 and more made-up inputs for each reader
# instead of some thousands, 150,000 requests generated from the OpenAPI document, 200 kills, 10,000 steps on nodes that come and go, 100,000
# sessions, ten minutes of everything at once, the experiments whole and with what must hold of them.
set -uo pipefail
cd "$(dirname "$0")"
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
passed=0 failed=0 left_out=()
log=$(mktemp -d)
export BN_FIGURES=$log/figures # what tests have counted: rounds, steps, losses
trap 'rm -rf "$log"' EXIT

if [ "${1:-}" = --soak ]; then export BN_SOAK=1; shift; fi
parts=${*:-core core-avx2 core-128 api client experiments endtoend openinference python metrics openapi dashboard readme container}
wanted() { [[ " $parts " == *" $1 "* ]]; }

# have COMMAND PACKAGE...: whether the command is there, once the packages that bring it have been installed if they can be
have() {
    local command=$1; shift
    command -v "$command" >/dev/null && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return
    echo "installing $*"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"; } >"$log/apt" 2>&1 || tail -5 "$log/apt"
    command -v "$command" >/dev/null
}

leave_out() {
    left_out+=("$1")
    [ "${CI:-}" != true ] || failed=$((failed + 1))
}

# step NAME COMMAND...: one test that is not xunit's
step() {
    local name=$1; shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name"; fi
}

# xunit PROJECT NAME [FILTER]: a test project, or the tests of it that the filter lets through, whose own counts are added up; a process that dies before it counts is one failure
xunit() {
    local status=0 summary
    dotnet test "$1" -c Release --no-build --nologo ${3:+--filter "$3"} 2>&1 | tee "$log/xunit" || status=$?
    summary=$(grep -E '(Passed|Failed)! +- Failed:' "$log/xunit" | tail -1)
    if [ -n "$summary" ]; then
        failed=$((failed + $(sed -E 's/.*Failed: +([0-9]+).*/\1/' <<<"$summary")))
        passed=$((passed + $(sed -E 's/.*Passed: +([0-9]+).*/\1/' <<<"$summary")))
        [ "$(sed -E 's/.*Skipped: +([0-9]+).*/\1/' <<<"$summary")" = 0 ] || leave_out "$2: skipped tests"
    fi
    if [ $status != 0 ] && ! grep -qE 'Failed: +[1-9]' <<<"$summary"; then failed=$((failed + 1)); echo "FAILED: $2"; fi
}

heading() { printf '\n== %s\n' "$1"; }

heading "build"
if ! command -v dotnet >/dev/null; then echo "the .NET SDK is missing (dotnet)"; exit 1; fi
# The build makes the dashboard where it can.
have npm nodejs npm || leave_out "dashboard (needs Node.js)"
if ! dotnet build BnService.sln -c Release --nologo; then printf '\n0 passed, 1 failed\n'; exit 1; fi

if wanted core; then heading "core"; xunit tests/Core.Tests core; fi
# The narrower vectors once more, as on a machine that has no wider ones: other instructions, for the widths that it has. The contracts of
# wider vectors, which run in software there, and without AVX-512 those of single numbers have proved the same above.
if wanted core-avx2; then
    heading "core without AVX-512"
    DOTNET_EnableAVX512=0 xunit tests/Core.Tests core-avx2 'FullyQualifiedName!~.Vector512&FullyQualifiedName!~.Scalar'
fi
if wanted core-128; then
    heading "core without AVX2"
    DOTNET_EnableAVX2=0 xunit tests/Core.Tests core-128 'FullyQualifiedName!~.Vector512&FullyQualifiedName!~.Vector256'
fi
if wanted api; then heading "api"; xunit tests/Api.Tests api; fi
if wanted client; then
    heading "the C# client, and its package"
    xunit tests/Client.Tests client
    if have python3 python3; then step "package" tests/with-service.sh tests/package.sh; else leave_out "client: its package (needs python3)"; fi
fi
if wanted experiments; then heading "the experiments of the sample"; xunit tests/Experiments.Tests experiments; fi

if wanted endtoend; then
    heading "real processes: PostgreSQL, nodes, a load balancer, faults"
    # Debian keeps its programs out of PATH, those of each version in a folder of their own, and starts a server when it installs one
    # unless it is told not to: the tests start theirs.
    postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
    if ! postgres && [ "$(id -u)" = 0 ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common && echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    fi
    # Who is not root cannot mount the small disk that is filled.
    disks=
    [ "$(id -u)" = 0 ] || { disks="Needs!=root"; leave_out "endtoend: full and read-only disks (needs root)"; }
    if { postgres || have /usr/lib/postgresql/15/bin/initdb postgresql || postgres; } && PATH=$PATH:/usr/sbin have nginx nginx-light; then
        PATH=$PATH:/usr/sbin xunit tests/EndToEnd endtoend $disks
    else
        leave_out "endtoend (needs PostgreSQL and nginx)"
    fi
fi

if wanted openinference; then
    heading "clients of the Open Inference Protocol"
    if have python3 python3; then step "openinference" tests/with-service.sh python3 tests/OpenInference/client.py; else leave_out "openinference (needs python3)"; fi
fi
if wanted python; then
    heading "the sample in Python"
    # Debian's package is for Debian's Python, which need not be the first one in PATH.
    numpy() { /usr/bin/python3 -c 'import numpy' 2>/dev/null; }
    if numpy || have /usr/bin/f2py3 python3-numpy || numpy; then
        step "python" tests/with-service.sh /usr/bin/python3 samples/python/main.py
    else
        leave_out "python (needs python3-numpy)"
    fi
fi
if wanted metrics; then
    heading "/metrics under promtool"
    # Debian's package would start a Prometheus when it is installed: its one program that is needed is taken out of it.
    find_promtool() {
        type -P promtool && return
        [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return
        mkdir -p "$log/promtool"
        (cd "$log/promtool" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } && dpkg -x prometheus_*.deb .) >"$log/apt" 2>&1 || return
        echo "$log/promtool/usr/bin/promtool"
    }
    if program=$(find_promtool) && have curl curl; then step "metrics" tests/Metrics/check.sh "$program"; else leave_out "metrics (needs promtool and curl)"; fi
fi
if wanted openapi; then
    heading "the OpenAPI document under Spectral's spectral:oas, and clients that are generated from it"
    if have npm nodejs npm; then
        step "openapi: lint" tests/OpenApi/lint.sh
        step "openapi: generated clients" tests/with-service.sh tests/OpenApi/clients.sh
    else
        leave_out "openapi (needs Node.js)"
    fi
fi
if wanted dashboard; then
    heading "the dashboard in a browser"
    # What the tests open is what the build has made; without it there is nothing to open.
    if command -v npm >/dev/null && have chromium chromium && have python3 python3 && have curl curl; then
        xunit tests/Dashboard.Tests dashboard
    else
        leave_out "dashboard (needs Node.js, Chromium, python3 and curl)"
    fi
fi
if wanted readme; then
    heading "the commands of the README"
    if have curl curl && have awk gawk; then step "readme" tests/readme.sh; else leave_out "readme (needs curl and awk)"; fi
fi
if wanted container; then
    heading "the container"
    # The script picks its engine itself; buildah is the one that can be installed and needs no daemon.
    engine() { command -v docker && docker info || command -v podman || have buildah buildah debootstrap; }
    if engine >/dev/null 2>&1 && have curl curl && have python3 python3; then
        step "container" docker/smoke.sh
    else
        leave_out "container (needs docker, podman or buildah, and curl and python3)"
    fi
fi

if [ -s "$BN_FIGURES" ]; then
    printf '\nseen:\n'
    sort "$BN_FIGURES"
fi
if [ ${#left_out[@]} -gt 0 ]; then
    printf '\nleft out:\n'
    printf '  %s\n' "${left_out[@]}"
fi
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
