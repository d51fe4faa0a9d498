// Package training has what the guest of the binary is trained with: events that
// gateways ask and policies that they ask it under. What decided them is kept in
// the lean guest; the rest of it is stubs (wasmhost/lean.go). It is no test suite:
// what a test asks does not change what is shipped. The conformance suite shows
// that this training is enough, since it must not need the whole guest.
package training

import (
	"encoding/binary"
	"net/netip"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/machine"
	"switchbridge/policy/sourceguard"
)

// What the policies look at, which the packets have.
const (
	listedAddress  = "203.0.113.9"
	listedAddress6 = "2001:db8:f::9"
	deniedPort     = 23
	sentPort       = 8053 // to a port of the switch
	answeredPort   = 53   // of header's example whose packets may be answered
)

// Policies has one of every kind, every way to forward, and a long list.
func Policies() []*policy.Policy {
	list := []*policy.Policy{every(), machines(machine.Connection), machines(machine.Pair), machines(machine.Port)}
	for _, mode := range []policy.ForwardMode{policy.Normal, policy.Flood, policy.Learn} {
		list = append(list, chain(&forward.Config{Mode: mode}))
	}
	return append(list, chain(&blocklist.Config{Lists: []blocklist.List{{Name: "long", Prefixes: long()}}}, &forward.Config{Mode: policy.Normal}))
}

func chain(sources ...policy.Source) *policy.Policy {
	return &policy.Policy{Install: policy.DefaultInstall, Chain: sources}
}

// machines is a chain with a machine of that key for all packets, which makes every kind of transition, and one that it asks about.
func machines(key machine.Key) *policy.Policy {
	var tcp flow.Match
	tcp.SetIPProto(flow.ProtoTCP)
	allow, deny := machine.Action{}, machine.Action{Action: header.Action{Deny: true}}
	queue, next := machine.Action{Action: header.Action{SetQueue: true, Queue: 1}}, machine.Action{Next: true}
	rules := make([]machine.Rule, 12)
	for i := range rules {
		port := uint16(8000 + i)
		rules[i] = machine.Rule{Match: header.Condition{Header: tcp, Dst: &header.PortRange{First: port, Last: port}}, When: []machine.When{{Machine: "alarm", In: 1}}, Action: queue}
	}
	rules = append(rules, machine.Rule{Name: "arp", Match: header.Condition{Header: headerOf(flow.EthTypeARP)}, Action: allow})
	return chain(&machine.Config{Machines: []machine.Machine{
		{Name: "trained", Key: key, Forget: time.Hour, OnError: machine.Restart,
			States: []machine.State{{Name: "a", Rules: rules, Action: next}, {Name: "b", Rules: rules[10:], Action: allow}, {Name: "c", Action: deny}},
			Transitions: []machine.Transition{
				{From: 1, To: 1, Packet: &machine.Packet{Match: header.Condition{Header: tcp}, Flags: machine.Flags{Set: flow.SYN, Clear: flow.ACK}}},
				{From: 2, To: 2, Packet: &machine.Packet{Quotes: &header.Condition{Header: tcp}}},
				{From: 3, To: 2, Packet: &machine.Packet{Match: header.Condition{Header: tcp}, Count: 3, Distinct: flow.FieldL4Dst, Within: time.Minute}},
				{From: 3, To: 2, Packet: &machine.Packet{Count: 100, Within: time.Minute}, When: []machine.When{{Machine: "alarm", In: 2}}},
				{From: 4, To: 0, On: machine.OnTime, After: time.Second},
			}},
		{Name: "alarm", Key: machine.Network, States: []machine.State{{Name: "quiet", Action: allow}, {Name: "loud", Action: allow}},
			Transitions: []machine.Transition{
				{From: 2, To: 0, On: machine.OnTime, After: time.Minute}, {From: 1, To: 1, On: machine.OnPort, Ports: machine.PortDown},
				{From: 3, To: 0, On: machine.OnSwitch}, {From: 3, To: 1, On: machine.OnRemoved, Removed: 1},
			}},
	}}, &header.Config{Rules: []header.Rule{ // what the machine passes on is denied, and asked about as what may be a reply
		{Name: "denied port", Match: header.Condition{Header: tcp, Dst: &header.PortRange{First: deniedPort, Last: deniedPort}}, Priority: 10, Action: header.Action{Deny: true}},
	}}, &forward.Config{Mode: policy.Normal, Answers: true, Strict: true})
}

// every is a chain of every kind of link.
func every() *policy.Policy {
	tcp, udp, lldp := headerOf(flow.EthTypeIPv4), headerOf(flow.EthTypeIPv4), headerOf(flow.EthTypeLLDP)
	tcp.SetIPProto(flow.ProtoTCP)
	udp.SetIPProto(flow.ProtoUDP)
	p := chain(
		&blocklist.Config{Lists: []blocklist.List{{Name: "listed", Prefixes: []netip.Prefix{
			netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:f::/48")}}}},
		&header.Config{Rules: []header.Rule{
			{Name: "denied port", Priority: 30, Match: header.Condition{Header: tcp, Dst: &header.PortRange{First: deniedPort, Last: deniedPort + 2}}, Action: header.Action{Deny: true}},
			{Name: "to port 2", Priority: 20, Match: header.Condition{Header: udp, Dst: &header.PortRange{First: sentPort, Last: sentPort}}, Action: header.Action{Output: []flow.PortNo{2}}},
			{Name: "denied type", Priority: 10, Match: header.Condition{Header: lldp}, Action: header.Action{Deny: true}, Proactive: true},
		}},
		&sourceguard.Config{Bindings: []sourceguard.Binding{{Place: sourceguard.Place{Every: true, Ports: []flow.PortNo{9}}, HasMAC: true, MAC: flow.MAC{2, 0, 0, 0, 0, 9}}}},
		&machine.Config{Machines: []machine.Machine{{Name: "seen", For: header.Condition{Header: headerOf(flow.EthTypeLLDP)}, Key: machine.Port, Forget: time.Hour,
			States:      []machine.State{{Name: "a", Action: machine.Action{Next: true}}, {Name: "b", Action: machine.Action{Next: true}}},
			Transitions: []machine.Transition{{From: 1, To: 1, Packet: &machine.Packet{}}, {From: 2, To: 0, On: machine.OnTime, After: time.Second}}}}},
		&forward.Config{Mode: policy.Normal, Answers: true})
	p.Serial, p.Hash = 1, 0x5eed
	return p
}

func headerOf(ethType uint16) (m flow.Match) {
	m.SetEthType(ethType)
	return m
}

// long is a list that fills the guest's memory as real ones do.
func long() []netip.Prefix {
	list := make([]netip.Prefix, 20_000)
	for i := range list {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0b000000+uint32(i)*7)
		list[i] = netip.PrefixFrom(netip.AddrFrom4(b), 32)
	}
	return list
}
