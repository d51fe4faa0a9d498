package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/internal/built"
	"switchbridge/internal/testlong"
)

// programs returns the path of this one, and puts the other on PATH.
func programs(t *testing.T) string {
	t.Helper()
	t.Setenv("PATH", filepath.Dir(built.Switchbridge(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
	return built.Bench(t)
}

// claims runs a command, which must have no failure, and wants lines that begin so.
func claims(t *testing.T, want []string, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range want {
		if !strings.Contains(string(out), "\n"+line) {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
}

// Nothing is lost in ten seconds of the soak, that takes ten minutes in make soak.
func TestLongSoak(t *testing.T) {
	testlong.Need(t)
	claims(t, []string{"figure soak.states 20000", "figure soak.rss_mb "}, programs(t), "soak", "--states", "20000", "--duration", "10s")
}

// No update is lost, and no denied packet passes, while each party is killed.
func TestLongCluster(t *testing.T) {
	testlong.Need(t)
	claims(t, []string{"figure cluster.updates ", "figure cluster.store_leader.refused_worst_s "}, programs(t), "cluster", "--quick", "--switches", "10")
}

// Policies of every kind and in every store are answered right.
func TestLongState(t *testing.T) {
	testlong.Need(t)
	claims(t, []string{"figure state.embedded.machine.memory.p50_ratio ", "figure state.far.machine.nats.p50_us ", "figure state.apart.stateless_p50_ratio "}, programs(t), "state", "--quick")
}
