package prove

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/testlong"
	"switchbridge/policy/policytest"
	"switchbridge/policy/promise"
)

// Policies of these tests are files with all that a person writes: groups, services, not, hours, flags, replies, reject, lists. What their conditions name is in
// everyPacket, with one value of each field that nobody names.

func everyPacket(t testing.TB) (events []*flow.Event) {
	for _, port := range []string{"1", "2", "3"} {
		for _, eth := range []string{"1", "7"} {
			add := func(format string, args ...any) {
				ev, err := policytest.Event(fmt.Sprintf(format, args...)+" port "+port+" eth "+eth, flow.OpenFlow13)
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, ev)
			}
			add("lldp")
			for _, family := range [][]string{{"10.0.0.1", "10.0.0.2", "10.0.0.5", "10.0.1.1", "192.0.2.9"}, {"2001:db8::1", "2001:db8::2", "2001:db8:1::9"}} {
				for _, src := range family {
					for _, dst := range family {
						icmp, types, end := "icmp", []string{"8", "0"}, "%s:%d"
						if strings.Contains(src, ":") {
							icmp, types, end = "icmpv6", []string{"128", "129"}, "[%s]:%d"
						} else {
							add("arp %s > %s", src, dst)
						}
						for _, kind := range types {
							add("%s %s > %s type %s", icmp, src, dst, kind)
						}
						add("ip %s > %s ip_proto 47", src, dst)
						for _, l4 := range []int{22, 53, 80, 81, 9} {
							ends := fmt.Sprintf(end+" > "+end, src, 40000, dst, l4)
							add("udp %s", ends)
							for _, flags := range []string{"none", "syn", "ack", "syn+ack", "fin", "fin+syn", "fin+ack", "fin+syn+ack"} {
								add("tcp %s flags %s", ends, flags)
							}
						}
					}
				}
			}
		}
	}
	return events
}

// moments are times on both sides of what hours of these tests name.
var moments = []time.Duration{7*time.Hour + 59*time.Minute, 8 * time.Hour, 17*time.Hour + 59*time.Minute, 18 * time.Hour, 5*24*time.Hour + 9*time.Hour, 6*24*time.Hour + 20*time.Hour}

const writtenGroups = "groups:\n  inside: [10.0.0.0/24, '2001:db8::/64']\n  some: [10.0.0.1, 10.0.1.1, '2001:db8::2']\n  odd: [10.0.0.2, '02:00:00:00:00:07']\n  web: [tcp/80, tcp/81]\n  names: [udp/53, tcp/53]\n"

// writtenCondition is one that some packet meets.
func writtenCondition(r *rand.Rand) string {
	for {
		c := anyCondition(r, true)
		if _, err := parsed(writtenGroups + "chain:\n  - header: {rules: [{match: " + c + ", action: deny}]}\n"); err == nil && c != "{}" {
			return c
		}
	}
}

