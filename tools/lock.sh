#!/bin/sh
# Rewrites requirements.lock from pyproject.toml: every version with its hashes, for every Python from 3.11 on.
# Needs `uv` for the resolving only; installing from the lock needs nothing but pip.
set -eu
cd "$(dirname "$0")/.."

uv="${UV:-uv}"
"$uv" --version >/dev/null 2>&1 || { echo "lock: needs uv on the PATH (pip install uv); nothing was changed." >&2; exit 1; }

new=$(mktemp "${TMPDIR:-/tmp}/requirements.XXXXXX")
backend=$(mktemp "${TMPDIR:-/tmp}/backend.XXXXXX")
trap 'rm -f "$new" "$backend"' EXIT

# The build backend is locked too, so that the editable install runs without an isolated, unlocked build. The `dev`
# extra names thalweg itself, which no hash can stand for: its three parts are named here instead.
sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml > "$backend"
[ -s "$backend" ] || { echo "lock: pyproject.toml names no build backend on one line 'requires = [\"...\"]'." >&2; exit 1; }

# --no-config and the --no-emit flags keep addresses and settings of this machine out of the file. An existing lock is
# read first, so that only what must move moves; UPGRADE=1 takes the newest of everything.
if [ "${UPGRADE:-0}" = 0 ] && [ -f requirements.lock ]; then cp requirements.lock "$new"; fi
"$uv" pip compile pyproject.toml "$backend" \
  --extra kernels --extra test --extra lint --extra docs \
  --universal --python-version 3.11 --generate-hashes \
  --no-config --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
  --quiet --output-file "$new" >/dev/null

if grep -nE '://|^-|^ *thalweg|file:' "$new"; then
  echo "lock: the lines above would tie the lock to one machine; nothing was changed." >&2
  exit 1
fi
{ echo "# Made by tools/lock.sh (make lock) from pyproject.toml. Do not edit."; cat "$new"; } > requirements.lock.new
mv requirements.lock.new requirements.lock
echo "lock: $(grep -cE '^[a-z0-9]' requirements.lock) requirements written to requirements.lock" >&2
