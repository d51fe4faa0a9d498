#!/bin/sh
# bench.sh COMMIT [PACKAGE...]: the Go benchmarks of COMMIT and of what is here, in turns, so that what
# changes on the machine meanwhile touches both; then the ratios with their spread, by benchstat.
# BENCH, BENCHTIME and ROUNDS (10) say which and how long.
set -eu

commit=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "bench: $1 is no commit" >&2; exit 1; }
shift
: "${GO:=go}" "${BENCH:=.}" "${BENCHTIME:=0.2s}" "${ROUNDS:=10}"
: "${BENCHSTAT:=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da}"

here=$PWD
out=$here/build/bench
mkdir -p "$out"
base=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
trap 'git worktree remove --force "$base/tree" 2>/dev/null; rm -rf "$base"' EXIT
trap 'exit 1' HUP INT TERM
git worktree add --quiet --detach "$base/tree" "$commit"
# The guest is no part of a commit. What is here serves both where it fits; else its benchmarks fail and say so.
cp -r faas/instance/embedded/assets "$base/tree/faas/instance/embedded/" 2>/dev/null || true

if [ $# -eq 0 ]; then
	set -- $(git grep -l '^func Benchmark' -- '*_test.go' | xargs -n 1 dirname | sort -u)
fi
: >"$out/base.txt"
: >"$out/now.txt"
for package; do
	name=$(echo "$package" | tr / _).test
	(cd "$base/tree" && [ -d "$package" ] && $GO test -trimpath -c -o "$base/base.$name" "./$package") || echo "bench: $package: not in $commit, or does not build there" >&2
	$GO test -trimpath -c -o "$base/now.$name" "./$package"
done
round=0
while [ $((round += 1)) -le "$ROUNDS" ]; do
	echo "round $round of $ROUNDS" >&2
	for package; do
		name=$(echo "$package" | tr / _).test
		for side in base now; do
			[ -x "$base/$side.$name" ] || continue
			tree=$here
			[ $side = now ] || tree=$base/tree
			(cd "$tree/$package" && "$base/$side.$name" -test.run '^$' -test.bench "$BENCH" -test.benchtime "$BENCHTIME" -test.benchmem) >>"$out/$side.txt" ||
				echo "bench: $package, $side: failed; see $out/$side.txt" >&2
		done
	done
done
cd "$out"
$GO run "$BENCHSTAT" base.txt now.txt
