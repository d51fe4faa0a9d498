package test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/faas/platform/fastlyhost/fastlytest"
	"switchbridge/faas/platform/workershost/workerstest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/internal/ovs"
	"switchbridge/internal/testlong"
	"switchbridge/policy/blob"
	"switchbridge/policy/policyfile"
	"switchbridge/settings"
)

// scanBlob is the policy that shuts scanners out, compiled.
func scanBlob(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, scanPolicy, "none"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policyfile.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := blob.Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// exchange asks a platform one question of the contract. An error says that there is no answer.
type exchange func(r *http.Request, body []byte) (status int, header http.Header, answer []byte, err error)

// platform is what a gateway takes for a function: one address that can be there or gone, and a note of each question.
type platform struct {
	t    *testing.T
	addr string

	mu     sync.Mutex
	ask    exchange
	server *http.Server // nil: nobody listens
	asked  []answered
	last   *http.Request // a packet's question, to be asked again by a bare client
	body   []byte
}

// answered is a packet's question.
type answered struct {
	began         time.Time
	took          time.Duration
	right         bool
	status        int
	verdict, text string
}

// newPlatform makes one that is there. ask is asked in its place.
func newPlatform(t *testing.T, ask exchange) *platform {
	p := &platform{t: t, addr: "127.0.0.1:0", ask: ask}
	p.returns(ask)
	t.Cleanup(p.goes)
	return p
}

// returns has it listen again.
func (p *platform) returns(ask exchange) {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addr, p.ask, p.server = l.Addr().String(), ask, &http.Server{Handler: p}
	go func(s *http.Server) {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.t.Error(err)
		}
	}(p.server)
}

// goes ends all connections, and takes no new one.
func (p *platform) goes() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		_ = p.server.Close()
		p.server = nil
	}
}

