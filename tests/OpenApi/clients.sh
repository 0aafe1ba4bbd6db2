#!/usr/bin/env bash
# Generates clients from the checked-in OpenAPI document, compiles them and does the main job with each: NSwag's, Kiota's, @hey-api/openapi-ts's
# and openapi-typescript's. Run lint.sh first, which installs the npm packages.
#
# Usage: ../with-service.sh ./clients.sh
set -euo pipefail
cd "$(dirname "$0")"
url=${1:?the address of the service}
document=$PWD/../../docs/openapi.json
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 KIOTA_OFFLINE_ENABLED=true

# quietly COMMAND...: says what it says only if it fails
quietly() {
    local log
    log=$(mktemp)
    "$@" >"$log" 2>&1 || { cat "$log"; rm -f "$log"; return 1; }
    rm -f "$log"
}

dotnet_clients() {
    cd clients/dotnet
    rm -rf generated
    quietly dotnet tool restore
    quietly dotnet nswag openapi2csclient "/input:$document" /output:generated/NSwag.cs /namespace:BnService.GeneratedClients.NSwag /classname:BnServiceClient
    quietly dotnet kiota generate --language CSharp --openapi "$document" --output generated/Kiota --namespace-name BnService.GeneratedClients.Kiota \
        --class-name BnServiceClient --exclude-backward-compatible
    quietly dotnet build -c Release -v quiet
    dotnet exec bin/Release/net10.0/BnService.GeneratedClients.dll "$url"
    echo "NSwag's and Kiota's clients do the main job"
}

typescript_clients() {
    cd clients/typescript
    rm -rf generated built
    quietly npx --no-install openapi-ts --input "$document" --output generated/hey-api --client @hey-api/client-fetch
    # Its types of an answer are those of all forms, so that it takes the document of one.
    quietly npx --no-install openapi-typescript "$url/openapi/v1.json?forms=json" --output generated/schema.d.ts
    npx --no-install tsc -p .
    node built/main.js "$url"
    echo "@hey-api/openapi-ts's and openapi-typescript's clients do the main job"
}

(dotnet_clients)
(typescript_clients)