func anyCondition(r *rand.Rand, inner bool) string {
	var keys []string
	some := func(n int, list ...string) {
		if r.IntN(n) == 0 {
			keys = append(keys, oneOf(r, list...))
		}
	}
	hosts := []string{"inside", "some", "odd", "10.0.0.1", "10.0.0.0/30", "[10.0.0.2, 2001:db8::/126]", "'2001:db8::1'"}
	if r.IntN(3) == 0 {
		keys = append(keys, "from: "+oneOf(r, hosts...))
	}
	if hosts[2] = "inside"; r.IntN(3) == 0 { // nobody's Ethernet address is named as a destination
		keys = append(keys, "to: "+oneOf(r, hosts...))
	}
	some(5, "in_port: 1", "in_port: 2")
	switch r.IntN(5) {
	case 0:
		some(1, "service: web", "service: names", "service: [web, names]")
	case 1:
		some(1, "tcp_dst: 22", "tcp_dst: 80-81", "udp_dst: 53", "ip_proto: tcp", "ip_proto: 47", "icmp_type: 8", "icmpv6_type: 128")
	case 2:
		some(2, "eth_type: ipv4", "eth_type: ipv6")
	}
	if inner && r.IntN(3) == 0 {
		if c := anyCondition(r, false); c != "{}" {
			keys = append(keys, "not: "+c)
		}
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

func writtenPolicy(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("time_zone: UTC\n" + writtenGroups + "chain:\n")
	var allowed []string // conditions of rules that allow: what is promised of one is often so
	for range 1 + r.IntN(3) {
		switch r.IntN(6) {
		case 0:
			fmt.Fprintf(&b, "  - blocklist: {addresses: [%s], match: %s}\n", oneOf(r, "some", "10.0.0.0/30", "inside"), oneOf(r, "src", "dst", "both"))
			continue
		case 1:
			fmt.Fprintf(&b, "  - mac: {addresses: ['02:00:00:00:00:07'], match: %s, deny: %s}\n", "src", oneOf(r, "listed", "listed", "unlisted"))
			continue
		}
		b.WriteString("  - header:\n      rules:\n")
		for i := range 1 + r.IntN(6) {
			action := oneOf(r, "allow", "allow", "deny", "reject")
			more := ""
			if action == "allow" && r.IntN(3) == 0 {
				more = ", replies: allow"
			}
			if r.IntN(4) == 0 {
				more += ", hours: " + oneOf(r, "08:00-18:00", "18:00-08:00")
				if r.IntN(2) == 0 {
					more += ", days: " + oneOf(r, "mon-fri", "sat", "sun-mon")
				}
			}
			match := writtenCondition(r)
			if r.IntN(5) == 0 {
				match = "{ip_proto: tcp, from: " + oneOf(r, "inside", "some") + "}"
				more += ", tcp_flags: " + oneOf(r, "syn", "[syn, no-ack]", "ack", "[fin, no-syn]", "no-ack")
			}
			if action == "allow" && !strings.Contains(more, "hours") && !strings.Contains(more, "flags") {
				allowed = append(allowed, match)
			}
			fmt.Fprintf(&b, "        - {name: r%d, priority: %d, match: %s, action: %s%s}\n", i, 100+r.IntN(3), match, action, more)
		}
	}
	if r.IntN(4) > 0 {
		b.WriteString("  - forward: {}\n")
	}
	b.WriteString("promises:\n")
	for range 8 {
		fmt.Fprintf(&b, "  - %s: %s\n", oneOf(r, "never", "always"), writtenCondition(r))
	}
	for _, match := range allowed {
		fmt.Fprintf(&b, "  - always: %s\n", match)
	}
	fmt.Fprintf(&b, "  - only: {to: %s, from: %s}\n", oneOf(r, "inside", "10.0.0.1"), oneOf(r, "some", "odd", "10.0.0.0/30"))
	return b.String()
}

// What is proved of policies as people write them is so of all packets at all times, and what is broken is so.
func TestPoliciesAreExact(t *testing.T) { policiesAreExact(t, 0, 12) }

func TestLongPoliciesAreExact(t *testing.T) {
	testlong.Need(t)
	policiesAreExact(t, 1000, 80)
}

func policiesAreExact(t *testing.T, first, seeds uint64) {
	t.Parallel()
	events := everyPacket(t)
	count := map[string]int{}
	monday := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	for seed := first; seed < first+seeds; seed++ {
		text := writtenPolicy(rand.New(rand.NewPCG(seed, 37)))
		doc, err := parsed(text)
		if err != nil {
			count["refused"]++
			t.Logf("seed %d: %v", seed, err)
			continue
		}
		prover, err := New(doc.Policy, 0)
		if err != nil {
			t.Fatal(err)
		}
		times := moments
		if !strings.Contains(text, "hours: ") {
			times = times[:1]
		}
		c := controller.New(doc.Policy)
		broken := make([]string, len(doc.Promises))
		var d flow.Decision
		for _, at := range times {
			for _, ev := range events {
				d.Reset()
				ev.Time = monday.Add(at)
				if err := c.Decide(t.Context(), ev, &d); err != nil {
					t.Fatal(err)
				}
				for i := range doc.Promises {
					if broken[i] == "" && breaks(&doc.Promises[i], &ev.PacketIn.Match, d.Verdict) {
						broken[i] = fmt.Sprint(ev.PacketIn.Match, " ", ev.Time, ": ", d.Reason)
					}
				}
			}
		}
		for i := range doc.Promises {
			o := &doc.Promises[i]
			got, err := prover.Keeps(o)
			if got != nil && broken[i] == "" { // a packet or a minute that are not among the test's
				broken[i] = brokenBy(t, c, o, got.Trace[0].event)
			}
			if err != nil || (got != nil) != (broken[i] != "") {
				t.Errorf("seed %d: %s: %+v, %v, and by all packets %q\n%s", seed, o.Text, got, err, broken[i], text)
			}
			count[fmt.Sprint(o.Kind, got != nil)]++
		}
	}
	if least := int(seeds) / 3; count["never true"] < least || count["never false"] < least || count["always true"] < least || count["always false"] == 0 || count["refused"] > int(seeds)/2 {
		t.Errorf("too few of %v: this finds nothing", count)
	}
	t.Log(count)
}

// brokenBy asks the controller about a packet in each minute of a week, and returns the first in which it breaks a promise; empty if none does.
func brokenBy(t *testing.T, c *controller.Controller, o *promise.Promise, packet string) string {
	ev, err := policytest.Event(packet, flow.OpenFlow13)
	if err != nil {
		t.Fatal(err)
	}
	monday := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	var d flow.Decision
	for at := range 7 * 24 * 60 {
		d.Reset()
		ev.Time = monday.Add(time.Duration(at) * time.Minute)
		if err := c.Decide(t.Context(), ev, &d); err != nil {
			t.Fatal(err)
		}
		if breaks(o, &ev.PacketIn.Match, d.Verdict) {
			return fmt.Sprint(packet, " ", ev.Time, ": ", d.Reason)
		}
	}
	return ""
}
