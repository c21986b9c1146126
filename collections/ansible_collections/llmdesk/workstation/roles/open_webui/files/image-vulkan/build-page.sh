#!/bin/sh
# Stage "page" of an image that uses a GPU by Vulkan: the page, the loader, and Mesa's drivers for AMD and Intel from
# Debian's backports, which know newer cards. NVIDIA's driver comes from the desk when the container starts; its library
# wants those of X beside it.
set -eu
. /recipe/versions.env
sh /recipe/build-page.sh
echo "fetching Vulkan's drivers"
list=/etc/apt/sources.list.d/backports.list
grep -h '^deb ' /etc/apt/sources.list | head -n 1 | sed "s/ $DEBIAN / $DEBIAN-backports /" > "$list"
apt-get update -qq
apt-get install -y -qq --no-install-recommends -t "$DEBIAN-backports" libvulkan1 mesa-vulkan-drivers libxext6 > /dev/null
rm -rf "$list" /var/lib/apt/lists/*
