#!/bin/sh
# Makes the environment of one group of peer programs that the benchmarks run beside thalweg: benchmarks/.peers/GROUP.
# They stay outside of .venv because some are large and some bear licences that must not mix with ours.
set -eu
cd "$(dirname "$0")/.."

group="${1:-}"
case "$group" in
  landscapes) wanted="pele==0.1.2 ase==3.29.0" ;; # pele is GPL: it is run as a program, nothing of it is copied
  torch) wanted="torch==2.13.0" ;;
  spins) wanted="dwave-samplers==1.8.0 dimod==0.12.23 openjij==0.12.2" ;;
  bifurcation) wanted="torch==2.13.0 simulated-bifurcation==2.0.0" ;;
  rbms) wanted="torch==2.13.0 rbms==0.5.0 scikit-learn==1.9.1" ;;
  coniii) wanted="coniii==2.3.0" ;;
  devinterp) wanted="torch==2.13.0 devinterp==2.0.1" ;;
  curvlinops) wanted="torch==2.13.0 curvlinops-for-pytorch==3.0.1" ;;
  jaxcont) wanted="jaxcont==0.4.0" ;;
  # The attack libraries declare torchvision, of which there is no CPU build, and pictures: their own needs come first.
  advlib) wanted="torch==2.13.0 tqdm"; alone="adv-lib==0.2.8" ;;
  foolbox) wanted="torch==2.13.0 scipy requests GitPython"; alone="eagerpy==0.30.0 foolbox==3.3.4" ;;
  # Interatomic potentials. PyTorch is named, so that a build without CUDA that is at hand is taken.
  mace) wanted="torch==2.13.0 mace-torch==0.3.16" ;;
  apax) wanted="apax==0.14.0 jax-md==0.2.29 jax==0.10.2" ;; # it uses jax-md without declaring it
  mlip) wanted="mlip==0.2.5 jax==0.10.2" ;;
  # Splice sites; GPL: it is run as a program, nothing of it is copied.
  openspliceai)
    wanted="torch==2.13.0 h5py pandas scikit-learn tqdm psutil pyfaidx pysam matplotlib gffutils biopython mappy"
    alone="openspliceai==0.0.7" ;;
  skforecast) wanted="skforecast==0.26.0" ;;
  neuralforecast) wanted="torch==2.13.0 neuralforecast==3.3.0" ;;
  sbti) wanted="sbti-finance-tool==1.3.1" ;;
  itr) wanted="itr==1.1.10" ;;
  # It declares Python 3.12, formatters and test tools, of which its models need nothing.
  schnetpack)
    wanted="torch==2.13.0 ase matscipy vesin pytorch-lightning==2.6.6 torchmetrics torch-ema hydra-core fasteners dirsync"
    wanted="$wanted h5py tensorboard tensorboardX progressbar rich tqdm pyyaml petname"
    alone="--ignore-requires-python schnetpack==2.2.0" ;;
  *) echo "usage: sh tools/peers.sh landscapes|torch|spins|bifurcation|rbms|coniii|devinterp|curvlinops|jaxcont|advlib|foolbox|mace|apax|mlip|schnetpack|openspliceai|sbti|itr|skforecast|neuralforecast" >&2; exit 2 ;;
esac
env="benchmarks/.peers/$group"
"${PYTHON:-python3}" -m venv "$env"
# shellcheck disable=SC2086 # a list of requirements
"$env/bin/python" -m pip install --quiet --disable-pip-version-check numpy $wanted
# shellcheck disable=SC2086
if [ -n "${alone:-}" ]; then "$env/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps $alone; fi
echo "peers: $group is ready in $env"
