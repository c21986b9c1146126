#!/bin/sh
# Stage "tools": compilers, on top of the same root, for the two stages that follow. None of them is in the image.
set -eu
echo "fetching compilers"
apt-get update -qq
apt-get install -y -qq --no-install-recommends g++ cmake ninja-build > /dev/null
