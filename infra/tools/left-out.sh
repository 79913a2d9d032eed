#!/bin/sh
# Says what `make test` leaves out on this machine, and for want of what. Its
# argument is the SAM CLI's program. With CI=true nothing is left out: a test whose
# tools are missing fails.
set -eu
cd "$(dirname "$0")/../.."
if [ "${CI:-}" = true ]; then
	exit 0
fi

have() {
	command -v "$1" >/dev/null
}
say() {
	printf 'left out, %s\n' "$1"
}

dynamodb=yes
if [ "${DYNAMODB:-}" = none ]; then
	dynamodb=no
	say 'by DYNAMODB=none: DynamoDB Local and what runs on it, sam local too'
elif ! have java || ! { have mvn || [ -f "${DYNAMODB_LOCAL_DIR:-.tmp/ddb}/DynamoDBLocal-2.6.1.jar" ]; }; then
	dynamodb=no
	say 'for want of Java 17 and Maven: DynamoDB Local and what runs on it, sam local too'
fi
if [ $dynamodb = yes ]; then
	if ! have "${1:-sam}"; then
		say 'for want of the SAM CLI: sam local'
	elif ! docker info >/dev/null 2>&1 && ! { have podman && have busybox; }; then
		say 'for want of Docker, or of podman and busybox-static: sam local'
	fi
fi
if [ -z "${CHROMIUM:-}" ] && ! have chromium && ! have chromium-browser && ! have google-chrome; then
	say 'for want of Chromium: the login in a browser'
fi
if ! have npm || ! have node || ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; then
	say 'for want of Node.js 20 and npm: openid-client, oauth4webapi and the SDKs of Auth0'
fi
if ! have curl; then
	say 'for want of curl: the lines that are printed and those of README.md'
fi
say 'without CI=true: the minute that it takes until a code has expired'
