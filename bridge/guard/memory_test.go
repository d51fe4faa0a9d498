package guard

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
)

// refusedBy returns why a memory refuses r.
func refusedBy(m *Memory, r flow.Rule) string {
	d := flow.Decision{Rules: []flow.Rule{r}}
	var out Outcome
	Default().Check(packetEvent(tcpPacket(80)), &d, nil, m, &out)
	if len(out.Violations) == 0 {
		return ""
	}
	return string(out.Violations[0].Rail) + ": " + out.Violations[0].Detail
}

func TestMemoryDenies(t *testing.T) {
	m := new(Memory)
	deny := deny200()
	m.Refused(&deny)
	below, beside, above, drop := goodRule(), goodRule(), goodRule(), goodRule()
	beside.Priority, above.Priority, drop.Actions = 200, 201, nil
	for name, tc := range map[string]struct {
		r    flow.Rule
		want string
	}{"below": {below, "shielded"}, "beside": {beside, "shielded"}, "above": {above, ""}, "a deny": {drop, ""}} {
		if got := refusedBy(m, tc.r); !strings.HasPrefix(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	if got := refusedBy(m, below); !strings.Contains(got, "priority=200") {
		t.Errorf("%q does not name the deny", got)
	}
	m.Refused(&deny) // again
	other := deny200()
	other.Match.SetInPort(portB)
	m.Refused(&other)
	m.Installed(&deny)
	if got := refusedBy(m, below); got != "" {
		t.Errorf("the switch has the deny now, and still %q", got)
	}
	m.Installed(&other)
	if !m.empty() {
		t.Error("the memory of nothing is not empty")
	}
	m.Refused(&below) // it forwards
	if !m.empty() || refusedBy(nil, below) != "" {
		t.Error("an allow that the switch refused shields")
	}
}

// If there are more denies than Memory has room for, it refuses more rules, never fewer.
func TestMemoryDeniesBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(Memory)
		deny := func(port uint16, life time.Duration) *flow.Rule {
			r := allow(200, port)
			r.Actions, r.HardTimeout = nil, life
			r.Match.SetEthType(flow.EthTypeIPv4)
			return &r
		}
		for i := range 2 * MaxDenies {
			m.Refused(deny(uint16(1000+i), 300*time.Second))
		}
		if len(m.refused) != MaxDenies || len(m.shut) != 1 {
			t.Fatalf("%d denies one by one, %d merged", len(m.refused), len(m.shut))
		}
		if got := refusedBy(m, allow(100, 80)); !strings.Contains(got, "more than 1024 denies") || !strings.Contains(got, "ip_proto=6") {
			t.Errorf("beside denies that are not known one by one: %q", got)
		}
		arp := flow.Rule{Priority: 100, IdleTimeout: time.Second, Actions: goodRule().Actions}
		arp.Match.SetEthSrc(macA, flow.MACExact)
		arp.Match.SetEthType(flow.EthTypeARP)
		if m.shielding(&arp, Anything{}) != "" {
			t.Error("a rule that none of the denies overlaps is refused")
		}
		time.Sleep(301 * time.Second) // the timeouts of all of them have passed
		if got := refusedBy(m, allow(100, 80)); got != "" {
			t.Errorf("after the denies' time: %q", got)
		}
		m.Refused(deny(80, 0))
		if len(m.refused) != 1 || !strings.Contains(refusedBy(m, allow(100, 80)), "l4_dst=80") {
			t.Errorf("room is not used again: %d denies, %q", len(m.refused), refusedBy(m, allow(100, 80)))
		}
		time.Sleep(24 * time.Hour)
		if refusedBy(m, allow(100, 80)) == "" {
			t.Error("a deny without an end has ended")
		}
	})
}

