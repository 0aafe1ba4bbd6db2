#!/usr/bin/env bash
# Makes local stand-ins for the base images of the Dockerfile, for machines that cannot reach an image registry. They
# consist of Debian packages, and of the .NET SDK and the Node.js installed on this machine, and lie in buildah's local storage under the
# names that the Dockerfile asks for. An image that is there already, pulled or made, is left alone.
#
# Usage: docker/base-images.sh [TAG]    make what is missing (TAG: the default of DOTNET_TAG in the Dockerfile); needs root
#        docker/base-images.sh --list   print the names of the base images and stop
#
# The stand-ins of the SDK and of Node.js carry this user's NuGet.Config and .npmrc, which may hold credentials: keep them on this machine.
set -euo pipefail

# No namespaces, and plain directories where buildah heeds the variable: it then also works inside another container.
export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs} BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}

dockerfile=$(dirname "${BASH_SOURCE[0]}")/../Dockerfile
list=false
[[ ${1:-} != --list ]] || { list=true; shift; }
tag=${1:-$(sed -n 's/^ARG DOTNET_TAG=//p' "$dockerfile")}
sdk_image=$(sed -nE 's|^FROM ([^ ]+/sdk):.*|\1|p' "$dockerfile"):$tag
node_image=$(sed -n 's/^ARG NODE_IMAGE=//p' "$dockerfile")
runtime_image=$(sed -nE 's|^FROM ([^ ]+/aspnet):.*|\1|p' "$dockerfile"):$tag
if $list; then
    printf '%s\n' "$sdk_image" "$runtime_image" "$node_image"
    exit
fi

container='' scratch=$(mktemp -d)
cleanup() {
    [[ -z $container ]] || buildah rm "$container" >/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT

die() { echo "base-images: $*" >&2; exit 1; }
exists() { buildah inspect --type image "$1" >/dev/null 2>&1; }

[[ $(id -u) == 0 ]] || die 'debootstrap and buildah with chroot isolation need root'
if ! command -v buildah >/dev/null || ! command -v debootstrap >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq buildah debootstrap >"$scratch/apt.log" 2>&1 || { cat "$scratch/apt.log" >&2; exit 1; }
fi
if exists "$runtime_image" && exists "$sdk_image" && exists "$node_image"; then exit; fi

dotnet=$(command -v dotnet) || die 'no .NET SDK on this machine to take the files from'
dotnet_root=$(dirname "$(readlink -f "$dotnet")")

# The name of a library package holds its ABI version, which depends on the release of Debian.
package() { apt-cache --names-only search "^$1\$" | awk '{ print $1; found = 1; exit } END { exit !found }' || die "no package matches $1"; }

# debian DIR: the least Debian that .NET runs on, trusting the authorities that this machine trusts (a proxy's, for
# example: without it the restore inside the image could not verify the package source).
debian() {
    local suite packages
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    packages=ca-certificates,tzdata,libstdc++6,zlib1g,$(package 'libicu[0-9]+'),$(package 'libssl3(t64)?')
    debootstrap --variant=minbase --include="$packages" "$suite" "$1" >"$scratch/debootstrap.log" 2>&1 || { tail "$scratch/debootstrap.log" >&2; exit 1; }
    rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/usr/share/{doc,man,locale}/*
    # Replaced, not written through: the links in there are absolute and would lead back to the files of this machine.
    cp -aL --remove-destination /etc/ssl/certs/. "$1/etc/ssl/certs/"
    chroot "$1" useradd --uid 1654 --create-home app
}

# begin BASE and finish NAME enclose the making of one image; $root is its file system in between.
begin() { container=$(buildah from --pull-never "$1"); root=$(buildah mount "$container"); }
finish() {
    buildah umount "$container" >/dev/null
    buildah commit -q "$container" "$1" >/dev/null
    buildah rm "$container" >/dev/null
    container=''
    echo "made $1"
}

if ! exists "$runtime_image"; then
    begin scratch
    debian "$root"
    mkdir -p "$root/usr/share/dotnet"
    cp -a "$dotnet_root"/{dotnet,host,shared} "$root/usr/share/dotnet/"
    ln -s /usr/share/dotnet/dotnet "$root/usr/bin/dotnet"
    # What the real image sets and the Dockerfile or the service relies on.
    buildah config --env APP_UID=1654 --env ASPNETCORE_HTTP_PORTS=8080 --env DOTNET_RUNNING_IN_CONTAINER=true "$container"
    finish "$runtime_image"
fi

if ! exists "$sdk_image"; then
    begin "$runtime_image"
    cp -a "$dotnet_root"/{sdk,sdk-manifests,packs,templates} "$root/usr/share/dotnet/"
    # The build has to find packages where this machine finds them.
    if [[ -f ~/.nuget/NuGet/NuGet.Config ]]; then install -D -m 600 ~/.nuget/NuGet/NuGet.Config "$root/root/.nuget/NuGet/NuGet.Config"; fi
    # The bundle may hold an authority that the hashed directory lacks. Revocation lists are rarely reachable from such a machine.
    buildah config --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt --env NUGET_CERT_REVOCATION_MODE=offline \
        --env DOTNET_CLI_TELEMETRY_OPTOUT=1 --env DOTNET_NOLOGO=1 "$container"
    finish "$sdk_image"
fi

if ! exists "$node_image"; then
    begin "$runtime_image"
    node=$(readlink -f "$(command -v node || true)")
    modules=${node%/bin/node}/lib/node_modules
    if [[ -n $node && -d $modules/npm ]]; then
        # As nodejs.org and NodeSource pack it: one program, and npm beside it.
        cp -a "$node" "$root/usr/bin/node"
        mkdir -p "$root/usr/lib/node_modules"
        cp -a "$modules/npm" "$root/usr/lib/node_modules/"
        ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/bin/npm"
    else
        cp -a --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
        { chroot "$root" apt-get update -qq && DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y -qq --no-install-recommends nodejs npm; } >"$scratch/apt.log" 2>&1 || { tail "$scratch/apt.log" >&2; exit 1; }
    fi
    # Where this machine finds packages, as above.
    for settings in ~/.npmrc /usr/etc/npmrc; do
        if [[ -f $settings ]]; then install -D -m 600 "$settings" "$root${settings/#$HOME//root}"; fi
    done
    buildah config --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt "$container"
    finish "$node_image"
fi
