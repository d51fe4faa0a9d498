package flow_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/ovs"
)

// frameMaker makes frames of every kind that switches and hosts disagree about, whole and damaged. The same
// seed gives the same frames.
type frameMaker struct{ *rand.Rand }

func (g frameMaker) pick(values ...int) int { return values[g.IntN(len(values))] }

func (g frameMaker) odds(oneIn int) bool { return g.IntN(oneIn) == 0 }

func (g frameMaker) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func be16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }

func (g frameMaker) frame() []byte {
	b := append([]byte{2, 0, 0, 0, 0, byte(g.pick(1, 2))}, 2, 0, 0, 0, 0, byte(g.pick(1, 2)))
	for range g.pick(0, 0, 0, 0, 1, 1, 2, 3) {
		b = append(b, be16(g.pick(0x8100, 0x8100, 0x88a8, 0x9100))...)
		b = append(b, be16(g.IntN(1<<16))...)
	}
	var body []byte
	ethType := 0
	switch g.IntN(12) {
	case 0, 1, 2, 3:
		ethType, body = 0x0800, g.ipv4()
	case 4, 5, 6, 7, 8:
		ethType, body = 0x86dd, g.ipv6()
	case 9, 10:
		ethType, body = g.pick(0x0806, 0x0806, 0x0806, 0x8035), g.arp()
	default:
		ethType, body = g.pick(0x88cc, 0x8847, 0x8100, 0x88a8, 0x05ff, 0x0600, 0, 0x1234), g.bytes(g.IntN(40))
	}
	if g.odds(8) { // SNAP, and what only looks like it
		org := g.pick(0, 0, 0, 0xf8)
		snap := append([]byte{0xaa, 0xaa, byte(g.pick(3, 3, 3, 0)), 0, 0, byte(org)}, be16(ethType)...)
		body = append(snap, body...)
		ethType = g.pick(len(body), len(body), 0x05ff, 0x0600)
	}
	b = append(append(b, be16(ethType)...), body...)
	switch g.IntN(6) {
	case 0: // padding behind the packet
		b = append(b, make([]byte, g.IntN(50))...)
	case 1: // cut short
		b = b[:1+g.IntN(len(b))]
	case 2: // a byte that is another one
		b[g.IntN(len(b))] = byte(g.pick(0, 1, 0xff, g.IntN(256)))
	case 3:
		b[g.IntN(len(b))] ^= 1 << g.IntN(8)
		if g.odds(2) {
			b = b[:1+g.IntN(len(b))]
		}
	}
	return b
}

func (g frameMaker) ipv4() []byte {
	options := make([]byte, g.pick(0, 0, 0, 0, 4, 8, 40))
	proto := g.pick(6, 6, 17, 17, 1, 132, 2, 51, 58, 44, 0, 47, g.IntN(256))
	l4 := g.l4(proto)
	if proto == 51 {
		l4 = append([]byte{6, 4, 0, 0}, append(make([]byte, 20), g.l4(6)...)...)
	}
	total := 20 + len(options) + len(l4)
	if g.odds(8) {
		total = g.pick(0, 19, 20, 21, 40, total-1, total+1, total+20, 0xffff)
	}
	fragment := g.pick(0, 0, 0, 0x4000, 0x2000, 0x2000, 0x2001, 1, 0x1fff, 0x8000)
	b := []byte{byte(g.pick(4, 4, 4, 4, 4, 4, 4, 4, 6, 0))<<4 | byte(5+len(options)/4), byte(g.IntN(256))}
	if g.odds(20) {
		b[0] = b[0]&0xf0 | byte(g.IntN(16))
	}
	b = append(append(b, be16(total)...), 0, 1)
	b = append(append(b, be16(fragment)...), 64, byte(proto), 0, 0, 10, 0, 0, byte(g.pick(1, 2)), 10, 0, 0, byte(g.pick(1, 2)))
	return append(append(b, options...), l4...)
}

