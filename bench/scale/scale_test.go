package scale

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/bench/figures"
	"switchbridge/bench/fleet"
	"switchbridge/bench/stats"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/policyfile"
	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/memory"
	"switchbridge/state/stores"
)

// forgetful is a store that drops a swap now and then, and says that it has made it.
type forgetful struct {
	state.Store
	swaps, every int
}

func (s *forgetful) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	if s.swaps++; s.every > 0 && s.swaps%s.every == 0 {
		return old + 1, nil
	}
	return s.Store.CompareAndSwap(ctx, key, old, data, ttl)
}

// asker decides by a policy with states in memory.
func asker(t *testing.T, policy string, entries, forgets int) func(sw int, p fleet.Packet) (*fleet.Packet, fleet.Answer) {
	p, err := policyfile.Parse(strings.NewReader(policy), "policy.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	c := controller.New(p)
	open := func(ctx context.Context, o access.Options) (state.Store, error) {
		s, err := memory.Open(ctx, o)
		return &forgetful{Store: s, every: forgets}, err
	}
	settings := stores.Default()
	settings.URL, settings.Entries = "memory:", entries
	keeper, err := stores.Open(t.Context(), settings, stores.Openers{"memory": open}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keeper.Close() })
	kept, err := keeper.Keep("test", c, stores.OneGateway)
	if err != nil {
		t.Fatal(err)
	}
	d, n := kept.Decider(c), uint32(0)
	return func(sw int, p fleet.Packet) (*fleet.Packet, fleet.Answer) {
		n++
		p.InPort = max(p.InPort, 1)
		p.Match = flow.ParseFrame(p.Frame, p.InPort)
		ev := flow.Event{Type: flow.EventPacketIn, XID: n, Time: time.Now(), Switch: &flow.Switch{DPID: flow.DPID(1 + sw), Protocol: flow.OpenFlow13},
			PacketIn: &flow.PacketIn{BufferID: n, TotalLen: len(p.Frame), Data: p.Frame, Match: p.Match}}
		var dec flow.Decision
		if err := d.Decide(t.Context(), &ev, &dec); err != nil {
			t.Fatal(err)
		}
		actions, _ := dec.PacketActions(&p.Match)
		a := fleet.Answer{Actions: actions}
		if len(dec.Rules) > 0 {
			a.Rule = &dec.Rules[0]
		}
		return &p, a
	}
}

// The soak knows every answer beforehand, and a swap that is lost shows.
func TestSoakKnowsAnswers(t *testing.T) {
	for _, forgets := range []int{0, 50} {
		ask := asker(t, ringPolicy(""), 40, forgets)
		s := newSoak(40)
		wrong := 0
		for i := range 2000 {
			s.full = i >= s.keys
			p, a := ask(i%soakSwitches, s.packet(i%soakSwitches, uint32(i)))
			if what := s.judge(p, a); what != "" {
				if wrong++; forgets == 0 {
					t.Fatalf("packet %d: %s", i, what)
				}
			}
		}
		if forgets > 0 && wrong == 0 {
			t.Error("swaps were lost, and nothing is wrong")
		}
	}
}

// Packets of a source that are under way together may overtake each other. What was answered before a packet was sent, its answer has seen.
func TestSoakAndOrder(t *testing.T) {
	s := newSoak(1)
	s.sent = 1
	send := func(port uint16) *fleet.Packet {
		p := s.ask(0, port)
		s.sent++
		return &p
	}
	wrong := func(p *fleet.Packet, state flow.PortNo) bool {
		return s.judge(p, fleet.Answer{Actions: []flow.Action{flow.OutputTo(state + 1)}}) != ""
	}
	first, second, between := send(knock), send(knock), send(look)
	if wrong(second, 1) || wrong(between, 1) || wrong(first, 2) {
		t.Error("packets that were under way together count as wrong, since they came in another order")
	}
	if s.overtaken != 3 {
		t.Errorf("%d packets were overtaken, want 3", s.overtaken)
	}
	if wrong(send(look), 2) || s.overtaken != 3 {
		t.Error("the right answer is wrong, or another order's")
	}
	if !wrong(send(look), 1) || !wrong(send(look), 3) {
		t.Error("a look that has not seen a knock which was answered, or one that was never made, is right")
	}
	third := send(knock)
	if !wrong(third, 2) {
		t.Error("a knock that moves nothing is right")
	}
	if p := send(look); !(s.judge(p, fleet.Answer{}) != "") {
		t.Error("a look that is denied is right")
	}
	if len(s.asked) != 0 {
		t.Errorf("%d questions are kept", len(s.asked))
	}
}

