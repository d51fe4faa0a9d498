package pair

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/internal/flowtest"
)

const life = time.Hour

// counts is a function whose state counts the events of a source. Without states it denies.
type counts struct{}

func (counts) Decide(_ context.Context, ev *flow.Event, d *flow.Decision) error {
	d.HasPacketOut = true
	if ev.Accepts&flow.AcceptsTravel == 0 {
		d.Verdict, d.Reason = flow.Deny, "no states"
		return nil
	}
	n, version := 0, uint64(time.Now().UnixMicro())
	for _, t := range ev.Travel {
		n, _ = strconv.Atoi(string(t.Data))
		version = t.Version + 1
	}
	d.Verdict, d.Reason = flow.Allow, strconv.Itoa(n+1)
	d.Travel = append(d.Travel, flow.Travelling{Name: "n", Key: flow.StateSrc, Version: version, TTL: life, Data: strconv.AppendInt(nil, int64(n+1), 10)})
	return nil
}

// process is a gateway from its start to its end, as far as states go.
type process struct {
	*Member
	table  *decider.State
	cancel context.CancelFunc
}

// network joins two processes without sockets. A test changes it under mu.
type network struct {
	mu      sync.Mutex
	link    bool
	stopped [2]bool // neither runs nor answers
	members [2]*process
}

type way struct {
	*network
	to int
}

// RoundTrip implements [http.RoundTripper].
func (w way) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(time.Millisecond)
	w.mu.Lock()
	open, peer := w.link && !w.stopped[w.to] && !w.stopped[1-w.to], w.members[w.to]
	link := w.link
	w.mu.Unlock()
	if link && peer == nil {
		return nil, syscall.ECONNREFUSED
	}
	if !open {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	answer := httptest.NewRecorder()
	peer.handler().ServeHTTP(answer, r)
	time.Sleep(time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.link || w.members[w.to] != peer { // the answer is lost
		return nil, errors.New("connection reset")
	}
	return answer.Result(), nil
}

// value is what a counter stands at.
func value(t *testing.T, c prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// start starts a process.
func (n *network) start(t *testing.T, i int, limits decider.StateLimits) *process {
	p := &process{table: decider.NewState(counts{}, limits)}
	states := NewStates(func() map[string]*decider.State { return map[string]*decider.State{"": p.table} }, nil)
	p.table.Pair("", states)
	cfg := pairConfig(i)
	cfg.States = states
	var err error
	if p.Member, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	p.client = &http.Client{Transport: way{n, 1 - i}}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(t.Context())
	n.mu.Lock()
	n.members[i] = p
	n.mu.Unlock()
	go p.shareStates(ctx)
	go p.watch(ctx, nil)
	return p
}

// kill ends a process.
func (n *network) kill(i int) {
	n.mu.Lock()
	p := n.members[i]
	n.members[i] = nil
	n.mu.Unlock()
	p.cancel()
}

func (n *network) cut(link bool) {
	n.mu.Lock()
	n.link = link
	n.mu.Unlock()
}

// ask has a process decide a packet of a source. It returns how many of it were counted; 0 where it was denied.
func (p *process) ask(t testing.TB, source int) (count int, reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	in := flowtest.TCP(80)
	in.Match.SetIPSrc(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(source)}), 32))
	ev := flowtest.Event(in)
	var d flow.Decision
	if err := p.table.Decide(ctx, ev, &d); err != nil {
		t.Fatal(err)
	}
	if d.Verdict != flow.Allow {
		return 0, d.Reason
	}
	count, err := strconv.Atoi(d.Reason)
	if err != nil {
		t.Fatal(err)
	}
	return count, ""
}

// counted asks and wants a count.
func (p *process) counted(t *testing.T, source, want int) {
	t.Helper()
	if got, why := p.ask(t, source); got != want {
		t.Fatalf("source %d was counted %d times, want %d: %s", source, got, want, why)
	}
}

// denied asks and wants a denial for a reason.
func (p *process) denied(t *testing.T, source int, why string) {
	t.Helper()
	if got, reason := p.ask(t, source); got != 0 || !strings.Contains(reason, why) {
		t.Fatalf("source %d: counted %d times, %q, want a denial: %s", source, got, reason, why)
	}
}

// whole waits until the peer of the process that leads has its states.
func (p *process) whole(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !p.Status().States.Whole; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the other gateway does not get the states: %+v", p.Status())
		}
	}
	time.Sleep(2 * DefaultPoll) // so that it has heard that, too
}

func (p *process) takesLead(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !p.Term(1).Leads; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not take the lead: %+v", p.Status())
		}
	}
}

