#!/bin/sh
# What a person types who knows every step: the container with the same options, its page, an account, a model out of
# the same file, one question. The peer of './llmdesk up'.
# Arguments: image, file with the container's environment, name of the model, GGUF file, its sha256.
set -eu
image=$1 environment=$2 model=$3 file=$4 sha256=$5
page=http://127.0.0.1:3000 ollama=http://127.0.0.1:11434

until_ready() { until curl --fail --silent --output /dev/null "$1"; do sleep 0.1; done; }
post() { curl --fail --silent --show-error --header 'Content-Type: application/json' "$@"; }

docker run --detach --init --restart always --name open-webui --env-file "$environment" \
    --publish 127.0.0.1:3000:8080 --publish 127.0.0.1:11434:11434 \
    --volume open-webui:/app/backend/data --volume ollama:/root/.ollama "$image" >/dev/null
until_ready $page/ready

token=$(post --data '{"name": "A", "email": "admin@localhost", "password": "a-long-password"}' \
    $page/api/v1/auths/signup | sed 's/.*"token":"\([^"]*\)".*/\1/')

post --request POST --upload-file "$file" "$ollama/api/blobs/sha256:$sha256"
post --data "{\"model\": \"$model\", \"files\": {\"model.gguf\": \"sha256:$sha256\"}}" $ollama/api/create >/dev/null

curl --fail --silent --output /dev/null --header "Authorization: Bearer $token" $page/api/models
post --header "Authorization: Bearer $token" $page/api/chat/completions --data "{\"model\": \"$model\", \"stream\": false,
    \"messages\": [{\"role\": \"user\", \"content\": \"What is the capital of France?\"}],
    \"params\": {\"temperature\": 0, \"seed\": 1}}"
