#!/bin/sh
# Trains the potential that comes with the package, on the sample of ethanol; about five minutes on a quiet core.
set -eu
cd "$(dirname "$0")/../.."
out="${1:-build/ethanol_gfn2_potential}"
.venv/bin/thalweg atoms train ethanol --steps 40000 --seed 0 --out "$out"
cp "$out/potential.safetensors" src/thalweg/samples/ethanol_gfn2_potential.safetensors
