package header

import (
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/policy/syntax"
	"switchbridge/policy/wire"
)

func parseMatchOf(key, value string) (Condition, syntax.Errors) {
	f := &syntax.File{Name: "test"}
	c := ParseCondition(f, &syntax.Node{Shape: syntax.Mapping, Content: []*syntax.Node{{Value: key}, {Value: value}}}, "match")
	return c, f.Errs
}

// Each field that a rule may look at has keys, which README.md names, refuses
// what it has no room for, and comes back from a compiled policy.
func TestKeys(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "| match | values |")
	table, _, _ = strings.Cut(table, "\n\n")
	_, errs := parseMatchOf("none", "")
	_, list, _ := strings.Cut(errs.Error(), "want one of ")
	keys := strings.Split(list, ", ")

	var reached flow.Field
	for _, key := range keys {
		if !strings.Contains(table, "`"+key+"`") {
			t.Errorf("README.md does not have %s", key)
		}
		good := 0
		for _, value := range []string{"3", "0x0800", "02:00:00:00:00:01", "10.0.0.0/8", "fe80::1"} {
			c, errs := parseMatchOf(key, value)
			if len(errs) > 0 {
				continue
			}
			good++
			if c.fields() == 0 {
				t.Errorf("%s: %s says nothing", key, value)
			}
			reached |= c.fields()
			checkBack(t, c)
		}
		if good == 0 {
			t.Errorf("%s takes no value", key)
		}
		for _, value := range []string{"0x100000000", "-1", "02:00:00:00:00", "fe80::1%eth0", "::ffff:10.0.0.1", "10.0.0.1/8", "x"} {
			if c, errs := parseMatchOf(key, value); len(errs) == 0 {
				t.Errorf("%s: %s is taken for %v", key, value, c.Header)
			}
		}
	}
	checkBack(t, Condition{})
	if reached != ruleFields {
		t.Errorf("no key for %v", ruleFields&^reached)
	}
}

// checkBack has a compiled rule of nothing but a match read back.
func checkBack(t *testing.T, c Condition) {
	t.Helper()
	w := wire.NewWriter(nil)
	(&Config{Rules: []Rule{{Match: c}}}).Write(w)
	r := wire.NewReader(w.Bytes())
	if back := (Kind{}).Read(r).(*Config); r.Err() != nil || r.Left() != 0 || !reflect.DeepEqual(back.Rules[0].Match, c) {
		t.Errorf("%v is read back as %+v, %v", c.Header, back, r.Err())
	}
}

// What a compiled policy may say and no file can is refused as well.
func TestConditionRefuses(t *testing.T) {
	for i := range flow.Fields {
		x := &flow.Fields[i]
		var c Condition
		switch x.Kind {
		case flow.Number8, flow.Number16, flow.Number32:
			if x.SetNumber(&c.Header, x.Ones()+1, 0); c.Header.Beyond() == 0 {
				continue // it has room for no more than its bits
			}
		case flow.IPv6:
			c.Header.SetICMP(135, 0)
			c.Header.SetIPProto(flow.ProtoICMPv6)
			x.SetAddr(&c.Header, v4s[0])
		case flow.Prefix:
			if x.Need != flow.NeedARP {
				continue
			}
			x.SetPrefix(&c.Header, netip.PrefixFrom(v6s[0], 128))
		case flow.Number64:
			x.SetNumber(&c.Header, 1, 1)
		default:
			continue
		}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), x.Name) {
			t.Errorf("%v: error %v, want one that names %s", c.Header, err, x.Name)
		}
	}
	var c Condition
	c.Header.Fields |= flow.FieldNDTarget
	c.Header.NDTarget = v6s[0]
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "icmp_type 135 or 136") {
		t.Errorf("a target of no message: %v", err)
	}
}
