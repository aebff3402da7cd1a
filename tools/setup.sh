#!/bin/sh
# Makes or refreshes the environment named in $1 from requirements.lock. Needs Python 3.11 or newer with venv and pip;
# where uv works it does the same installing, faster.
set -eu
cd "$(dirname "$0")/.."
env="$1"

# Being on the PATH is not enough: version managers leave commands there that only print an error.
serves() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    serves "$PYTHON" && echo "$PYTHON" && return
    echo "setup: PYTHON=$PYTHON is no Python 3.11 or newer with venv and pip; name another one." >&2
    return 1
  fi
  for name in python3 python3.13 python3.12 python3.11 python3.14 python; do
    serves "$name" && echo "$name" && return
  done
  echo "setup: no Python 3.11 or newer with venv and pip on the PATH; install one, or name it: make setup PYTHON=/path/to/python3.12" >&2
  return 1
}

if ! "$env/bin/python" -c '' >/dev/null 2>&1; then
  python=$(find_python)
  echo "setup: $("$python" --version 2>&1) -> $env"
  "$python" -m venv --clear "$env"
elif [ -n "${PYTHON:-}" ]; then
  # An explicit wish must not be lost on an environment that is already there.
  version='import sys; print("%d.%d" % sys.version_info[:2])'
  python=$(find_python)
  [ "$("$python" -c "$version")" = "$("$env/bin/python" -c "$version")" ] || {
    echo "setup: $env has another Python than PYTHON=$PYTHON; remove it first: rm -rf $env" >&2
    exit 1
  }
fi

echo "setup: installing requirements.lock into $env"
# Compiled once here, or every process would compile some thousand modules anew: seconds for each, minutes for the tests.
if uv --version >/dev/null 2>&1 && uv pip install --quiet --compile-bytecode --python "$env/bin/python" --require-hashes -r requirements.lock; then
  uv pip install --quiet --python "$env/bin/python" --no-deps --no-build-isolation --editable .
else
  "$env/bin/python" -m pip --version >/dev/null 2>&1 || "$env/bin/python" -m ensurepip >/dev/null
  "$env/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
  "$env/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
fi
echo "setup: done"
