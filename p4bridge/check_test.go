package p4bridge

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/p4test"
)

// tapped is a port of a rig as what hangs on it.
type tapped struct {
	t    testing.TB
	r    rig
	port uint32
	out  chan []byte
}

func (w *tapped) Send(frame []byte) error {
	w.r.packet(w.t, w.port, frame)
	return nil
}
func (w *tapped) Frames() <-chan []byte { return w.out }

// taps hangs something on ports of a rig.
func taps(t testing.TB, r rig, ports ...uint32) map[uint32]Wire {
	wires, outs := map[uint32]Wire{}, map[uint32]chan []byte{}
	for _, p := range ports {
		outs[p] = make(chan []byte, 64)
		wires[p] = &tapped{t, r, p, outs[p]}
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case f := <-r.out():
				if out := outs[f.Port]; out != nil {
					out <- f.Data
				}
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() { close(done) })
	return wires
}

// checked tries a configuration and returns what was reported, a line each.
func checked(t *testing.T, cfg Config, opt CheckOptions) (list []string, err error) {
	t.Helper()
	cfg.Bridge = bridgeOf(t, local{exactNormal}, nil)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	opt.Report = func(what string, err error) {
		if err != nil && !errors.Is(err, ErrNotTried) {
			what += " FAILS: " + err.Error()
		}
		list = append(list, what)
	}
	return list, s.Check(t.Context(), opt)
}

// A check of our own program finds nothing wrong and leaves the tables empty.
func TestCheck(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg, wires := fastConfig(r), taps(t, r, 1)
		for _, cfg.Miss = range []Miss{MissDigest, MissPunt} {
			list, err := checked(t, cfg, CheckOptions{Wires: wires})
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(list, "\n")
			if strings.Contains(all, "FAILS") {
				t.Fatal(all)
			}
			for _, want := range []string{"table acl: drop", "table flow_exact: normal", "table flow: output", "table l2: a station",
				fmt.Sprintf("miss=%v, in table miss", cfg.Miss), "a packet into port 1 asks", "a packet out of port 1"} {
				if !strings.Contains(all, want) {
					t.Errorf("%q was not tried:\n%s", want, all)
				}
			}
			for _, table := range []string{"acl", "flow_exact", "flow", "l2"} {
				if left := entries(t, r, table); len(left) > 0 {
					t.Errorf("table %s has %d entries left", table, len(left))
				}
			}
		}
	})
}

// A mapping that fits and is wrong shows by what a packet is read as.
func TestCheckFindsWrongMappings(t *testing.T) {
	text, err := os.ReadFile("mapping/switchbridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	onBoth(t, func(t *testing.T, r rig) {
		wires := taps(t, r, 1)
		for name, row := range map[string]struct {
			from, to, want string
			miss           Miss
		}{
			"addresses swapped": {"eth_src: [eth_src]\n      eth_dst: [eth_dst]", "eth_src: [eth_dst]\n      eth_dst: [eth_src]", "reads eth_dst,eth_src of it wrongly", MissDigest},
			"never asks":        {"digest: miss_digest", "digest: drop", "nothing came", MissDigest},
			"not the port":      {"output: {send: 0}", "output: {send: 3}", "it did not come out", MissPunt},
		} {
			changed := strings.Replace(string(text), row.from, row.to, 1)
			if changed == string(text) {
				t.Fatalf("%s: the mapping has no %q", name, row.from)
			}
			f, err := mapping.Parse(strings.NewReader(changed), "wrong.yaml")
			if err != nil {
				t.Fatal(name, err)
			}
			cfg := fastConfig(r)
			cfg.Miss = row.miss
			if cfg.Mapping, err = f.Bind(cfg.Pipeline); err != nil {
				t.Fatal(name, err)
			}
			list, err := checked(t, cfg, CheckOptions{Wires: wires, Wait: 500 * time.Millisecond})
			if all := strings.Join(list, "\n"); err != nil || !strings.Contains(all, "FAILS") || !strings.Contains(all, row.want) {
				t.Errorf("%s: want %q, got %v\n%s", name, row.want, err, all)
			}
		}
	})
}

// A check takes no switch away from a gateway, nor its program.
func TestCheckLeavesOthersAlone(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	s, stop := runUntil(t, fastConfig(r), local{exactNormal})
	serving(t, s)
	cfg := fastConfig(r)
	cfg.Election.Low = 1
	if _, err := checked(t, cfg, CheckOptions{}); err == nil || !strings.Contains(err.Error(), "another controller is the switch's primary") {
		t.Errorf("beside a gateway: %v", err)
	}
	stop()

	var err error
	cfg.Pipeline, cfg.Mapping, err = LoadProgram("../p4src/example/l2acl.p4info.txtpb", "../p4src/example/l2acl.json", "../p4src/example/l2acl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Miss = MissPunt
	if _, err := checked(t, cfg, CheckOptions{}); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("over another program: %v", err)
	}
	if list, err := checked(t, cfg, CheckOptions{Push: true}); err != nil || strings.Contains(strings.Join(list, "\n"), "FAILS") {
		t.Errorf("with a push: %v\n%s", err, strings.Join(list, "\n"))
	}
}

// The examples in others' styles take an entry of each kind, and the one that asks by
// a digest tells of a packet what the packet says. (campus has another CPU port than
// the switches of these tests.)
func TestCheckExamplesOnBMv2(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	wires := taps(t, r, 1)
	for name, want := range map[string]struct {
		miss  Miss
		wires map[uint32]Wire
		tried string
	}{
		"campus":    {MissPunt, nil, "table access_list: output"},
		"classroom": {MissDigest, wires, "a packet into port 1 asks"},
	} {
		cfg := fastConfig(r)
		cfg.Miss = want.miss
		var err error
		base := "../p4src/example/" + name
		if cfg.Pipeline, cfg.Mapping, err = LoadProgram(base+".p4info.txtpb", base+".json", base+".yaml"); err != nil {
			t.Fatal(err)
		}
		list, err := checked(t, cfg, CheckOptions{Push: true, Wires: want.wires})
		if all := strings.Join(list, "\n"); err != nil || strings.Contains(all, "FAILS") || !strings.Contains(all, want.tried) {
			t.Errorf("%s: %v\n%s", name, err, all)
		}
	}
}
