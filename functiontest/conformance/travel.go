package conformance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/internal/frames"
	"switchbridge/policy"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/machine"
	"switchbridge/state"
)

// Travelling is a policy whose states may travel: who opens connections to two ports is shut out.
func Travelling() *policy.Policy {
	var tcp flow.Match
	tcp.SetIPProto(flow.ProtoTCP)
	return &policy.Policy{Serial: 9, Install: policy.DefaultInstall, Chain: []policy.Source{
		&machine.Config{Machines: []machine.Machine{{
			Name: "scan", For: header.Condition{Header: tcp}, Key: machine.Src, Forget: time.Hour,
			States:      []machine.State{{Name: "good", Action: machine.Action{Next: true}}, {Name: "scanner", Action: denied()}},
			Transitions: []machine.Transition{{From: 1 << 0, To: 1, Packet: &machine.Packet{Match: header.Condition{Header: tcp}, Count: 2, Distinct: flow.FieldL4Dst, Within: time.Minute}}},
		}}},
		&forward.Config{Mode: policy.Normal},
	}}
}

func denied() (a machine.Action) {
	a.Deny = true
	return a
}

// StateKeys are two keys that seal states, for tests.
var StateKeys = [2]string{"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="}

// opens is the event of a packet that opens a connection to a port.
func opens(src byte, port uint16) *flow.Event {
	frame := frames.TCP(frames.Host(src).At(40000), frames.Host(200).At(port), frames.SYN, nil)
	return &flow.Event{Type: flow.EventPacketIn, ID: "id", Session: "s", Time: time.Now(), XID: 1, Accepts: flow.AcceptsAll &^ flow.AcceptsTravel,
		Switch:   &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13, NBuffers: 256, NTables: 254},
		PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Match: flow.ParseFrame(frame, 1), Data: frame}}
}

// Keeps asks functions that decide by [Travelling] and keep its states in a store that they share.
func Keeps(t *testing.T, functions ...flow.Decider) {
	t.Helper()
	n := 0
	var versions []flow.StateVersion
	for _, row := range []struct {
		name string
		src  byte
		port uint16
		want flow.Verdict
	}{
		{"a first port", 1, 80, flow.Allow},
		{"another source", 2, 80, flow.Allow},
		{"the same port", 1, 80, flow.Allow},
		{"a second port", 1, 443, flow.Deny},
		{"shut out", 1, 80, flow.Deny},
	} {
		ev, d := opens(row.src, row.port), new(flow.Decision)
		ev.ID += row.name
		err := functions[n%len(functions)].Decide(t.Context(), ev, d)
		n++
		if err != nil || d.Verdict != row.want || !d.Stateful || len(d.Read) != 1 || len(d.Travel) != 0 {
			t.Fatalf("%s: %v, %v (%s), stateful %v, rests on %v; want %v", row.name, err, d.Verdict, d.Reason, d.Stateful, d.Read, row.want)
		}
		for i := range d.Rules {
			if r := &d.Rules[i]; r.HardTimeout == 0 || r.HardTimeout > state.DefaultStaleness {
				t.Errorf("%s: a rule lives %v: nobody is told when its state changes", row.name, r.HardTimeout)
			}
		}
		if row.src == 1 {
			versions = append(versions, d.Read[0])
		}
	}
	for i := range versions[1:] {
		if versions[i+1].Key != versions[i].Key || versions[i+1].Version < versions[i].Version {
			t.Errorf("decisions rest on %v", versions)
		}
	}
	if versions[3].Version <= versions[0].Version {
		t.Errorf("decisions rest on %v", versions)
	}

	// Of many ports at a time one is reached.
	var wg sync.WaitGroup
	var allowed atomic.Int32
	for port := range 8 {
		wg.Go(func() {
			ev, d := opens(3, uint16(1000+port)), new(flow.Decision)
			ev.ID += fmt.Sprint("port ", port)
			if err := functions[port%len(functions)].Decide(t.Context(), ev, d); err != nil {
				t.Error(err)
			} else if d.Verdict == flow.Allow {
				allowed.Add(1)
			}
		})
	}
	wg.Wait()
	if allowed.Load() != 1 {
		t.Errorf("%d of 8 ports are reached, want 1", allowed.Load())
	}
}

