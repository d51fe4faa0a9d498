package settings

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// leaves returns the keys of a type that have no keys below them. A list's are of
// one of its elements.
func leaves(path string, t reflect.Type) map[string]reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	all := map[string]reflect.Type{}
	switch {
	case t.Kind() == reflect.Struct && t != reflect.TypeFor[Listen]():
		for i := range t.NumField() {
			for k, v := range leaves(strings.TrimPrefix(path+"."+t.Field(i).Tag.Get("yaml"), "."), t.Field(i).Type) {
				all[k] = v
			}
		}
	case t.Kind() == reflect.Slice:
		return leaves(path+"[]", t.Elem())
	default:
		all[path] = t
	}
	return all
}

// besides is what a part of the file also needs.
var besides = map[string][]string{
	"openflow.tls":      {"client_ca: ca.pem"},
	"openflow.meters[]": {"id: 1", "rate: 1", "unit: pktps"},
	"routes[]":          {"name: a"},
	"pair":              {"listen: h:1", "peer: h:2", "cert: a", "key: a", "ca: a"},
	"routes[].function": {`urls: ["https://x"]`},
	"shadow.function":   {`urls: ["https://x"]`},
	"p4.switches[]":     {"device: 1", "address: h:1", "miss_rate: 1"},
}

// fileWith returns a file in which key has value, and the line it is in.
func fileWith(key, value string) (text string, line int) {
	var lines []string
	indent, path, dash := "", "", ""
	add := func(s string) {
		lines = append(lines, indent+dash+s)
		if dash != "" {
			indent, dash = indent+"  ", ""
		}
	}
	parts := strings.Split(key, ".")
	for i, part := range parts {
		name, list := strings.CutSuffix(part, "[]")
		path = strings.TrimPrefix(path+"."+part, ".")
		switch {
		case i == len(parts)-1 && list:
			add(name + ":")
			lines = append(lines, indent+"- "+value)
			return strings.Join(lines, "\n"), len(lines)
		case i == len(parts)-1:
			add(name + ": " + value)
			return strings.Join(lines, "\n"), len(lines)
		}
		add(name + ":")
		if list {
			dash = "- "
		} else {
			indent += "  "
		}
		for _, other := range besides[path] {
			if k, _, _ := strings.Cut(other, ":"); k != strings.TrimSuffix(parts[i+1], "[]") {
				add(other)
			}
		}
	}
	return "", 0
}

