#!/bin/bash
# Starts Ollama and Open WebUI under the contract of upstream's image: PORT and HOST, WEBUI_SECRET_KEY or
# WEBUI_SECRET_KEY_FILE, USE_OLLAMA_DOCKER, data in /app/backend/data, models in /root/.ollama.
set -e
cd /app/backend

if [ -z "$WEBUI_SECRET_KEY" ]; then
    key_file=${WEBUI_SECRET_KEY_FILE:-.webui_secret_key}
    [ -s "$key_file" ] || (umask 077 && head -c 24 /dev/urandom | base64 > "$key_file")
    WEBUI_SECRET_KEY=$(cat "$key_file")
    export WEBUI_SECRET_KEY
fi

if [ "${USE_OLLAMA_DOCKER,,}" = true ]; then
    ollama serve &
fi

exec python3 -m uvicorn open_webui.main:app --host "${HOST:-0.0.0.0}" --port "${PORT:-8080}" \
    --forwarded-allow-ips "${FORWARDED_ALLOW_IPS:-*}" --workers "${UVICORN_WORKERS:-1}"
