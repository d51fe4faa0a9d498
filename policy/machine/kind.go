package machine

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/header"
)

// Kind implements [policy.Kind].
type Kind struct{}

// Name implements [policy.Kind].
func (Kind) Name() string { return Name }

// Code implements [policy.Kind].
func (Kind) Code() byte { return 5 }

// explained is how many machines are explained one by one.
const explained = 8

// Explain implements [policy.Source].
func (c *Config) Explain() string {
	var b strings.Builder
	b.WriteString("decides by what has been before")
	for i := range c.Machines[:min(len(c.Machines), explained)] {
		m := &c.Machines[i]
		names := make([]string, len(m.States))
		for j := range m.States {
			names[j] = m.States[j].Name
		}
		fmt.Fprintf(&b, "; %s (by %v): %s, starting in %s, %d transitions", m.Name, m.Key, strings.Join(names, ", "), m.States[m.Start].Name, len(m.Transitions))
	}
	if more := len(c.Machines) - explained; more > 0 {
		fmt.Fprintf(&b, "; and %d more machines", more)
	}
	return b.String()
}

// Examples implements [policy.Kind].
func (Kind) Examples() []policy.Example {
	var tcp, cellar, uplink flow.Match
	tcp.SetIPProto(flow.ProtoTCP)
	uplink.SetInPort(77)
	cellar.SetIPDst(netip.MustParsePrefix("192.0.2.77/32"))
	cellar.SetEthType(flow.EthTypeIPv4)
	knock := cellar
	knock.SetIPProto(flow.ProtoTCP)
	deny := Action{Action: header.Action{Deny: true}}
	web := header.PortRange{First: 443, Last: 443}
	return []policy.Example{{
		Entry: &Config{Machines: []Machine{
			{
				Name: "cellar", For: header.Condition{Header: cellar}, Key: Src, Forget: time.Hour,
				States: []State{
					{Name: "shut", Action: deny},
					{Name: "open", Action: deny, Rules: []Rule{{Name: "web", Match: header.Condition{Header: knock, Dst: &web},
						When: []When{{Machine: "guard", In: 1}}, Action: Action{Action: header.Action{Output: []flow.PortNo{2}}}}}},
				},
				Transitions: []Transition{
					{From: 1, To: 1, Packet: &Packet{Match: header.Condition{Header: knock, Dst: &header.PortRange{First: 7777, Last: 7777}}, Flags: Flags{Set: flow.SYN, Clear: flow.ACK}}},
					{From: 2, To: 0, On: OnTime, After: time.Minute},
					{From: 2, To: 0, On: OnRemoved, Removed: 1 << flow.RemovedIdle},
				},
			},
			{
				Name: "guard", For: header.Condition{Header: uplink}, Key: Network, OnError: Restart,
				States: []State{{Name: "quiet", Action: Action{Next: true}}, {Name: "alarm", Action: deny}},
				Transitions: []Transition{
					{From: 1, To: 1, Packet: &Packet{Match: header.Condition{Header: tcp}, Count: 20, Distinct: flow.FieldL4Dst, Within: 10 * time.Second}},
					{From: 1, To: 1, Packet: &Packet{Quotes: &header.Condition{Header: cellar}}},
					{From: 2, To: 0, On: OnPort, Ports: PortUp},
				},
			},
		}},
		Packets: []string{"tcp 10.0.0.1:40000 > 192.0.2.77:443", "udp 10.0.0.1:40000 > 192.0.2.77:4433"},
	}}
}

// maxNotes is how many machines are noted one by one.
const maxNotes = 20

// Notes says which states are not settled, and what that costs.
func (c *Config) Notes() (notes []string) {
	more := 0
	for i := range c.Machines {
		list := c.Machines[i].notes()
		if len(notes)+len(list) > maxNotes {
			more++
			continue
		}
		notes = append(notes, list...)
	}
	if more > 0 {
		notes = append(notes, fmt.Sprintf("the same of %d more machines", more))
	}
	if list := c.shared(); len(list) > 0 {
		notes = append(notes, policy.StalenessNote("machine "+some(list)))
	}
	if list := c.Forgetful(); len(list) > 0 {
		notes = append(notes, "the start state may permit more than another one, so that a store which forgets opens what was closed (memory: with the gateway; memory: and bbolt: where the other gateway of a pair takes over): machine "+some(list))
	}
	for _, t := range c.Wants() {
		notes = append(notes, fmt.Sprintf("transitions wait for %s: the gateway must have it in openflow.subscribe", t.Name()))
	}
	return notes
}

// some returns the first of a list's names.
func some(list []string) string {
	names := strings.Join(list[:min(len(list), maxNotes)], ", ")
	if more := len(list) - maxNotes; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return names
}

// shared returns the names of the machines whose rules rest on states that events of several switches change.
func (c *Config) shared() (names []string) {
	index := c.index()
	for i := range c.Machines {
		m := &c.Machines[i]
		if !local(m.Key) || slices.ContainsFunc(m.reads()[OnPacket], func(r read) bool {
			return r.key != "" || !local(index[r.machine].Key)
		}) {
			names = append(names, m.Name)
		}
	}
	return names
}

func (m *Machine) notes() (notes []string) {
	never := 0
	for at := range m.States {
		whole := ""
		var parts []string
		for i := range m.Transitions {
			t := &m.Transitions[i]
			if t.On != OnPacket || !t.From.has(at) {
				continue
			}
			why := t.unsettled()
			if why == "" {
				continue
			}
			match, scope := t.Packet.Match.Completed(), m.For.Completed()
			if match.Fields() == 0 || reflect.DeepEqual(match, scope) && (len(m.Or) == 0 || reflect.DeepEqual(m.Or, t.Packet.Or)) {
				if t.Packet.Quotes == nil && len(t.When) == 0 {
					whole = fmt.Sprintf("transition %d %s", i+1, why)
				}
			}
			parts = append(parts, fmt.Sprintf("%d %s", i+1, why))
		}
		switch {
		case whole != "":
			never++
			notes = append(notes, fmt.Sprintf("machine %s is never settled in %s: %s; every packet that it is for is asked about, and no rule installed", m.Name, m.States[at].Name, whole))
		case len(parts) > 0:
			notes = append(notes, fmt.Sprintf("machine %s in %s: every packet that matches one of these transitions is asked about: %s", m.Name, m.States[at].Name, strings.Join(parts, ", ")))
		}
	}
	if never == len(m.States) && never > 1 {
		return []string{fmt.Sprintf("machine %s is never settled: every packet that it is for is asked about, and no rule installed", m.Name)}
	}
	return notes
}

// unsettled says why a state stays unsettled for packets that match the transition; empty where the first one makes it for good.
func (t *Transition) unsettled() string {
	switch p := t.Packet; {
	case p.Count != 0:
		return "counts"
	case p.Flags != (Flags{}):
		return "looks at TCP flags"
	case p.Quotes != nil:
		return "looks at what ICMP errors quote"
	case t.From.has(t.To):
		return "begins the state again"
	}
	return ""
}