// Every number, time, address and word of the file that can't be right is refused,
// with its line and in the file's words. A new key must be in one of the lists.
func TestEveryKeyIsChecked(t *testing.T) {
	const longest = "100000h"
	function := map[string][]string{
		"urls[]":   {"ftp://x", "x", `"https://x:99999"`, `"https://x:0"`, `"https://:443"`, `"https://x y"`, `"https://300.1.1.1"`},
		"encoding": {"xml"}, "protocol": {"http3", "1"},
		"connections": {"0", "-1", "1001", "x"}, "concurrency": {"0", "-1", "100001", "1.5"},
		"connection_age": {"0s", "-1s", "1ms", longest, "5"}, "timeout": {"0s", "-1s", longest, "5"}, "try_timeout": {"0s", "-1s", longest, "5"},
		"hedge_after": {"-1ms", longest, "5"}, "policy_check": {"-1s", longest, "5"},
		"budget.per_hour": {"-1", "2147483648", "1.5", "x"}, "budget.per_day": {"-1", "2147483648", "1.5", "x"}, "budget.alarm": {"-0.1", "1.1", ".nan", "x"}, "budget.beyond": {"drop"},
	}
	addresses := []string{`"tcp:127.0.0.1:99999"`, `"tcp:127.0.0.1:-1"`, `"tcp:127.0.0.1"`, `"tcp:256.0.0.1:1"`, `"ssl:h:x"`, `"unix:"`, "6653", `"tcp:a b:1"`, `"tcp:::1:6653"`, `"ssl:127.0.0.1:6653"`}
	duration := []string{"0s", "-1s", "1us", longest, "5", "soon"}
	numbers := func(beyond ...string) []string { return append(beyond, "-1", "x", "0x", "1_0", "010") }
	ruleTime := []string{"0s", "-1s", "999ms", "18h12m16s", "5"}
	rate := []string{"-1", ".nan", ".inf", "1e10", "x"}
	wrong := map[string][]string{
		"openflow.listen[]": addresses, "openflow.versions[]": {"1.5", "1"}, "openflow.gateway_id": numbers("0", "65535", "65536"),
		"openflow.tls.bind[].dpids[]": {"12", `"000000000000000g"`}, "openflow.meters[].id": numbers("0", "0xffff0001", "4294967296"),
		"openflow.meters[].rate": numbers("0", "4294967296"), "openflow.meters[].unit": {"mbps"}, "openflow.meters[].burst": numbers("4294967296"),
		"openflow.miss_meter": numbers("7"), "openflow.vlan_limit": numbers("0", "3", "300"), "openflow.subscribe[]": {"packet_in"},
		"openflow.handshake": {"half"}, "openflow.echo_interval": duration, "openflow.echo_timeout": duration, "openflow.handshake_timeout": duration,
		"openflow.write_timeout": duration, "openflow.drain_timeout": duration, "openflow.max_sessions": numbers("0", "1000001"),
		"openflow.max_per_address": numbers("0", "1000001"), "openflow.poll": {"-0.1", "1.1", ".nan", "half"},
		"routes[].switches[]": {"12"}, "routes[].ports[]": numbers("0", "0xffffff01", "4294967296"), "routes[].eth_types[]": numbers("0", "1500", "65536"), "routes[].ip_protos[]": numbers("256"),
		"p4.switches[].device": numbers("0"), "p4.switches[].address": {`"h:99999"`, `"h:0"`, "h", `":1"`, `"h h:1"`, `"1.2.3:1"`},
		"p4.switches[].ports[]": numbers("0", "65537"), "p4.switches[].miss": {"later"}, "p4.switches[].miss_rate": numbers("1000000001"),
		"p4.switches[].miss_burst": numbers("1000000001"), "p4.switches[].election": numbers(), "p4.switches[].dpid": numbers(),
		"pair.listen": {`"h:99999"`, "h"}, "pair.peer": {`"h:99999"`, "h", `"h:0"`}, "pair.member": numbers("2"), "pair.timeout": {"0s", "-1s", longest, "5", "199ms"},
		"fail_mode.default": {"open"}, "fail_mode.switches": {"{xyz: secure}", `{"0000000000000001": open}`},
		"guardrails.tables[]": numbers("255", "256"), "guardrails.min_priority": numbers("65536", "60001"), "guardrails.max_priority": numbers("65536"),
		"guardrails.max_rules": numbers("0", "65536"), "guardrails.hard_timeout": append(ruleTime, "2h"), "guardrails.max_hard_timeout": ruleTime, "guardrails.max_conversation": {"-1s", "999ms", longest, "5"},
		"limits.queue": numbers("0", "1000001"), "admin.listen": {`"127.0.0.1:99999"`, "here", `"127.0.0.1:x"`, `"1.2.3.400:1"`}, "admin.hosts[]": {"http://x", `"x:80"`, `"a b"`},
		"state.url": {"ftp://x", `"redis://"`, "bbolt", `"nats://h:99999"`}, "state.on_failure": {"open"}, "state.entries": numbers("0", "100000001"), "state.bytes": numbers("0", "1099511627777"),
		"state.timeout": {"0s", "-1s", longest, "5"}, "state.staleness": {"0s", "999ms", "2h", longest, "5"},
		"tracing.endpoint": {"collector:4318", `"grpc://c:4317"`, `"https://"`, `"http://user@c:4318"`}, "tracing.sample": {"-0.1", "1.1", ".nan", "x"},
		"log.format": {"xml"}, "log.level": {"loud"}, "log.decisions": {"some"}, "log.decisions_rate": numbers("1000001"),
		"log.records_size": numbers("0", "1048577"), "log.records_keep": numbers("1001"),
	}
	for _, bucket := range []string{"per_switch", "per_port", "essentials", "incomplete"} {
		wrong["limits."+bucket+".rate"], wrong["limits."+bucket+".burst"] = rate, numbers("1000000001")
	}
	for k, values := range function {
		wrong["function."+k], wrong["routes[].function."+k], wrong["shadow.function."+k] = values, values, values
	}
	// Names and files: any text may be one.
	texts := []string{"openflow.tls.cert", "openflow.tls.key", "openflow.tls.client_ca", "openflow.tls.bind[].name", "routes[].name", "policy", "shadow.policy", "admin.token_file",
		"admin.tls.cert", "admin.tls.key", "admin.tls.client_ca", "log.records", "p4.switches[].role", "p4.switches[].p4info", "p4.switches[].json", "p4.switches[].mapping",
		"p4.switches[].tls.ca", "p4.switches[].tls.cert", "p4.switches[].tls.key", "p4.switches[].tls.server_name", "pair.cert", "pair.key", "pair.ca",
		"state.password_file", "state.ca", "state.cert", "state.key", "state.seal_file"}
	for _, f := range []string{"function.", "routes[].function.", "shadow.function."} {
		for _, k := range []string{"token_file", "ca", "cert", "key"} {
			texts = append(texts, f+k)
		}
	}
	keys := leaves("", reflect.TypeFor[Settings]())
	for key, typ := range keys {
		values := wrong[key]
		switch {
		case typ.Kind() == reflect.Bool && values == nil:
			values = []string{"maybe", "1"}
		case slices.Contains(texts, key):
			continue
		case values == nil:
			t.Errorf("no wrong values of %s (%v) are tried", key, typ)
		case typ == reflect.TypeFor[time.Duration]() && !slices.Contains(values, longest) && !strings.Contains(key, "hard_timeout"):
			t.Errorf("%s: no long time is tried", key)
		}
		for _, v := range values {
			text, line := fileWith(key, v)
			_, err := Parse(strings.NewReader(text), "sb.yaml")
			if err == nil {
				t.Errorf("%s: %s is taken\n%s", key, v, text)
				continue
			}
			name := strings.TrimSuffix(key[strings.LastIndex(key, ".")+1:], "[]")
			words := strings.Fields(strings.Trim(v, `"{}`))
			said := strings.Contains(err.Error(), name) || strings.Contains(err.Error(), words[len(words)-1])
			if !strings.HasPrefix(err.Error(), fmt.Sprintf("sb.yaml: line %d: ", line)) || !said || strings.Contains(err.Error(), "settings.") {
				t.Errorf("%s: %s: error %q, want one about line %d\n%s", key, v, err, line, text)
			}
		}
	}
	for key := range wrong {
		if _, ok := keys[key]; !ok {
			t.Errorf("there is no key %s", key)
		}
	}
}