// duo runs a test with two processes, of which the first one leads and the other one has all states.
func duo(t *testing.T, second decider.StateLimits, f func(t *testing.T, n *network, a, b *process)) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{link: true}
		a, b := n.start(t, 0, decider.StateLimits{}), n.start(t, 1, second)
		a.takesLead(t)
		a.whole(t)
		f(t, n, a, b)
		n.end()
	})
}

// end ends all processes.
func (n *network) end() {
	for i, p := range n.members {
		if p != nil {
			n.kill(i)
		}
	}
	n.cut(true)
	time.Sleep(time.Minute) // for what they have begun
}

// A state that was answered is the other gateway's, too: whoever dies, the next one counts on.
func TestStatesOutliveTheLeader(t *testing.T) {
	duo(t, decider.StateLimits{}, func(t *testing.T, n *network, a, b *process) {
		for i := range 3 {
			a.counted(t, 1, i+1)
		}
		a.counted(t, 2, 1)
		n.kill(0)
		b.takesLead(t)
		b.counted(t, 1, 4)
		a = n.start(t, 0, decider.StateLimits{}) // with nothing
		b.whole(t)
		b.counted(t, 1, 5)
		n.kill(1)
		a.takesLead(t)
		a.counted(t, 1, 6)
		a.counted(t, 2, 2)
		a.counted(t, 3, 1)
	})
}

// The lead is handed over with all states, and not while the other gateway lacks some.
func TestStatesAtHandover(t *testing.T) {
	duo(t, decider.StateLimits{}, func(t *testing.T, n *network, a, b *process) {
		pair := [2]*process{a, b}
		for i := range 6 {
			from, to := pair[i%2], pair[1-i%2]
			from.counted(t, 1, i+1)
			if err := from.Handover(t.Context()); err != nil {
				t.Fatal(err)
			}
			to.takesLead(t)
			from.denied(t, 1, "does not confirm")
			to.whole(t)
		}
		n.cut(false)
		time.Sleep(DefaultTimeout)
		n.cut(true)
		a.cfg.States.mu.Lock()
		a.cfg.States.set(copyNone)
		a.cfg.States.mu.Unlock()
		if err := a.Handover(t.Context()); err == nil || !strings.Contains(err.Error(), "all states") && !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("a handover to a gateway without all states: %v", err)
		}
	})
}

// While the link is cut nothing changes until the other gateway must have taken the lead if it lives; then it goes on, and the other one gets all when it is back.
func TestStatesWhileTheLinkIsCut(t *testing.T) {
	duo(t, decider.StateLimits{}, func(t *testing.T, n *network, a, b *process) {
		a.counted(t, 1, 1)
		n.mu.Lock()
		n.stopped[1] = true // it hangs
		n.mu.Unlock()
		began := time.Now()
		a.denied(t, 1, "does not confirm")
		for time.Since(began) < DefaultTimeout {
			a.denied(t, 2, "does not confirm")
			time.Sleep(10 * time.Millisecond)
		}
		for got := 0; got == 0; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 5*time.Second {
				t.Fatal("it does not go on without the other gateway")
			}
			got, _ = a.ask(t, 2)
		}
		took := time.Since(began)
		t.Logf("it goes on without the other gateway after %v", took)
		if took < DefaultTimeout+DefaultPoll {
			t.Errorf("it goes on after %v, when the other one may lead and know nothing of it", took)
		}
		a.counted(t, 3, 1)
		time.Sleep(time.Millisecond) // else both have the same state
		b.takesLead(t)               // it does not know that the other one goes on
		b.counted(t, 1, 2)
		b.counted(t, 3, 1)
		count, _ := a.ask(t, 2)
		n.mu.Lock()
		n.stopped[1] = false
		n.mu.Unlock()
		b.whole(t)
		b.counted(t, 1, 3)
		b.counted(t, 2, count+1)    // only the other one has changed it
		b.denied(t, 3, "no states") // both have
		n.kill(1)
		a.takesLead(t)
		a.counted(t, 1, 4)
		a.denied(t, 3, "no states")
		time.Sleep(life)
		a.counted(t, 3, 1)
	})
}

// A leader that begins anew before the other gateway has missed it leaves the lead to that one, which has the states.
func TestStatesOfALeaderThatBeginsAnew(t *testing.T) {
	duo(t, decider.StateLimits{}, func(t *testing.T, n *network, a, b *process) {
		a.counted(t, 1, 1)
		n.kill(0)
		n.start(t, 0, decider.StateLimits{})
		b.takesLead(t)
		b.counted(t, 1, 2)
	})
}

// A gateway that is not there costs nothing: its port is closed, so that it can't believe to have all.
func TestStatesWhenTheOtherDies(t *testing.T) {
	duo(t, decider.StateLimits{}, func(t *testing.T, n *network, a, _ *process) {
		n.kill(1)
		for i := range 10 {
			a.counted(t, 1, i+1)
		}
	})
}

