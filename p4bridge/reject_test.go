package p4bridge

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"switchbridge/flow"
)

// TestRejectedKernel has the kernel behind BMv2's port 1 try to reach a host of which all is refused: it judges the answers.
func TestRejectedKernel(t *testing.T) {
	r := newReal(t)
	for _, args := range [][]string{
		{"addr", "add", "10.0.0.1/24", "dev", "h1"},
		{"neigh", "replace", "10.0.0.2", "lladdr", "02:00:00:00:00:02", "dev", "h1"},
	} {
		if out, err := exec.Command("ip", append([]string{"-n", r.ns}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	refuse := flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		err := exactNormal(ctx, ev, d)
		d.Verdict, d.Reject = flow.Deny, true
		for i := range d.Rules {
			d.Rules[i].Actions = nil
		}
		return err
	})
	cfg := fastConfig(r)
	cfg.Miss = MissPunt
	serving(t, run(t, cfg, local{refuse}))
	for _, row := range []struct {
		network, addr string
		want          error
	}{{"tcp", "10.0.0.2:22", syscall.ECONNREFUSED}, {"tcp", "10.0.0.2:80", syscall.ECONNREFUSED}, {"udp", "10.0.0.2:53", syscall.EHOSTUNREACH}} {
		start := time.Now()
		err := r.inside(func() error {
			c, err := net.DialTimeout(row.network, row.addr, 5*time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := c.Write([]byte("question")); err != nil {
				return err
			}
			_, err = c.Read(make([]byte, 10))
			return err
		})
		if took := time.Since(start); !errors.Is(err, row.want) || took > 2*time.Second {
			t.Errorf("%s to %s: %v after %v, want %v at once", row.network, row.addr, err, took, row.want)
		}
	}
}
