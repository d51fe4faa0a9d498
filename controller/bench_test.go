package controller_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/policytest"
)

// A decision allocates nothing once its slices have grown, but for a reason
// that names an address.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c := newController(t, everythingButLearn)
	for _, tt := range []struct {
		packet string
		want   float64
	}{
		{"tcp 10.0.0.1:1 > 10.0.0.9:22", 0},
		{"tcp 10.0.0.9:1 > 10.0.0.8:80", 0},
		{"udp [2001:db8::9]:53 > [2001:db8::8]:99 port 2", 0},
		{"arp 10.0.0.1 > 10.0.0.2", 0},
		{"lldp", 0},
		{"tcp 10.0.0.3:1 > 10.0.0.8:80", 1},
	} {
		ev, d := decide(t, c, tt.packet, of13)
		got := testing.AllocsPerRun(100, func() {
			d.Reset()
			if err := c.Decide(t.Context(), ev, d); err != nil {
				t.Fatal(err)
			}
		})
		if got > tt.want {
			t.Errorf("%s: %v allocations, want %v", tt.packet, got, tt.want)
		}
	}
}

const everythingButLearn = "install: host-pair" + everything + "normal}"

func TestConcurrentDecisions(t *testing.T) {
	c := newController(t, everythingButLearn)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				line := fmt.Sprintf("tcp 10.0.0.%d:1 > 10.0.0.9:22", i%8)
				ev, err := policytest.Event(line, of13)
				if err != nil {
					t.Error(err)
					return
				}
				var d flow.Decision
				if err := c.Decide(t.Context(), ev, &d); err != nil {
					t.Error(err)
					return
				}
				want := "allow (forward: normal)"
				switch i % 8 {
				case 0, 1:
					want = "allow (header: a)"
				case 3:
					want = "deny (blocklist: 10.0.0.3)"
				}
				if got := policytest.Sum(&d); got != want {
					t.Errorf("%s: %s, want %s", line, got, want)
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkDecide is a whole decision, by policy.
func BenchmarkDecide(b *testing.B) {
	for _, bb := range []struct {
		name string
		c    *controller.Controller
	}{
		{"default", controller.New(forward.Default())},
		{"header", newController(b, telnet)},
		{"everything", newController(b, everythingButLearn)},
		{"ipsum-500", ipsum(b, "ipsum-500.txt")},
		{"ipsum-120430", ipsum(b, "ipsum-1.txt")},
	} {
		if bb.c == nil {
			continue
		}
		b.Run(bb.name, func(b *testing.B) {
			ev, err := policytest.Event(ssh, of13)
			if err != nil {
				b.Fatal(err)
			}
			var d flow.Decision
			b.ReportAllocs()
			for b.Loop() {
				d.Reset()
				if err := bb.c.Decide(b.Context(), ev, &d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// ipsum is a controller with one list of the data beside the checkout, or nil.
func ipsum(b *testing.B, name string) *controller.Controller {
	body, err := os.ReadFile("../../shared/data/" + name)
	if err != nil {
		b.Logf("left out: %v", err)
		return nil
	}
	list := blocklist.List{Name: name}
	for line := range bytes.Lines(body) {
		a := netip.MustParseAddr(strings.TrimSpace(string(line)))
		list.Prefixes = append(list.Prefixes, netip.PrefixFrom(a, a.BitLen()))
	}
	return controller.New(&policy.Policy{Serial: 1, Install: policy.DefaultInstall, Chain: []policy.Source{
		&blocklist.Config{Lists: []blocklist.List{list}}, &forward.Config{Mode: policy.Normal},
	}})
}
