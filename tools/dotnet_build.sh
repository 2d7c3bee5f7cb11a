#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds a .NET project without a network and without leaving anything outside FOLDER: packages come
# from nowhere but the SDK, intermediate files and HOME are temporary, no build server stays.
#
# usage: dotnet_build.sh build|publish PROJECT FOLDER [-p:NAME=VALUE...]
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "usage: dotnet_build.sh build|publish PROJECT FOLDER [-p:NAME=VALUE...]" >&2
    exit 2
fi
verb=$1
project=$(readlink -f "$2")
mkdir -p "$3"
folder=$(readlink -f "$3")
shift 3

work=$(mktemp -d -t memreeve-dotnet-XXXXXX)
trap 'rm -rf "$work"' EXIT
echo '<configuration><packageSources><clear/></packageSources></configuration>' >"$work/nuget.config"

export HOME=$work DOTNET_CLI_HOME=$work NUGET_PACKAGES=$work/packages TMPDIR=$work
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_GENERATE_ASPNET_CERTIFICATE=false
export DOTNET_CLI_WORKLOAD_UPDATE_NOTIFY_DISABLE=true DOTNET_CLI_USE_MSBUILD_SERVER=0 MSBUILDDISABLENODEREUSE=1

cd "$work"
dotnet "$verb" "$project" -c Release -o "$folder" -v quiet --disable-build-servers \
    "-p:RestoreConfigFile=$work/nuget.config" "-p:BaseIntermediateOutputPath=$work/obj/" "-p:BaseOutputPath=$work/bin/" -p:NuGetAudit=false "$@"
