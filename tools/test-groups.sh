# shellcheck shell=sh
# shellcheck disable=SC2154 # root, jobs and the package lists are set by dev
# The groups of `./dev test`; sourced by dev, whose functions and variables it uses.
#
# A group is a function group_<name> that writes what it does to its log and leaves its counts in `passed` and
# `failed`. A group that ends without counts, or with a failing command, counts as one failure: silence is no success.
# Everything runs even when a group fails, so that one run tells all there is to fix.

group_names='format shell includes tidy build build-clang unit sanitizers fuzz simulation powercut engines e2e e2e-sanitizers'

test_help() {
    cat <<HELP
usage: ./dev test [--only GROUP]… [--kills N] [--seeds N] [--fuzz-seconds N]

Runs every check and test, prints a table and ends with the line \`N passed, N failed\`.
  --only GROUP      only this group (may be given several times), with the builds it needs
  --kills N         how many times the kill test kills something (24)
  --seeds N         how many seeds the simulation runs (2000)
  --fuzz-seconds N  how long each fuzz target runs (6)
groups: $group_names
HELP
}

# Counts from ctest's own report, so that a changed wording of its summary cannot pass for success.
run_ctest() { # PRESET NAME-REGEX EXCLUDE-REGEX TIMEOUT
    ctest_report="$root/build/test/ctest-$1-$group.xml"
    rm -f "$ctest_report"
    ctest --test-dir "build/$1" -j "$jobs" --output-on-failure --no-tests=error --timeout "$4" \
        ${2:+-R "$2"} ${3:+-E "$3"} --output-junit "$ctest_report" || true
    count_junit "$ctest_report"
}

count_junit() { # FILE: the counts of a JUnit report, from ctest or pytest
    [ -f "$1" ] || {
        echo "no report $1"
        return 1
    }
    junit_counts=$(python3 "$root/tools/junit_counts.py" "$1") || return 1
    passed=${junit_counts% *}
    failed=${junit_counts#* }
}

group_format() {
    c_sources >build/test/c-sources
    failed=$(xargs clang-format --dry-run -Werror <build/test/c-sources 2>&1 | tee /dev/stderr |
        sed -n 's/^\([^:]*\):[0-9].*error: code should be clang-formatted.*/\1/p' | sort -u | wc -l)
    passed=$(($(wc -l <build/test/c-sources) - failed))
}

group_shell() {
    passed=0
    failed=0
    for script in $(shell_sources); do # our own file names, without spaces
        if shellcheck -x "$script"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    done
}

# The check proves that it can fail before it is believed.
group_includes() {
    tools/check-includes --self-test || return 1
    passed=1
    if tools/check-includes; then passed=2; else failed=1; fi
}

group_tidy() {
    configure clang
    tools/check-tidy build/clang --report build/test/tidy.counts || true
    passed=$(sed -n 's/^passed //p' build/test/tidy.counts)
    failed=$(sed -n 's/^failed //p' build/test/tidy.counts)
}

group_build() {
    compile release all || return 1
    [ -x build/release/bookcart ] && [ -f build/release/ngx_http_cart_module.so ] || return 1
    # Runnable from any folder.
    (cd / && "$root/build/release/bookcart" --version) || return 1
    passed=1
}

group_build_clang() {
    compile clang all || return 1
    passed=1
}

group_unit() {
    compile release all || return 1
    run_ctest release '' '^(simulation|powercut|engines)' 300
}

group_sanitizers() {
    compile asan all || return 1
    ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:${ASAN_OPTIONS:-}" UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1" \
        run_ctest asan '' '^(simulation|powercut|engines)' 600
}

group_fuzz() {
    # shellcheck disable=SC2046 # one word a target
    compile fuzz $(for name in $(fuzz_targets); do printf 'fuzz_%s ' "$name"; done) || return 1
    passed=0
    failed=0
    for name in $(fuzz_targets); do
        if fuzz_one "$name" "$test_fuzz_seconds" >"build/test/fuzz-$name.log" 2>&1; then
            passed=$((passed + 1))
            echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "build/test/fuzz-$name.log") inputs"
        else
            failed=$((failed + 1))
            tail -n 40 "build/test/fuzz-$name.log"
        fi
    done
}

# Runs a program whose last line is `N passed, N failed` and adds that to the counts; no such line is a failure.
count_last_line() { # COMMAND…
    "$@" >build/test/last-run 2>&1 || true
    cat build/test/last-run
    last_counts=$(tail -n 1 build/test/last-run | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
    passed=$((${passed:-0} + ${last_counts%% *}))
    failed=$((${failed:-0} + ${last_counts##* }))
}

# Seeds on the sound program; then every planted bug must be caught, or the checker proves nothing. (The rarest needs some
# 1,400 seeds; most are caught within ten.)
group_simulation() {
    compile release simulation || return 1
    count_last_line build/release/simulation --seeds "$test_seeds"
    count_last_line build/release/simulation --planted all --seeds 5000
}

group_powercut() {
    compile release all || return 1
    run_ctest release '^powercut' '' 900
}

# Our clients against the real thing, which is installed first.
group_engines() {
    command -v go >/dev/null 2>&1 || [ -x /usr/local/go/bin/go ] || need_packages golang-go ca-certificates
    tools/engines stripe-mock || return 1
    compile release all || return 1
    run_ctest release '^engines' '' 300
}

group_e2e() {
    compile release bookcart ngx_http_cart_module || return 1
    need_python build/venv tests/e2e/requirements.txt
    rm -f build/test/e2e.xml
    build/venv/bin/python -m pytest tests/e2e -q --kills "$test_kills" --program build/release/bookcart \
        --junit-xml build/test/e2e.xml || true
    count_junit build/test/e2e.xml
}

# The edge inside nginx, and the cart service behind it, built with sanitizers. nginx itself is Debian's: the runtime is preloaded.
# What they report fails the test that ran (Shop.destroy). Leaks are left to the unit tests: nginx frees its pools by exiting.
group_e2e_sanitizers() {
    compile asan bookcart ngx_http_cart_module || return 1
    need_python build/venv tests/e2e/requirements.txt
    rm -f build/test/e2e-sanitizers.xml
    BOOKCART_TEST_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
        ASAN_OPTIONS="detect_leaks=0:abort_on_error=1" UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1" \
        build/venv/bin/python -m pytest tests/e2e/test_cart.py tests/e2e/test_cart_input.py tests/e2e/test_callers.py \
        tests/e2e/test_life.py -q --program build/asan/bookcart --junit-xml build/test/e2e-sanitizers.xml || true
    count_junit build/test/e2e-sanitizers.xml
}

# Runs one group in a process of its own, so that `die` inside it ends the group and not the run.
run_group() { # NAME
    group=$1
    log="build/test/$group.log"
    rm -f "build/test/$group.counts"
    say "test: $group"
    started=$(date +%s)
    group_function="group_$(printf '%s' "$group" | tr - _)"
    # No `if` around the subshell: errexit must stay on inside it.
    set +e
    (
        set -e
        passed=''
        failed=''
        "$group_function"
        printf '%s %s\n' "${passed:-0}" "${failed:-0}" >"build/test/$group.counts"
    ) >"$log" 2>&1
    group_status=$?
    set -e
    seconds=$(($(date +%s) - started))
    group_passed=0
    group_failed=0
    [ ! -f "build/test/$group.counts" ] || read -r group_passed group_failed <"build/test/$group.counts"
    if [ "$group_status" -ne 0 ] || [ "$group_passed$group_failed" = 00 ]; then group_failed=$((group_failed + 1)); fi
    if [ "$group_failed" -gt 0 ]; then
        say "test: $group FAILED, the end of $log:"
        tail -n 60 "$log" | sed 's/^/  | /'
    fi
    printf '%-12s %8d %8d %7d s\n' "$group" "$group_passed" "$group_failed" "$seconds" >>build/test/summary
    all_passed=$((all_passed + group_passed))
    all_failed=$((all_failed + group_failed))
}

take_number() { # OPTION VALUE
    case $2 in '' | *[!0-9]*) refuse "test: $1 needs a number, not '$2'" ;; esac
    printf '%s' "$2"
}

run_test_groups() {
    test_kills=24
    test_seeds=2000
    test_fuzz_seconds=6
    only=''
    while [ $# -gt 0 ]; do
        case $1 in
        --help | -h)
            test_help
            return 0
            ;;
        --only | --kills | --seeds | --fuzz-seconds)
            [ $# -ge 2 ] || refuse "test: $1 needs a value"
            case $1 in
            --only)
                case " $group_names " in *" $2 "*) ;; *) refuse "test: no group $2 (groups: $group_names)" ;; esac
                only="$only $2"
                ;;
            --kills) test_kills=$(take_number "$1" "$2") || exit 2 ;;
            --seeds) test_seeds=$(take_number "$1" "$2") || exit 2 ;;
            --fuzz-seconds) test_fuzz_seconds=$(take_number "$1" "$2") || exit 2 ;;
            esac
            shift
            ;;
        *) refuse "test: unknown option $1 (./dev test --help)" ;;
        esac
        shift
    done

    need_compile_packages
    # shellcheck disable=SC2086 # lists of words, on purpose
    need_packages $packages_check $packages_test
    mkdir -p build/test
    rm -f build/test/summary
    all_passed=0
    all_failed=0
    all_started=$(date +%s)
    for name in ${only:-$group_names}; do run_group "$name"; done

    printf '\n%-12s %8s %8s %9s\n' group passed failed time
    cat build/test/summary
    printf '%-12s %8s %8s %7d s\n\n' all '' '' "$(($(date +%s) - all_started))"
    printf '%d passed, %d failed\n' "$all_passed" "$all_failed"
    [ "$all_failed" -eq 0 ]
}
