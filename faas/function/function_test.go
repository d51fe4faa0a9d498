package function

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// textCodec is an encoding for tests: an event's body is the session that the decision's reason
// repeats; "bad" and "big" are what the codec can't read and write.
type textCodec struct{}

func (textCodec) ContentType() string { return contract.TypeOpenFlow }

func (textCodec) AppendEvent(b []byte, ev *flow.Event) ([]byte, error) {
	if ev.Session == "bad" {
		return b, errors.New("can't be written")
	}
	return append(b, ev.Session...), nil
}

func (textCodec) ParseEvent(body []byte, ev *flow.Event) error {
	if string(body) == "bad body" {
		return errors.New("bad body")
	}
	ev.Session = string(body)
	return nil
}

func (textCodec) AppendDecision(b []byte, _ *flow.Event, d *flow.Decision) ([]byte, error) {
	if d.Reason == "big" {
		return b, errors.New("rule 3: too big")
	}
	return append(b, d.Reason...), nil
}

func (textCodec) ParseDecision(body []byte, _ *flow.Event, d *flow.Decision) error {
	if string(body) == "garbage" {
		return errors.New("garbage")
	}
	d.Reason = string(body)
	return nil
}

var echo = flow.DeciderFunc(func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
	switch ev.Session {
	case "refuse":
		return flow.Errorf(flow.Refused, "not this one")
	case "full":
		return flow.Errorf(flow.Overload, "no place")
	case "wrong":
		return flow.Errorf(flow.Invalid, "nonsense")
	case "down":
		return errors.New("out of order")
	}
	d.Reason, d.Verdict, d.Policy = ev.Session, flow.Deny, flow.PolicyVersion{Serial: 3, Hash: 0xab}
	d.State, d.StateKey = append(d.State, ev.State...), flow.StateSrc
	return nil
})

func TestFunction(t *testing.T) {
	f := New(echo, Codecs{OpenFlow: textCodec{}})
	for _, row := range []struct {
		body     string
		encoding guest.Encoding
		status   uint16
		reason   string
	}{
		{"hello", guest.EncodingOpenFlow, 200, "hello"},
		{"hello", guest.EncodingJSON, 415, `content type "application/json": want application/openflow`},
		{"hello", 77, 415, `content type ""`},
		{"bad body", guest.EncodingOpenFlow, 400, "switchbridge.packet_in.v1: bad body"},
		{"refuse", guest.EncodingOpenFlow, 422, "not this one"},
		{"full", guest.EncodingOpenFlow, 429, "no place"},
		{"wrong", guest.EncodingOpenFlow, 500, "nonsense"},
		{"down", guest.EncodingOpenFlow, 503, "out of order"},
		{"big", guest.EncodingOpenFlow, 500, "too big"},
	} {
		r := guest.Request{Event: flow.EventPacketIn, Encoding: row.encoding, Body: []byte(row.body), State: []byte("s")}
		a := guest.Answer{Body: []byte("left over"), State: []byte("left over"), Verdict: "allow"}
		if err := f.Answer(t.Context(), &r, &a); err != nil || a.Status != row.status || !strings.Contains(a.Reason, row.reason) {
			t.Errorf("%s: %+v, %v; want %d with %q", row.body, a, err, row.status, row.reason)
		}
		if a.Status == 200 && (string(a.Body) != row.body || string(a.State) != "s" || a.StateKey != "src" || a.Policy != "3-000000ab" || a.Verdict != "deny") {
			t.Errorf("%s: %+v", row.body, a)
		}
		if a.Status != 200 && (len(a.Body) > 0 || len(a.State) > 0 || a.Verdict != "") {
			t.Errorf("%s: more than a reason: %+v", row.body, a)
		}
	}
}

// answers is an Answerer with one answer.
type answers struct {
	answer guest.Answer
	err    error
	got    guest.Request
}

func (a *answers) Answer(_ context.Context, r *guest.Request, answer *guest.Answer) error {
	a.got, *answer = *r, a.answer
	return a.err
}