func (g frameMaker) ipv6() []byte {
	proto := g.pick(6, 6, 17, 17, 58, 58, 58, 58, 132, 1, 59, 50, 135, 139, g.IntN(256))
	payload := g.l4(proto)
	for range g.pick(0, 0, 0, 1, 1, 2, 3, 10) { // from the last extension header to the first
		kind := g.pick(0, 43, 44, 44, 51, 60)
		n := g.pick(0, 0, 0, 1, 2)
		size := 8 + 8*n
		switch kind {
		case 44:
			n, size = g.pick(0, 0, 0, 7), 8
		case 51:
			n = g.pick(0, 1, 2, 4, 4)
			size = 8 + 4*n
		}
		h := make([]byte, size)
		h[0], h[1] = byte(proto), byte(n)
		if kind == 44 {
			copy(h[2:], be16(g.pick(0, 0, 1, 1, 2, 6, 8, 9, 0xfff8)))
		}
		if g.odds(20) {
			h[1] = byte(g.pick(3, 20, 255))
		}
		payload, proto = append(h, payload...), kind
	}
	length := len(payload)
	if g.odds(8) {
		length = g.pick(0, 1, 7, 8, length-1, length+1, length+20, 0xffff)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(g.pick(6, 6, 6, 6, 6, 6, 4, 0, 15))<<28|g.Uint32()>>4)
	b = append(append(b, be16(length)...), byte(proto), 64)
	for range 2 {
		b = append(b, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(g.pick(1, 2)))
	}
	return append(b, payload...)
}

func (g frameMaker) l4(proto int) []byte {
	ports := append(be16(g.pick(0, 22, 23, 443, g.IntN(1<<16))), be16(g.pick(0, 22, 23, 443, g.IntN(1<<16)))...)
	var b []byte
	switch proto {
	case 6:
		offset := g.pick(5, 5, 5, 5, 5, 6, 8, 15, g.IntN(16))
		b = append(append(ports, make([]byte, 8)...), byte(offset<<4), 2, 0, 9, 0, 0, 0, 0)
		b = append(b, make([]byte, g.pick(0, 0, 4, 12, 40))...)
	case 17:
		b = append(ports, be16(8)...)
		b = append(b, 0, 0)
	case 132:
		b = append(ports, make([]byte, 8)...)
	case 58:
		return g.icmpv6()
	default:
		b = append([]byte{byte(g.pick(0, 3, 8, 11, 17)), byte(g.pick(0, 0, 1, 5))}, make([]byte, 6)...)
	}
	b = append(b, make([]byte, g.pick(0, 0, 3, 30))...)
	if g.odds(8) {
		b = b[:g.IntN(len(b))]
	}
	return b
}

func (g frameMaker) icmpv6() []byte {
	b := append([]byte{byte(g.pick(128, 135, 135, 136, 136, 133)), byte(g.pick(0, 0, 0, 0, 1))}, make([]byte, 6)...)
	b = append(b, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(g.pick(1, 2, 3)))
	for range g.pick(0, 1, 1, 1, 2, 3) {
		n := g.pick(1, 1, 1, 1, 2, 0)
		option := make([]byte, max(8, 8*n))
		option[0], option[1], option[7] = byte(g.pick(1, 1, 1, 2, 2, 2, 3, 14)), byte(n), byte(g.pick(0, 1, 1, 2))
		if g.odds(12) {
			option[1] = 200
		}
		b = append(b, option...)
	}
	if g.odds(6) {
		b = b[:g.IntN(len(b))]
	}
	return b
}

func (g frameMaker) arp() []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	if g.odds(6) {
		b[g.IntN(len(b))] = byte(g.IntN(8))
	}
	b = append(b, be16(g.pick(1, 1, 2, 2, 3, 0, 255, 256, 257, 0xffff))...)
	b = append(append(b, g.bytes(6)...), 10, 0, 0, byte(g.pick(0, 1, 2)))
	return append(append(b, g.bytes(6)...), 10, 0, 0, byte(g.pick(1, 2)))
}

