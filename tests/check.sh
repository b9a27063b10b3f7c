#!/usr/bin/env bash
# Every static check, in the order of their speed: bash tests/check.sh [folder of the tools]
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-.venv/bin}
"$bin/ruff" format --check .
"$bin/ruff" check .
"$bin/lint-imports"
"$bin/mypy"
"$bin/python" tests/golden/make_golden.py --check
"$bin/python" docs/generate.py --check