// What the book knows of sources holds whoever is asked; a lost update, one that is made twice, and a shut source's packet show.
func TestBook(t *testing.T) {
	play := func(forgets int, tamper func(*fleet.Packet, *fleet.Answer)) (*book, string) {
		ask := asker(t, countPolicy(), 1000, forgets)
		b := newBook(10)
		for i := range 1000 {
			p, a := ask(i%5, b.packet(i%5, uint32(i/5)))
			if tamper != nil {
				tamper(p, &a)
			}
			if what := b.judge(p, a); what != "" && tamper == nil {
				t.Fatal(what)
			}
		}
		var l figures.List
		b.report(&l)
		return b, strings.Join(l.Failures, "\n")
	}
	b, failures := play(0, nil)
	if failures != "" || b.shut < 10 || b.moves < 10*b.shut {
		t.Errorf("%d sources are shut, %d updates; %s", b.shut, b.moves, failures)
	}
	for i := range b.outcomes {
		if o := b.outcomes[i]; o.count && !o.fine {
			t.Errorf("packet %d is refused", i+1)
		}
	}
	refused := func(p *fleet.Packet, a *fleet.Answer) { // every fifth answer is of a gateway that can't ask
		if p.Tag%5 == 0 {
			*a = fleet.Answer{}
		}
	}
	if _, failures := play(0, refused); failures != "" {
		t.Errorf("refused packets may have counted: %s", failures)
	}
	for _, row := range []struct {
		what    string
		forgets int
		tamper  func(*fleet.Packet, *fleet.Answer)
	}{
		{"updates were lost", 20, nil},
		{"updates were made more than once", 0, func(_ *fleet.Packet, a *fleet.Answer) {
			if len(a.Actions) == 1 && a.Actions[0].Type == flow.Output && a.Actions[0].Port == 5 {
				a.Actions = []flow.Action{{Type: flow.Output, Port: 6}}
			}
		}},
		{"denied packets were let through", 0, func(_ *fleet.Packet, a *fleet.Answer) {
			if len(a.Actions) == 0 {
				a.Actions = []flow.Action{{Type: flow.Output, Port: 1}}
			}
		}},
		{"no source was shut", 0, func(_ *fleet.Packet, a *fleet.Answer) {
			if a.Rule != nil && len(a.Actions) == 0 {
				*a = fleet.Answer{}
			}
		}},
	} {
		if _, failures := play(row.forgets, row.tamper); !strings.Contains(failures, row.what) {
			t.Errorf("%s, and what is noticed is %q", row.what, failures)
		}
	}
}

// A packet that waits in a gateway while the next one of its source is counted elsewhere may be counted after it, once.
func TestBookOfLatePackets(t *testing.T) {
	for _, row := range []struct {
		name   string
		counts []int // of the packets that are answered; the second one before the first
		late   bool  // the first one's answer comes at last
		want   string
	}{
		{"counted after the next", []int{1, 3}, false, ""},
		{"counted before the next", []int{2, 3}, false, ""},
		{"counted after the next but one", []int{1, 2, 4}, false, ""},
		{"counted twice", []int{1, 4}, false, "1 updates were made more than once"},
		{"before the next, and again", []int{2, 4}, false, "1 updates were made more than once"},
		{"refused at last, and not counted", []int{1, 2}, true, ""},
		{"another one counted twice", []int{1, 2, 5}, true, "1 updates were made more than once"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBook(1)
			b.shut = 1 // that none is, is another failure
			first := b.packet(0, 1)
			b.sources[0].sent = b.sources[0].sent.Add(-fleet.AnswerLimit - 2*time.Second) // so long ago that another one is sent
			var l figures.List
			for i, count := range row.counts {
				p := b.packet(0, 1)
				p.Match = flow.ParseFrame(p.Frame, p.InPort)
				b.judge(&p, fleet.Answer{Actions: []flow.Action{flow.OutputTo(flow.PortNo(count + 1))}})
				if i == 0 && row.late {
					first.Match = flow.ParseFrame(first.Frame, first.InPort)
					b.judge(&first, fleet.Answer{})
				}
			}
			b.report(&l)
			if got := strings.Join(l.Failures, "; "); (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// A policy of each dimension is one, at its smallest size, and its packets are judged by it.
func TestDimensions(t *testing.T) {
	for _, d := range dimensions {
		p := d.at(d.sizes[0])
		dir := t.TempDir()
		for name, text := range p.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		parsed, err := policyfile.Parse(strings.NewReader(p.policy), "policy.yaml", dir)
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		if parsed.Stateful() {
			continue // the soak's policy
		}
		c := controller.New(parsed)
		for n := range uint32(16) {
			q := p.packet(1, n)
			q.Match = flow.ParseFrame(q.Frame, 1)
			ev := flow.Event{Type: flow.EventPacketIn, XID: 1, Switch: &flow.Switch{Protocol: flow.OpenFlow13}, PacketIn: &flow.PacketIn{Data: q.Frame, Match: q.Match}}
			var dec flow.Decision
			if err := c.Decide(t.Context(), &ev, &dec); err != nil {
				t.Fatal(err)
			}
			actions, _ := dec.PacketActions(&q.Match)
			if what := fleet.Right(&q, fleet.Answer{Actions: actions}); what != "" {
				t.Errorf("%s: %s", d.name, what)
			}
		}
	}
}

func TestReport(t *testing.T) {
	res := &Result{Rows: []*Row{
		{Dimension: "rules", Size: 10, Latency: stats.Latency{P50: 100 * time.Microsecond, P99: time.Millisecond}, CPU: 50 * time.Microsecond, RSS: 60e6},
		{Dimension: "rules", Size: 1000, Latency: stats.Latency{P50: 120 * time.Microsecond, P99: time.Millisecond}, CPU: 60 * time.Microsecond, RSS: 70e6},
		{Dimension: "switches", Size: 4000, Failed: "no connection"},
	}}
	res.report()
	var b strings.Builder
	if err := res.List.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"figure scale.rules_10.p50_us 100\n", "figure scale.rules_1000.rss_mb 70\n", "failure scale.switches_4000: no connection\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if res.Err() == nil {
		t.Error("no failure")
	}
	dir := t.TempDir()
	if err := res.plot(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"scale-time.svg", "scale-cpu.png", "scale-memory.png"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() < 1000 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}
