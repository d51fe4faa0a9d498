package guard

import (
	"net/netip"
	"slices"
	"testing"

	"switchbridge/flow"
)

func TestFall(t *testing.T) {
	pfx := netip.MustParsePrefix
	out := []flow.Action{flow.OutputTo(portB)}
	rule := func(table uint8, priority uint16, dst string, actions ...flow.Action) flow.Rule {
		r := flow.Rule{Table: table, Priority: priority, Actions: actions}
		if dst != "" {
			r.Match.SetEthType(flow.EthTypeIPv4)
			r.Match.SetIPDst(pfx(dst))
		}
		return r
	}
	leads := func(r flow.Rule, table uint8) flow.Rule { r.Goto = table; return r }
	named := func(r flow.Rule) flow.Rule { r.Match.SetL4Dst(80); return r }
	vlan := func(priority, vid, mask uint16, actions ...flow.Action) flow.Rule {
		r := flow.Rule{Priority: priority, Actions: actions}
		r.Match.SetVLAN(vid, mask)
		return r
	}
	for name, tc := range map[string]struct {
		rules []flow.Rule // the first is gone
		want  []bool      // of the others
	}{
		"lower, equal, higher": {[]flow.Rule{rule(0, 5, "10.0.0.0/8"), rule(0, 4, "", out...), rule(0, 5, "", out...), rule(0, 6, "", out...)}, []bool{true, true, false}},
		"denies, too, below":   {[]flow.Rule{rule(0, 5, "10.0.0.0/8"), rule(0, 4, ""), rule(0, 5, "")}, []bool{true, false}},
		"apart":                {[]flow.Rule{rule(0, 5, "10.0.0.0/8"), rule(0, 4, "11.0.0.0/8", out...)}, []bool{false}},
		"in turn":              {[]flow.Rule{rule(0, 5, "10.0.0.0/9"), rule(0, 3, "11.0.0.0/9", out...), rule(0, 4, "10.0.0.0/7", out...)}, []bool{true, true}},
		"another table":        {[]flow.Rule{rule(1, 5, ""), rule(0, 4, "", out...), rule(2, 4, "", out...)}, []bool{false, false}},
		"what leads there":     {[]flow.Rule{rule(2, 5, "10.0.0.0/8"), leads(rule(0, 9, "10.0.0.1/32"), 2), leads(rule(0, 9, "11.0.0.1/32"), 2), leads(rule(1, 9, ""), 3)}, []bool{true, false, false}},
		"and maybe leads on":   {[]flow.Rule{rule(2, 5, "10.0.0.0/8"), leads(rule(0, 9, "10.0.0.1/32"), 1)}, []bool{true}},
		"leads there rewritten": {[]flow.Rule{rule(1, 5, "10.0.0.0/8"), leads(rule(0, 9, "11.0.0.1/32", flow.Action{Type: flow.SetIPDst, Addr: netip.MustParseAddr("10.0.0.1")}), 1)},
			[]bool{true}},
		"looked up after":               {[]flow.Rule{named(rule(0, 1, "10.0.0.1/32")), rule(0, 9, "", out...), rule(0, 9, "")}, []bool{true, false}},
		"looked up after what forwards": {[]flow.Rule{named(rule(0, 1, "10.0.0.1/32", out...)), rule(0, 9, "", out...)}, []bool{false}},
		"a VID without the bit for a tag": {[]flow.Rule{vlan(9, 7, flow.VLANExact), vlan(1, flow.VLANPresent|7, flow.VLANExact, out...), vlan(1, flow.VLANPresent|8, flow.VLANExact, out...),
			vlan(1, flow.VLANNone, flow.VLANExact, out...)}, []bool{true, false, false}},
		"a VID with the bit":       {[]flow.Rule{vlan(9, flow.VLANPresent|7, flow.VLANExact), vlan(1, flow.VLANPresent|8, flow.VLANExact, out...), vlan(1, flow.VLANNone, flow.VLANExact, out...)}, []bool{false, false}},
		"a VID whatever the bit":   {[]flow.Rule{vlan(9, 7, 0xfff), vlan(1, flow.VLANPresent|7, flow.VLANExact, out...), vlan(1, flow.VLANPresent|8, flow.VLANExact, out...)}, []bool{true, false}},
		"a DELETE shields nothing": {[]flow.Rule{{Command: flow.Delete, Priority: 9}, rule(0, 1, "", out...)}, []bool{false}},
	} {
		gone := make([]bool, len(tc.rules))
		gone[0] = true
		Fall(tc.rules, gone, exactFirst)
		if !gone[0] || !slices.Equal(gone[1:], tc.want) {
			t.Errorf("%s: %v, want %v", name, gone[1:], tc.want)
		}
	}
	gone := []bool{true, false}
	Fall([]flow.Rule{rule(0, 5, ""), rule(0, 4, "", out...)}, gone, nil)
	if !gone[1] {
		t.Error("without an order of the switch's own, priorities count")
	}
}
