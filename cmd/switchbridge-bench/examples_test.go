package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/internal/certs/certstest"
	"switchbridge/internal/child"
	"switchbridge/internal/examples"
	"switchbridge/internal/ovs"
	"switchbridge/internal/testlong"
)

// notRun are the examples of benchmarks that take minutes. Their flags and arguments are looked at all the same.
var notRun = map[string]string{
	"switchbridge bench controller --versus --quick":                                     "a minute for each controller that is installed",
	"switchbridge bench conversation --quick":                                            "two minutes; the next one is run",
	"switchbridge bench failover --quick":                                                "two minutes; the next one is run",
	"switchbridge bench isolate --quick":                                                 "two minutes; the next one is run",
	"switchbridge bench scale --quick":                                                   "two minutes; the next one is run",
	"switchbridge bench soak --duration 1m --states 20000":                               "more than a minute; TestLongSoak runs it for ten seconds",
	"switchbridge bench cluster --quick":                                                 "two minutes; TestLongCluster runs it with ten switches",
	"switchbridge bench state --quick":                                                   "two minutes; TestLongState runs it",
	"switchbridge bench paper --real-pace 10m --captures ../shared/data --out real-pace": "ten minutes; bench/paper's TestRealPace has a capture of its own",
	"switchbridge bench state --store memory,bbolt --json":                               "some minutes; TestLongState runs a short round",
	"switchbridge bench paper --out report":                                              "twenty minutes; testdata/measure.txtar runs it with --quick",
}

// Every benchmark has an example, whose flags and arguments its command takes.
func TestExamples(t *testing.T) {
	for _, line := range examples.Lines(t, rootCommand()) {
		if err := examples.Parse(rootCommand(), line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Examples that don't take minutes end well, in a folder with the files that they name.
func TestLongExamples(t *testing.T) {
	testlong.Need(t)
	lines := examples.Lines(t, rootCommand())
	for line, why := range notRun {
		if !slices.Contains(lines, line) {
			t.Errorf("no help has the example %q, which is not run, since it takes %s", line, why)
		}
	}
	sw := ovs.Start(t, ovs.Options{}) // for its network, in which the ports that examples name are free
	bin := filepath.Dir(programs(t))
	env := append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	dir := t.TempDir()
	authority := certstest.New(t)
	cert, key := certstest.Pair(t, authority.Issue(t, "function", time.Now().Add(time.Hour)))
	for name, b := range map[string][]byte{"ca.pem": authority.PEM(), "cert.pem": cert, "key.pem": key, "token": []byte("0123456789abcdef\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shell := func(line string) *exec.Cmd {
		c := sw.Command("sh", "-c", "exec "+line)
		c.Dir, c.Env = dir, env
		return c
	}
	for _, line := range []string{
		"switchbridge run --function native",
		"switchbridge function serve --native --listen 127.0.0.1:8443 --cert cert.pem --key key.pem --token-file token",
	} {
		c := shell(line)
		if err := child.Start(c); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	}
	for _, at := range []string{"http://127.0.0.1:9653/readyz", "https://127.0.0.1:8443/"} {
		// curl's code is 0 whatever the answer's status is.
		if out, err := sw.Command("curl", "-sk", "--retry", "60", "--retry-delay", "1", "--retry-connrefused", "-o", "/dev/null", at).CombinedOutput(); err != nil {
			t.Fatalf("nobody answers at %s: %v\n%s", at, err, out)
		}
	}
	for _, line := range lines {
		if notRun[line] != "" {
			continue
		}
		t.Run(line, func(t *testing.T) {
			if strings.Contains(line, "bench compare ") {
				report(t, dir, "report", shell)
				report(t, dir, "other-report", shell)
			}
			if out, err := shell(line).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// report has a report of the paper's evaluation in a folder.
func report(t *testing.T, dir, name string, shell func(string) *exec.Cmd) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, name, "report.json")); err == nil {
		return
	}
	if out, err := shell("switchbridge bench paper --quick --out " + name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