// judged is a flow as ovs-ofctl prints it: its keywords, a bare protocol's name among them with the value "".
type judged map[string]string

func parseJudged(text string) judged {
	j := make(judged)
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		j[name] = value
	}
	return j
}

func (j judged) has(name string) bool { _, ok := j[name]; return ok }

// number returns the value of the first keyword that the flow has; 0 without any.
func (j judged) number(t *testing.T, names ...string) uint64 {
	for _, name := range names {
		if s, ok := j[name]; ok {
			v, err := strconv.ParseUint(s, 0, 64)
			if err != nil {
				t.Fatalf("%s=%s: %v", name, s, err)
			}
			return v
		}
	}
	return 0
}

// protocols are what ovs-ofctl writes for an EtherType and protocol.
var protocols = map[string]struct {
	ethType uint16
	proto   int
}{
	"arp": {0x0806, -1}, "rarp": {0x8035, -1}, "mpls": {0x8847, -1}, "mplsm": {0x8848, -1},
	"ip": {0x0800, -1}, "icmp": {0x0800, 1}, "tcp": {0x0800, 6}, "udp": {0x0800, 17}, "sctp": {0x0800, 132},
	"ipv6": {0x86dd, -1}, "icmp6": {0x86dd, 58}, "tcp6": {0x86dd, 6}, "udp6": {0x86dd, 17}, "sctp6": {0x86dd, 132},
}

