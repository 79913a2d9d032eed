#!/usr/bin/env bash
# Installs the SAM CLI, and with it cfn-lint, into .tmp/venv-sam.
set -euo pipefail
version=${1:?usage: sam.sh VERSION}
cd "$(dirname "$0")/../.."
venv=.tmp/venv-sam
if [ "$("$venv/bin/sam" --version 2>/dev/null)" = "SAM CLI, version $version" ]; then
	exit 0
fi
rm -rf "$venv"
mkdir -p .tmp
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet "aws-sam-cli==$version"
