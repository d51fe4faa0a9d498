package p4bridge

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/certs/certstest"
	"switchbridge/p4bridge/p4test"
)

// versioned is exactNormal under a policy version that can change, with one
// proactive rule.
type versioned struct {
	mu sync.Mutex
	v  flow.PolicyVersion
}

func (p *versioned) Local() bool { return true }
func (p *versioned) set(serial uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.v = flow.PolicyVersion{Serial: serial, Hash: uint32(serial) * 7919}
}
func (p *versioned) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.Policy = p.v
	if ev.Type == flow.EventSwitchConnected {
		r := flow.Rule{Priority: 50, Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}}
		r.Match.SetEthType(0x88cc)
		d.Rules = append(d.Rules, r)
		return nil
	}
	return exactNormal(ctx, ev, d)
}

// A new policy version puts its proactive rules in the place of the old ones. What packets have brought is asked about again, and what is decided as
// before stays.
func TestNewPolicySweeps(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		p := new(versioned)
		p.set(1)
		cfg := fastConfig(r)
		b := bridgeOf(t, p, nil)
		cfg.Bridge = b
		s := run(t, cfg, nil)
		serving(t, s)
		check := bridge.PolicyCheck{Decider: p, Versions: b.Versions(), Interval: 50 * time.Millisecond, OnNewer: func(flow.PolicyVersion) { b.PolicyChanged() }}
		ctx, stop := context.WithCancel(context.Background())
		t.Cleanup(stop)
		go check.Run(ctx) //nolint:errcheck // nil
		for i := range 10 {
			r.packet(t, 1, udp(1, 2, uint16(100+i)))
		}
		eventually(t, "ten rules", func() bool { return len(entries(t, r, "flow_exact")) == 10 })
		p.set(2)
		eventually(t, "the proactive rule is the one of version 2, and alone", func() bool {
			left := entries(t, r, "flow")
			if len(left) != 1 {
				return false
			}
			_, tag, _ := bridge.SplitCookie(left[0].GetControllerMetadata())
			return tag == (flow.PolicyVersion{Serial: 2, Hash: 2 * 7919}).Tag()
		})
		if n := len(entries(t, r, "flow_exact")); n != 10 {
			t.Errorf("%d rules, want the ten that are decided as before", n)
		}
		if n := len(entries(t, r, "l2")); n != 1 {
			t.Errorf("%d learned addresses, want 1: they are no policy's", n)
		}
	})
}

// A gateway that restarts keeps its rules of the present policy, and sweeps those
// that an older one left.
func TestGatewayRestarts(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	p := new(versioned)
	once := func(serial uint64, during func(*Session)) {
		p.set(serial)
		cfg := fastConfig(r)
		cfg.Bridge = bridgeOf(t, p, nil)
		cfg.Bridge.Versions().Checked(p.v) // as a policy_check does
		s, stop := runUntil(t, cfg, p)
		serving(t, s)
		during(s)
		stop()
	}
	once(1, func(*Session) {
		r.Packet(1, udp(1, 2, 1))
		eventually(t, "a rule", func() bool { return len(r.Entries("flow_exact")) == 1 })
	})
	once(1, func(*Session) {
		time.Sleep(50 * time.Millisecond) // there is no event for what must not happen
		if n := len(r.Entries("flow_exact")); n != 1 {
			t.Errorf("%d rules after a restart, want the one that was there", n)
		}
	})
	if n := r.Stats().Pushes; n != 1 {
		t.Errorf("%d pushes, want 1: the program was there", n)
	}
	once(2, func(*Session) {
		eventually(t, "the rule of the older policy goes", func() bool { return len(r.Entries("flow_exact")) == 0 })
	})
}