func TestDecider(t *testing.T) {
	good := guest.Answer{Status: 200, Encoding: guest.EncodingOpenFlow, Policy: "3-000000ab", Verdict: "allow", Body: []byte("why"), State: []byte("s"), StateKey: "dst"}
	with := func(change func(*guest.Answer)) guest.Answer {
		a := good
		change(&a)
		return a
	}
	for _, row := range []struct {
		name   string
		answer guest.Answer
		err    error
		kind   flow.ErrorKind
		text   string // empty: a decision
	}{
		{"good", good, nil, 0, ""},
		{"no answer", guest.Answer{}, errors.New("guest trapped"), flow.Unavailable, "guest trapped"},
		{"503", with(func(a *guest.Answer) { a.Status, a.Reason = 503, "later" }), nil, flow.Unavailable, "status 503: later"},
		{"429", with(func(a *guest.Answer) { a.Status = 429 }), nil, flow.Unavailable, "status 429"},
		{"422", with(func(a *guest.Answer) { a.Status = 422 }), nil, flow.Refused, "status 422"},
		{"307", with(func(a *guest.Answer) { a.Status = 307 }), nil, flow.Refused, "status 307"},
		{"garbage", with(func(a *guest.Answer) { a.Body = []byte("garbage") }), nil, flow.Invalid, "garbage"},
		{"another encoding", with(func(a *guest.Answer) { a.Encoding = guest.EncodingJSON }), nil, flow.Invalid, "application/json"},
		{"policy", with(func(a *guest.Answer) { a.Policy = "latest" }), nil, flow.Invalid, "latest"},
		{"verdict", with(func(a *guest.Answer) { a.Verdict = "perhaps" }), nil, flow.Invalid, "perhaps"},
		{"state key", with(func(a *guest.Answer) { a.StateKey = "moon" }), nil, flow.Invalid, "moon"},
		{"large state", with(func(a *guest.Answer) { a.State = make([]byte, flow.MaxState+1) }), nil, flow.Invalid, "4097 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			host := &answers{answer: row.answer, err: row.err}
			d := NewDecider(host, textCodec{})
			if !d.Local() {
				t.Error("not local")
			}
			ev := &flow.Event{Type: flow.EventPacketIn, ID: "7", Session: "s1", Time: time.Unix(5, 0), Switch: &flow.Switch{DPID: 9}, State: []byte("old")}
			var decision flow.Decision
			err := d.Decide(t.Context(), ev, &decision)
			if row.text != "" {
				if err == nil || flow.KindOf(err) != row.kind || !strings.Contains(err.Error(), row.text) {
					t.Errorf("got %v, want %v with %q", err, row.kind, row.text)
				}
				return
			}
			if err != nil || decision.Reason != "why" || decision.Verdict != flow.Allow || decision.Policy.Serial != 3 || string(decision.State) != "s" || decision.StateKey != flow.StateDst {
				t.Errorf("%+v, %v", decision, err)
			}
			got := host.got
			if got.ID != "7" || got.DPID != 9 || got.Time != 5e9 || string(got.Body) != "s1" || string(got.State) != "old" || got.Encoding != guest.EncodingOpenFlow {
				t.Errorf("asked %+v", got)
			}
		})
	}
	err := NewDecider(&answers{}, textCodec{}).Decide(t.Context(), &flow.Event{Session: "bad"}, new(flow.Decision))
	if flow.KindOf(err) != flow.Refused { // what came is at fault
		t.Error(err)
	}
}

func TestHeaders(t *testing.T) {
	headers := func(pairs ...string) Headers {
		h := Headers{}
		h.Set("Content-Type", "application/openflow")
		contract.PutEvent(h, &flow.Event{Type: flow.EventPacketIn, ID: "7", Session: "s", Time: time.Unix(0, 1), Switch: &flow.Switch{DPID: 0xab}})
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	var r guest.Request
	if err := ReadRequest(headers(contract.HeaderState, "c3RhdGU=", "Traceparent", "00-1", contract.HeaderAccepts, "a", contract.HeaderIncomplete, "b"), []byte("body"), &r); err != nil ||
		r.Event != flow.EventPacketIn || r.ID != "7" || r.DPID != 0xab || r.Session != "s" || r.Time != 1 ||
		string(r.State) != "state" || r.TraceParent != "00-1" || r.Accepts != "a" || r.Incomplete != "b" || string(r.Body) != "body" || r.Encoding != guest.EncodingOpenFlow {
		t.Errorf("%+v, %v", r, err)
	}
	for _, row := range []struct {
		name   string
		h      Headers
		body   int
		status int
	}{
		{"no type", headers("ce-type", ""), 0, 400},
		{"another specversion", headers("ce-specversion", "0.3"), 0, 400},
		{"a source that is no switch", headers("ce-source", "/gateway"), 0, 400},
		{"content type", headers("content-type", "text/html"), 0, 415},
		{"state", headers(contract.HeaderState, "***"), 0, 400},
		{"large state", headers(contract.HeaderState, base64.StdEncoding.EncodeToString(make([]byte, flow.MaxState+3))), 0, 400},
		{"large body", headers(), guest.MaxBody + 1, 413},
	} {
		err := ReadRequest(row.h, make([]byte, row.body), &r)
		if err == nil || StatusOf(err) != row.status {
			t.Errorf("%s: %v, want status %d", row.name, err, row.status)
		}
	}

	h := Headers{}
	body := WriteAnswer(h, &guest.Answer{Status: 200, Encoding: guest.EncodingJSON, Policy: "3-000000ab", Reason: "a\nb", Verdict: "deny", State: []byte("state"), StateKey: "src", CoversIncomplete: true, Body: []byte("{}")})
	want := Headers{"content-type": "application/json", "switchbridge-policy": "3-000000ab", "switchbridge-reason": "a?b", "switchbridge-verdict": "deny",
		"switchbridge-state": "c3RhdGU=", "switchbridge-state-key": "src", "switchbridge-covers-incomplete": "true"}
	if string(body) != "{}" || fmt.Sprint(h) != fmt.Sprint(want) {
		t.Errorf("%s %v, want %v", body, h, want)
	}
	h = Headers{}
	body = WriteAnswer(h, &guest.Answer{Status: 503, Policy: "3-000000ab", Reason: "later\x1b", Body: []byte("secret"), State: []byte("secret")})
	if string(body) != "later?\n" || len(h) != 2 {
		t.Errorf("%q %v", body, h)
	}
}

func TestStatusOf(t *testing.T) {
	for err, want := range map[error]int{
		context.DeadlineExceeded:                  504,
		fmt.Errorf("x: %w", context.Canceled):     504,
		errors.New("guest trapped"):               502,
		fmt.Errorf("x: %w", statusError(418, "")): 418,
	} {
		if got := StatusOf(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
