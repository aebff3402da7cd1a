#!/bin/sh
# Runs the benchmarks with the Python named in $1: run_all.py where there is one, otherwise each file in turn.
set -eu
cd "$(dirname "$0")/.."
python="$1"
shift
if [ -f benchmarks/run_all.py ]; then exec "$python" benchmarks/run_all.py "$@"; fi
found=0
failed=""
for file in benchmarks/*.py; do
  [ -f "$file" ] || continue
  case "$file" in benchmarks/_*) continue ;; esac
  found=1
  echo "bench: $file"
  # One that fails, for want of its peers say, does not keep the others from being measured.
  "$python" "$file" "$@" || failed="$failed $file"
done
[ "$found" = 1 ] || { echo "bench: no benchmarks/*.py to run." >&2; exit 1; }
[ -z "$failed" ] || { echo "bench: not measured:$failed" >&2; exit 1; }
