package embedded_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/policy"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/machine"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
)

const scanner = `
serial: 3
chain:
  - machine:
      machines:
        - name: scan
          for: {ip_src: 10.0.0.0/30}
          key: src
          forget: 1h
          start: good
          states: {good: {rules: [{match: {tcp_dst: 25}, when: {alarm: loud}, action: deny}], action: next}, bad: deny}
          transitions:
            - {from: good, to: bad, tcp_flags: [syn, no-ack], count: 3, distinct: tcp_dst, within: 10s}
            - {from: good, to: bad, quotes: {tcp_dst: 22}}
            - {from: bad, to: good, after: 60s}
        - name: alarm
          key: network
          start: quiet
          states: {quiet: {output: 2}, loud: deny}
          transitions: [{from: quiet, to: loud, port: down}, {from: loud, to: quiet, switch: connected}]
  - forward: {mode: normal}
`

// A guest that is given states decides as the controller does, and changes the same ones: packets in the compact encoding, and what doesn't fit it in the
// envelope.
func TestGuestDecidesByStates(t *testing.T) {
	p, err := policyfile.Parse(strings.NewReader(scanner), "scanner.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	f, c := run(t, p), controller.New(p)
	if !f.Stateful() {
		t.Error("the function says that it has no states")
	}
	states := map[string][]byte{}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	changes := 0
	ask := func(ev *flow.Event, id string) {
		t.Helper()
		now = now.Add(time.Second)
		ev.Time, ev.ID, ev.States = now, id, nil
		for _, key := range f.StateKeys(ev, nil) {
			ev.States = append(ev.States, flow.State{Key: key, Data: states[key]})
		}
		var got, want flow.Decision
		if err := f.Decide(t.Context(), ev, &got); err != nil {
			t.Fatal(err)
		}
		if err := c.Decide(t.Context(), ev, &want); err != nil {
			t.Fatal(err)
		}
		if policytest.Whole(&got) != policytest.Whole(&want) || !reflect.DeepEqual(got.Change, want.Change) {
			t.Errorf("%s\nchange %+v, want %s\nchange %+v", policytest.Whole(&got), got.Change, policytest.Whole(&want), want.Change)
		}
		if got.Change != nil {
			changes++
			states[ev.States[got.Change.Index].Key] = got.Change.Data
		}
	}
	line := func(s string) {
		t.Helper()
		ev, err := policytest.Event(s, flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		ask(ev, "")
	}
	line("tcp 10.0.0.1:1 > 10.0.0.9:25")
	line("event port 1 down")
	line("tcp 10.0.0.1:1 > 10.0.0.9:25")
	line("tcp 10.0.0.8:1 > 10.0.0.9:25")
	line("event switch")
	line("tcp 10.0.0.8:1 > 10.0.0.9:25")
	line("tcp 10.0.0.1:1 > 10.0.0.9:26 flags ack")
	line("tcp 10.0.0.1:1 > 10.0.0.9:26")
	line("tcp 10.0.0.1:1 > 10.0.0.9:27")
	line("tcp 10.0.0.1:1 > 10.0.0.9:28")
	line("fragment 10.0.0.2 > 10.0.0.9")
	a, b := frames.Host(2), frames.Host(9)
	frame := frames.TooBig(a, frames.TCP(b.At(1), a.At(22), frames.SYN, nil), 1400)
	m := flow.ParseFrame(frame, 1)
	ev := &flow.Event{Type: flow.EventPacketIn, Switch: policytest.Switch(flow.OpenFlow13), PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Match: m, Data: frame}}
	ask(ev, "error-1")
	ask(ev, "error-1")
	now = now.Add(time.Minute)
	line("tcp 10.0.0.1:1 > 10.0.0.9:80")
	if changes < 7 || len(states) != 3 {
		t.Errorf("%d changes of %d states", changes, len(states))
	}
	if s := f.Stats(); s.Grew+s.Traps > 0 {
		t.Errorf("%+v", s)
	}
}

func web(from netip.Prefix, port uint16) (c header.Condition) {
	c.Header.SetIPSrc(from)
	c.Header.SetIPProto(flow.ProtoTCP)
	c.Dst = &header.PortRange{First: port, Last: port}
	return c
}

func address(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
}

// rules are n header rules, each of a host.
func rules(n int) *policy.Policy {
	c := &header.Config{}
	for i := range n {
		c.Rules = append(c.Rules, header.Rule{Priority: 100, Match: web(address(i), 443)})
	}
	return &policy.Policy{Serial: 1, Install: policy.DefaultInstall, Chain: []policy.Source{c, &forward.Config{Mode: policy.Normal}}}
}

// devices are n machines, each of a host, that allow the same and are stopped by another port.
func devices(n int) *policy.Policy {
	deny := machine.Action{Action: header.Action{Deny: true}}
	c := &machine.Config{}
	for i := range n {
		var host header.Condition
		host.Header.SetIPSrc(address(i))
		c.Machines = append(c.Machines, machine.Machine{Name: fmt.Sprint("device-", i), For: host, Key: machine.Src, Forget: time.Hour,
			States: []machine.State{
				{Name: "good", Rules: []machine.Rule{{Name: "web", Match: web(address(i), 443)}}, Action: deny}, {Name: "bad", Action: deny}},
			Transitions: []machine.Transition{
				{From: 1, To: 1, Packet: &machine.Packet{Match: web(address(i), 23)}}, {From: 2, To: 0, On: machine.OnTime, After: 10 * time.Minute}},
		})
	}
	return &policy.Policy{Serial: 1, Install: policy.DefaultInstall, Chain: []policy.Source{c, &forward.Config{Mode: policy.Normal}}}
}

// A policy of more memory than the guest's collector usually starts at is decided by the lean guest as a small one is: its image is not taken in the middle of
// a collection, which every event would then go on with.
func TestLargePolicyIsDecidedByTheLeanGuest(t *testing.T) {
	const n = 10_000
	f := ofBinary(t, devices(n))
	for _, port := range []int{23, 443, 80} {
		ev, err := policytest.Event(fmt.Sprintf("tcp %v:40000 > 192.0.2.1:%d", address(n-1).Addr(), port), flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		ev.Time, ev.States = time.Now(), make([]flow.State, 1)
		var d flow.Decision
		if err := f.Decide(t.Context(), ev, &d); err != nil || (d.Verdict == flow.Allow) != (port == 443) || (d.Change != nil) != (port == 23) {
			t.Errorf("port %d: %s, change %v, %v", port, policytest.Sum(&d), d.Change, err)
		}
	}
	if s := f.Stats(); s.Completed > 0 || !s.Lean {
		t.Errorf("the whole guest was needed: %+v", s)
	}
}

// BenchmarkStates has header rules and machines side by side: a packet that the last of them allows. The states are those of a machine that has moved.
func BenchmarkStates(b *testing.B) {
	for _, n := range []int{500, 10_000} {
		from := address(n - 1).Addr()
		packet := func(port int, now time.Time) *flow.Event {
			ev, err := policytest.Event(fmt.Sprintf("tcp %v:40000 > 192.0.2.1:%d", from, port), flow.OpenFlow13)
			if err != nil {
				b.Fatal(err)
			}
			ev.Time = now
			return ev
		}
		now := time.Now()
		c := controller.New(devices(n))
		moves := packet(23, now)
		moves.States = make([]flow.State, 1)
		var d flow.Decision
		if err := c.Decide(b.Context(), moves, &d); err != nil || d.Change == nil {
			b.Fatal(d, err)
		}
		plain, stateful := packet(443, now), packet(443, now.Add(11*time.Minute)) // it is good again
		stateful.States = []flow.State{{Data: d.Change.Data}}
		for name, policies := range map[string][2]any{"header": {rules(n), plain}, "machine": {devices(n), stateful}, "machine moves": {devices(n), moves}} {
			p, ev := policies[0].(*policy.Policy), policies[1].(*flow.Event)
			b.Run(fmt.Sprintf("%d/%s/native", n, name), func(b *testing.B) { benchmarkOf(b, controller.New(p), ev) })
			b.Run(fmt.Sprintf("%d/%s/pristine", n, name), func(b *testing.B) {
				f := ofBinary(b, p)
				before := f.Stats()
				benchmarkOf(b, f, ev)
				after := f.Stats()
				if after.Completed > 0 {
					b.Error("the lean guest lacks a part of this: train it")
				}
				b.ReportMetric(float64(after.BytesRestored-before.BytesRestored)/float64(after.Events-before.Events), "B-restored/op")
			})
		}
	}
}
