#!/usr/bin/env bash
# Starts the service on a free port, with sessions that live as long as it does, and runs a command with its address as the last argument.
#
# Usage: with-service.sh COMMAND [ARGUMENT...]
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
dotnet build src/Api -c Release --nologo -v quiet >"$log" || { cat "$log"; exit 1; }
Storage__Engine=memory ASPNETCORE_URLS=http://127.0.0.1:0 dotnet exec src/Api/bin/Release/net10.0/BnService.Api.dll >"$log" 2>&1 &
service=$!
trap 'kill $service 2>/dev/null; wait $service 2>/dev/null; rm -f "$log"' EXIT
url=""
for _ in $(seq 240); do
    url=$(sed -n 's/.*Now listening on: [^h]*\(http:[^" ]*\).*/\1/p' "$log" | head -1)
    [ -z "$url" ] || break
    kill -0 $service 2>/dev/null || { cat "$log"; exit 1; }
    sleep 0.25
done
"$@" "$url"
