package paper

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"switchbridge/bench"
	"switchbridge/replay"
)

// figuresOf are the figures of one kind, "response" or the like, whose names lose the kind. The responder's
// are left out: it is no controller that somebody could use.
func (r *Report) figuresOf(kind string) (list []Figure) {
	for _, f := range r.Figures {
		if name, ok := strings.CutPrefix(f.Name, kind+"/"); ok && name != bench.NameResponder {
			f.Name = name
			list = append(list, f)
		}
	}
	return list
}

func figureNamed(list []Figure, name string) (Figure, bool) {
	i := slices.IndexFunc(list, func(f Figure) bool { return f.Name == name })
	if i < 0 {
		return Figure{}, false
	}
	return list[i], true
}

// ranked writes the names with their values, the best first.
func ranked(list []Figure, largest bool) string {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Figure) int {
		if largest {
			a, b = b, a
		}
		return cmp.Compare(a.Value, b.Value)
	})
	names := make([]string, len(list))
	for i, f := range list {
		names[i] = f.Name + " (" + num(f.Value) + ")"
	}
	return strings.Join(names, ", ")
}

// conclude writes only what follows from the figures. Of a figure that was not measured it says that it was not.
func conclude(r *Report) (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, t := range []struct {
		kind, title string
		largest     bool
	}{
		{"response", "Table 2, response time", false}, {"throughput", "Table 3, throughput as cbench counts", true}, {"startup", "Table 4, start-up", false},
		{"memory_idle", "Table 5, idle memory", false}, {"memory_active", "Table 5, active memory", false}, {"cpu", "Table 6, CPU", false},
	} {
		here := r.figuresOf(t.kind)
		if len(here) == 0 {
			if slices.ContainsFunc(r.Sections, func(s *Section) bool { return strings.HasPrefix(s.Title, t.title[:len("Table 0")]) }) {
				say("%s: no controller was measured.", t.title)
			}
			continue
		}
		text := fmt.Sprintf("%s, in %s, the best first: %s.", t.title, here[0].Unit, ranked(here, t.largest))
		agree, pairs := 0, 0
		for i, a := range here {
			for _, b := range here[:i] {
				if a.Paper > 0 && b.Paper > 0 {
					pairs++
					if (a.Value < b.Value) == (a.Paper < b.Paper) {
						agree++
					}
				}
			}
		}
		if pairs > 0 {
			text += fmt.Sprintf(" The order is the paper's in %d of %d pairs of controllers that it has too.", agree, pairs)
		}
		list = append(list, text)
	}
	list = append(list, counting(r)...)

	agree, apart := 0, []string{}
	for _, f := range r.figuresOf("agreement") {
		if row := (bench.AgreementRow{Ours: []float64{f.Value}, Cbench: []float64{1}}); row.Agrees() {
			agree++
		} else {
			apart = append(apart, fmt.Sprintf("%s (%s)", f.Name, num(f.Value)))
		}
	}
	switch {
	case agree > 0 && len(apart) == 0:
		say("Cbench and this load generator agree within a tenth on all %d controllers and modes.", agree)
	case len(apart) > 0:
		say("Cbench and this load generator agree within a tenth in %d of %d controllers and modes. They are apart, by here / cbench, on: %s.", agree, agree+len(apart), strings.Join(apart, ", "))
	}
	concurrency := r.figuresOf("concurrency")
	if most, ok := figureNamed(concurrency, "at the gateways, most"); ok {
		alone, _ := figureNamed(concurrency, "at the gateways, alone")
		inHost, _ := figureNamed(concurrency, "in the host, most")
		say("Table 7: of the organisation's events %s %% found no other under way at the four gateways, and %v at most were under way at once (%v in the paper); the host never worked on more than %v at once.",
			num(alone.Value), most.Value, most.Paper, inHost.Value)
	}
	for _, f := range r.figuresOf("distance") {
		if f.Paper > 0 {
			say("Tables 8 and 11: an event takes %s ms to %s over an emulated distance, %s of the paper's %s ms.", num(f.Value), f.Name, num(f.Value/f.Paper), num(f.Paper))
		}
	}
	policies := r.figuresOf("policy")
	if header, ok := figureNamed(policies, bench.KindHeader); ok {
		for _, f := range policies {
			if f.Name != bench.KindHeader && f.Paper > 0 && header.Value > 0 {
				say("Figure 2: %s takes %s times as long as %s here, and %s times in the paper.", f.Name, num(f.Value/header.Value), bench.KindHeader, num(f.Paper/header.Paper))
			}
		}
	}
	for _, s := range r.Sections {
		if s.Title == titleHours && len(s.Rows) > 0 {
			cheapest := map[string]int{}
			for _, row := range s.Rows {
				cheapest[row[len(row)-1]]++
			}
			var parts []string
			for _, name := range slices.Sorted(maps.Keys(cheapest)) {
				parts = append(parts, fmt.Sprintf("%s in %d", name, cheapest[name]))
			}
			say("Cost: of %d hours by capture and install, the cheapest is %s.", len(s.Rows), strings.Join(parts, ", "))
		}
	}
	handshakes := r.figuresOf("handshake")
	if combined, ok := figureNamed(handshakes, replay.HandshakeCombined); ok && combined.Value > 0 {
		if two, ok := figureNamed(handshakes, replay.HandshakeTwo); ok {
			say("Table 12: a full handshake in the paper's two round trips takes %s times as long as the combined one here, and %s times in the paper.", num(two.Value/combined.Value), num(two.Paper/combined.Paper))
		}
		if full, ok := figureNamed(handshakes, replay.HandshakeFull); ok {
			say("Table 12: our own full handshake, of three requests, takes %s times as long as the combined one.", num(full.Value/combined.Value))
		}
	}
	missing := map[string]bool{}
	for _, s := range r.Sections {
		for _, m := range s.Missing {
			missing[m] = true
		}
	}
	if len(missing) > 0 {
		say("Missing from tables and named there: %d.", len(missing))
	}
	return list
}