// ServeHTTP implements [http.Handler].
func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	packet := r.Header.Get(contract.HeaderType) == flow.EventPacketIn.String()
	began := time.Now()
	p.mu.Lock()
	ask := p.ask
	if packet {
		p.last, p.body = r, body
	}
	p.mu.Unlock()
	status, header, answer, err := ask(r, body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if packet {
		q := answered{began: began, took: time.Since(began), status: status, verdict: header.Get(contract.HeaderVerdict), text: header.Get(contract.HeaderReason)}
		q.right = rightly(status, header)
		p.mu.Lock()
		p.asked = append(p.asked, q)
		p.mu.Unlock()
	}
	maps.Copy(w.Header(), header)
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// rightly reports whether an answer rests on states that are known.
func rightly(status int, header http.Header) bool {
	return status == http.StatusOK && header.Get(contract.HeaderVerdict) != "" && !strings.HasPrefix(header.Get(contract.HeaderReason), "state: ")
}

// bare asks without the gateway until an answer is right: from then on it is the gateway alone that could be wrong.
func (p *platform) bare(ask exchange) {
	p.t.Helper()
	p.mu.Lock()
	last, body := p.last, p.body
	p.mu.Unlock()
	for n, began := 0, time.Now(); ; n++ {
		r := last.Clone(p.t.Context())
		r.Header.Set(contract.HeaderID, fmt.Sprintf("bare-%d-%d", began.UnixNano(), n)) // an event of its own
		status, header, _, err := ask(r, body)
		if err == nil && rightly(status, header) {
			return
		}
		if time.Since(began) > time.Minute {
			p.t.Fatalf("the platform does not answer a bare client: %d %v %v", status, header, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// since returns the questions that began after a time.
func (p *platform) since(at time.Time) (list []answered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.asked {
		if q.began.After(at) {
			list = append(list, q)
		}
	}
	return list
}

// platformLab is a bridge with three hosts and a gateway that asks a function on a platform.
func platformLab(t *testing.T, p *platform) *lab {
	t.Helper()
	l := &lab{t: t, sw: ovs.Start(t, ovs.Options{})}
	if l.sw.Dummy() {
		t.Skip("hosts need root for network namespaces")
	}
	set := settings.Default()
	set.Function.URLs, set.Function.TokenFile = []string{"http://" + p.addr + "/"}, filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(set.Function.TokenFile, []byte(workerstest.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	set.Admin.Listen = "127.0.0.1:0"
	listener := l.sw.Listen()
	l.gateway = startGateway(t, set, listener)
	l.sw.AddBridge("br0", ovs.Bridge{DPID: 0x2a, Protocols: []string{protocols["1.3"]}, Controllers: []string{ovs.Target(listener)}})
	l.h1, l.h2, l.h3 = l.sw.AddHost("br0", "h1"), l.sw.AddHost("br0", "h2"), l.sw.AddHost("br0", "h3")
	l.h2.ServeEcho(80)
	l.h2.ServeEcho(443)
	l.sw.WaitConnected("br0")
	eventually(t, "the function answers", func() bool { return l.gateway.Ready() == nil })
	return l
}

// patience is how many tries a gateway has to ask again after the platform's return. Each takes at least 200 ms where it fails, so they
// take longer than the breaker's second however fast the machine is, and on a slow one take longer still.
const patience = 10

// slow is how long a connection may take of which every packet is a question. A function whose instances share the cores of a busy machine with other tests
// answers two or three questions a second, and the hosts send again meanwhile what is not answered: the questions then wait for each other, for seconds each.
const slow = 2 * time.Minute

// scan has the first host reach two ports and be shut out at the third, however slow the function is.
func (p *platform) scan(l *lab) {
	p.t.Helper()
	for _, port := range []uint16{80, 443} {
		if !l.reaches(l.h1, port, slow) {
			p.t.Fatalf("port %d, below the threshold, is not reached", port)
		}
	}
	denied := func(q answered) bool { return q.verdict == flow.Deny.String() }
	for end := time.Now().Add(slow); !slices.ContainsFunc(p.since(time.Time{}), denied); {
		if time.Now().After(end) {
			p.t.Fatal("the scanner is not denied")
		}
		_ = l.connects(l.h1, 22, time.Second)
	}
	if l.connects(l.h1, 80, 2*time.Second) {
		p.t.Fatal("a scanner is let in")
	}
	if !l.reaches(l.h3, 80, slow) {
		p.t.Fatal("somebody else is shut out with the scanner")
	}
}

// killedInTraffic shuts a scanner out, and has what his state rests on killed and brought back three times while he tries on. He never gets in, and nobody
// does meanwhile. From when the platform is right for a bare client no question that the gateway asks has a wrong answer, and it asks.
func (p *platform) killedInTraffic(l *lab, kill func(), restart func() exchange) {
	p.t.Helper()
	p.scan(l)
	scanner := l.tryOn(l.h1)
	for round := range 3 {
		kill()
		for range 10 * (round + 1) { // more than a client's patience
			if l.connects(l.h3, 80, 30*time.Millisecond) {
				p.t.Error("a connection is let in while its state can't be known")
			}
		}
		restarted := time.Now()
		p.bare(restart())
		returned := time.Now()
		tries, in := 0, false
		for ; !in && len(p.since(returned)) == 0; tries++ {
			if tries == patience {
				p.t.Fatalf("%d tries after the return nothing is asked: %+v", tries, l.gateway.get(p.t, "/metrics", nil))
			}
			in = l.connects(l.h3, 80, 200*time.Millisecond)
		}
		if !in && !l.reaches(l.h3, 80, slow) {
			p.t.Errorf("nobody is let in %v after the return", time.Since(returned))
			for _, q := range p.since(returned) {
				p.t.Logf("asked %v after the return, answered %v later: %d %s %q", q.began.Sub(returned), q.took, q.status, q.verdict, q.text)
			}
		}
		right := time.Now()
		questions := p.since(returned)
		for _, q := range questions {
			if !q.right {
				p.t.Errorf("round %d: a question %v after the return, which took %v, is answered %d %s %q", round, q.began.Sub(returned), q.took, q.status, q.verdict, q.text)
			}
		}
		if len(questions) > 0 {
			p.t.Logf("round %d: a bare client is answered %v after the start, the gateway asks %v after that, in try %d; its answer took %v, a connection stands after %v",
				round, returned.Sub(restarted), questions[0].began.Sub(returned), tries, questions[0].took, right.Sub(returned))
		}
	}
	scanner.stop(p.t)
}

// reaches is connects for a host who does not take no for an answer: where nobody has told him an address in time, a connection fails at once.
func (l *lab) reaches(from *ovs.Host, port uint16, within time.Duration) bool {
	for end := time.Now().Add(within); time.Now().Before(end); {
		if l.connects(from, port, time.Until(end)) {
			return true
		}
	}
	return false
}

// triesOn is a host that opens connections all the time, and must not get in.
type triesOn struct {
	passed, tried atomic.Int32
	end, ended    chan struct{}
}

func (l *lab) tryOn(h *ovs.Host) *triesOn {
	s := &triesOn{end: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		for {
			select {
			case <-s.end:
				return
			default:
			}
			s.tried.Add(1)
			if l.connects(h, 80, 100*time.Millisecond) {
				s.passed.Add(1)
			}
		}
	}()
	return s
}

func (s *triesOn) stop(t *testing.T) {
	t.Helper()
	close(s.end)
	<-s.ended
	if s.passed.Load() > 0 || s.tried.Load() < 10 {
		t.Errorf("the scanner got in %d times in %d tries", s.passed.Load(), s.tried.Load())
	}
}

// over asks what listens at a URL.
func over(url func() string) exchange {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func(r *http.Request, body []byte) (int, http.Header, []byte, error) {
		q, err := http.NewRequestWithContext(r.Context(), r.Method, url(), strings.NewReader(string(body)))
		if err != nil {
			return 0, nil, nil, err
		}
		q.Header = r.Header.Clone()
		resp, err := client.Do(q)
		if err != nil {
			return 0, nil, nil, err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header, answer, err
	}
}

// TestLongDurableObjectIsKilled kills workerd, which has function and states, in a gateway's traffic.
func TestLongDurableObjectIsKilled(t *testing.T) {
	testlong.Need(t)
	options := workerstest.Options{Policy: scanBlob(t), States: t.TempDir()}
	worker := workerstest.Start(t, options)
	at := func() exchange { u := worker.URL; return over(func() string { return u }) }
	p := newPlatform(t, at())
	p.killedInTraffic(platformLab(t, p), func() {
		p.goes()
		worker.Kill()
	}, func() exchange {
		worker = workerstest.Start(t, options)
		p.returns(at())
		return at()
	})
}

// TestLongFastlyIsKilled has the function for Fastly lose its KV store, and then be gone itself, in a gateway's traffic.
func TestLongFastlyIsKilled(t *testing.T) {
	testlong.Need(t)
	entries, err := fastlyhost.Entries(scanBlob(t))
	if err != nil {
		t.Fatal(err)
	}
	config := make(map[string]string)
	for _, e := range entries {
		config[e.Key] = e.Value
	}
	host := fastlytest.Build(t, "switchbridge/cmd/function-fastly")
	for name, of := range map[string]func(p *platform, ask exchange, away *atomic.Bool) (kill func(), restart func() exchange){
		"the store": func(_ *platform, ask exchange, away *atomic.Bool) (func(), func() exchange) {
			return func() { away.Store(true) }, func() exchange { away.Store(false); return ask }
		},
		"the platform": func(p *platform, ask exchange, _ *atomic.Bool) (func(), func() exchange) {
			return p.goes, func() exchange { p.returns(ask); return ask }
		},
	} {
		t.Run(name, func(t *testing.T) {
			away := new(atomic.Bool)
			service := &fastlytest.Service{
				Logs:    map[string]io.Writer{},
				Config:  map[string]map[string]string{fastlyhost.ConfigStore: config},
				Secrets: map[string]map[string]string{fastlyhost.SecretStore: {fastlyhost.KeyTokens: workerstest.Token}},
				KV:      map[string]*fastlytest.KVStore{fastlyhost.StateStore: {Away: away}},
			}
			ask := func(r *http.Request, body []byte) (int, http.Header, []byte, error) {
				resp, err := host.Do(t.Context(), service, &fastlytest.Request{Method: r.Method, URL: "https://function.example" + r.URL.RequestURI(), Header: r.Header, Body: body})
				if err != nil {
					return 0, nil, nil, err
				}
				return resp.Status, resp.Header, resp.Body, nil
			}
			p := newPlatform(t, ask)
			kill, restart := of(p, ask, away)
			p.killedInTraffic(platformLab(t, p), kill, restart)
		})
	}
}
