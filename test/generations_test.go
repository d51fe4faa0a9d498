package test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"switchbridge/controller"
	faasfunction "switchbridge/faas/function"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest/conformance"
	"switchbridge/httpclient"
)

// The contract grows without breaking. testdata/first has what gateways sent
// before it grew for the first time, byte by byte, and the schema of that time.
const first = "testdata/first/"

// firstHeaders are all that an answer had then. Others an old gateway passes
// over, but a new function has no reason to send them.
var firstHeaders = []string{"Content-Length", "Content-Type", "Date", "Switchbridge-Policy", "Switchbridge-Verdict", "Switchbridge-Reason",
	"Switchbridge-State", "Switchbridge-State-Key"}

// firstSchemas are those of events and of decisions, which may have no member that is not listed.
func firstSchemas(t *testing.T) (event, decision *jsonschema.Schema) {
	t.Helper()
	c := jsonschema.NewCompiler()
	event, err := c.Compile(first + "contract.schema.json#/$defs/event")
	if err != nil {
		t.Fatal(err)
	}
	if decision, err = c.Compile(first + "contract.schema.json"); err != nil {
		t.Fatal(err)
	}
	return event, decision
}

func validate(t *testing.T, s *jsonschema.Schema, body []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = s.Validate(v)
	}
	if err != nil {
		t.Errorf("%s\n%v", body, err)
	}
}

// readFirst reads a request of then.
func readFirst(t *testing.T, path string) (http.Header, []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	request, _, _ := strings.Cut(string(text), "\n\nHTTP/1.1 ") // of examples
	head, body, _ := strings.Cut(request, "\n\n")
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\n\n")))
	if err != nil {
		t.Fatal(err)
	}
	if r.Header.Get("Content-Type") == contract.TypeOpenFlow {
		b, err := hex.DecodeString(strings.TrimSpace(body))
		if err != nil {
			t.Fatal(err)
		}
		return r.Header, b
	}
	return r.Header, []byte(body)
}

// newFunctions are the ways in which a function of ours reads a request.
func newFunctions(t *testing.T) map[string]http.Handler {
	t.Helper()
	c := controller.New(conformance.Policy())
	decides := httphost.Config{Decider: c, Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}}
	handsOn := httphost.Config{Guest: faasfunction.New(c, faasfunction.Codecs{OpenFlow: openflow.Codec{}, JSON: jsonenc.Codec{}}),
		Direct: []guest.Encoding{guest.EncodingOpenFlow, guest.EncodingJSON}}
	handlers := map[string]http.Handler{}
	for name, config := range map[string]httphost.Config{"decides": decides, "hands on": handsOn} {
		h, err := httphost.New(config)
		if err != nil {
			t.Fatal(err)
		}
		handlers[name] = h
	}
	return handlers
}

// TestOldGatewayNewFunction: what an old gateway asks is answered in its own terms.
func TestOldGatewayNewFunction(t *testing.T) {
	_, schema := firstSchemas(t)
	files, err := filepath.Glob(first + "*")
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]int{} // of answers to incomplete packets, by encoding
	for _, file := range files {
		if strings.HasSuffix(file, ".schema.json") {
			continue
		}
		header, body := readFirst(t, file)
		contentType := header.Get("Content-Type")
		for how, function := range newFunctions(t) {
			r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
			r.Header = header.Clone()
			w := httptest.NewRecorder()
			function.ServeHTTP(w, r)
			answer := w.Body.Bytes()
			if w.Code != http.StatusOK {
				t.Errorf("%s, a function that %s: status %d: %s", file, how, w.Code, answer)
				continue
			}
			for name := range w.Header() {
				if !slices.Contains(firstHeaders, name) {
					t.Errorf("%s, a function that %s: the answer has the header %s", file, how, name)
				}
			}
			if contentType == contract.TypeJSON {
				validate(t, schema, answer)
			}

			var ev flow.Event
			codec := contract.Codec(openflow.Codec{})
			if contentType == contract.TypeJSON {
				codec = jsonenc.Codec{}
			}
			if err := contract.GetEvent(header, &ev); err != nil {
				t.Fatal(err)
			}
			if err := codec.ParseEvent(body, &ev); err != nil {
				t.Fatal(err)
			}
			var d, want flow.Decision
			if err := codec.ParseDecision(answer, &ev, &d); err != nil {
				t.Errorf("%s, a function that %s: %v", file, how, err)
			}
			if err := controller.New(conformance.Policy()).Decide(t.Context(), &ev, &want); err != nil {
				t.Fatal(err)
			}
			if len(d.Rules) != len(want.Rules) || w.Header().Get(contract.HeaderVerdict) != want.Verdict.String() {
				t.Errorf("%s, a function that %s: %d rules, %v; want %d, %v", file, how, len(d.Rules), w.Header(), len(want.Rules), want.Verdict)
			}
			if ev.PacketIn.Incomplete != 0 {
				rules[contentType] += len(d.Rules)
			}
		}
	}
	// Two fragments by two versions by two ways get a rule, or the test shows nothing.
	for _, contentType := range []string{contract.TypeJSON, contract.TypeOpenFlow} {
		if rules[contentType] != 8 {
			t.Errorf("%s: %d rules for incomplete packets, want 8", contentType, rules[contentType])
		}
	}
}

