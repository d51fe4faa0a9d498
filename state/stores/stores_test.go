package stores_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/logbuffer"
	"switchbridge/policy"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/stores"
	"switchbridge/state/stores/every"
	"switchbridge/state/travel"
)

func TestValidate(t *testing.T) {
	for _, row := range []struct {
		name, want string
		change     func(*stores.Settings)
	}{
		{"nothing", "", func(*stores.Settings) {}},
		{"memory", "", func(s *stores.Settings) { s.URL = "memory:" }},
		{"a file", "", func(s *stores.Settings) { s.URL = "bbolt:/var/lib/states" }},
		{"redis with all", "", func(s *stores.Settings) {
			s.URL, s.PasswordFile, s.CA, s.Cert, s.Key = "rediss://user@h:1/2", "p", "c", "d", "e"
		}},
		{"dynamodb", "", func(s *stores.Settings) { s.URL = "dynamodb://table?region=eu" }},
		{"travel", "", func(s *stores.Settings) { s.URL, s.SealFile = "travel:", "keys" }},
		{"travel somewhere", "url: want travel:", func(s *stores.Settings) { s.URL = "travel:/x" }},
		{"seals of a store", "seal_file: it is for states that travel", func(s *stores.Settings) { s.URL, s.SealFile = "memory:", "keys" }},
		{"no scheme", "url: want one of bbolt:/path/to/file, dynamodb:", func(s *stores.Settings) { s.URL = "localhost:6379" }},
		{"another scheme", "url: want one of", func(s *stores.Settings) { s.URL = "etcd://h" }},
		{"memory somewhere", "url: want memory:", func(s *stores.Settings) { s.URL = "memory:/x" }},
		{"bbolt nowhere", "url: want bbolt:/path", func(s *stores.Settings) { s.URL = "bbolt:" }},
		{"bbolt on a host", "url: want bbolt:/path", func(s *stores.Settings) { s.URL = "bbolt://h/x" }},
		{"redis nowhere", "url: want redis://host", func(s *stores.Settings) { s.URL = "redis:" }},
		{"password", "use password_file", func(s *stores.Settings) { s.URL = "redis://u:secret@h" }},
		{"broken, with a password", "url: want one of", func(s *stores.Settings) { s.URL = "redis://u:secret@[h" }},
		{"password of memory", "only for a store on the network", func(s *stores.Settings) { s.URL, s.PasswordFile = "memory:", "p" }},
		{"half a certificate", "cert and key go together", func(s *stores.Settings) { s.URL, s.Cert = "rediss://h", "c" }},
		{"entries", "entries: 0", func(s *stores.Settings) { s.Entries = 0 }},
		{"bytes", "bytes: -1", func(s *stores.Settings) { s.Bytes = -1 }},
		{"timeout", "timeout: 0s", func(s *stores.Settings) { s.Timeout = 0 }},
		{"staleness", "staleness: 10ms: want 1s to 1h", func(s *stores.Settings) { s.Staleness = 10 * time.Millisecond }},
		{"on_failure", `on_failure: "open": want deny or start`, func(s *stores.Settings) { s.OnFailure = "open" }},
	} {
		s := stores.Default()
		row.change(&s)
		err := s.Validate()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the password: %v", row.name, err)
		}
	}
}