// Packets of one flow that come while it is being decided follow the decision,
// in order, and none is asked about twice.
func TestHeldPackets(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	cfg := fastConfig(r)
	cfg.Miss = MissPunt
	var asked atomic.Int32
	answer := make(chan struct{})
	s := run(t, cfg, flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.PacketIn != nil {
			asked.Add(1)
			<-answer
		}
		return toPort(3)(ctx, ev, d)
	}))
	serving(t, s)
	frames := make([][]byte, 5)
	for i := range frames {
		frames[i] = udp(1, 2, 1)
		frames[i][50] = byte(i) // the payload differs, the headers do not
		r.Packet(1, frames[i])
	}
	eventually(t, "the first is asked about", func() bool { return asked.Load() == 1 && r.Stats().PacketIns == 5 })
	time.Sleep(20 * time.Millisecond) // the others are on their way to the same flight
	close(answer)
	for i := range frames {
		select {
		case f := <-r.Out():
			if string(f.Data) != string(frames[i]) || f.Port != 3 {
				t.Errorf("packet %d left out of order, or by port %d", i, f.Port)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("packet %d was lost", i)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

// A decision may name P4 tables itself, where that is enabled.
func TestDirectEntries(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := fastConfig(r)
		cfg.Entries = true
		s := run(t, cfg, local{func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
			if ev.Type == flow.EventSwitchConnected {
				d.Entries = append(d.Entries, flow.Entry{Table: "acl", Priority: 7, Action: "output", Params: map[string]string{"port": "4"},
					Match: map[string]string{"eth_src": "02:00:00:00:00:01", "ip_dst": "10.0.0.0/0xff000000"}})
				d.Entries[0].Match["ip_dst"] = "0x0a000000/0xff000000"
			}
			return nil
		}})
		serving(t, s)
		eventually(t, "the entry", func() bool { return len(entries(t, r, "acl")) == 1 })
		frame := udp(1, 2, 1)
		r.packet(t, 1, frame)
		expect(t, r, 4, frame)
	})
}

// Counters come back for status.
func TestCounters(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := fastConfig(r)
		cfg.Counters = 50 * time.Millisecond
		s := run(t, cfg, local{toPort(2)})
		serving(t, s)
		frame := udp(1, 2, 1)
		r.packet(t, 1, frame)
		eventually(t, "an entry", func() bool { return len(entries(t, r, "flow_exact")) == 1 })
		for range 3 {
			r.packet(t, 1, frame)
			expect(t, r, 2, frame)
		}
		eventually(t, "three packets are counted", func() bool {
			for _, tab := range s.Status().Tables {
				if tab.Name == "flow_exact" {
					return tab.Packets == 3 && tab.Entries == 1
				}
			}
			return false
		})
	})
}

// With mutual TLS, a gateway without a certificate gets nowhere and says so; one
// that is given a certificate later on gets in without a restart.
func TestMutualTLS(t *testing.T) {
	ca := certstest.New(t)
	creds := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "switch", time.Now().Add(time.Hour))}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert})
	r := newSimulated(t, p4test.Options{DeviceID: 1, ServerOptions: []grpc.ServerOption{grpc.Creds(creds)}})
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content []byte) {
		if err := os.WriteFile(at(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put := func(c tls.Certificate) {
		cert, key := certstest.Pair(t, c)
		write("cert.pem", cert)
		write("key.pem", key)
	}
	write("ca.pem", ca.PEM())
	put(certstest.New(t).Issue(t, "gateway", time.Now().Add(time.Hour)))
	cfg := fastConfig(r)
	cfg.DialTimeout = time.Second
	refused := func(s *Session) func() bool {
		return func() bool {
			st := s.Status()
			return st.State == "waiting" && (strings.Contains(st.Error, "certificate") || strings.Contains(st.Error, "tls"))
		}
	}
	tlsConfig := func(ca, cert, key, name string) *tls.Config {
		c, err := ClientTLS(ca, cert, key, name)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	cfg.TLS = tlsConfig(at("ca.pem"), "", "", "")
	eventually(t, "without a certificate it is refused", refused(run(t, cfg, local{exactNormal})))
	cfg.TLS = tlsConfig(at("ca.pem"), at("cert.pem"), at("key.pem"), "another.example")
	eventually(t, "of another name than expected it refuses the switch", refused(run(t, cfg, local{exactNormal})))
	cfg.TLS = tlsConfig(at("ca.pem"), at("cert.pem"), at("key.pem"), "")
	s := run(t, cfg, local{exactNormal})
	eventually(t, "a stranger's certificate is refused", refused(s))
	put(ca.Issue(t, "gateway", time.Now().Add(time.Hour)))
	serving(t, s)

	for _, row := range [][3]string{{at("none"), "", ""}, {at("key.pem"), "", ""}, {at("ca.pem"), at("cert.pem"), ""}, {"", at("ca.pem"), at("key.pem")}} {
		if _, err := ClientTLS(row[0], row[1], row[2], ""); err == nil {
			t.Errorf("%v: no error", row)
		}
	}
}
