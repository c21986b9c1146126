#!/bin/sh
# Stage "page" of an image that uses a GPU by Vulkan: the page, the loader, and Mesa's drivers for AMD and Intel from
# Debian's backports, which know newer cards. NVIDIA's driver comes from the desk when the container starts; its library
# wants those of X beside it, and opens libEGL.so.1 by name: without that it has no vkCreateInstance.
set -eu
. /recipe/versions.env
sh /recipe/build-page.sh
echo "fetching Vulkan's drivers"
list=/etc/apt/sources.list.d/backports.list
grep -h '^deb ' /etc/apt/sources.list | head -n 1 | sed "s/ $DEBIAN / $DEBIAN-backports /" > "$list"
apt-get update -qq
apt-get install -y -qq --no-install-recommends -t "$DEBIAN-backports" libvulkan1 mesa-vulkan-drivers libxext6 libegl1 > /dev/null
# Mesa has one more, lavapipe, which makes a Vulkan device of the CPU. It is slower than the CPU by itself, and would
# count as the GPU where a card that desk_gpu_devices names is lost: nothing may find it.
rm /usr/share/vulkan/icd.d/lvp_icd*.json
apt-get clean
rm -rf "$list" /var/lib/apt/lists/*
