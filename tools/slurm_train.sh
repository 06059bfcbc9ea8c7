#!/usr/bin/env bash
# Train under slurm.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] tools/slurm_train.sh PARTITION JOB CONFIG [flags of tools/train.py]
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,3s/^# \?//p' "$0" >&2; exit 2; }
# shellcheck disable=SC2086  # SRUN_ARGS is several words
exec srun --partition="$1" --job-name="$2" --gres="gpu:${GPUS_PER_NODE:-8}" --ntasks="${GPUS:-8}" \
    --ntasks-per-node="${GPUS_PER_NODE:-8}" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$3" --launcher slurm "${@:4}"