// A table without room makes no copy. Who leads goes on; when the other one has to lead, it believes nothing until the last state has expired.
func TestStatesFindNoRoom(t *testing.T) {
	duo(t, decider.StateLimits{Entries: 2}, func(t *testing.T, n *network, a, b *process) {
		for source := range 4 {
			a.counted(t, source, 1)
		}
		time.Sleep(3 * copyAgain)
		for source := range 4 {
			a.counted(t, source, 2)
		}
		if a.Status().States.Whole {
			t.Error("two of four states are called the whole")
		}
		if got := value(t, b.cfg.Metrics.refused.WithLabelValues("full")); got == 0 {
			t.Error("what finds no room is not counted")
		}
		n.kill(0)
		b.takesLead(t)
		led := time.Now()
		for source := range 5 {
			b.denied(t, source, "no states")
		}
		if !b.Status().States.Doubts || value(t, b.cfg.Metrics.gone) != 1 {
			t.Errorf("nobody is told: %+v", b.Status().States)
		}
		n.start(t, 0, decider.StateLimits{}) // with nothing, which is no reason to believe again
		time.Sleep(time.Second)
		b.denied(t, 1, "no states")
		time.Sleep(life - time.Since(led) - time.Second)
		b.denied(t, 1, "no states")
		time.Sleep(2 * time.Second)
		b.counted(t, 1, 1)
	})
}

// A doubt ends when the gateway comes back that has the states.
func TestStatesComeBack(t *testing.T) {
	duo(t, decider.StateLimits{}, func(t *testing.T, n *network, a, b *process) {
		a.counted(t, 1, 1)
		b.cfg.States.mu.Lock()
		b.cfg.States.copied = false // as if the link had been cut while it was given a copy
		b.cfg.States.mu.Unlock()
		n.mu.Lock()
		n.stopped[0] = true
		n.mu.Unlock()
		b.takesLead(t)
		b.denied(t, 1, "no states")
		n.mu.Lock()
		n.stopped[0] = false
		n.mu.Unlock()
		b.whole(t)
		b.counted(t, 1, 2)
	})
}

// What is older than what is held is not taken, nor what an earlier leader sends, nor what does not follow.
func TestStatesOlder(t *testing.T) {
	table := decider.NewState(counts{}, decider.StateLimits{})
	s := NewStates(func() map[string]*decider.State { return map[string]*decider.State{"": table} }, nil)
	table.Pair("", s)
	send := func(b statesBody, want int) {
		t.Helper()
		if status, _ := s.take(&b); status != want {
			t.Errorf("%+v: %d, want %d", b, status, want)
		}
	}
	state := func(version uint64) []wire {
		return []wire{{Key: "src", Value: "10.0.0.1", Name: "n", Version: version, Life: 1000, Data: fmt.Appendf(nil, "%d", version)}}
	}
	holds := func(want string) {
		t.Helper()
		got := ""
		if err := table.Each(10, false, func(list []decider.Copied) error {
			for _, c := range list {
				got += fmt.Sprintf("%s %s %d %s", c.Value, c.Name, c.Version, c.Data)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if got != want {
			t.Errorf("it holds %q, want %q", got, want)
		}
	}
	send(statesBody{Generation: 10, Number: 1, States: state(5)}, http.StatusNoContent) // before a copy has begun: it is none
	send(statesBody{Generation: 10, Begin: true}, http.StatusNoContent)
	holds("")
	send(statesBody{Generation: 10, Number: 1, States: state(5)}, http.StatusNoContent)
	send(statesBody{Generation: 10, Number: 2, States: state(4)}, http.StatusNoContent)
	holds("10.0.0.1 n 5 5")
	if got := value(t, s.m.refused.WithLabelValues("older")); got != 1 {
		t.Errorf("%v older states were counted, want 1", got)
	}
	send(statesBody{Generation: 9, Number: 3, States: state(6)}, http.StatusConflict)
	send(statesBody{Generation: 9, Begin: true}, http.StatusConflict)
	holds("10.0.0.1 n 5 5")
	send(statesBody{Generation: 10, Number: 3, End: true}, http.StatusNoContent)
	if !s.copied {
		t.Error("a whole copy is not taken for one")
	}
	send(statesBody{Generation: 10, Number: 5, States: state(7)}, http.StatusPreconditionFailed)
	if s.copied {
		t.Error("a copy that lacks a message is taken for a whole one")
	}
	for name, w := range map[string]wire{
		"key":   {Key: "x", Value: "10.0.0.1", Name: "n", Version: 1},
		"data":  {Key: "src", Value: "10.0.0.1", Name: "n", Version: 1, Data: make([]byte, flow.MaxState+1)},
		"value": {Key: "src", Value: strings.Repeat("x", maxName+1), Name: "n", Version: 1},
		"life":  {Key: "src", Value: "10.0.0.1", Name: "n", Version: 1, Life: -1},
	} {
		send(statesBody{Generation: 10, Begin: true}, http.StatusNoContent)
		if status, err := s.take(&statesBody{Generation: 10, Number: 1, States: []wire{w}}); status != http.StatusBadRequest || err == nil {
			t.Errorf("%s: %d, %v", name, status, err)
		}
	}
	send(statesBody{Generation: 10, Begin: true}, http.StatusNoContent)
	send(statesBody{Generation: 10, Number: 1, States: []wire{{Function: "other", Key: "src", Value: "x", Name: "n", Version: 1}}}, http.StatusInsufficientStorage)
}

// TestStatesModel has a switch that obeys one of two gateways, whose link is cut, that hang, and that die and begin again with nothing. Every packet that is
// counted is counted on from the last one, whoever decides, or is denied. It begins again only by a process that has begun anew, and has never
// heard of one that leads or has a copy.
func TestStatesModel(t *testing.T) {
	counted, denied := 0, 0
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			c, d := statesModel(t, seed)
			counted, denied = counted+c, denied+d
		})
	}
	t.Logf("%d packets were counted, %d denied", counted, denied)
	if counted < denied {
		t.Error("most packets were denied")
	}
}

