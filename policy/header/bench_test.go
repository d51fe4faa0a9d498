package header

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"switchbridge/flow"
	"switchbridge/policy"
)

// accessList makes n rules of the shapes that access lists have: hosts and
// networks on either side, services, ranges of ports, whole networks.
func accessList(n int) *Config {
	r := rand.New(rand.NewPCG(7, 7))
	c := &Config{}
	lengths := []int{8, 16, 20, 24, 24, 24, 28, 32, 32, 32}
	prefix := func() netip.Prefix {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], r.Uint32())
		p, _ := netip.AddrFrom4(b).Prefix(pick(r, lengths))
		return p
	}
	for i := range n {
		var cond Condition
		m := &cond.Header
		if r.IntN(4) != 0 {
			m.SetIPSrc(prefix())
		}
		if r.IntN(4) != 0 {
			m.SetIPDst(prefix())
		}
		if r.IntN(3) != 0 {
			m.SetIPProto(pick(r, []uint8{flow.ProtoTCP, flow.ProtoTCP, flow.ProtoUDP}))
			p := uint16(r.IntN(60000))
			switch r.IntN(4) {
			case 0:
				cond.Dst = &PortRange{p, p + uint16(r.IntN(100))}
			case 1:
			default:
				cond.Dst = &PortRange{p, p}
			}
		}
		if cond.fields() == 0 || cond.Header.Fields == flow.FieldIPProto {
			m.SetIPDst(prefix())
		}
		c.Rules = append(c.Rules, Rule{Priority: uint16(1 + r.IntN(60000)), Match: cond, Action: Action{Deny: i%2 == 0}})
	}
	return c
}

// BenchmarkDecide is the cost of a decision by the number of rules, for random
// packets that hit no rule but the widest and for packets that a rule was made of.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{500, 10_000, 120_430} {
		compiled := accessList(n).Compile()
		r := rand.New(rand.NewPCG(1, 1))
		packets := make([]flow.Match, 4096)
		for i := range packets {
			m := &packets[i]
			m.SetInPort(1)
			m.SetEthSrc(flow.MAC{2, 0, 0, 0, 0, 1}, flow.MACExact)
			m.SetEthDst(flow.MAC{2, 0, 0, 0, 0, 2}, flow.MACExact)
			m.SetVLAN(flow.VLANNone, flow.VLANExact)
			m.SetEthType(flow.EthTypeIPv4)
			m.SetIPProto(flow.ProtoTCP)
			addr := func() netip.Prefix {
				var a [4]byte
				binary.BigEndian.PutUint32(a[:], r.Uint32())
				return netip.PrefixFrom(netip.AddrFrom4(a), 32)
			}
			m.SetIPSrc(addr())
			m.SetIPDst(addr())
			m.SetL4Src(uint16(r.Uint32()))
			m.SetL4Dst(uint16(r.Uint32()))
		}
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				compiled.Decide(policy.NewPacket(&packets[i&4095]))
				i++
			}
			b.ReportMetric(float64(len(compiled.(*link).whole.tuples)), "shapes")
		})
	}
}
