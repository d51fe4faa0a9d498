package jsonenc_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
)

const docs = "../../../docs"

// comparables compares what holds addresses with ==.
var comparables = cmpopts.EquateComparable(flow.Match{}, flow.Action{})

// schemas are those of events and of decisions.
func schemas(t testing.TB) (event, decision *jsonschema.Schema) {
	t.Helper()
	c := jsonschema.NewCompiler()
	event, err := c.Compile(docs + "/contract.schema.json#/$defs/event")
	if err != nil {
		t.Fatal(err)
	}
	decision, err = c.Compile(docs + "/contract.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return event, decision
}

func valid(t testing.TB, s *jsonschema.Schema, body []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s\n%v", body, err)
	}
}

// exchange is an example: a request and its answer.
type exchange struct {
	request *http.Request
	event   []byte
	answer  *http.Response
	body    []byte
}

func readExchange(t *testing.T, path string) exchange {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// For people's sake the files have neither CR nor Content-Length.
	head, tail, ok := strings.Cut(string(text), "\n\nHTTP/1.1 ")
	if !ok {
		t.Fatal("no answer in the example")
	}
	var x exchange
	x.request, err = http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\n")))
	if err != nil {
		t.Fatal(err)
	}
	_, event, _ := strings.Cut(head, "\n\n")
	x.event = []byte(event)
	x.answer, err = http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 "+tail)), x.request)
	if err != nil {
		t.Fatal(err)
	}
	if x.body, err = io.ReadAll(x.answer.Body); err != nil {
		t.Fatal(err)
	}
	return x
}

// TestExamples reads what the documentation shows as a gateway and as a
// function would, writes it again, and holds both to the schema.
func TestExamples(t *testing.T) {
	eventSchema, decisionSchema := schemas(t)
	files, err := filepath.Glob(docs + "/examples/*.http")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	seen := map[flow.EventType]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) {
			x := readExchange(t, file)
			if got := x.request.Header.Get("Content-Type"); got != contract.TypeJSON {
				t.Fatalf("content type %q", got)
			}
			valid(t, eventSchema, x.event)
			ev := parse(t, x.request.Header, x.event)
			seen[ev.Type] = true
			again, err := jsonenc.Codec{}.AppendEvent(nil, ev)
			if err != nil {
				t.Fatal(err)
			}
			valid(t, eventSchema, again)
			if diff := cmp.Diff(ev, parse(t, x.request.Header, again), comparables); diff != "" {
				t.Errorf("event changes when written and read again:\n%s", diff)
			}
			if p := ev.PacketIn; p != nil && len(p.Data) > 0 {
				if frame := flow.ParseFrame(p.Data, p.Match.InPort); frame != p.Match {
					t.Errorf("match is %v\nbut the frame has %v", p.Match, frame)
				}
			}

			if ev.Accepts != 0 && ev.PacketIn != nil { // a gateway's word, as it would give it
				if got, want := members(t, x.event), members(t, again); got != want {
					t.Errorf("the example has %s\nwant %s", got, want)
				}
			}

			if x.answer.StatusCode/100 != 2 {
				return
			}
			valid(t, decisionSchema, x.body)
			var d, back flow.Decision
			if err := (jsonenc.Codec{}).ParseDecision(x.body, ev, &d); err != nil {
				t.Fatal(err)
			}
			if err := contract.GetDecision(x.answer.Header, &d); err != nil {
				t.Fatal(err)
			}
			if again, err = (jsonenc.Codec{}).AppendDecision(nil, ev, &d); err != nil {
				t.Fatal(err)
			}
			valid(t, decisionSchema, again)
			if err := (jsonenc.Codec{}).ParseDecision(again, ev, &back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(d, back, comparables); diff != "" {
				t.Errorf("decision changes when written and read again:\n%s", diff)
			}
		})
	}
	for e := flow.EventPacketIn; e <= flow.EventHandshake; e++ {
		if !seen[e] {
			t.Errorf("no example of %v", e)
		}
	}
}

// members are those that a packet has beside its match.
func members(t *testing.T, event []byte) string {
	t.Helper()
	var e struct {
		Packet struct {
			Incomplete []string       `json:"incomplete"`
			RuleMatch  map[string]any `json:"rule_match"`
		} `json:"packet_in"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(e.Packet.Incomplete, e.Packet.RuleMatch)
}

func parse(t *testing.T, h http.Header, body []byte) *flow.Event {
	t.Helper()
	ev := new(flow.Event)
	if err := contract.GetEvent(h, ev); err != nil {
		t.Fatal(err)
	}
	if err := (jsonenc.Codec{}).ParseEvent(body, ev); err != nil {
		t.Fatal(err)
	}
	return ev
}

// TestMeaningOfExamples says what the packets of the examples get.
func TestMeaningOfExamples(t *testing.T) {
	for name, want := range map[string]string{
		"packet_in": "output:NORMAL", // of the rule that covers it
		"fragment":  "output:NORMAL",
		"digest":    "drop",
		"state":     "set_queue:1,output:FLOOD",
	} {
		x := readExchange(t, docs+"/examples/"+name+".http")
		ev := parse(t, x.request.Header, x.event)
		var d flow.Decision
		if err := (jsonenc.Codec{}).ParseDecision(x.body, ev, &d); err != nil {
			t.Fatal(err)
		}
		actions, _ := d.PacketActions(&ev.PacketIn.Match)
		if got := flow.ActionsString(actions); got != want {
			t.Errorf("%s: packet gets %s, want %s", name, got, want)
		}
	}
}
