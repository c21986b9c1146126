#!/bin/sh
# Stage "tools" of an image that uses a GPU by Vulkan: the compilers, and what Vulkan's part of the engine is made with.
# The engine has to run on this root's libraries, and wants headers and a shader compiler that are newer than it: those
# come from the next Debian into a folder of their own, the compiler with the libraries and the loader that it needs.
set -eu
NEXT=trixie
sh /recipe/build-tools.sh
apt-get install -y -qq --no-install-recommends libvulkan-dev > /dev/null

echo "fetching Vulkan's headers and shader compiler"
. /recipe/versions.env
grep -h '^deb ' /etc/apt/sources.list | head -n 1 | sed "s/ $DEBIAN / $NEXT /" > "/etc/apt/sources.list.d/$NEXT.list"
printf 'Package: *\nPin: release n=%s\nPin-Priority: 1\n' "$NEXT" > "/etc/apt/preferences.d/$NEXT"
apt-get update -qq
mkdir -p /opt/vulkan/packages /opt/vulkan/bin
cd /opt/vulkan/packages
for package in libvulkan-dev spirv-headers glslc libshaderc1 libc6 libstdc++6 libgcc-s1; do
    apt-get download -qq -o APT::Sandbox::User=root "$package/$NEXT" > /dev/null
done
for package in *.deb; do dpkg-deb --extract "$package" /opt/vulkan; done
cd /
rm -rf /opt/vulkan/packages "/etc/apt/sources.list.d/$NEXT.list" "/etc/apt/preferences.d/$NEXT"

loader=$(find /opt/vulkan/usr/lib /opt/vulkan/usr/lib64 -name 'ld-linux-*.so.*' 2> /dev/null | head -n 1)
cat > /opt/vulkan/bin/glslc << END
#!/bin/sh
exec $loader --library-path $(dirname "$(find /opt/vulkan/usr/lib -name 'libc.so.6' | head -n 1)") /opt/vulkan/usr/bin/glslc "\$@"
END
chmod 755 /opt/vulkan/bin/glslc
/opt/vulkan/bin/glslc --version > /dev/null
