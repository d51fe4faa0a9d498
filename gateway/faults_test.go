package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/internal/frames"
	"switchbridge/internal/logbuffer"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
	"switchbridge/settings"
)

// start runs a gateway that asks the function at url, and a fake switch on it.
func start(t *testing.T, url string, adapt func(*settings.Settings), cfg oftest.Config) *rig {
	t.Helper()
	set := settings.Default()
	set.Function.URLs = []string{url}
	set.Function.Encoding = "json"
	set.Function.Timeout, set.Function.TryTimeout = time.Second, 300*time.Millisecond
	set.Function.PolicyCheck = 0
	set.Admin.Listen = ""
	if adapt != nil {
		adapt(set)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logs := new(logbuffer.Buffer)
	g, err := New(set, Options{Logger: logs.Text(), Listeners: []net.Listener{l}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	cfg.DPID = 0x2a
	echoes := make(chan struct{}, 1)
	cfg.Intercept = func(h ofp.Header, _ []byte) bool {
		if h.Type == ofp.TypeEchoReply {
			echoes <- struct{}{}
		}
		return false
	}
	sw, err := oftest.Dial(t.Context(), l.Addr().String(), nil, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sw.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("gateway: %v", err)
		}
	})
	r := &rig{Switch: sw, gateway: g, logs: logs, echoes: echoes}
	r.await(t, "event="+flow.EventSwitchConnected.String())
	sw.Take()
	return r
}

// rig is a fake switch on a gateway.
type rig struct {
	*oftest.Switch
	gateway *Gateway
	logs    *logbuffer.Buffer
	echoes  chan struct{}
}

// await waits until the log says something.
func (r *rig) await(t *testing.T, what string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(r.logs.String(), what); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q after twenty seconds:\n%s", what, r.logs)
		}
	}
}

// outcome sends a packet and says what became of it: the rules that came, and
// whether the packet was sent on. The decision's messages are on their way when
// its record is in the log, so they are there before the answer to an echo.
func (r *rig) outcome(t *testing.T, frame []byte) (rules []string, sentOn string) {
	t.Helper()
	if err := r.PacketIn(1, frame); err != nil {
		t.Fatal(err)
	}
	r.await(t, "event="+flow.EventPacketIn.String())
	if err := r.SendEcho(7, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.echoes:
	case <-time.After(20 * time.Second):
		t.Fatal("no answer to an echo")
	}
	for _, m := range r.Take() {
		switch {
		case m.Rule != nil:
			rules = append(rules, m.Rule.String())
		case m.PacketOut != nil:
			sentOn = flow.ActionsString(m.PacketOut.Actions)
		}
	}
	return rules, sentOn
}

// packetOnly answers packets with f and all else with nothing to do.
func packetOnly(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(contract.HeaderType) != flow.EventPacketIn.String() {
			w.Header().Set("Content-Type", contract.TypeJSON)
			io.WriteString(w, "{}")
			return
		}
		f(w, r)
	}
}

func jsonAnswer(body string) http.HandlerFunc {
	return packetOnly(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contract.TypeJSON)
		io.WriteString(w, body)
	})
}

func status(code int) http.HandlerFunc {
	return packetOnly(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://elsewhere.example/")
		w.WriteHeader(code)
	})
}

const good = `{"priority": 100, "idle_timeout": 30, "match": {"in_port": 1, "eth_type": 2048, "ipv4_src": "10.0.0.1"}, "actions": [{"type": "OUTPUT", "port": 2}]}`

// bomb is 64 MB of zeros in a few kilobytes.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(make([]byte, 64<<20))
	z.Close()
	return b.Bytes()
})

