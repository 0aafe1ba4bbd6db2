#!/usr/bin/env bash
# Packs the client, checks that the package needs no other one, and runs the README's C# as a program that has the package from nowhere
# else. Needs the solution to be built.
#
# Usage: package.sh URL    of a running service
set -euo pipefail
cd "$(dirname "$0")/.."
url=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/program"
dotnet pack src/Client -c Release --no-build --nologo -o "$work/packages" >"$work/log" || { cat "$work/log"; exit 1; }
package=$(echo "$work"/packages/*.nupkg)
parts=$(python3 -m zipfile -l "$package")
for part in lib/net10.0/BnService.Client.dll lib/net10.0/BnService.Client.xml README.md; do
    grep -q "^$part " <<<"$parts" || { echo "the package lacks $part"; exit 1; }
done
python3 - "$package" <<'PYTHON'
import sys, zipfile
nuspec = zipfile.ZipFile(sys.argv[1]).read("BnService.Client.nuspec").decode()
if "<dependency " in nuspec or "Microsoft.AspNetCore.App" not in nuspec:
    sys.exit(f"the package depends on more than the shared framework: {nuspec}")
PYTHON

awk '/^```csharp$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' README.md | sed "s|http://localhost:5000|$url|" >"$work/program/Program.cs"
cat >"$work/program/program.csproj" <<'PROJECT'
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>net10.0</TargetFramework>
    <ImplicitUsings>enable</ImplicitUsings>
    <Nullable>enable</Nullable>
    <UseAppHost>false</UseAppHost>
    <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
    <RestorePackagesPath>$(MSBuildProjectDirectory)/restored</RestorePackagesPath>
  </PropertyGroup>
  <ItemGroup>
    <PackageReference Include="BnService.Client" Version="*" />
  </ItemGroup>
</Project>
PROJECT
cat >"$work/program/nuget.config" <<'CONFIG'
<configuration>
  <packageSources>
    <clear />
    <add key="packed" value="../packages" />
  </packageSources>
</configuration>
CONFIG
dotnet build "$work/program" -c Release --nologo >"$work/log" || { cat "$work/log"; exit 1; }
said=$(dotnet "$work/program/bin/Release/net10.0/program.dll")
echo "$said"
# What the README says that it prints.
grep -qF "$said" README.md || { echo "the README shows another output"; exit 1; }
echo "package: the README's C# runs with it"
