#!/usr/bin/env bash
# Installs one Python program into a virtual environment of its own, unless it is
# there in this very version.
set -euo pipefail
usage='usage: python.sh FOLDER PACKAGE VERSION'
venv=${1:?$usage} package=${2:?$usage} version=${3:?$usage}
cd "$(dirname "$0")/../.."
if "$venv/bin/pip" show "$package" 2>/dev/null | grep -qx "Version: $version"; then
	exit 0
fi
rm -rf "$venv"
mkdir -p "$(dirname "$venv")"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet "$package==$version"