// match turns a flow into what [flow.Parser.Parse] says of the frame where nothing is missing, with 0 for what the
// switch does not see; which of these the packet's protocols have are in fields. What Open vSwitch extracts and no
// rule can match, such as ICMPv6's type in IPv4, is left out. Fragments' ports are not (see [judged.fragment]).
func (j judged) match(t *testing.T) (m flow.Match) {
	m.SetInPort(1)
	ethType, proto := uint16(j.number(t, "dl_type")), uint8(j.number(t, "nw_proto"))
	for name, p := range protocols {
		if j.has(name) && j[name] == "" {
			ethType = p.ethType
			if p.proto >= 0 {
				proto = uint8(p.proto)
			}
		}
	}
	if ethType == 0 { // no whole Ethernet header
		return m
	}
	m.SetEthType(ethType)
	mac := func(name string) flow.MAC {
		a, err := flow.ParseMAC(j[name])
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	prefix := func(name string) netip.Prefix {
		a, err := netip.ParseAddr(j[name])
		if err != nil {
			t.Fatal(err)
		}
		return netip.PrefixFrom(a, a.BitLen())
	}
	m.SetEthSrc(mac("dl_src"), flow.MACExact)
	m.SetEthDst(mac("dl_dst"), flow.MACExact)
	m.SetVLAN(flow.VLANNone, flow.VLANExact)
	if j.has("dl_vlan") {
		m.SetVLAN(flow.VLANPresent|uint16(j.number(t, "dl_vlan")), flow.VLANExact)
		m.Fields |= flow.FieldVLANPCP
		m.VLANPCP = uint8(j.number(t, "dl_vlan_pcp"))
	}
	switch ethType {
	case flow.EthTypeARP:
		m.Fields |= flow.FieldARPOp | flow.FieldARPSHA | flow.FieldARPTHA
		m.ARPOp = uint16(j.number(t, "arp_op"))
		m.SetARPSPA(prefix("arp_spa"))
		m.SetARPTPA(prefix("arp_tpa"))
		m.ARPSHA, m.ARPTHA = mac("arp_sha"), mac("arp_tha")
		return m
	case flow.EthTypeIPv4:
		m.SetIPSrc(prefix("nw_src"))
		m.SetIPDst(prefix("nw_dst"))
	case flow.EthTypeIPv6:
		m.SetIPSrc(prefix("ipv6_src"))
		m.SetIPDst(prefix("ipv6_dst"))
		m.Fields |= flow.FieldFlowLabel
		m.FlowLabel = uint32(j.number(t, "ipv6_label"))
	default:
		return m
	}
	m.Fields |= flow.FieldIPDSCP | flow.FieldIPECN
	m.IPDSCP, m.IPECN = uint8(j.number(t, "nw_tos")>>2), uint8(j.number(t, "nw_ecn"))
	m.SetIPProto(proto)
	switch {
	case proto == flow.ProtoTCP || proto == flow.ProtoUDP || proto == flow.ProtoSCTP:
		m.SetL4Src(uint16(j.number(t, "tp_src")))
		m.SetL4Dst(uint16(j.number(t, "tp_dst")))
	case proto == flow.ProtoICMP && ethType == flow.EthTypeIPv4:
		m.SetICMP(uint8(j.number(t, "icmp_type", "tp_src")), uint8(j.number(t, "icmp_code", "tp_dst")))
	case proto == flow.ProtoICMPv6 && ethType == flow.EthTypeIPv6:
		m.SetICMP(uint8(j.number(t, "icmp_type", "tp_src")), uint8(j.number(t, "icmp_code", "tp_dst")))
		if j.has("nd_target") {
			m.Fields |= flow.FieldNDTarget
			m.NDTarget = prefix("nd_target").Addr()
			if m.ICMPType == 135 {
				m.Fields |= flow.FieldNDSLL
				m.NDSLL = mac("nd_sll")
			}
		}
	}
	return m
}

// fragment reports whether the frame is one of an IP packet, whose ports OpenFlow's fragment mode "normal" hides.
func (j judged) fragment() bool { return j.has("nw_frag") && j["nw_frag"] != "no" }

// zeroed returns m with the value 0 for the fields in f.
func zeroed(m flow.Match, f flow.Field) flow.Match {
	m = m.Keep(^f)
	m.Fields |= f
	v4 := netip.PrefixFrom(netip.IPv4Unspecified(), 32)
	ip := v4
	if m.EthType == flow.EthTypeIPv6 {
		ip = netip.PrefixFrom(netip.IPv6Unspecified(), 128)
	}
	for field, address := range map[flow.Field]*netip.Prefix{
		flow.FieldIPSrc: &m.IPSrc, flow.FieldIPDst: &m.IPDst, flow.FieldARPSPA: &m.ARPSPA, flow.FieldARPTPA: &m.ARPTPA,
	} {
		if f&field == 0 {
			continue
		}
		if *address = ip; field&(flow.FieldARPSPA|flow.FieldARPTPA) != 0 {
			*address = v4
		}
	}
	if f&flow.FieldNDTarget != 0 {
		m.NDTarget = netip.IPv6Unspecified()
	}
	return m
}

const l4 = flow.FieldL4Src | flow.FieldL4Dst | flow.FieldICMPType | flow.FieldICMPCode | ndFields
const ndFields = flow.FieldNDTarget | flow.FieldNDSLL

// How many frames the judge sees; SWITCHBRIDGE_FRAMES says another number.
func frameCount(t *testing.T, n int) int {
	if s := os.Getenv("SWITCHBRIDGE_FRAMES"); s != "" {
		v, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("SWITCHBRIDGE_FRAMES=%s: want a number of frames", s)
		}
		return v
	}
	return n
}

// Every frame is classified as Open vSwitch classifies it: what Match has is what the switch sees, what it lacks
// the switch takes for 0, and Missing has all of that which the packet's protocols promise.
func TestFramesAsOpenVSwitch(t *testing.T) {
	g := frameMaker{rand.New(rand.NewPCG(1, 2))}
	count, seen := frameCount(t, 40_000), map[string]int{}
	for done, failed := 0, 0; done < count && failed < 10; {
		frames := make([][]byte, min(20_000, count-done))
		for i := range frames {
			frames[i] = g.frame()
		}
		done += len(frames)
		for i, text := range ovs.Flows(t, frames...) {
			why := disagreement(t, frames[i], text, seen)
			if why != "" && failed < 10 {
				failed++
				t.Errorf("%s\nframe %x\nswitch %s", why, frames[i], text)
			}
		}
	}
	t.Logf("%d frames: %v", count, seen)
	for _, kind := range []string{"whole", "missing", "fragment", "no ethernet", "tagged", "deeper tag", "nd_target", "nd_sll"} {
		if seen[kind] < count/1000 {
			t.Errorf("%d frames of kind %q among %d: the generator lost it", seen[kind], kind, count)
		}
	}
}

