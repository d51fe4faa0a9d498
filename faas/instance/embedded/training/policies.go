// Package training has what the guest of the binary is trained with: events that
// gateways ask and policies that they ask it under. What decided them is kept in
// the lean guest; the rest of it is stubs (wasmhost/lean.go). It is no test suite:
// what a test asks does not change what is shipped. The conformance suite shows
// that this training is enough, since it must not need the whole guest.
package training

import (
	"encoding/binary"
	"net/netip"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
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
	list := []*policy.Policy{every()}
	for _, mode := range []policy.ForwardMode{policy.Normal, policy.Flood, policy.Learn} {
		list = append(list, chain(&forward.Config{Mode: mode}))
	}
	return append(list, chain(&blocklist.Config{Lists: []blocklist.List{{Name: "long", Prefixes: long()}}}, &forward.Config{Mode: policy.Normal}))
}

func chain(sources ...policy.Source) *policy.Policy {
	return &policy.Policy{Install: policy.DefaultInstall, Chain: sources}
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
		&forward.Config{Mode: policy.Normal})
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
