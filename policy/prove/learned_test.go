package prove

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/testlong"
	"switchbridge/policy"
	"switchbridge/policy/machine"
	"switchbridge/policy/policytest"
)

// smallGuard is a source guard over few ports, switches, stations and addresses.
func smallGuard(r *rand.Rand, learn string) string {
	var b strings.Builder
	sw := func() string { return oneOf(r, "", "", ", switch: 1", ", switch: 2") }
	b.WriteString("{bindings: [")
	for range r.IntN(4) {
		one := "port: " + oneOf(r, "1", "2", "[1, 2]") + sw()
		addresses := "addresses: [" + oneOf(r, "10.0.0.1", "10.0.0.2", "10.0.0.0/30", "10.0.0.0/24", "2001:db8::1", "10.0.0.1, 2001:db8::/126", "fe80::ff:fe00:1") + "]"
		mac := "mac: '02:00:00:00:00:0" + oneOf(r, "1", "2") + "'"
		switch r.IntN(3) {
		case 0:
			one += ", " + mac
		case 1:
			one += ", " + addresses
		default:
			one += ", " + mac + ", " + addresses
		}
		b.WriteString("{" + one + "}, ")
	}
	b.WriteString("]")
	if learn == "dhcp" || r.IntN(2) == 0 {
		b.WriteString(", trusted: [" + oneOf(r, "4", "{port: 4, switch: 1}", "{port: [4, 5], switch: 2}") + "]")
	}
	switch {
	case learn != "":
		b.WriteString(", learn: " + learn + ", for: 1m")
	case r.IntN(2) == 0:
		b.WriteString(", others: deny")
	}
	return b.String() + "}"
}

// guardLines are packets of all kinds that a source guard tells apart.
func guardLines() (lines []string) {
	for _, sw := range []string{"1", "2", "3"} {
		for _, port := range []string{"1", "2", "3", "4", "5"} {
			for _, eth := range []string{"02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:09", "01:00:00:00:00:00"} {
				add := func(format string, args ...any) {
					lines = append(lines, fmt.Sprintf(format, args...)+" eth_src "+eth+" port "+port+" switch "+sw)
				}
				add("eth eth_type 0x88b5")
				add("eth eth_type 0x05ff")
				for _, src := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.9", "10.9.9.9", "0.0.0.0", "127.0.0.1", "224.0.0.5"} {
					add("tcp %s:40000 > 10.0.0.2:22", src)
					add("udp %s:68 > 10.0.0.2:67", src)
					add("udp %s:40000 > 10.0.0.2:67", src)
					add("udp %s:67 > 10.0.0.2:68", src)
					add("udp %s:67 > 10.0.0.2:67", src)
					add("dhcp %s:68 > 10.0.0.2:67 type 3", src)
					add("dhcp %s:40000 > 10.0.0.2:67 type 3", src)
					add("ip %s > 10.0.0.2 ip_proto 2", src)
					for _, sha := range []string{"02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:09", "01:00:00:00:00:00"} {
						for _, target := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.9", "10.9.9.9", "0.0.0.0"} {
							add("arp %s > %s arp_sha %s", src, target, sha)
						}
					}
				}
				for _, src := range []string{"2001:db8::1", "2001:db8::9", "fe80::ff:fe00:1", "fe80::ff:fe00:2", "::", "::1"} {
					add("tcp [%s]:40000 > [2001:db8::2]:22", src)
					add("udp [%s]:40000 > [2001:db8::2]:67", src)
					add("udp [%s]:67 > [2001:db8::2]:67", src)
					add("udp [%s]:68 > [2001:db8::2]:67", src)
					for _, kind := range []string{"133", "134", "137", "131", "129", "135 code 1", "136 code 1", "135 ipv6_nd_sll 02:00:00:00:00:01 ipv6_nd_target 2001:db8::9"} {
						add("icmpv6 %s > 2001:db8::2 type %s", src, kind)
						if strings.HasPrefix(kind, "13") && kind != "131" {
							add("icmpv6 %s > 2001:db8::2 type %s arp_sha 01:00:00:00:00:01", src, kind)
						}
					}
					for _, target := range []string{"2001:db8::1", "2001:db8::9", "fe80::ff:fe00:1", "fe80::ff:fe00:2", "::1"} {
						add("icmpv6 %s > 2001:db8::2 type 136 ipv6_nd_target %s", src, target)
						for _, sll := range []string{"02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:09", "00:00:00:00:00:00", "01:00:00:00:00:00"} {
							add("icmpv6 %s > 2001:db8::2 type 135 ipv6_nd_target %s ipv6_nd_sll %s", src, target, sll)
						}
					}
				}
			}
		}
	}
	return lines
}