// TestRepliesOldAndNew: what becomes of a reply is said to a gateway that takes it and to no other; an old function says nothing of it to a
// new gateway, and its deny holds.
func TestRepliesOldAndNew(t *testing.T) {
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		for how, function := range newFunctions(t) {
			for _, row := range []struct {
				accepts flow.Accepts
				want    bool
			}{{0, false}, {flow.AcceptsCoversIncomplete, false}, {flow.AcceptsReply, true}, {flow.AcceptsAll, true}} {
				ev := answerEvent(t)
				ev.Accepts = row.accepts
				h := http.Header{"Content-Type": {codec.ContentType()}}
				contract.PutEvent(h, ev)
				contract.PutMembers(h, codec.ContentType(), ev)
				body, err := codec.AppendEvent(nil, ev)
				if err != nil {
					t.Fatal(err)
				}
				r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
				r.Header = h
				w := httptest.NewRecorder()
				function.ServeHTTP(w, r)
				got := w.Header().Get(contract.HeaderIfReply) != "" || bytes.Contains(w.Body.Bytes(), []byte("if_reply"))
				if w.Code != http.StatusOK || got != row.want || w.Header().Get(contract.HeaderVerdict) != "deny" {
					t.Errorf("%s, a function that %s, accepts %b: %d %v %s", codec.ContentType(), how, row.accepts, w.Code, w.Header(), w.Body)
				}
			}
		}
		schema, _ := firstSchemas(t)
		server := httptest.NewServer(&oldFunction{t: t, schema: schema, match: make(chan json.RawMessage, 1)})
		defer server.Close()
		client, err := httpclient.New(httpclient.Config{Endpoints: []string{server.URL}, Codec: codec})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		var d flow.Decision
		if err := client.Decide(t.Context(), answerEvent(t), &d); err != nil || d.IfReply != nil {
			t.Errorf("%s, an old function: %+v (%v)", codec.ContentType(), d.IfReply, err)
		}
	}
}

// answerEvent is of a packet that may answer one which conformance.Policy allows.
func answerEvent(t *testing.T) *flow.Event {
	t.Helper()
	for _, c := range conformance.Cases() {
		if c.Reply {
			ev := *c.Event
			return &ev
		}
	}
	t.Fatal("no such case")
	return nil
}

// oldFunction answers as README's first function did: a rule of the event's match.
// It reads what was there then and passes over the rest.
type oldFunction struct {
	t      *testing.T
	schema *jsonschema.Schema
	match  chan json.RawMessage // of the latest event in JSON
}

func (f *oldFunction) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get(contract.HeaderType) != flow.EventPacketIn.String() {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	if r.Header.Get("Content-Type") == contract.TypeJSON {
		validate(f.t, f.schema, body)
		var event struct {
			Packet struct {
				Match json.RawMessage `json:"match"`
			} `json:"packet_in"`
		}
		if err := json.Unmarshal(body, &event); err != nil {
			f.t.Error(err)
		}
		f.match <- event.Packet.Match
		io.WriteString(w, `{"flows":[{"priority":100,"idle_timeout":30,"match":`+string(event.Packet.Match)+`,"actions":[{"type":"OUTPUT","port":"NORMAL"}]}]}`)
		return
	}
	var ev flow.Event
	if err := contract.GetEvent(r.Header, &ev); err != nil {
		f.t.Error(err)
	}
	if err := (openflow.Codec{}).ParseEvent(body, &ev); err != nil {
		f.t.Error(err)
	}
	m := ev.PacketIn.Match.Keep(flow.Conversation)
	answer, err := openflow.Codec{}.AppendDecision(nil, &ev, &flow.Decision{Rules: []flow.Rule{
		{Priority: 100, IdleTimeout: 30 * time.Second, Match: m, Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}}}})
	if err != nil {
		f.t.Error(err)
	}
	w.Write(answer)
}

// TestNewGatewayOldFunction: an old function reads a new gateway's events as it
// did, and its rules say nothing of incomplete packets.
func TestNewGatewayOldFunction(t *testing.T) {
	schema, _ := firstSchemas(t)
	old := &oldFunction{t: t, schema: schema, match: make(chan json.RawMessage, 1)}
	server := httptest.NewServer(old)
	defer server.Close()
	files, err := filepath.Glob(first + "*-1.?.json") // the packets; the gateway writes them anew
	if err != nil || len(files) == 0 {
		t.Fatalf("no packets: %v", err)
	}
	for _, codec := range []contract.Codec{openflow.Codec{}, openflow.Codec{Full: true}, jsonenc.Codec{}} {
		client, err := httpclient.New(httpclient.Config{Endpoints: []string{server.URL}, Codec: codec})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		incomplete := 0
		for _, file := range files {
			header, body := readFirst(t, file)
			var ev flow.Event
			if err := contract.GetEvent(header, &ev); err != nil {
				t.Fatal(err)
			}
			if err := (jsonenc.Codec{}).ParseEvent(body, &ev); err != nil {
				t.Fatal(err)
			}
			ev.XID = 4711
			if ev.PacketIn.Incomplete != 0 {
				incomplete++
			}
			var d flow.Decision
			if err := client.Decide(t.Context(), &ev, &d); err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if codec.ContentType() == contract.TypeJSON {
				if match := <-old.match; !strings.Contains(string(body), `"match":`+string(match)+`,"data"`) {
					t.Errorf("%s: the function reads the match %s", file, match)
				}
			}
			if len(d.Rules) != 1 || d.Rules[0].CoversIncomplete || !d.Rules[0].Match.Covers(&ev.PacketIn.Match) {
				t.Errorf("%s: rules %+v", file, d.Rules)
			}
		}
		if incomplete != 8 {
			t.Errorf("%d incomplete packets, want 8", incomplete)
		}
	}
}