// Whatever a function answers, the packet and the rules are what the contract
// says, the log says why, and the next event is answered.
func TestFunctionFaults(t *testing.T) {
	frame := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
	bomb()
	const drop, normal = "", "output:NORMAL"
	for _, row := range []struct {
		name               string
		function           http.HandlerFunc
		rules              int
		secure, standalone string // what the packet does under each fail mode
		says               string
	}{
		{"good", jsonAnswer(`{"flows": [` + good + `]}`), 1, "output:2", "output:2", ""},
		{"500", status(500), 0, drop, normal, "500"},
		{"429", status(429), 0, drop, normal, "429"},
		{"404", status(404), 0, drop, drop, "404"},
		{"307", status(307), 0, drop, drop, "307"},
		{"slow", packetOnly(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // a server notices only then that its client has gone
			<-r.Context().Done()
		}), 0, drop, normal, "unavailable"},
		{"broken connection", packetOnly(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }), 0, drop, normal, "unavailable"},
		{"HTML", packetOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>welcome</html>")
		}), 0, drop, drop, "text/html"},
		{"garbage", jsonAnswer("\x00\x01garbage"), 0, drop, drop, "invalid"},
		{"endless body", packetOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contract.TypeJSON)
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}), 0, drop, drop, "1048576"},
		{"gzip bomb", packetOnly(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contract.TypeJSON)
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb())
		}), 0, drop, drop, "gzip"},
		{"table it may not touch", jsonAnswer(`{"flows": [` + strings.Replace(good, `"priority"`, `"table_id": 7, "priority"`, 1) + `]}`), 0, "output:2", "output:2", "rail=table"},
		{"output to the controller", jsonAnswer(`{"flows": [` + strings.Replace(good, `"port": 2`, `"port": "CONTROLLER"`, 1) + `]}`), 0, drop, drop, "rail=output-controller"},
		{"no timeout gets one", jsonAnswer(`{"flows": [` + strings.Replace(good, `"idle_timeout": 30, `, "", 1) + `]}`), 0, "output:2", "output:2", "rail=no-timeout"},
		{"priority", jsonAnswer(`{"flows": [` + strings.Replace(good, "100", "65000", 1) + `]}`), 0, "output:2", "output:2", "rail=priority"},
		{"a port that is not there", jsonAnswer(`{"flows": [` + strings.Replace(good, `"port": 2`, `"port": 99`, 1) + `]}`), 0, drop, drop, "rail=unknown-port"},
		{"a rule for everybody", jsonAnswer(`{"flows": [` + strings.Replace(good, `"in_port": 1, `, "", 1) + `]}`), 0, "output:2", "output:2", "rail=too-wide"},
		{"a rule that does not match", jsonAnswer(`{"flows": [` + strings.Replace(good, "10.0.0.1", "10.9.9.9", 1) + `]}`), 0, drop, drop, "rail=not-covering"},
		{"10,000 rules", jsonAnswer(`{"flows": [` + strings.Repeat(good+",", 5000) + good + `]}`), 0, "output:2", "output:2", "rail=too-many-rules"},
		{"packet_out alone", jsonAnswer(`{"packet_out": {"actions": [{"type": "OUTPUT", "port": 3}]}}`), 0, "output:3", "output:3", ""},
		{"nothing", jsonAnswer("{}"), 0, drop, drop, ""},
		{"deny", jsonAnswer(`{"flows": [` + strings.Replace(good, `{"type": "OUTPUT", "port": 2}`, "", 1) + `]}`), 1, drop, drop, ""},
		{"a member nobody knows", jsonAnswer(`{"flows": [{"prority": 1}]}`), 0, drop, drop, "prority"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for mode, want := range map[settings.Mode]string{settings.ModeSecure: row.secure, settings.ModeStandalone: row.standalone} {
				srv := httptest.NewServer(row.function)
				r := start(t, srv.URL, func(s *settings.Settings) { s.FailMode.Default = mode }, oftest.Config{})
				rules, sentOn := r.outcome(t, frame)
				if len(rules) != row.rules || sentOn != want {
					t.Errorf("%s: rules %q, packet %q; want %d rules, packet %q\n%s", mode, rules, sentOn, row.rules, want, r.logs)
				}
				if !strings.Contains(r.logs.String(), row.says) {
					t.Errorf("%s: no %q in the log:\n%s", mode, row.says, r.logs)
				}
				if !strings.Contains(r.logs.String(), "dpid=000000000000002a") {
					t.Errorf("%s: the log does not name the switch:\n%s", mode, r.logs)
				}
				srv.CloseClientConnections()
				srv.Close()
			}
		})
	}
}

