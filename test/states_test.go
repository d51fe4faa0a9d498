package test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/faas/instance/embedded"
	"switchbridge/flow"
	"switchbridge/functiontest/conformance"
	"switchbridge/gateway"
	"switchbridge/internal/built"
	"switchbridge/internal/dynamolocal"
	"switchbridge/internal/ovs"
	"switchbridge/internal/testlong"
	"switchbridge/settings"
	"switchbridge/state/statetest/dynamotest"
	"switchbridge/state/statetest/natstest"
	"switchbridge/state/statetest/redistest"
	"switchbridge/state/stores"
	"switchbridge/state/travel"
)

// scanPolicy shuts out who opens connections to three ports.
const scanPolicy = `
serial: 2
install: %s
chain:
  - machine:
      machines:
        - name: scan
          for: {ip_proto: tcp}
          key: src
          forget: 1h
          start: good
          states: {good: next, scanner: deny}
          transitions:
            - {from: good, to: scanner, tcp_flags: [syn, no-ack], count: 3, distinct: tcp_dst, within: 60s}
  - forward: {mode: normal}
`

// stateLab is a bridge with three hosts and a gateway whose states are in the store; the second host answers on two ports.
func stateLab(t *testing.T, function, install, store string) *lab {
	t.Helper()
	if function == settings.Embedded {
		if err := embedded.Built(); err != nil {
			t.Skip(err)
		}
	}
	l := &lab{t: t, policy: filepath.Join(t.TempDir(), "policy.yaml")}
	if err := os.WriteFile(l.policy, fmt.Appendf(nil, scanPolicy, install), 0o600); err != nil {
		t.Fatal(err)
	}
	l.sw = ovs.Start(t, ovs.Options{})
	set := settings.Default()
	set.Function.URLs, set.State.URL = []string{function}, store
	set.Policy, set.Admin.Listen = l.policy, "127.0.0.1:0"
	if store == travel.URL {
		set.State.SealFile = filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(set.State.SealFile, []byte(conformance.StateKeys[0]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener := l.sw.Listen()
	l.gateway = startGateway(t, set, listener)
	l.sw.AddBridge("br0", ovs.Bridge{DPID: 0x2a, Protocols: []string{protocols["1.3"]}, Controllers: []string{ovs.Target(listener)}})
	l.h1, l.h2, l.h3 = l.sw.AddHost("br0", "h1"), l.sw.AddHost("br0", "h2"), l.sw.AddHost("br0", "h3")
	l.h2.ServeEcho(80)
	l.h2.ServeEcho(443)
	l.sw.WaitConnected("br0")
	for began := time.Now(); l.gateway.Ready() != nil; time.Sleep(20 * time.Millisecond) { // a guest is compiled first
		if time.Since(began) > 3*time.Minute {
			t.Fatal(l.gateway.Ready())
		}
	}
	return l
}

// connects reports whether a host reaches a port of the second one.
func (l *lab) connects(from *ovs.Host, port uint16, within time.Duration) bool {
	_, err := from.Connect(l.h2.IP, port, within)
	return err == nil
}

// scan has the first host reach two ports and be shut out at the third.
func (l *lab) scan() {
	l.t.Helper()
	for _, port := range []uint16{80, 443} {
		if !l.connects(l.h1, port, 10*time.Second) {
			l.t.Fatalf("port %d, below the threshold, is not reached", port)
		}
	}
	_ = l.connects(l.h1, 22, 300*time.Millisecond)
	if l.connects(l.h1, 80, 2*time.Second) {
		l.t.Fatal("a scanner is let in")
	}
	if !l.connects(l.h3, 80, 10*time.Second) {
		l.t.Fatal("somebody else is shut out with the scanner")
	}
}

func TestStates(t *testing.T) {
	for _, store := range []string{"memory:", "bbolt:" + filepath.Join(t.TempDir(), "states"), "redis:", travel.URL} {
		t.Run(store[:5], func(t *testing.T) {
			t.Parallel()
			if store == "redis:" {
				store = "redis://" + redistest.Start(t).Addr
			}
			l := stateLab(t, settings.Native, "flow", store)
			l.scan()
			if text := l.gateway.get(t, "/metrics", nil); !strings.Contains(text, `switchbridge_state_reads_total{function="controller"}`) {
				t.Error("the metrics do not count states")
			}
		})
	}
}

// The gateway reads and swaps around the instances of a guest as it does around the controller.
func TestLongStatesOfInstances(t *testing.T) {
	testlong.Need(t)
	t.Setenv("CACHE_DIRECTORY", built.CacheDir(t))
	stateLab(t, settings.Embedded, "flow", "redis://"+redistest.Start(t).Addr).scan()
}

// A store that is killed and started again in traffic lets no scanner in, and is right again within a second of its return.
func TestStoreIsKilled(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		storeIsKilled(t, "redis://"+server.Addr, server.Kill, server.Restart)
	})
	t.Run("nats", func(t *testing.T) {
		t.Parallel()
		server := natstest.Start(t)
		storeIsKilled(t, server.URL, server.Stop, server.Restart)
	})
	t.Run("bbolt, whose file is moved away", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "states")
		move := func(from, to string) func() {
			return func() {
				if err := os.Rename(from, to); err != nil {
					t.Error(err)
				}
			}
		}
		storeIsKilled(t, "bbolt:"+path, move(path, path+".away"), move(path+".away", path))
	})
}

