#!/usr/bin/env bash
# check-demo.sh STATUS OUT: the example has broken units on purpose, so 1 with a report is success.
set -euo pipefail
status=$1 out=$2
report=$(find "$out" -name report.html -print -quit 2>/dev/null || true)
if [[ $status == 0 || $status == 1 ]] && [[ -n $report ]]; then
    exit 0
fi
echo "demo: ERROR the run ended with status $status and ${report:-no report}: see the lines above" >&2
exit "$((status == 0 || status == 1 ? 70 : status))"
