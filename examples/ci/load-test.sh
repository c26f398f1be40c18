#!/bin/sh
# One load test in a pipeline: load-test.sh PROFILE [VERDICTS THAT FAIL THE JOB]
#
# Runs PROFILE of the suite, compared with the baseline file where there is one, and exits as the verdict says. All
# files are in $LOADPROOF_OUT whatever the verdict. With LOADPROOF_PROMOTE=yes a run that may be released becomes the
# next baseline file. Settings, with their defaults:
set -eu

profile=$1
fail_on=${2:-no-go,not-proven}
suite=${LOADPROOF_SUITE:-load-tests}                             # folder with loadproof.toml
out=${LOADPROOF_OUT:-load-report}                                # where the report goes
baseline=${LOADPROOF_BASELINE:-loadproof-baseline/$profile.lprun} # the last stable run, a file
build=${LOADPROOF_BUILD:-unknown}                                # what is tested, for the report
agents=${LOADPROOF_AGENTS:-1}

rm -rf "$out"
set -- run "$suite" --profile "$profile" --build "$build" --agents "$agents" --out "$out" --fail-on "$fail_on"
if [ -f "$baseline" ]; then
    set -- "$@" --baseline "$baseline"
else
    echo "no baseline at $baseline: the run is judged by itself" >&2
fi

code=0
loadproof "$@" || code=$?

# The exit code may be 0 for a verdict that was not asked to fail, so the decision itself is asked.
if [ "${LOADPROOF_PROMOTE:-no}" = yes ] && [ -f "$out/run.json" ]; then
    if loadproof baseline set "$out" >/dev/null 2>&1; then
        { mkdir -p "$(dirname "$baseline")" && loadproof history export "$out" "$baseline"; } ||
            echo "the baseline could not be written" >&2
    else
        echo "this run is no stable one; the baseline stays as it is" >&2
    fi
fi
exit "$code"