func disagreement(t *testing.T, frame []byte, text string, seen map[string]int) string {
	got := flow.Parser{VLANLimit: 2}.Parse(frame, len(frame), 1)
	missing := got.Missing()
	j := parseJudged(text)
	want := j.match(t)
	promised := want.Fields // what the protocols that the switch found have
	if j.fragment() {
		want = zeroed(want, want.Fields&l4)
		seen["fragment"]++
	}
	switch {
	case missing == 0:
		seen["whole"]++
	case want.Fields == flow.FieldInPort:
		seen["no ethernet"]++
	default:
		seen["missing"]++
	}
	if got.VLAN != 0 {
		seen["tagged"]++
	}
	if got.Has(flow.FieldNDTarget) {
		seen["nd_target"]++
	}
	if got.NDSLL != (flow.MAC{}) {
		seen["nd_sll"]++
	}
	if got.EthType == flow.EthTypeVLAN || got.EthType == flow.EthTypeQinQ {
		seen["deeper tag"]++
	}
	// An address of zeros is one that Parse may well show; what it does not show must be zeros.
	if filled := zeroed(got, promised&^got.Fields); filled != want {
		return fmt.Sprintf("parsed %v\nzeroed %v\nwant   %v", got, filled, want)
	}
	unseen := got.Unseen()
	if hidden := promised &^ got.Fields &^ unseen; hidden != 0 {
		return fmt.Sprintf("parsed %v\nunseen %v lacks %v", got, unseen, hidden)
	}
	if lacks := promised & (flow.Conversation | flow.FieldNDTarget) &^ got.Fields &^ missing; lacks != 0 || missing&^unseen != 0 {
		return fmt.Sprintf("parsed %v\nmissing %v lacks %v\nunseen %v", got, missing, lacks, unseen)
	}
	if promised&^got.Fields != 0 && missing == 0 {
		return fmt.Sprintf("parsed %v\nnothing is missing, but %v is hidden", got, promised&^got.Fields)
	}
	if known := missing & got.Fields &^ flow.FieldIPProto; known != 0 {
		return fmt.Sprintf("parsed %v\nmissing %v has %v, which Match shows", got, missing, known)
	}
	if want.Fields == flow.FieldInPort {
		return ""
	}
	if wrong := wronglyMissing(&want, j, unseen); wrong != 0 {
		return fmt.Sprintf("parsed %v\nunseen %v has %v, which such a packet can't have", got, unseen, wrong)
	}
	return ""
}

// wronglyMissing returns the fields in missing that the packet's protocols, as far as the switch knows them, don't have.
func wronglyMissing(m *flow.Match, j judged, missing flow.Field) flow.Field {
	can := m.Fields
	unknown := m.IPProto == 0 || m.IPProto == 44 // no header, a broken chain, a later fragment
	switch m.EthType {
	case flow.EthTypeVLAN, flow.EthTypeQinQ:
		return 0
	case flow.EthTypeIPv4:
		if m.IPProto == 0 {
			can |= l4 &^ ndFields
		}
	case flow.EthTypeIPv6:
		if unknown || m.IPProto == flow.ProtoICMPv6 && m.ICMPType == 0 {
			can |= l4
		}
	}
	return missing &^ can
}