// Each kind of store opens without a server, names itself without secrets, and refuses to send these in clear.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"memory:":                         "memory:",
		"bbolt:" + dir + "/states":        "bbolt:" + dir + "/states",
		"redis://user@127.0.0.1:1/2":      "redis://user@127.0.0.1:1/2",
		"rediss://redis.example:1":        "rediss://redis.example:1",
		"redis://redis.example:1":         "unencrypted; use rediss://",
		"nats://127.0.0.1:1":              "nats://127.0.0.1:1",
		"nats://nats.example:1":           "unencrypted; use nats+tls://",
		"nats://127.0.0.1:1/a.b":          "bucket \"a.b\"",
		"dynamodb://table?region=nowhere": "dynamodb://table?region=nowhere",
	} {
		s := stores.Default()
		if s.URL = url; strings.Contains(url, "//") && !strings.HasPrefix(url, "dynamodb") {
			s.PasswordFile = secret
		}
		log := new(logbuffer.Buffer)
		store, err := s.Open(t.Context(), every.Openers, log.Text())
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = store.String()
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}
		if !strings.Contains(got, want) || strings.Contains(got+log.String(), "hunter2") {
			t.Errorf("%s: %s, want %q", url, got, want)
		}
		if warns := strings.Contains(log.String(), "after a restart every machine is in its start state"); warns != (url == "memory:") {
			t.Errorf("%s: the log says %q", url, log.String())
		}
	}
}

