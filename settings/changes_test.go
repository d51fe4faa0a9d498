package settings

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// What can't change while the gateway runs stays, and is named.
func TestMerge(t *testing.T) {
	parse := func(text string) *Settings {
		t.Helper()
		s, err := Parse(strings.NewReader(text), "/etc/switchbridge.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	now := parse("guardrails: {max_rules: 3}\nopenflow: {gateway_id: 7}\n")
	next := parse(`guardrails: {max_rules: 4, tables: [0]}
limits: {per_port: {rate: 5}}
openflow: {gateway_id: 8, listen: ["tcp:127.0.0.1:7000"], meters: []}
function: {urls: ["https://f.example/"], timeout: 1s}
routes: []
`)
	merged, changed, restart := Merge(now, next)
	if want := []string{"openflow.listen", "openflow.gateway_id"}; !slices.Equal(restart, want) {
		t.Errorf("need a restart: %q, want %q", restart, want)
	}
	if want := []string{"function.urls", "function.timeout", "guardrails.tables", "guardrails.max_rules", "limits.per_port.rate"}; !slices.Equal(changed, want) {
		t.Errorf("changed: %q, want %q", changed, want)
	}
	if merged.OpenFlow.GatewayID != 7 || merged.OpenFlow.Listen[0].Address != "127.0.0.1:6653" || merged.Guardrails.MaxRules != 4 ||
		merged.Function.Timeout != time.Second || now.Guardrails.MaxRules != 3 || next.OpenFlow.GatewayID != 8 {
		t.Errorf("merged %+v", merged)
	}
	if _, changed, restart = Merge(merged, merged); changed != nil || restart != nil {
		t.Errorf("of itself: %q, %q", changed, restart)
	}
}

// Every key that is said to be live is one of the file's.
func TestLiveKeys(t *testing.T) {
	var all []string
	var list func(prefix string, typ reflect.Type)
	list = func(prefix string, typ reflect.Type) {
		for i := range typ.NumField() {
			key := prefix + typ.Field(i).Tag.Get("yaml")
			all = append(all, key)
			if f := typ.Field(i).Type; f.Kind() == reflect.Struct {
				list(key+".", f)
			}
		}
	}
	list("", reflect.TypeFor[Settings]())
	for _, key := range live {
		if !slices.Contains(all, key) {
			t.Errorf("there is no key %s", key)
		}
	}
}