func TestMemoryForeign(t *testing.T) {
	m := new(Memory)
	theirs := allow(100, 80)
	theirs.Match.SetEthType(flow.EthTypeIPv4)
	theirs.Cookie = 0xbeef
	list := func(n int) (rules, beyond int) {
		return m.Foreign(func(yield func(*flow.Rule)) {
			yield(&theirs)
			r := flow.Rule{Priority: 500}
			for i := range n {
				r.Match.SetInPort(flow.PortNo(i + 1))
				yield(&r)
			}
		})
	}
	list(0)
	if got := refusedBy(m, allow(100, 80)); !strings.HasPrefix(got, "foreign: ") || !strings.Contains(got, "0x000000000000beef") {
		t.Errorf("%q", got)
	}
	table := allow(100, 80)
	table.Table = 1
	for _, r := range []flow.Rule{allow(101, 80), table, goodRule()} {
		if got := refusedBy(m, r); got != "" {
			t.Errorf("%s is not theirs: %q", r.String(), got)
		}
	}
	if rules, beyond := list(MaxForeign + 9); rules != MaxForeign+10 || beyond != 10 {
		t.Errorf("%d rules, %d beyond", rules, beyond)
	}
	// One that is known exactly, priorities at which nothing is, and one at which anything may be.
	for priority, want := range map[uint16]string{100: "0x000000000000beef", 499: "", 500: "more than 65536 rules of others", 501: ""} {
		if got := refusedBy(m, allow(priority, 80)); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("priority %d: %q, want %q", priority, got, want)
		}
	}
	m.Foreign(func(func(*flow.Rule)) {})
	if refusedBy(m, allow(100, 80)) != "" || !m.empty() {
		t.Error("rules that are gone are remembered")
	}
}

// A switch lists a rule without the fields whose masks are zero. An answer that has such a
// field is the same rule.
func TestMemoryForeignVacuous(t *testing.T) {
	for name, tc := range map[string]struct{ theirs, ours func(m *flow.Match) }{
		"ip_src": {func(m *flow.Match) {}, func(m *flow.Match) { m.SetIPSrc(netip.MustParsePrefix("0.0.0.0/0")) }},
		"ip_dst": {func(m *flow.Match) {}, func(m *flow.Match) { m.SetIPDst(netip.MustParsePrefix("0.0.0.0/0")) }},
		"arp_spa": {func(m *flow.Match) { m.SetEthType(flow.EthTypeARP) },
			func(m *flow.Match) { m.SetEthType(flow.EthTypeARP); m.SetARPSPA(netip.MustParsePrefix("0.0.0.0/0")) }},
		"arp_tpa": {func(m *flow.Match) { m.SetEthType(flow.EthTypeARP) },
			func(m *flow.Match) { m.SetEthType(flow.EthTypeARP); m.SetARPTPA(netip.MustParsePrefix("0.0.0.0/0")) }},
		"eth_dst":   {func(m *flow.Match) {}, func(m *flow.Match) { m.SetEthDst(macA, flow.MAC{}) }},
		"vlan_vid":  {func(m *flow.Match) {}, func(m *flow.Match) { m.SetVLAN(5, 0) }},
		"metadata":  {func(m *flow.Match) {}, func(m *flow.Match) { m.Fields |= flow.FieldMetadata }},
		"tunnel_id": {func(m *flow.Match) {}, func(m *flow.Match) { m.Fields |= flow.FieldTunnelID }},
		"no tag, in two ways": {func(m *flow.Match) { m.SetVLAN(flow.VLANNone, flow.VLANExact) },
			func(m *flow.Match) { m.SetVLAN(flow.VLANNone, flow.VLANPresent) }},
	} {
		rule := func(set func(m *flow.Match)) flow.Rule {
			r := flow.Rule{Priority: 100}
			r.Match.SetInPort(portA)
			r.Match.SetEthType(flow.EthTypeIPv4)
			set(&r.Match)
			return r
		}
		m, theirs, ours := new(Memory), rule(tc.theirs), rule(tc.ours)
		m.Foreign(func(yield func(*flow.Rule)) { yield(&theirs) })
		if m.foreignTo(&ours) == "" {
			t.Errorf("%s: the memory does not know %s in %s", name, theirs.String(), ours.String())
		}
		ours.Match.SetInPort(portB)
		if got := m.foreignTo(&ours); got != "" {
			t.Errorf("%s: another port's rule: %q", name, got)
		}
	}
}
