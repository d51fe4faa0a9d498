package jsonenc

import (
	"encoding/json"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"switchbridge/flow"
)

// The actions that the gateway knows, the schema and the contract's table are the
// same ones, in JSON's words.
func TestActionsAgree(t *testing.T) {
	want := []string{"METER", "GOTO_TABLE"} // members of a rule
	for typ := flow.ActionType(1); typ < flow.Unsupported; typ++ {
		if strings.HasPrefix(typ.String(), "action ") {
			continue // a number that is free
		}
		a := flow.Action{Type: typ, ID: 1, Value: 1, IPProto: 6, Port: 1, Addr: netip.AddrFrom4([4]byte{10, 0, 0, 1})}
		if typ == flow.PushVLAN {
			a.Value = flow.EthTypeVLAN
		}
		w := writer{}
		w.action(&a)
		var got struct{ Type string }
		if err := json.Unmarshal(w.b, &got); err != nil || got.Type == "" {
			t.Fatalf("%v: %s: %v", typ, w.b, err)
		}
		want = append(want, got.Type)
	}
	slices.Sort(want)
	want = slices.Compact(want)

	text, err := os.ReadFile("../../../docs/contract.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	var got []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if typ, ok := v["type"].(map[string]any); ok {
				if one, ok := typ["const"].(string); ok {
					got = append(got, one)
				}
				some, _ := typ["enum"].([]any)
				for _, e := range some {
					got = append(got, e.(string))
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(schema.Defs["action"])
	walk(schema.Defs["instruction"])
	if slices.Sort(got); !slices.Equal(slices.Compact(got), want) {
		t.Errorf("the schema has the actions %q, want %q", got, want)
	}

	text, err = os.ReadFile("../../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| action | members |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	got = nil
	for line := range strings.Lines(table) {
		for _, m := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(strings.Split(line, "|")[1], -1) {
			got = append(got, m[1])
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("the contract has the actions %q, want %q", got, want)
	}
}
