#!/bin/sh
# Stage "page": Open WebUI without its heavy parts (no torch), in a virtual environment of its own.
set -eu
. /recipe/versions.env
cd /tmp
echo "fetching Open WebUI $OPEN_WEBUI"
python3 -m venv /opt/open-webui
pip() { /opt/open-webui/bin/pip --disable-pip-version-check "$@"; }
pip download --quiet --no-deps "open-webui==$OPEN_WEBUI"
python3 -m zipfile -e open_webui-*.whl wheel
echo "installing what Open WebUI needs"
pip install --quiet --no-compile -r wheel/requirements-slim.txt
echo "installing Open WebUI"
pip install --quiet --no-compile --no-deps open_webui-*.whl
rm -rf wheel open_webui-*.whl
mkdir -p /app/backend/data /root/.ollama