// guardCondition is one that a promise has, or an access list.
func guardCondition(r *rand.Rand) string {
	var keys []string
	if r.IntN(2) == 0 {
		keys = append(keys, "in_port: "+oneOf(r, "1", "2", "3", "4"))
	}
	if r.IntN(3) == 0 {
		keys = append(keys, "eth_src: '02:00:00:00:00:0"+oneOf(r, "1", "2", "9")+"'")
	}
	switch r.IntN(10) {
	case 8, 9:
		keys = []string{"in_port: " + oneOf(r, "1", "2", "3"), "eth_src: '02:00:00:00:00:0" + oneOf(r, "1", "2", "9") + "'", "ip_src: " + oneOf(r, "10.0.0.1", "10.0.0.2", "10.0.0.9"), "ip_proto: 6"}
	case 0:
		keys = append(keys, "eth_type: arp", "arp_spa: "+oneOf(r, "10.0.0.1", "10.0.0.9", "0.0.0.0"))
	case 1:
		keys = append(keys, "udp_dst: 67", "udp_src: "+oneOf(r, "68", "67", "40000"))
	case 2:
		keys = append(keys, "icmpv6_type: "+oneOf(r, "133", "134", "135", "136", "137", "131", "129"))
	case 3:
		keys = append(keys, "icmpv6_type: 135", "icmpv6_code: 0", "ipv6_nd_target: '2001:db8::"+oneOf(r, "1", "9")+"'")
	case 4:
		keys = append(keys, "eth_type: "+oneOf(r, "0x88b5", "0x05ff"))
	case 5:
		keys = append(keys, "ip_src: '"+oneOf(r, "2001:db8::1", "2001:db8::9", "fe80::ff:fe00:1", "::")+"'")
	default:
		keys = append(keys, "ip_src: "+oneOf(r, "10.0.0.1", "10.0.0.2", "10.0.0.9", "0.0.0.0", "10.0.0.0/24"))
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

// What is proved of a source guard that learns nothing is so of all packets of few fields, behind their headers, too.
func TestSourceGuardIsExact(t *testing.T) { sourceGuardIsExact(t, 25) }

func TestLongSourceGuardIsExact(t *testing.T) {
	testlong.Need(t)
	sourceGuardIsExact(t, 120)
}

func sourceGuardIsExact(t *testing.T, seeds uint64) {
	t.Parallel()
	lines := guardLines()
	var events []*flow.Event
	for _, line := range lines {
		ev, err := policytest.Event(line, flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		if ev.PacketIn.Incomplete == 0 {
			events = append(events, ev)
		}
	}
	count := map[string]int{}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 29))
		text := "chain:\n"
		if r.IntN(3) == 0 {
			text += "  - header: {rules: [{match: " + guardCondition(r) + ", action: " + oneOf(r, "allow", "deny") + "}]}\n"
		}
		text += "  - sourceguard: " + smallGuard(r, "") + "\n"
		text += "  - header: {rules: [{match: " + guardCondition(r) + ", action: " + oneOf(r, "allow", "deny") + "}]}\n  - forward: {}\npromises:\n"
		for range 12 {
			text += "  - " + oneOf(r, "never", "always") + ": " + guardCondition(r) + "\n"
		}
		doc, err := parsed(text)
		if err != nil {
			continue // nothing is bound
		}
		prover, err := New(doc.Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		c := controller.New(doc.Policy)
		broken := make([]string, len(doc.Promises))
		var d flow.Decision
		for _, ev := range events {
			d.Reset()
			if err := c.Decide(t.Context(), ev, &d); err != nil {
				t.Fatal(err)
			}
			for i := range doc.Promises {
				if broken[i] == "" && breaks(&doc.Promises[i], &ev.PacketIn.Match, d.Verdict) {
					broken[i] = fmt.Sprint(ev.PacketIn.Match, " to switch ", ev.Switch.DPID, ": ", d.Reason)
				}
			}
		}
		for i := range doc.Promises {
			o := &doc.Promises[i]
			got, err := prover.Keeps(o)
			switch {
			case err != nil:
				t.Errorf("seed %d: %s: %v\n%s", seed, o.Text, err, text)
			case (got != nil) != (broken[i] != ""):
				t.Errorf("seed %d: %s: %+v, and by all packets %q\n%s", seed, o.Text, got, broken[i], text)
			}
			count[fmt.Sprint(o.Kind, got != nil)]++
		}
	}
	if least := int(seeds); count["never true"] < least || count["never false"] < least || count["always true"] < least || count["always false"] < least/8 {
		t.Errorf("too few of %v: this finds nothing", count)
	}
	t.Log(count)
}

// learnedLines are packets of few stations with few addresses, and what DHCP gives them.
func learnedLines(dhcp bool) (lines []string) {
	for _, port := range []string{"1", "2", "3", "4"} {
		for _, eth := range []string{"1", "2"} {
			end := " eth " + eth + " port " + port
			for _, src := range []string{"1", "2"} {
				lines = append(lines, "udp 10.0.0."+src+":40000 > 10.0.0.9:9"+end, "tcp 10.0.0."+src+":40000 > 10.0.0.9:22"+end)
				if port == "4" && dhcp {
					lines = append(lines, "dhcp 10.0.0.53:67 > 10.0.0."+src+":68 type 5 eth 9 port 4 arp_sha 02:00:00:00:00:0"+eth)
				}
			}
			lines = append(lines, "eth eth_type 0x88b5"+end)
			if dhcp {
				lines = append(lines, "dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3"+end)
			}
		}
	}
	return lines
}

// learnedCondition is one on what learnedLines have.
func learnedCondition(r *rand.Rand) string {
	var keys []string
	if r.IntN(3) == 0 { // one station's, for which something may be promised
		return "{in_port: " + oneOf(r, "1", "2", "3", "4") + ", eth_src: '02:00:00:00:00:0" + oneOf(r, "1", "2") + "', ip_src: " + oneOf(r, "10.0.0.1", "10.0.0.2") + ", udp_dst: 9}"
	}
	if r.IntN(2) == 0 {
		keys = append(keys, "in_port: "+oneOf(r, "1", "2", "3", "4"))
	}
	if r.IntN(3) == 0 {
		keys = append(keys, "eth_src: '02:00:00:00:00:0"+oneOf(r, "1", "2")+"'")
	}
	if r.IntN(2) == 0 {
		keys = append(keys, "ip_src: "+oneOf(r, "10.0.0.1", "10.0.0.2"))
	}
	if r.IntN(2) == 0 || len(keys) == 0 {
		keys = append(keys, oneOf(r, "udp_dst: 9", "tcp_dst: 22", "eth_type: 0x88b5"))
		if strings.HasSuffix(keys[len(keys)-1], "b5") {
			keys = keys[len(keys)-1:]
		}
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

// learnedPolicy is a source guard that learns, with machines behind it, before it or none, and promises.
func learnedPolicy(r *rand.Rand, behind bool) string {
	var b, guard strings.Builder
	b.WriteString("chain:\n")
	if r.IntN(4) == 0 {
		fmt.Fprintf(&b, "  - header: {rules: [{match: %s, action: %s}]}\n", learnedCondition(r), oneOf(r, "allow", "deny"))
	}
	guard.WriteString("  - sourceguard: {for: 1m, learn: " + oneOf(r, "first", "dhcp") + ", trusted: [4], bindings: [")
	if r.IntN(2) == 0 {
		guard.WriteString(oneOf(r, "{port: 1, mac: '02:00:00:00:00:01'}", "{port: 1, mac: '02:00:00:00:00:01', addresses: [10.0.0.1]}", "{port: 2, addresses: [10.0.0.2]}"))
	}
	guard.WriteString("]}\n")
	if !behind {
		b.WriteString(guard.String())
	}
	actions := []string{"deny", "allow", "next"}
	if behind { // or little comes to the guard
		actions = []string{"next", "allow", "next", "deny", "next"}
	}
	machines := behind || r.IntN(2) == 0
	if machines {
		b.WriteString("  - machine:\n      machines:\n")
		fmt.Fprintf(&b, "        - name: m\n          key: %s\n          forget: %s\n          start: a\n          states:\n", oneOf(r, "src", "network", "network", "port"), oneOf(r, "never", "30s"))
		for _, name := range []string{"a", "b", "c"} {
			fmt.Fprintf(&b, "            %s: {action: %s, rules: [{match: %s, action: %s}]}\n", name, oneOf(r, actions...), learnedCondition(r), oneOf(r, actions...))
		}
		b.WriteString("          transitions:\n")
		for _, from := range []string{"a", "b"} {
			fmt.Fprintf(&b, "            - {from: %s, to: %s, match: %s}\n", from, string(from[0]+1), learnedCondition(r))
		}
		b.WriteString("            - {from: " + oneOf(r, "b", "c") + ", to: " + oneOf(r, "a", "b", "c") + ", after: 30s}\n")
	}
	if behind {
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, "  - header: {rules: [{match: %s, action: %s}]}\n", learnedCondition(r), oneOf(r, "allow", "deny"))
		}
		b.WriteString(guard.String())
	}
	fmt.Fprintf(&b, "  - header: {rules: [{match: %s, action: %s}]}\n  - forward: {}\npromises:\n", learnedCondition(r), oneOf(r, "allow", "deny"))
	for range 4 {
		fmt.Fprintf(&b, "  - %s: %s\n", oneOf(r, "never", "always"), learnedCondition(r))
		if machines && r.IntN(3) == 0 {
			fmt.Fprintf(&b, "    unless: {machine: m, state: %s}\n", oneOf(r, "a", "b", "[a, c]"))
		}
	}
	return b.String()
}

// What is proved of a source guard that learns is so after all packets of few stations at all times that it tells apart, and no fewer break what is broken.
func TestLearningIsExact(t *testing.T) {
	t.Parallel()
	learningIsExact(t, false, 0, 12, 300, 3)
}

// The same where machines stand before the guard: they hang on nothing that it learns, and it sees what they pass on.
func TestLearningBehindMachinesIsExact(t *testing.T) {
	t.Parallel()
	learningIsExact(t, true, 0, 12, 300, 3)
}

func TestLongLearningIsExact(t *testing.T) {
	testlong.Need(t)
	t.Parallel()
	learningIsExact(t, false, 100, 60, 600, 6)
	learningIsExact(t, false, 11_000, 60, 300, 6)
}

func TestLongLearningBehindMachinesIsExact(t *testing.T) {
	testlong.Need(t)
	t.Parallel()
	learningIsExact(t, true, 100, 60, 600, 6)
	learningIsExact(t, true, 11_000, 60, 300, 6)
}

// twice is how many promises two events must break, at least: a test of policies in which that is rare finds little.
func learningIsExact(t *testing.T, behind bool, first, seeds uint64, most, twice int) {
	count := map[string]int{}
	for seed := first; seed < first+seeds; seed++ {
		text := learnedPolicy(rand.New(rand.NewPCG(seed, 31)), behind)
		if seed >= 10_000 { // promises with alternatives, one after the other
			chain, promises, _ := strings.Cut(text, "promises:")
			text = chain + "promises:" + strings.ReplaceAll(promises, "ip_src: 10.0.0.1", "from: [10.0.0.1, '02:00:00:00:00:02']")
		}
		doc := document(t, text)
		prover, err := New(doc.Policy, 1<<24)
		if err != nil {
			t.Fatal(err)
		}
		b := newBrute(t, controller.New(doc.Policy), learnedLines(strings.Contains(text, "learn: dhcp")))
		b.waits = []int64{0, 30_001, 60_000}
		var config *machine.Config
		for _, s := range doc.Policy.Chain {
			if c, ok := s.(*machine.Config); ok {
				config = c
			}
		}
		fewest, whole := b.run(doc.Promises, config, most)
		for i := range doc.Promises {
			o := &doc.Promises[i]
			prover.search.budget = 1 << 24
			c, err := prover.Keeps(o)
			switch {
			case err != nil && strings.HasPrefix(err.Error(), "undecided: ") && !strings.Contains(err.Error(), "was found"):
				count["undecided"]++
				t.Logf("seed %d: %s: %v (brute force: %d)\n%s", seed, o.Text, err, fewest[i], text)
			case err != nil:
				t.Errorf("seed %d: %s: %v\n%s", seed, o.Text, err, text)
			case c == nil && fewest[i] > 0:
				t.Errorf("seed %d: %s is said to be proved, and is broken after %d events\n%s", seed, o.Text, fewest[i], text)
			case c == nil && whole:
				count["proved"]++
			case c == nil:
				count["proved, not all tried"]++
			case c.Fewest && fewest[i] > 0 && fewest[i] < len(c.Trace):
				t.Errorf("seed %d: %s is broken after %d events, and is said to be after %d\n%+v\n%s", seed, o.Text, fewest[i], len(c.Trace), c.Trace, text)
			case !c.Fewest:
				count["broken, perhaps after fewer"]++
				if fewest[i] > 0 && fewest[i] < len(c.Trace) {
					count["broken, after fewer"]++
				}
			default:
				count[fmt.Sprintf("broken after %d", len(c.Trace))]++
			}
		}
	}
	if least := int(seeds); count["broken after 1"] < least/2 || count["broken after 2"] < twice || count["proved"] < 1 || count["undecided"] > least/4 {
		t.Errorf("too few of %v: this finds nothing", count)
	}
	for _, k := range slices.Sorted(maps.Keys(count)) {
		t.Log(count[k], k)
	}
}

// A source guard keeps promises, and one that is changed as a person may change it by mistake keeps them no more.
func TestMutantsOfSourceGuards(t *testing.T) {
	const listed = `
chain:
  - sourceguard:
      bindings:
        - {port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}
        - {port: 2, mac: "02:00:00:00:00:02", addresses: [10.0.0.2]}
      trusted: [4]
      others: deny
  - header: {rules: [{name: admin, match: {ip_src: 10.0.0.1, ip_dst: 10.0.0.9, tcp_dst: 22}, action: allow}, {name: rest, match: {ip_dst: 10.0.0.9}, action: deny}]}
  - forward: {}
promises:
  - never: {in_port: 2, to: 10.0.0.9}
`
	const leased = `
chain:
  - header: {rules: [{name: no-servers, match: {udp_src: 67, udp_dst: 68}, action: deny}]}
  - sourceguard: {learn: dhcp, trusted: [4], bindings: [{port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}]}
  - forward: {}
promises:
  - never: {in_port: 3, from: 10.0.0.0/24}
`
	for _, tt := range []struct{ name, text, old, new, want string }{
		{"listed", listed, "", "", "proved"},
		{"without a binding", listed, `        - {port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}
`, "", "proved"}, // port 2 has others alone
		{"a port more", listed, "{port: 1,", "{port: [1, 2],", "tcp 10.0.0.1:40000 > 10.0.0.9:22 in_port 2"},
		{"a wider prefix", listed, "[10.0.0.2]", "[10.0.0.0/24]", "proved"}, // the longer one is the other's
		{"a wider prefix, and no other", strings.Replace(listed, `        - {port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}
`, "", 1), "[10.0.0.2]", "[10.0.0.0/24]", "tcp 10.0.0.1:40000 > 10.0.0.9:22 in_port 2 eth_src 02:00:00:00:00:02"},
		{"trusted", listed, `        - {port: 2, mac: "02:00:00:00:00:02", addresses: [10.0.0.2]}
      trusted: [4]`, "      trusted: [2, 4]", "proved"}, // it is bound to port 1 of this switch
		{"of one switch", listed, "{port: 1, mac", "{port: 1, switch: 2, mac", "proved"},
		{"learned first", leased, "learn: dhcp", "learn: first", "tcp 10.0.0.3:40000 > 10.0.0.2:80 in_port 3"},
	} {
		text := strings.Replace(tt.text, tt.old, tt.new, 1)
		prover, err := New(document(t, text).Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := outcome(t, prover, text, 0); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// Who comes first has an address, and whoever comes then is denied: what is promised to somebody whom the guard doesn't list is not kept.
func TestWhoComesFirst(t *testing.T) {
	const text = `
chain:
  - sourceguard: {learn: first, trusted: [4], bindings: [{port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}]}
  - forward: {}
promises:
  - always: {in_port: 1, eth_src: "02:00:00:00:00:01", ip_src: 10.0.0.1, tcp_dst: 80}
  - always: {in_port: 2, eth_src: "02:00:00:00:00:02", ip_src: 10.0.0.2, tcp_dst: 80}
  - always: {in_port: 4, eth_src: "02:00:00:00:00:02", ip_src: 10.0.0.2, tcp_dst: 80}
`
	prover, err := New(document(t, text).Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"proved",
		"tcp 10.0.0.2:40000 > 10.0.0.2:80 in_port 3; tcp 10.0.0.2:40000 > 10.0.0.2:80 in_port 2",
		"tcp 10.0.0.2:40000 > 10.0.0.2:80 in_port 2; tcp 10.0.0.2:40000 > 10.0.0.2:80 in_port 4"} {
		if got := outcome(t, prover, text, i); got != want {
			t.Errorf("promise %d:\n got %s\nwant %s", i+1, got, want)
		}
	}
}

// What source guards bind is compared as all conditions are.
func TestDiffOfSourceGuards(t *testing.T) {
	text := func(binding string) string {
		return "chain:\n  - sourceguard: {bindings: [" + binding + "], trusted: [{port: 4, switch: 3}]}\n  - forward: {}\n"
	}
	a, b := document(t, text("{port: 1, addresses: [10.0.0.1]}")).Policy, document(t, text("{port: 2, addresses: [10.0.0.1]}")).Policy
	changes, open, err := Diff(a, b, nil, nil, 0)
	if err != nil || len(open) > 0 {
		t.Fatal(open, err)
	}
	for _, want := range []string{"allow output:NORMAL by forward", "deny by sourceguard"} {
		if !slices.ContainsFunc(changes, func(c Change) bool {
			return strings.HasPrefix(c.Old, want) && strings.Contains(c.Packets, "ip_src 10.0.0.1") && strings.Contains(c.Packets, "in_port ")
		}) {
			t.Errorf("no change of what was %s: %+v", want, changes)
		}
	}
	if changes, _, err := Diff(a, a, nil, nil, 0); err != nil || len(changes) > 0 {
		t.Error(changes, err)
	}
	delta, err := NewDelta(a, b, 0)
	if err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]flow.Touch{"tcp 10.0.0.1:1 > 10.0.0.2:2": flow.Denied, "eth eth_type 0x88b5": flow.Untouched, "eth eth_type 0x88b5 in_port 2": flow.Untouched} {
		m, err := policytest.ParsePacket(words)
		if err != nil {
			t.Fatal(err)
		}
		if got := delta.Touches(&m); got != want {
			t.Errorf("%s: %v, want %v", words, got, want)
		}
	}
}

// What source guards have learned is the same in two policies if they learn alike of the same packets. Then what they let pass is compared; else it is named.
func TestDiffOfLearningGuards(t *testing.T) {
	const guard = "  - sourceguard: {learn: dhcp, trusted: [4]}\n"
	const rest = "  - header: {rules: [{name: web, match: {tcp_dst: 80}, action: deny}]}\n  - forward: {}\n"
	for _, tt := range []struct{ name, old, new, change, open string }{
		{"the same", guard + rest, strings.Replace(guard, "trusted", "log: true, trusted", 1) + rest, "", ""},
		{"behind it", guard + rest, guard + strings.Replace(rest, "80", "81", 1),
			"eth_type ipv4, tcp_dst 80: was deny by header: web, is allow output:NORMAL by forward (chain entry 3), such as ", ""},
		{"how it learns", guard + rest, strings.Replace(guard, "dhcp", "first", 1) + rest, "", "sourceguard: what it binds or how it learns is another; by what it learns it decides packets such as "},
		{"how long", guard + rest, strings.Replace(guard, "trusted", "for: 1h, trusted", 1) + rest, "", "sourceguard: what it binds or how it learns is another; "},
		{"who comes to it", guard + rest, "  - header: {rules: [{match: {in_port: 2, ip_src: 10.0.0.0/24}, action: deny}]}\n" + guard + rest,
			"", "sourceguard: packets such as tcp 10.0.0.1:40000 > 10.0.0.2:80 in_port 2 come to it in one of the policies alone; "},
		{"one alone", guard + rest, rest, "", "sourceguard: only one of the policies learns; "},
	} {
		a, b := document(t, "chain:\n"+tt.old).Policy, document(t, "chain:\n"+tt.new).Policy
		changes, open, err := Diff(a, b, nil, nil, 0)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, c := range changes {
			var lines []string
			for _, m := range c.Example.Trace {
				lines = append(lines, m.Line)
			}
			got = append(got, fmt.Sprintf("%s: was %s, is %s, such as %s", c.Packets, c.Old, c.New, strings.Join(lines, "; ")))
		}
		starts := func(list []string, want string) bool {
			return slices.ContainsFunc(list, func(s string) bool { return strings.HasPrefix(s, want) })
		}
		if tt.change != "" && !starts(got, tt.change) || tt.change == "" && tt.open == "" && len(got) > 0 {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, strings.Join(got, "\n     "), tt.change)
		}
		if tt.open != "" && !starts(open, tt.open) || tt.open == "" && len(open) > 0 {
			t.Errorf("%s: %q, want %q", tt.name, open, tt.open)
		}
		if _, err := NewDelta(a, b, 0); (err != nil) != (tt.open != "") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A packet that an entry before the guard allows keeps what that entry asks of it when it gets plainer words: with the Ethernet address that its words
// mean, the guard would deny it.
func TestAllowedBeforeTheGuard(t *testing.T) {
	doc := document(t, `
chain:
  - header: {rules: [{match: {in_port: 2, eth_src: '02:00:00:00:00:01', ip_src: 10.0.0.2, udp_dst: 9}, action: allow}]}
  - sourceguard: {for: 1m, learn: dhcp, trusted: [4], bindings: []}
  - forward: {}
promises:
  - never: {udp_dst: 9}
`)
	prover, err := New(doc.Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := prover.Keeps(&doc.Promises[0])
	if err != nil || got == nil || len(got.Trace) != 1 || got.Packet.EthSrc != (flow.MAC{2, 0, 0, 0, 0, 1}) || got.Verdict != flow.Allow {
		t.Errorf("%+v, %v", got, err)
	}
}

// learnedMutant is a policy of learnedPolicy in which one line is another.
func learnedMutant(r *rand.Rand, text string) string {
	lines := strings.Split(text, "\n")
	at := func(word string, last bool) int {
		found := -1
		for i, line := range lines {
			if strings.Contains(line, word) && (last || found < 0) {
				found = i
			}
		}
		return found
	}
	rule := func() string {
		return fmt.Sprintf("  - header: {rules: [{match: %s, action: %s}]}", learnedCondition(r), oneOf(r, "allow", "deny"))
	}
	guard := at("- sourceguard: ", false)
	switch r.IntN(8) {
	case 0: // before the guard, or before the machines
		lines = slices.Insert(lines, 1, rule())
	case 1:
		lines[guard] = strings.Replace(lines[guard], "for: 1m", "for: 2m", 1)
	case 2:
		lines[guard] = strings.NewReplacer("learn: dhcp", "learn: first", "learn: first", "learn: dhcp").Replace(lines[guard])
	case 3:
		if i := at(" b: {action: ", false); i >= 0 {
			lines[i] = strings.NewReplacer("action: allow", "action: deny", "action: deny", "action: allow", "action: next", "action: deny").Replace(lines[i])
		}
	case 4: // the words alone
		lines[guard] = strings.Replace(lines[guard], "for: 1m", "log: true, for: 1m", 1)
	default:
		lines[at("- header: ", true)] = rule()
	}
	return strings.Join(lines, "\n")
}

// Every packet that two policies with source guards decide differently, after the same events, is in a change, or what is not compared is named.
func TestDiffOfLearningIsExact(t *testing.T) { diffOfLearningIsExact(t, 0, 16, 25) }

func TestLongDiffOfLearningIsExact(t *testing.T) {
	testlong.Need(t)
	diffOfLearningIsExact(t, 3000, 60, 60)
}

func diffOfLearningIsExact(t *testing.T, first, seeds uint64, most int) {
	t.Parallel()
	count := map[string]int{}
	for seed := first; seed < first+seeds; seed++ {
		r := rand.New(rand.NewPCG(seed, 41))
		text := learnedPolicy(r, seed%3 == 0)
		mutant := learnedMutant(r, text)
		before, after := document(t, text).Policy, document(t, mutant).Policy
		changes, open, err := Diff(before, after, nil, nil, 0)
		if err != nil {
			t.Errorf("seed %d: %v\n%s%s", seed, err, text, mutant)
			continue
		}
		delta, err := NewDelta(before, after, 0)
		if (err != nil) != (len(open) > 0) {
			t.Errorf("seed %d: %q, and %v", seed, open, err)
		}
		lines := learnedLines(strings.Contains(text+mutant, "learn: dhcp"))
		a, b := newBrute(t, controller.New(before), lines), newBrute(t, controller.New(after), lines)
		different := 0
		type pair struct{ a, b world }
		begin := world{states: map[string][]byte{}, now: a.begin}
		queue, seen := []pair{{begin, begin}}, map[string]bool{";": true}
		for len(queue) > 0 {
			w := queue[0]
			queue = queue[1:]
			for _, wait := range []int64{0, 30_001, 60_000} {
				for i := range a.events {
					was, x := a.decide(&w.a, a.events[i], w.a.now+wait)
					is, y := b.decide(&w.b, b.events[i], w.b.now+wait)
					if m := &a.events[i].PacketIn.Match; was.Verdict != is.Verdict {
						different++
						if len(open) == 0 && delta.Touches(m) == flow.Untouched {
							t.Fatalf("seed %d: %s is decided differently after %d events, and nothing is said of it: %+v\n%s%s", seed, lines[i], w.a.events, changes, text, mutant)
						}
					}
					if k := x.key(1e6) + ";" + y.key(1e6); !seen[k] && len(seen) < most {
						seen[k] = true
						queue = append(queue, pair{x, y})
					}
				}
			}
		}
		switch {
		case len(open) > 0:
			count["not compared"]++
			if different == 0 && len(seen) < most {
				count["not compared, and the same"]++
			}
		case len(changes) > 0 && slices.ContainsFunc(changes, func(c Change) bool { return len(c.Example.Trace) > 1 }):
			count["compared, with events"]++
		case len(changes) > 0:
			count["compared"]++
		case different == 0:
			count["the same"]++
		}
	}
	if least := int(seeds) / 15; count["compared, with events"] < least || count["compared"] < least || count["the same"] < least || count["not compared"] < least || count["not compared"] > 9*least {
		t.Errorf("too few of %v: this finds nothing", count)
	}
	t.Log(count)
}

// A promise that leaves the source open is decided for few kinds of packets, and leaves the budget to other promises: what a guard says of one packet it says of all that meet the
// few conditions by which it says so.
func TestOpenSourcesBehindTheGuard(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"whom a server has to give an address", `
chain:
  - sourceguard: {learn: dhcp, trusted: [4], bindings: [{port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}]}
  - header: {rules: [{match: {eth_type: 0x88b5}, action: deny}]}
  - forward: {}
promises:
  - never: {in_port: 3, eth_src: "02:00:00:00:00:02", tcp_dst: 22}
`, "broken"},
		{"machines, and who may move them", `
chain:
  - sourceguard: {learn: dhcp, trusted: [4], bindings: [{port: 1, mac: "02:00:00:00:00:01"}]}
  - machine:
      machines:
        - name: m
          key: port
          forget: never
          start: a
          states: {a: next, b: {action: allow, rules: [{match: {udp_dst: 9}, action: next}]}, c: allow}
          transitions:
            - {from: a, to: b, match: {in_port: 3, eth_src: "02:00:00:00:00:02", ip_src: 10.0.0.1, udp_dst: 9}}
            - {from: b, to: c, match: {eth_src: "02:00:00:00:00:02", tcp_dst: 22}}
            - {from: b, to: c, after: 30s}
  - forward: {}
promises:
  - never: {eth_src: "02:00:00:00:00:02"}
    unless: {machine: m, state: [a, c]}
`, "broken"},
		{"nobody who is not listed", `
chain:
  - header: {rules: [{name: no-servers, match: {udp_src: 67, udp_dst: 68}, action: deny}]}
  - sourceguard: {learn: dhcp, trusted: [4], bindings: [{port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}]}
  - forward: {}
promises:
  - never: {in_port: 3, ip_src: 10.0.0.0/24}
`, "proved"},
	} {
		doc := document(t, tt.text)
		prover, err := New(doc.Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		c, err := prover.Keeps(&doc.Promises[0])
		if got := map[bool]string{false: "proved", true: "broken"}[c != nil]; err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v: want %s", tt.name, c, err, tt.want)
		}
		if spent := DefaultBudget - prover.search.budget; spent > 2*forFewer {
			t.Errorf("%s: %d conditions were looked at of %d", tt.name, spent, DefaultBudget)
		}
	}
}

// A guard denies what nobody gives its sender, of those packets that come to it. What an entry before it allows is another question, and each alternative of a promise asks it.
func TestAlternativesBehindTheGuard(t *testing.T) {
	const text = `
groups:
  ours: [10.0.0.0/24, "02:00:00:00:00:09"]
chain:
  - header: {rules: [{match: {eth_src: "02:00:00:00:00:09", in_port: 3, ip_src: 10.9.9.9}, action: allow}, {match: {udp_src: 67, udp_dst: 68}, action: deny}]}
  - sourceguard: {learn: dhcp, trusted: [4]}
  - forward: {}
promises:
  - never: {in_port: 3, eth_type: ipv4, tcp_dst: 22, from: ours}
  - never: {in_port: 3, eth_type: ipv4, tcp_dst: 22, ip_src: 10.0.0.0/24}
`
	prover, err := New(document(t, text).Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"tcp 10.9.9.9:40000 > 10.0.0.2:22 in_port 3", "proved"} {
		if got := outcome(t, prover, text, i); got != want {
			t.Errorf("promise %d: %s, want %s", i+1, got, want)
		}
	}
}

// A trusted port learns nothing, so that one packet does what takes three at another port: they are not alike.
func TestTrustedPortsAreNotLikeOthers(t *testing.T) {
	for _, tt := range []struct{ bindings, rule, promise, want string }{
		{"[{port: 1, mac: '02:00:00:00:00:01', addresses: [10.0.0.1]}]", "{match: {in_port: 4, eth_src: '02:00:00:00:00:01', ip_src: 10.0.0.1, udp_dst: 9}, action: allow}",
			"never: {ip_src: 10.0.0.2, tcp_dst: 22}", "tcp 10.0.0.2:40000 > 10.0.0.2:22 in_port 4"},
		{"[]", "{match: {in_port: 2, eth_src: '02:00:00:00:00:01', ip_src: 10.0.0.1, udp_dst: 9}, action: allow}",
			"never: {ip_src: 10.0.0.1, tcp_dst: 22}", "tcp 10.0.0.1:40000 > 10.0.0.2:22 in_port 4"},
		{"[]", "{match: {udp_dst: 9}, action: allow}", "never: {eth_type: ipv4, tcp_dst: 22, in_port: 3}",
			"dhcp 0.0.0.0:68 > 255.255.255.255:67 type 3 eth_src 02:00:00:00:00:01 in_port 3; dhcp 10.0.0.53:67 > 10.0.0.1:68 type 5 "},
	} {
		text := "\nchain:\n  - sourceguard: {for: 1m, learn: dhcp, trusted: [4], bindings: " + tt.bindings + "}\n  - header: {rules: [" + tt.rule + "]}\n  - forward: {}\npromises:\n  - " + tt.promise + "\n"
		prover, err := New(document(t, text).Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := outcome(t, prover, text, 0); !strings.HasPrefix(got, tt.want) || strings.HasSuffix(got, "or fewer") {
			t.Errorf("%s: %s, want %s", tt.promise, got, tt.want)
		}
	}
}

// A packet that moves a machine is no reason for one that comes to none, also where another alternative of the promise has it.
func TestAlternativesBehindMachines(t *testing.T) {
	const text = `
chain:
  - header: {rules: [{match: {in_port: 2, eth_src: "02:00:00:00:00:02", ip_src: 10.0.0.2, udp_dst: 9}, action: allow}]}
  - machine:
      machines:
        - name: m
          key: network
          start: a
          states: {a: allow, b: allow}
          transitions: [{from: a, to: b, match: {udp_dst: 9}}]
promises:
  - never: {udp_dst: 9, eth_type: ipv4, from: [10.0.0.1, "02:00:00:00:00:02"]}
    unless: {machine: m, state: b}
  - never: {udp_dst: 9, eth_type: ipv4, from: 10.0.0.1}
    unless: {machine: m, state: b}
`
	prover, err := New(document(t, text).Policy, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"udp 10.0.0.2:40000 > 10.0.0.2:9 in_port 2", "proved"} {
		if got := outcome(t, prover, text, i); got != want {
			t.Errorf("promise %d: %s, want %s", i+1, got, want)
		}
	}
}

// Machines that a guard keeps packets from are not in the states of those that stand before it.
func TestDiffOfGuardsBeforeAndBehindMachines(t *testing.T) {
	const guard = "  - sourceguard: {learn: first, trusted: [4]}\n"
	const machines = `  - machine:
      machines:
        - name: m
          key: network
          start: a
          states: {a: next, b: deny}
          transitions:
            - {from: a, to: b, match: {in_port: 3, eth_src: "02:00:00:00:00:02", ip_src: 10.0.0.1, udp_dst: 9}}
`
	a, b := document(t, "chain:\n"+guard+machines+"  - forward: {}\n").Policy, document(t, "chain:\n"+machines+guard+"  - forward: {}\n").Policy
	for _, both := range [][2]*policy.Policy{{a, b}, {b, a}} {
		before, _, err := pair(both[0], both[1], 0)
		if err != nil {
			t.Fatal(err)
		}
		if before.wardsApart == "" || before.apart["m"] == "" {
			t.Errorf("guards are apart by %q, and machine m by %q", before.wardsApart, before.apart["m"])
		}
	}
	if _, open, err := Diff(a, b, nil, nil, 0); err != nil || len(open) == 0 {
		t.Error(open, err)
	}
}

// Fewer events are looked for past what a guard denies, too: what it does not deny may be denied by another entry, in the state to which the packet itself moves a machine.
func TestFewestBehindTheGuard(t *testing.T) {
	const text = `
chain:
  - sourceguard: {for: 1m, learn: dhcp, trusted: [4], bindings: []}
  - machine:
      machines:
        - name: m
          key: network
          start: a
          states:
            a: allow
            b: {action: next, rules: [{match: {ip_src: 10.0.0.1, udp_dst: 9}, action: allow}]}
          transitions:
            - {from: a, to: b, match: {tcp_dst: 22}}
  - header: {rules: [{match: {in_port: 4, eth_src: '02:00:00:00:00:01', ip_src: 10.0.0.1}, action: deny}]}
  - forward: {}
promises:
  - always: {ip_src: 10.0.0.1}
    unless: {machine: m, state: a}
`
	const simple = `
chain:
  - sourceguard: {for: 1m, learn: first, trusted: [4], bindings: []}
  - header: {rules: [{match: {eth_src: '02:00:00:00:00:02', udp_dst: 9}, action: deny}]}
  - forward: {}
promises:
  - always: {in_port: 2, eth_src: '02:00:00:00:00:02', ip_src: 10.0.0.2}
`
	for text, want := range map[string]string{text: "tcp 10.0.0.1:40000 > 10.0.0.2:22 in_port 4", simple: "udp 10.0.0.2:40000 > 10.0.0.2:9 in_port 2"} {
		prover, err := New(document(t, text).Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := outcome(t, prover, text, 0); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
