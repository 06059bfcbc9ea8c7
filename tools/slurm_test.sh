#!/usr/bin/env bash
# Test under slurm.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [flags of tools/test.py]
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,3s/^# \?//p' "$0" >&2; exit 2; }
# shellcheck disable=SC2086  # SRUN_ARGS is several words
exec srun --partition="$1" --job-name="$2" --gres="gpu:${GPUS_PER_NODE:-8}" --ntasks="${GPUS:-8}" \
    --ntasks-per-node="${GPUS_PER_NODE:-8}" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/test.py" "$3" "$4" --launcher slurm "${@:5}"