// ofctl writes a match as ovs-ofctl reads it.
func ofctl(m *flow.Match) string {
	var b strings.Builder
	put := func(f flow.Field, format string, args ...any) {
		if m.Has(f) {
			fmt.Fprintf(&b, ","+format, args...)
		}
	}
	v6 := m.EthType == flow.EthTypeIPv6
	name := func(v4Name, v6Name string) string {
		if v6 {
			return v6Name
		}
		return v4Name
	}
	put(flow.FieldEthType, "eth_type=%#04x", m.EthType)
	put(flow.FieldIPProto, "ip_proto=%d", m.IPProto)
	put(flow.FieldEthSrc, "eth_src=%v", m.EthSrc)
	put(flow.FieldEthDst, "eth_dst=%v", m.EthDst)
	put(flow.FieldVLAN, "vlan_tci=%#04x/0x1fff", m.VLAN)
	put(flow.FieldVLANPCP, "dl_vlan_pcp=%d", m.VLANPCP)
	put(flow.FieldIPDSCP, "ip_dscp=%d", m.IPDSCP)
	put(flow.FieldIPECN, "nw_ecn=%d", m.IPECN)
	put(flow.FieldIPSrc, name("nw_src", "ipv6_src")+"=%v", m.IPSrc.Addr())
	put(flow.FieldIPDst, name("nw_dst", "ipv6_dst")+"=%v", m.IPDst.Addr())
	put(flow.FieldFlowLabel, "ipv6_label=%#x", m.FlowLabel)
	l4Name := map[uint8]string{6: "tcp", 17: "udp", 132: "sctp"}[m.IPProto]
	put(flow.FieldL4Src, l4Name+"_src=%d", m.L4Src)
	put(flow.FieldL4Dst, l4Name+"_dst=%d", m.L4Dst)
	put(flow.FieldICMPType, name("icmp", "icmpv6")+"_type=%d", m.ICMPType)
	put(flow.FieldICMPCode, name("icmp", "icmpv6")+"_code=%d", m.ICMPCode)
	put(flow.FieldNDTarget, "nd_target=%v", m.NDTarget)
	put(flow.FieldNDSLL, "nd_sll=%v", m.NDSLL)
	put(flow.FieldARPOp, "arp_op=%d", m.ARPOp)
	put(flow.FieldARPSPA, "arp_spa=%v", m.ARPSPA.Addr())
	put(flow.FieldARPTPA, "arp_tpa=%v", m.ARPTPA.Addr())
	put(flow.FieldARPSHA, "arp_sha=%v", m.ARPSHA)
	put(flow.FieldARPTHA, "arp_tha=%v", m.ARPTHA)
	return b.String()
}

// A switch's own tables tell frames apart as Match says: the rule of a frame's whole match covers it, and so does
// one with 0 for the fields that are missing; one that differs in a single field does not.
func TestRulesOfFrames(t *testing.T) {
	s := ovs.Start(t, ovs.Options{Dummy: true})
	s.AddBridge("br0", ovs.Bridge{})
	s.AddPort("br0", "p1", 1)
	control := s.Control()
	for limit := uint8(1); limit <= 2; limit++ {
		t.Run(fmt.Sprintf("vlan limit %d", limit), func(t *testing.T) {
			s.Vsctl("set", "Open_vSwitch", ".", fmt.Sprintf("other_config:vlan-limit=%d", limit))
			g := frameMaker{rand.New(rand.NewPCG(3, uint64(limit)))}
			const batch = 500
			for count := frameCount(t, 1500); count > 0; count -= batch {
				checkRules(t, s, control, g, min(batch, count), limit)
			}
		})
	}
}

