package stores_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/machine"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/state"
	"switchbridge/state/statetest/natstest"
	"switchbridge/state/statetest/redistest"
	"switchbridge/state/stores"
	"switchbridge/state/stores/every"
)

// relay stands between a client and a server, and can hold back what both say.
type relay struct {
	net.Listener
	held sync.RWMutex
}

func newRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go r.copy(near, far)
			go r.copy(far, near)
		}
	}()
	return r
}

func (r *relay) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		r.held.RLock()
		_, err = to.Write(b[:n])
		r.held.RUnlock()
		if err != nil {
			return
		}
	}
}

// What a store holds and a machine can't use, and a store that does not answer in time, let nobody in whom his state shuts out: the packet is denied, without a
// rule, and a counter says why. Afterwards the state counts again.
func TestSpoiltStates(t *testing.T) {
	const blocks = `
serial: 1
chain:
  - machine: {machines: [{name: m, for: {ip_proto: udp}, key: src, forget: 1h, start: good, states: {good: allow, bad: deny}, transitions: [{from: good, to: bad, match: {udp_dst: 9}}]}]}
  - forward: {mode: normal}
`
	for name, start := range map[string]func(t *testing.T) (url string, wire *relay){
		"memory": func(*testing.T) (string, *relay) { return "memory:", nil },
		"bbolt":  func(t *testing.T) (string, *relay) { return "bbolt:" + filepath.Join(t.TempDir(), "states"), nil },
		"redis": func(t *testing.T) (string, *relay) {
			r := newRelay(t, redistest.Start(t).Addr)
			return "redis://" + r.Addr().String(), r
		},
		"nats": func(t *testing.T) (string, *relay) {
			r := newRelay(t, strings.TrimPrefix(natstest.Start(t).URL, "nats://"))
			return "nats://" + r.Addr().String(), r
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := policyfile.Parse(strings.NewReader(blocks), "p.yaml", ".")
			if err != nil {
				t.Fatal(err)
			}
			url, wire := start(t)
			set := stores.Default()
			set.URL = url
			store, err := set.Open(t.Context(), every.Openers, slog.New(slog.NewTextHandler(io.Discard, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			c := controller.New(p)
			with := func(timeout time.Duration) *state.Decider {
				return state.New(state.Config{Next: c, Machines: c, Store: store, Check: machine.CheckValue, Timeout: timeout})
			}
			ask := func(x *state.Decider, port string, at time.Time) (*flow.Decision, []string) {
				t.Helper()
				ev, err := policytest.Event("udp 10.0.0.1:1 > 10.0.0.2:"+port, flow.OpenFlow13)
				if err != nil {
					t.Fatal(err)
				}
				ev.Time = at
				d := new(flow.Decision)
				if err := x.Decide(t.Context(), ev, d); err != nil {
					t.Fatal(err)
				}
				return d, c.StateKeys(ev, nil)
			}
			const patient = time.Minute // a busy machine is not what this is about
			x := with(patient)
			if d, _ := ask(x, "80", time.Now()); d.Verdict != flow.Allow {
				t.Fatalf("in the start state: %s", d.Reason)
			}
			ask(x, "9", time.Now())
			shut := func(what string) (keys []string) {
				t.Helper()
				d, keys := ask(with(patient), "80", time.Now())
				if d.Verdict != flow.Deny || d.Failure != nil || !strings.Contains(d.Reason, "m in bad") {
					t.Errorf("%s: %v, %s", what, d.Verdict, d.Reason)
				}
				return keys
			}
			key := shut("who was shut out")[0]
			values := make([]state.Value, 1)
			put := func(data []byte) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), patient)
				defer cancel()
				if err := store.Get(ctx, []string{key}, values); err != nil {
					t.Fatal(err)
				}
				if _, err := store.CompareAndSwap(ctx, key, values[0].Version, data, time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			put([]byte("\x01: not a state"))
			good := values[0].Data
			for _, row := range []struct {
				name string
				data []byte
				at   time.Time
				want state.Failure
			}{
				{"not a state", []byte("\x01: not a state"), time.Now(), state.Corrupt},
				{"one bit of it", append(append([]byte{}, good[:len(good)-1]...), good[len(good)-1]^1), time.Now(), state.Corrupt},
				{"cut short", good[:len(good)/2], time.Now(), state.Corrupt},
				{"of a newer version", append([]byte{good[0] + 1}, good[1:]...), time.Now(), state.Newer},
				{"the clock set back an hour", good, time.Now().Add(-time.Hour), state.Future},
			} {
				put(row.data)
				x := with(patient)
				d, _ := ask(x, "80", row.at)
				if d.Verdict != flow.Deny || len(d.Rules) != 0 {
					t.Errorf("%s: %v with rules %v, %s", row.name, d.Verdict, d.Rules, d.Reason)
				}
				for kind, n := range x.Stats().Failed {
					if (n != 0) != (kind == row.want) {
						t.Errorf("%s: %d failures count as %v", row.name, n, kind)
					}
				}
				put(good)
				shut("after " + row.name)
			}
			if wire == nil {
				return
			}
			wire.held.Lock()
			hasty := with(100 * time.Millisecond)
			d, _ := ask(hasty, "80", time.Now())
			wire.held.Unlock()
			if d.Verdict != flow.Deny || len(d.Rules) != 0 || hasty.Stats().Failed[state.Slow] != 1 {
				t.Errorf("a slow store: %v with rules %v, %s, counted %v", d.Verdict, d.Rules, d.Reason, hasty.Stats().Failed)
			}
			shut("after the store was slow")
		})
	}
}