func statesModel(t *testing.T, seed uint64) (counted, denied int) {
	const sources = 3
	random := rand.New(rand.NewPCG(seed, 3))
	n := &network{link: true}
	s := &arbiter{dpid: 1, master: -1}
	var last [sources]int
	begins := map[*process]bool{} // they lead, and have never heard of anybody who had states
	heard := map[*process]bool{}  // they have heard of a copy
	for i := range n.members {
		n.start(t, i, decider.StateLimits{})
	}
	step := func() {
		time.Sleep(25 * time.Millisecond)
		for i, p := range n.members {
			if p == nil {
				if s.sessions[i] = 0; s.master == i {
					s.master = -1
				}
				continue
			}
			if n.stopped[i] {
				continue
			}
			st := p.Status()
			heard[p] = heard[p] || !st.Leads && st.PeerIs != nil && st.PeerIs.States.Copy
			p.cfg.States.mu.Lock()
			begins[p] = st.Leads && p.cfg.States.leader == "" && !heard[p]
			p.cfg.States.mu.Unlock()
			s.meet(p.Member)
			if s.master != i || s.sessions[i] == 0 {
				continue
			}
			source := random.IntN(sources)
			got, _ := p.ask(t, source)
			if s.meet(p.Member); s.master != i || s.sessions[i] == 0 {
				continue // the switch takes nothing of it
			}
			switch {
			case got == 0:
				denied++
			case got > last[source]:
				// What was counted and not answered counts, too: its packet was denied.
				counted, last[source] = counted+1, got
			case got == 1 && begins[p]:
				heard[p] = heard[p] || st.PeerIs != nil // once
				last = [sources]int{}
				last[source] = got
			default:
				t.Fatalf("seed %d: member %d has counted %d packets of source %d, of which %d were counted before: %+v", seed, i, got, source, last[source], p.Status())
			}
		}
	}
	for range 400 {
		switch random.IntN(25) {
		case 0:
			n.cut(!n.link)
		case 1:
			i := random.IntN(2)
			n.mu.Lock()
			n.stopped[i] = !n.stopped[i]
			n.mu.Unlock()
		case 2:
			if i := random.IntN(2); n.members[i] != nil {
				n.kill(i)
			} else {
				n.start(t, i, decider.StateLimits{})
			}
		}
		step()
	}
	n.end()
	return counted, denied
}

// A gateway that was stopped, and goes on while the link is cut, does not believe that its copy is whole: the other one may have gone on alone meanwhile.
func TestStatesOfAGatewayThatWasStopped(t *testing.T) {
	duo(t, decider.StateLimits{}, func(t *testing.T, n *network, a, b *process) {
		a.counted(t, 1, 1)
		n.kill(1) // its goroutines end, and what it knows is left
		for range 200 {
			time.Sleep(DefaultPoll)
			a.look(time.Now())
		}
		a.counted(t, 1, 2)
		for range 20 {
			time.Sleep(DefaultPoll)
			b.look(time.Now())
		}
		if !b.Term(1).Leads {
			t.Fatal("it does not take the lead")
		}
		b.denied(t, 1, "no states")
	})
}
