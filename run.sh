#!/usr/bin/env bash
# Serves TaskFlow; the first start sets up .venv from requirements.lock.
#   ./run.sh [options of `taskflow serve`]
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
. tools/environment.sh

set_up_environment .venv requirements.lock
exec .venv/bin/python -m taskflow serve "$@"
