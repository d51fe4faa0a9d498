package mapping_test

import (
	"errors"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4src"
)

func TestDirect(t *testing.T) {
	p := p4src.L2ACL()
	acl := func(change func(*flow.Entry)) *flow.Entry {
		e := &flow.Entry{Table: "access_list", Priority: 5, Action: "deny",
			Match: map[string]string{"is_ip": "1", "from": "10.0.0.0/8", "to": "0x0a000001", "proto": "6..17", "port": "3"}}
		if change != nil {
			change(e)
		}
		return e
	}
	e, table, err := mapping.Direct(p, acl(nil))
	if err != nil || table.Name != "access_list" || len(e.GetMatch()) != 5 {
		t.Fatalf("%v, %v", e, err)
	}
	for want, change := range map[string]func(*flow.Entry){
		`no table "acl"`:             func(e *flow.Entry) { e.Table = "acl" },
		`no key "source"`:            func(e *flow.Entry) { e.Match["source"] = "1" },
		"key is_ip is compared":      func(e *flow.Entry) { delete(e.Match, "is_ip") },
		"prefix length":              func(e *flow.Entry) { e.Match["from"] = "10.0.0.0/33" },
		"bits that the mask lacks":   func(e *flow.Entry) { e.Match["from"] = "10.0.0.1/8" },
		"the range is empty":         func(e *flow.Entry) { e.Match["proto"] = "9..3" },
		"where the key is exact":     func(e *flow.Entry) { e.Match["is_ip"] = "0..1" },
		"has 9 bits":                 func(e *flow.Entry) { e.Match["proto"] = "256" },
		"a mask, where":              func(e *flow.Entry) { e.Match["port"] = "2/0x2" },
		"is no number":               func(e *flow.Entry) { e.Match["port"] = "-1" },
		"priority 0":                 func(e *flow.Entry) { e.Priority = 0 },
		`no action "drop"`:           func(e *flow.Entry) { e.Action = "drop" },
		"parameter egress: no value": func(e *flow.Entry) { e.Action = "forward" },
		`has no parameter "egres"`:   func(e *flow.Entry) { e.Action = "forward"; e.Params = map[string]string{"egres": "1"} },
		"a value of 2000 characters": func(e *flow.Entry) { e.Match["port"] = strings.Repeat("1", 2000) },
	} {
		if _, _, err := mapping.Direct(p, acl(change)); !errors.Is(err, mapping.ErrNoFit) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}

// FuzzDirect: what a function writes is checked, whatever it is.
func FuzzDirect(f *testing.F) {
	f.Add("10.0.0.0/8", "6..17", "0x3")
	f.Add("0a:00:00:00:00:01", "1", "999999999999999999999999999999")
	f.Fuzz(func(t *testing.T, from, proto, port string) {
		_, _, _ = mapping.Direct(p4src.L2ACL(), &flow.Entry{Table: "access_list", Priority: 5, Action: "forward", Params: map[string]string{"egress": port},
			Match: map[string]string{"is_ip": "1", "from": from, "proto": proto}})
	})
}