func checkRules(t *testing.T, s *ovs.Switchd, control *ovs.Control, g frameMaker, count int, limit uint8) {
	parser := flow.Parser{VLANLimit: limit}
	type probe struct {
		frame []byte
		match flow.Match
		hit   bool
		what  string
	}
	var probes []probe
	for len(probes) < 3*count {
		frame := g.frame()
		m := parser.Parse(frame, len(frame), 1)
		if !m.Has(flow.FieldEthType) {
			continue // Open vSwitch's datapath drops it
		}
		probes = append(probes, probe{frame, m, true, "the frame's own match"})
		zero := m.Seen()
		gone := l4 // fields that a rule can't ask for, since their prerequisite is 0 or not theirs
		if m.Has(flow.FieldIPProto) {
			switch m.IPProto {
			case flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP, flow.ProtoICMP, flow.ProtoICMPv6:
				gone = 0
			}
		}
		if !m.Has(flow.FieldICMPType) {
			gone |= ndFields
		}
		zero = zero.Keep(^gone)
		probes = append(probes, probe{frame, zero, true, "0 for what is missing"})
		other, field := changed(g, zero)
		probes = append(probes, probe{frame, other, false, "another " + field.String()})
	}
	var rules strings.Builder
	for i := range probes {
		fmt.Fprintf(&rules, "cookie=%#x,priority=100,pkt_mark=%d%s,actions=drop\n", i+1, i+1, ofctl(&probes[i].match))
	}
	file := s.Dir() + "/rules"
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Ofctl("-O", "OpenFlow13", "replace-flows", "br0", file)
	for i, p := range probes {
		trace, err := control.Call("ofproto/trace", "br0", fmt.Sprintf("in_port=1,pkt_mark=%d", i+1), hex.EncodeToString(p.frame))
		if err != nil {
			t.Fatal(err)
		}
		if hit := strings.Contains(trace, fmt.Sprintf("cookie %#x", i+1)); hit != p.hit {
			t.Fatalf("%s: rule covers the frame: %t, want %t\nframe %x\nparsed %v\nrule %v\n%s", p.what, hit, p.hit, p.frame,
				parser.Parse(p.frame, len(p.frame), 1), p.match, trace)
		}
	}
}

// changed returns m with another value of one of its fields, and which.
func changed(g frameMaker, m flow.Match) (flow.Match, flow.Field) {
	for {
		f := flow.Field(1) << g.IntN(len(flow.Fields))
		if !m.Has(f) {
			continue
		}
		switch f {
		case flow.FieldEthSrc:
			m.EthSrc[5] ^= 0x40
		case flow.FieldEthDst:
			m.EthDst[5] ^= 0x40
		case flow.FieldVLAN:
			if m.VLAN == 0 {
				continue // a rule for a tag is not one without
			}
			m.VLAN ^= 1
		case flow.FieldVLANPCP:
			m.VLANPCP ^= 1
		case flow.FieldIPDSCP:
			m.IPDSCP ^= 1
		case flow.FieldIPECN:
			m.IPECN ^= 1
		case flow.FieldIPSrc:
			m.IPSrc = other(m.IPSrc)
		case flow.FieldIPDst:
			m.IPDst = other(m.IPDst)
		case flow.FieldL4Src:
			m.L4Src ^= 1
		case flow.FieldL4Dst:
			m.L4Dst ^= 1
		case flow.FieldICMPCode:
			if m.Has(flow.FieldNDTarget) {
				continue
			}
			m.ICMPCode ^= 1
		case flow.FieldARPOp:
			m.ARPOp ^= 1
		case flow.FieldARPSPA:
			m.ARPSPA = other(m.ARPSPA)
		case flow.FieldARPTPA:
			m.ARPTPA = other(m.ARPTPA)
		case flow.FieldARPSHA:
			m.ARPSHA[5] ^= 1
		case flow.FieldARPTHA:
			m.ARPTHA[5] ^= 1
		case flow.FieldFlowLabel:
			m.FlowLabel ^= 1
		case flow.FieldNDTarget:
			m.NDTarget = m.NDTarget.Next()
		case flow.FieldNDSLL:
			m.NDSLL[5] ^= 1
		default: // others stand on in_port, eth_type, ip_proto and icmp_type
			continue
		}
		return m, f
	}
}

func other(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Addr().Next(), p.Bits()) }