// In the OpenFlow encoding an answer carries the question's xid.
func TestFunctionAnswersAnotherXID(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contract.TypeOpenFlow)
		if r.Header.Get(contract.HeaderType) == flow.EventPacketIn.String() {
			b, _ := ofp.AppendPacketOut(nil, flow.OpenFlow13, 0xdead, &ofp.PacketOut{BufferID: flow.NoBuffer, InPort: 1, Actions: []flow.Action{flow.OutputTo(2)}})
			w.Write(b)
		}
	}))
	defer srv.Close()
	r := start(t, srv.URL, func(s *settings.Settings) { s.Function.Encoding = "openflow" }, oftest.Config{})
	rules, sentOn := r.outcome(t, frames.Ping(frames.Host(1), frames.Host(2), 1, 1))
	if len(rules) != 0 || sentOn != "" || !strings.Contains(r.logs.String(), "0x0000dead") {
		t.Errorf("rules %q, packet %q\n%s", rules, sentOn, r.logs)
	}
}

// A deny that OpenFlow 1.0 can't express stays a deny, fail mode or not.
func TestInexpressibleDenyIsNoFailure(t *testing.T) {
	srv := httptest.NewServer(jsonAnswer(`{"flows": [{"priority": 9, "idle_timeout": 5, "match": {"in_port": 1, "ipv6_src": "2001:db8::1"}, "actions": []}]}`))
	defer srv.Close()
	r := start(t, srv.URL, func(s *settings.Settings) { s.FailMode.Default = settings.ModeStandalone }, oftest.Config{Versions: []flow.Protocol{flow.OpenFlow10}})
	from, to := frames.Host(1), frames.Host(2)
	from.IP, to.IP = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	rules, sentOn := r.outcome(t, frames.Ping(from, to, 1, 1))
	if len(rules) != 0 || sentOn != "" {
		t.Errorf("rules %q, packet %q", rules, sentOn)
	}
	if want := "rail=not-expressible"; !strings.Contains(r.logs.String(), want) {
		t.Errorf("no %q in the log:\n%s", want, r.logs)
	}
}

func TestExpiredCertificate(t *testing.T) {
	srv := httptest.NewTLSServer(jsonAnswer("{}")) // of an authority that nobody here trusts
	defer srv.Close()
	r := start(t, srv.URL, nil, oftest.Config{})
	if rules, sentOn := r.outcome(t, frames.Ping(frames.Host(1), frames.Host(2), 1, 1)); len(rules) != 0 || sentOn != "" {
		t.Errorf("rules %q, packet %q", rules, sentOn)
	}
	if !strings.Contains(r.logs.String(), "certificate") || !strings.Contains(r.logs.String(), srv.Listener.Addr().String()) {
		t.Errorf("the log does not say which endpoint's certificate:\n%s", r.logs)
	}
}

// Both handshakes reach the function with what it needs to answer.
func TestFullHandshake(t *testing.T) {
	var mu sync.Mutex
	var types []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(body) < ofp.HeaderLen {
			http.Error(w, "no message", http.StatusBadRequest)
			return
		}
		mu.Lock()
		types = append(types, fmt.Sprintf("%s %d", r.Header.Get(contract.HeaderType), body[1]))
		mu.Unlock()
		w.Header().Set("Content-Type", contract.TypeOpenFlow)
		if r.Header.Get(contract.HeaderType) == flow.EventHandshake.String() && body[1] == 0 {
			w.Write(ofp.AppendFeaturesRequest(ofp.AppendHello(nil, 1, flow.OpenFlow13), flow.OpenFlow13, 2))
		}
	}))
	defer srv.Close()
	r := start(t, srv.URL, func(s *settings.Settings) {
		s.Function.Encoding = "openflow"
		s.OpenFlow.Handshake = true
	}, oftest.Config{Versions: []flow.Protocol{flow.OpenFlow13}})
	r.outcome(t, frames.Ping(frames.Host(1), frames.Host(2), 1, 1))
	mu.Lock()
	defer mu.Unlock()
	got := strings.Join(types, ", ")
	for _, want := range []string{"switchbridge.handshake.v1 0", "switchbridge.handshake.v1 6", "switchbridge.packet_in.v1 10"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}