// The same of DynamoDB Local, which takes seconds to start.
func TestLongDynamoDBIsKilled(t *testing.T) {
	testlong.Need(t)
	server := dynamotest.Start(t)
	if err := server.CreateTable(t.Context(), "states", "k"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", server.Endpoint())
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	storeIsKilled(t, "dynamodb://states?region="+dynamolocal.Region, server.Kill, func() {
		if err := server.Restart(t.Context()); err != nil {
			t.Error(err)
		}
		if err := server.Use(t.Context(), "states", "k"); err != nil { // it has returned when it does this, which takes it some seconds after it listens
			t.Error(err)
		}
	})
}

func storeIsKilled(t *testing.T, store string, kill, restart func()) {
	l := stateLab(t, settings.Native, "none", store)
	l.scan()
	scanner := l.tryOn(l.h1)
	for round := range 3 {
		kill()
		for range 10 * (round + 1) { // more than a client's patience
			if l.connects(l.h3, 80, 30*time.Millisecond) {
				t.Error("a connection is let in while its state can't be known")
			}
		}
		restart()
		returned := time.Now()
		for !l.connects(l.h3, 80, 200*time.Millisecond) {
			if time.Since(returned) > 10*time.Second {
				t.Fatal("nobody is let in 10 s after the store's return")
			}
		}
		took := time.Since(returned)
		t.Logf("round %d: right again %v after the store's return", round, took)
		if took > time.Second {
			t.Errorf("it took %v", took)
		}
	}
	scanner.stop(t)
	if text := l.gateway.get(t, "/metrics", nil); !strings.Contains(text, `switchbridge_state_failures_total{function="controller",reason="away"}`) || strings.Contains(text, `reason="away"} 0`) {
		t.Error("the metrics do not count that the store was away")
	}
}

// A gateway without a store says what to write, at its start and when a policy with machines comes later.
func TestMachinesWantAStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := settings.Default()
	set.Function.URLs, set.Policy, set.Admin.Listen, set.OpenFlow.Listen = []string{settings.Native}, path, "", []settings.Listen{{Network: "tcp", Address: "127.0.0.1:0"}}
	open := func(store string) (*gateway.Gateway, error) {
		s := *set
		s.State.URL = store
		return gateway.New(&s, gateway.Options{Logger: testLog(t, "gateway")})
	}
	machines := fmt.Sprintf(scanPolicy, "none")
	write(machines)
	if _, err := open(""); err == nil || !strings.Contains(err.Error(), "state: {url:") || !strings.Contains(err.Error(), path) {
		t.Errorf("without a store: %v", err)
	}
	write("serial: 1\nchain:\n  - forward: {mode: normal}\n")
	for store, want := range map[string]string{"": "state: {url:", "redis://127.0.0.1:1": "Restart it to use this policy", "memory:": ""} {
		g, err := open(store)
		if err != nil {
			t.Fatal(err)
		}
		write(machines)
		err = g.Reload(t.Context(), "test")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q, and a policy with machines comes: %v, want %q", store, err, want)
		}
		write("serial: 1\nchain:\n  - forward: {mode: normal}\n")
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	// With states beyond this process packets wait in a queue, with those in it they don't.
	write(machines)
	for store, queued := range map[string]bool{"redis://127.0.0.1:1": true, "memory:": false} {
		g, err := open(store)
		if err != nil {
			t.Fatal(err)
		}
		if chain := g.Chain(); strings.Contains(chain, "queue") != queued || !strings.Contains(chain, "states in "+store) {
			t.Errorf("%s: %s", store, chain)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

// interceptor stands in front of a function whose states travel: it notes what its answers seal, and has events bring an older state than the gateway sent.
type interceptor struct {
	next flow.Decider

	mu     sync.Mutex
	first  map[netip.Addr]flow.Travelling // by source, what was sealed for it first
	sealed map[netip.Addr]string          // by source, the id of the key that its newest state was sealed with
	replay bool                           // events bring the first state of their source
	played int
}

// Decide implements [flow.Decider].
func (x *interceptor) Decide(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
	if ev.PacketIn == nil {
		return x.next.Decide(ctx, ev, d)
	}
	src := ev.PacketIn.Match.IPSrc.Addr()
	asked := *ev
	x.mu.Lock()
	if first, ok := x.first[src]; ok && x.replay && len(ev.Travel) > 0 {
		x.played++
		asked.Travel = []flow.Travelling{{Name: first.Name, Key: first.Key, Version: first.Version, Data: first.Data}}
	}
	x.mu.Unlock()
	err := x.next.Decide(ctx, &asked, d)
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range d.Travel {
		if t.Data == nil {
			continue
		}
		t.Data = bytes.Clone(t.Data)
		if _, ok := x.first[src]; !ok {
			x.first[src] = t
		}
		x.sealed[src] = string(t.Data[1:5])
	}
	return err
}

// keyOf returns the id of the key that the newest state of a source was sealed with.
func (x *interceptor) keyOf(h *ovs.Host) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sealed[h.IP]
}

// TestTravellingStatesOfAFunction has a gateway ask a function behind HTTPS whose machines' states travel in the contract: who is shut out stays so while the
// key that seals the states is rotated in traffic, and when an older state of his is brought to the function in place of the newest.
func TestTravellingStatesOfAFunction(t *testing.T) {
	for _, row := range []struct{ version, encoding string }{{"1.3", "openflow"}, {"1.0", "json"}} {
		t.Run(row.version+" "+row.encoding, func(t *testing.T) {
			t.Parallel()
			set := stores.Default()
			set.URL, set.SealFile = travel.URL, filepath.Join(t.TempDir(), "keys")
			keys := func(list ...string) {
				t.Helper()
				if err := os.WriteFile(set.SealFile+".new", []byte(strings.Join(list, "\n")), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(set.SealFile+".new", set.SealFile); err != nil {
					t.Fatal(err)
				}
			}
			older, newer := conformance.StateKeys[0], conformance.StateKeys[1]
			keys(older)
			x := &interceptor{first: map[netip.Addr]flow.Travelling{}, sealed: map[netip.Addr]string{}}
			l := functionLab(t, row.version, row.encoding, fmt.Sprintf(scanPolicy, "none"), remembers(t, set), func(f *function) {
				f.tamper = func(d flow.Decider) flow.Decider { x.next = d; return x }
			})
			l.h2.ServeEcho(80)
			l.h2.ServeEcho(443)
			l.scan()

			var passed, tried atomic.Int32
			stop, done := make(chan struct{}), make(chan struct{})
			go func() { // the one who is shut out tries on
				defer close(done)
				for {
					select {
					case <-stop:
						return
					default:
					}
					if tried.Add(1); l.connects(l.h1, 80, 100*time.Millisecond) {
						passed.Add(1)
					}
				}
			}()
			triesOn := func() {
				t.Helper()
				before := tried.Load()
				eventually(t, "the scanner tries on", func() bool { return tried.Load() >= before+2 })
			}
			with := x.keyOf(l.h3)
			if with == "" {
				t.Fatal("no state was sealed")
			}
			keys(older, newer)
			for range 3 {
				if !l.connects(l.h3, 80, 10*time.Second) {
					t.Error("with a second key nobody is let in")
				}
			}
			triesOn()
			keys(newer, older)
			eventually(t, "the newer key seals", func() bool { return l.connects(l.h3, 80, 10*time.Second) && x.keyOf(l.h3) != with })
			triesOn()
			keys(newer) // the states of who is shut out were sealed with the other one, and can't be opened any more
			for range 3 {
				if !l.connects(l.h3, 80, 10*time.Second) {
					t.Error("with the newer key alone nobody is let in")
				}
			}
			triesOn()
			close(stop)
			<-done
			if passed.Load() > 0 {
				t.Errorf("while the keys were rotated the scanner got in %d times in %d tries", passed.Load(), tried.Load())
			}

			keys(newer, older)
			refused := func() (n int) {
				for line := range strings.Lines(l.gateway.get(t, "/metrics", nil)) {
					if strings.HasPrefix(line, "switchbridge_travelling_refused_total{") && strings.Contains(line, `reason="older"`) {
						_, value, _ := strings.Cut(line, "} ")
						v, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
						n += int(v)
					}
				}
				return n
			}
			before := refused()
			x.mu.Lock()
			x.replay = true
			x.mu.Unlock()
			eventually(t, "answers by an older state are refused", func() bool {
				if l.connects(l.h1, 80, 200*time.Millisecond) {
					t.Fatal("a scanner is let in by a state of before he was one")
				}
				return refused() > before
			})
			x.mu.Lock()
			played := x.played
			x.replay = false
			x.mu.Unlock()
			if played == 0 {
				t.Error("no older state was brought")
			}
			if l.connects(l.h1, 80, 500*time.Millisecond) {
				t.Error("after the replay the scanner is let in")
			}
			if !l.connects(l.h3, 80, 10*time.Second) {
				t.Error("after the replay nobody else is let in")
			}
		})
	}
}
