#!/bin/sh
# Stage "page": Open WebUI without its heavy parts (no torch), in a virtual environment of its own.
set -eu
. /recipe/versions.env
cd /tmp
echo "fetching Open WebUI $OPEN_WEBUI"
python3 -m venv /opt/open-webui
pip() { /opt/open-webui/bin/pip --disable-pip-version-check "$@"; }
echo "open-webui==$OPEN_WEBUI --hash=sha256:$OPEN_WEBUI_SHA256" > requirements.txt
pip download --quiet --no-deps --require-hashes --requirement requirements.txt
python3 -m zipfile -e open_webui-*.whl wheel
echo "installing what Open WebUI needs"
pip install --quiet --no-compile -r wheel/requirements-slim.txt
echo "installing Open WebUI"
pip install --quiet --no-compile --no-deps open_webui-*.whl
rm -rf wheel open_webui-*.whl requirements.txt
mkdir -p /app/backend/data /root/.ollama

# Started once, so that the byte code of what a page uses is in the image: its first start takes a third of the time.
echo "starting Open WebUI once"
export PYTHONUNBUFFERED=1 DATA_DIR=/tmp/data WEBUI_SECRET_KEY=once FROM_INIT_PY=true USE_SLIM_DOCKER=true
export OFFLINE_MODE=true ENABLE_OPENAI_API=false
mkdir "$DATA_DIR"
/opt/open-webui/bin/python -m uvicorn open_webui.main:app --host 127.0.0.1 --port 8080 > /tmp/start.log 2>&1 &
until curl --silent --fail --output /dev/null http://127.0.0.1:8080/ready; do
    kill -0 $! 2> /dev/null || { tail -n 5 /tmp/start.log; exit 1; }
    sleep 0.2
done
kill $!
wait $! || :
rm -rf "$DATA_DIR" /tmp/start.log
