package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
)

// fakeCbench is a program that does what a shell script says.
func fakeCbench(t *testing.T, script string) Cbench {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cbench")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return Cbench{Program: path, Duration: 20 * time.Millisecond}
}

func TestCbench(t *testing.T) {
	c := fakeCbench(t, `echo "$@" >"$0.args"; echo 'RESULT: 1 switches 1 tests min/max/avg/stdev = 1.00/9.00/4321.50/0.00 responses/s'`)
	for mode, flag := range map[string]string{Latency: "", Flood: " -t"} {
		v, err := c.Run(t.Context(), "127.0.0.1:7", mode)
		args, _ := os.ReadFile(c.Program + ".args")
		if want := "-c 127.0.0.1 -p 7 -s 1 -l 2 -w 1 -m 20 -M 100000" + flag; err != nil || v != 4321.5 || strings.TrimSpace(string(args)) != want {
			t.Errorf("%v, %v, asked with %q, want %q", v, err, args, want)
		}
	}
	for want, script := range map[string]string{
		"no result":          "echo nothing",
		"closed connection":  "echo closed connection >&2; exit 1",
		"it did not end":     "echo 'RESULT: 1 switches 1 tests min/max/avg/stdev = 1.00/9.00/2.00/0.00 responses/s'; exec sleep 60",
		"program of no name": "",
	} {
		c, ctx := fakeCbench(t, script), t.Context()
		switch want {
		case "program of no name":
			c.Program, want = "no-such-program-here", "not installed"
		case "it did not end":
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
		}
		if _, err := c.Run(ctx, "127.0.0.1:7", Latency); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// An answer that names another packet's buffer is an answer where any is, as in cbench, and only there.
func TestAnyAnswer(t *testing.T) {
	for _, any := range []bool{true, false} {
		cfg := quick(fakeController(t, func(_ int, xid, buffer uint32) ([]byte, error) {
			return flowMod(t, flow.Add, xid, buffer^1<<20), nil
		}), Latency)
		cfg.AnyAnswer, cfg.Duration = any, 200*time.Millisecond
		res, err := Controller(t.Context(), cfg)
		if err != nil || (res.Latency.Count > 0) != any {
			t.Errorf("any answer %v: %+v, %v", any, res.Latency, err)
		}
	}
}

// The verdict follows from the medians of rounds in turn; a controller that is missing or fails says so.
func TestAgreement(t *testing.T) {
	peers := []Peer{childPeer("responder"), {Name: "none", Command: []string{"no-such-program-here", "{port}"}, Protocol: flow.OpenFlow10}}
	peers[0].Protocol = flow.OpenFlow10
	cfg := AgreementConfig{Peers: peers, Rounds: 2, Duration: 200 * time.Millisecond, Cbench: fakeCbench(t, `echo 'RESULT: 1 switches 1 tests min/max/avg/stdev = 1.00/9.00/2.00/0.00 responses/s'`)}
	var rounds []string
	cfg.OnRound = func(_ int, p *Peer) { rounds = append(rounds, p.Name) }
	rows, err := Agreement(t.Context(), cfg)
	if err != nil || len(rows) != 4 || strings.Join(rounds, " ") != "responder responder" {
		t.Fatalf("%d rows, rounds of %q, %v", len(rows), rounds, err)
	}
	for i, mode := range []string{Latency, Flood} {
		r := rows[i]
		if r.Mode != mode || r.Err != "" || len(r.Ours) != 2 || len(r.Cbench) != 2 || r.Cbench[1] != 2 || r.Ratio() <= 1.2 || r.Agrees() {
			t.Errorf("%+v", r)
		}
		if none := rows[2+i]; none.Name != "none" || !strings.Contains(none.Err, "not installed") || none.Ratio() != 0 || none.Agrees() {
			t.Errorf("%+v", none)
		}
	}
	for ratio, agrees := range map[float64]bool{0.89: false, 0.91: true, 1: true, 1.1: true, 1.12: false} {
		if r := (AgreementRow{Ours: []float64{ratio * 100}, Cbench: []float64{90, 100, 110}}); r.Agrees() != agrees {
			t.Errorf("%v: %s", ratio, r.Verdict())
		}
	}
	var text strings.Builder
	if err := WriteAgreement(&text, rows); err != nil || !strings.Contains(text.String(), "apart") || !strings.Contains(text.String(), "not installed") {
		t.Errorf("%v: %s", err, &text)
	}
	cfg.Cbench = fakeCbench(t, "exit 1")
	if rows, err = Agreement(t.Context(), cfg); err != nil || !strings.Contains(rows[0].Err, "round 1: cbench: exit status 1") || rows[1].Err == "" {
		t.Errorf("%+v, %v", rows[0], err)
	}
	cfg.Cbench = Cbench{Program: "no-such-program-here"}
	if _, err := Agreement(t.Context(), cfg); !errors.Is(err, ErrNotInstalled) {
		t.Error(err)
	}
}