// counting says what it does to tables 2 and 3 that cbench counts messages and not PACKET_INs.
func counting(r *Report) (list []string) {
	messages, answered, throughput := r.figuresOf("messages"), r.figuresOf("answered"), r.figuresOf("throughput")
	var several []string
	for _, f := range messages {
		if f.Value < 1.05 {
			continue
		}
		text := fmt.Sprintf("%s answers a PACKET_IN with %s messages", f.Name, num(f.Value))
		if t, ok := figureNamed(throughput, f.Name); ok && t.Paper > 0 {
			text += fmt.Sprintf(", so that the paper's %s messages/ms would be %s PACKET_INs/ms if its controller does the same", num(t.Paper), num(t.Paper/f.Value))
		}
		several = append(several, text)
	}
	if len(messages) == 0 {
		return nil
	}
	if len(several) == 0 {
		return []string{"Tables 2 and 3: every controller measured here answers a PACKET_IN with one message, so that what cbench counts are PACKET_INs."}
	}
	list = append(list, "Tables 2 and 3: cbench counts each message, not each PACKET_IN. "+strings.Join(several, "; ")+". The paper's tables compare controllers by messages, which favours those that send several.")
	changed, pairs := 0, 0
	for i, a := range answered {
		for _, b := range answered[:i] {
			ta, _ := figureNamed(throughput, a.Name)
			tb, _ := figureNamed(throughput, b.Name)
			pairs++
			if math.Signbit(a.Value-b.Value) != math.Signbit(ta.Value-tb.Value) {
				changed++
			}
		}
	}
	return append(list, fmt.Sprintf("Table 3 by PACKET_INs answered, the best first: %s. %d of %d pairs of controllers stand in another order than by cbench's count.", ranked(answered, true), changed, pairs))
}
