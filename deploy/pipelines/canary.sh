#!/usr/bin/env bash
# Starts a canary and follows it to its end:
#
#   canary.sh ENDPOINT MODEL:VERSION [SECONDS]
#
# Exit codes as those of `switchyard`: 0 it was promoted, 1 something failed or took longer than
# SECONDS (a day), 2 wrong usage, 3 it was taken back. A canary that takes longer goes on, and its
# controller ends it; start the job again to follow it. One of another version is not followed: 1.
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: canary.sh ENDPOINT MODEL:VERSION [SECONDS]" >&2
  exit 2
fi
endpoint=$1 model=$2 end=$((SECONDS + ${3:-86400}))

canary() { # what stands in a key of the last canary
  switchyard canary status "$endpoint" --json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

underway=$(canary status 2>/dev/null || true)
case $underway in
  loading | running | promoting)
    other=$(canary model)
    if [ "$other" != "$model" ]; then
      echo "a canary of $endpoint goes on already: $other, not $model" >&2
      exit 1
    fi
    echo "a canary of $endpoint goes on already; following it"
    ;;
  *) switchyard canary start "$endpoint" --model "$model" --reason "${REASON:-pipeline}" ;;
esac

while true; do
  status=$(canary status)
  case $status in
    promoted) break ;;
    failed | aborted)
      echo "the canary of $endpoint was taken back: $(canary verdict)" >&2
      exit 3
      ;;
  esac
  if [ "$SECONDS" -ge "$end" ]; then
    echo "the canary of $endpoint is still $status; start this job again to follow it" >&2
    exit 1
  fi
  sleep "${PAUSE:-15}"
done
echo "$model is promoted: $(canary verdict)"