// Travels asks a function that decides by [Travelling], behind the table that a gateway has. with returns the function with the keys that it is given.
func Travels(t *testing.T, with func(t *testing.T, keys string) flow.Decider) {
	t.Helper()
	older, newer := StateKeys[0], StateKeys[1]
	hosts := make(map[string]flow.Decider)
	for _, keys := range []string{older, older + "\n" + newer, newer + " " + older, newer} {
		hosts[keys] = with(t, keys)
	}
	var now flow.Decider
	var last []flow.Travelling // what the function was sent last
	gateway := decider.NewState(flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		last = slices.Clone(ev.Travel)
		return now.Decide(ctx, ev, d)
	}), decider.StateLimits{})
	n := 0
	ask := func(name, keys string, src byte, port uint16, want flow.Verdict) *flow.Decision {
		t.Helper()
		now = hosts[keys]
		ev, d := opens(src, port), new(flow.Decision)
		n++
		ev.ID += string(rune('a' + n))
		if err := gateway.Decide(t.Context(), ev, d); err != nil || d.Verdict != want || d.Stateful {
			t.Errorf("%s: %v, %v (%s), stateful %v, want %v", name, err, d.Verdict, d.Reason, d.Stateful, want)
		}
		return d
	}
	first := ask("a first port", older, 1, 80, flow.Allow)
	if len(first.Travel) != 1 || first.Travel[0].Name != "scan" || first.Travel[0].Key != flow.StateSrc || first.Travel[0].TTL != time.Hour ||
		len(first.Read) != 1 || first.Read[0].Version != first.Travel[0].Version || len(first.Rules) != 0 {
		t.Errorf("it travels as %+v, and rests on %v", first.Travel, first.Read)
	}
	ask("another source", older, 2, 80, flow.Allow)
	second := ask("a second port", older, 1, 443, flow.Deny)
	if len(second.Read) != 1 || second.Read[0].Version <= first.Read[0].Version || second.Read[0].Key != first.Read[0].Key {
		t.Errorf("it rests on %v after %v", second.Read, first.Read)
	}
	ask("shut out", older, 1, 80, flow.Deny)

	// The new key is made known to all before it seals, and the old one goes when nothing is sealed with it any more.
	ask("the new key is known", older+"\n"+newer, 1, 80, flow.Deny)
	ask("the new key seals", newer+" "+older, 1, 80, flow.Deny)
	ask("the new key seals", newer+" "+older, 3, 80, flow.Allow)
	ask("who only knows the new one by now", older+"\n"+newer, 3, 80, flow.Allow)
	ask("the old key is gone", newer, 2, 443, flow.Deny)
	if d := ask("sealed with the old one", newer, 1, 80, flow.Deny); d.Reason != "state: the key of its seal is not at hand" || len(d.Rules) != 0 {
		t.Errorf("a key that was rotated away: %s, %d rules", d.Reason, len(d.Rules))
	}

	// What comes from elsewhere.
	ask("what is sent", older+"\n"+newer, 3, 80, flow.Allow)
	for name, change := range map[string]func(ev *flow.Event){
		"a bit":                 func(ev *flow.Event) { ev.Travel[0].Data[30] ^= 1 },
		"another source's":      func(ev *flow.Event) { ev.PacketIn = opens(4, 80).PacketIn },
		"nobody brings it back": func(ev *flow.Event) { ev.Accepts &^= flow.AcceptsTravel },
	} {
		ev, d := opens(3, 80), new(flow.Decision)
		ev.Accepts = flow.AcceptsAll
		for _, s := range last {
			s.Data = slices.Clone(s.Data)
			ev.Travel = append(ev.Travel, s)
		}
		if len(ev.Travel) != 1 {
			t.Fatalf("%s: %d states came", name, len(ev.Travel))
		}
		change(ev)
		if err := hosts[older+"\n"+newer].Decide(t.Context(), ev, d); err != nil || d.Verdict != flow.Deny || len(d.Travel)+len(d.Rules) != 0 {
			t.Errorf("%s: %v, %v (%s), %d states travel", name, err, d.Verdict, d.Reason, len(d.Travel))
		}
	}
}