func TestMachinesWantAStore(t *testing.T) {
	machines, err := policyfile.Parse(strings.NewReader("serial: 1\nchain:\n  - machine: {machines: [{name: m, key: port, start: on, states: {on: allow}}]}\n"), "p.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	var none *stores.Keeper
	kept, err := none.Keep("controller", nil, stores.OneGateway)
	if err != nil {
		t.Fatal(err)
	}
	for name, takes := range map[string]func(*policy.Policy) error{"nobody yet": none.Takes, "a controller": kept.Takes} {
		if err := takes(machines); !errors.Is(err, stores.ErrNoStore) {
			t.Errorf("%s takes machines without a store: %v", name, err)
		}
		if err := takes(&policy.Policy{}); err != nil {
			t.Errorf("%s takes no policy at all: %v", name, err)
		}
	}
	s := stores.Default()
	s.URL = "memory:"
	keeper, err := stores.Open(context.Background(), s, every.Openers, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil || keeper.Takes(machines) != nil {
		t.Error(err, keeper.Takes(machines))
	}
}

// The keys of states that travel come from a file, which may change, or from the environment; and a policy whose states can't travel is not taken.
func TestTravel(t *testing.T) { synctest.Test(t, testTravel) }

func testTravel(t *testing.T) {
	const oldKey, newKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
	log := slog.New(slog.DiscardHandler)
	s := stores.Default()
	s.URL = travel.URL
	t.Setenv(travel.EnvKeys, "")
	if _, err := stores.Open(t.Context(), s, every.Openers, log); err == nil || !strings.Contains(err.Error(), "SWITCHBRIDGE_STATE_KEYS: no key") {
		t.Errorf("without keys: %v", err)
	}
	t.Setenv(travel.EnvKeys, oldKey)
	if _, err := stores.Open(t.Context(), s, every.Openers, log); err != nil {
		t.Error(err)
	}
	s.SealFile = filepath.Join(t.TempDir(), "keys")
	if _, err := stores.Open(t.Context(), s, every.Openers, log); err == nil || !strings.Contains(err.Error(), "seal_file: ") {
		t.Errorf("without the file: %v", err)
	}
	write := func(text string) {
		if err := os.WriteFile(s.SealFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(oldKey + "\n" + newKey + "\n")
	keeper, err := stores.Open(t.Context(), s, every.Openers, log)
	if err != nil {
		t.Fatal(err)
	}
	parse := func(key, states string) *policy.Policy {
		p, err := policyfile.Parse(strings.NewReader(`
serial: 1
chain:
  - machine: {machines: [{name: m, key: `+key+`, forget: 1h, start: x, states: `+states+`, transitions: [{from: x, to: y}]}]}
  - forward: {mode: normal}
`), "p.yaml", ".")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	closed := parse("src", "{x: deny, y: next}")
	open := parse("src", "{x: next, y: deny}")
	for _, row := range []struct {
		p    *policy.Policy
		pair bool
		want string
	}{
		{closed, false, ""}, {open, false, ""}, {parse("network", "{x: deny, y: next}"), false, "which many share"}, {closed, true, ""}, {open, true, "in a pair"},
	} {
		if row.pair {
			keeper.InPair()
		}
		if err := keeper.Takes(row.p); (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("pair %v: %v, want %q", row.pair, err, row.want)
		}
	}

	c := controller.New(closed)
	kept, err := keeper.Keep("controller", c, stores.SeveralGateways)
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.Takes(open); err == nil || !strings.Contains(err.Error(), "in a pair") {
		t.Errorf("a controller with its states is given a policy that can't travel: %v", err)
	}
	if err := kept.Takes(closed); err != nil {
		t.Error(err)
	}
	ask := func(came []flow.Travelling) (d flow.Decision) {
		ev, err := policytest.Event("tcp 10.0.0.1:1 > 10.0.0.2:2", flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		ev.Time, ev.Accepts, ev.Travel = time.Now(), flow.AcceptsAll, came
		if err := kept.Decider(c).Decide(t.Context(), ev, &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := ask(nil) // it moves from x to y
	if first.Verdict != flow.Allow || len(first.Travel) != 1 || first.Stateful {
		t.Fatalf("%v (%s), %d states travel, stateful %v", first.Verdict, first.Reason, len(first.Travel), first.Stateful)
	}
	write(newKey) // the old one, which has sealed it, goes
	time.Sleep(2 * time.Second)
	if d := ask(first.Travel); d.Verdict != flow.Deny || d.Reason != "state: the key of its seal is not at hand" {
		t.Errorf("the file has changed, and the answer is %v (%s)", d.Verdict, d.Reason)
	}
}

// shared is a store that several gateways share.
type shared struct{ state.Store }

func (shared) Promise() state.Promise { return state.Promise{Local: true, Shared: true} }

// Rules live no longer than the staleness where another gateway may change what they rest on, and by the controller's timeouts else.
func TestStaleness(t *testing.T) {
	p, err := policyfile.Parse(strings.NewReader(`
hard_timeout: 60
chain:
  - machine:
      machines:
        - {name: by-port, for: {in_port: 1}, key: port, start: x, states: {x: deny}}
        - {name: by-network, for: {in_port: 2}, key: network, start: x, states: {x: deny}}
`), "p.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	openers := stores.Openers{"memory": every.Openers["memory"], "redis": func(ctx context.Context, o access.Options) (state.Store, error) {
		s, err := every.Openers["memory"](ctx, o)
		return shared{s}, err
	}}
	for _, row := range []struct {
		url    string
		askers stores.Askers
		port   flow.PortNo
		want   time.Duration
	}{
		{"memory:", stores.OneGateway, 1, time.Minute},
		{"memory:", stores.OneGateway, 2, time.Minute},
		{"memory:", stores.SeveralGateways, 1, time.Minute},
		{"memory:", stores.SeveralGateways, 2, 3 * time.Second},
		{"redis://h", stores.OneGateway, 1, time.Minute},
		{"redis://h", stores.OneGateway, 2, 3 * time.Second},
		{"redis://h", stores.SeveralGateways, 2, 3 * time.Second},
	} {
		s := stores.Default()
		s.URL, s.Staleness = row.url, 3900*time.Millisecond
		keeper, err := stores.Open(t.Context(), s, openers, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		c := controller.New(p)
		kept, err := keeper.Keep("controller", c, row.askers)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := policytest.Event("tcp 10.0.0.1:1 > 10.0.0.2:2", flow.OpenFlow13)
		if err != nil {
			t.Fatal(err)
		}
		ev.PacketIn.Match.SetInPort(row.port)
		ev.Time = time.Now()
		var d flow.Decision
		if err := kept.Decider(c).Decide(t.Context(), ev, &d); err != nil || len(d.Rules) != 1 || d.Rules[0].HardTimeout != row.want {
			t.Errorf("%s, several gateways %v, port %d: %v, %+v, want %v", row.url, row.askers, row.port, err, d.Rules, row.want)
		}
	}
}
