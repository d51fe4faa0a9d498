package propose

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// programs are those of this repository, by the path of their files without an ending.
var programs = map[string]string{
	"switchbridge": "../../p4src/switchbridge",
	"l2acl":        "../../p4src/example/l2acl",
	"campus":       "../../p4src/example/campus",
	"classroom":    "../../p4src/example/classroom",
	"next":         "../testdata/next",
	"kinds":        "../testdata/kinds",
}

func load(t testing.TB, name string) *pipeline.Pipeline {
	t.Helper()
	info, err := os.ReadFile(programs[name] + ".p4info.txtpb")
	if err != nil {
		t.Fatal(err)
	}
	js, err := os.ReadFile(programs[name] + ".json")
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.Load(info, js)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func proposed(t testing.TB, name string) *Proposal {
	t.Helper()
	p, err := Propose(load(t, name), name+".p4info.txtpb")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// parsed is a mapping as plain values.
func parsed(t testing.TB, text string) (m map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return m
}

// called has a P4 action's short form, its name alone, for the long one.
func called(actions any) map[string]any {
	list := actions.(map[string]any)
	for sig, a := range list {
		if long, ok := a.(map[string]any); ok && len(long) == 1 {
			list[sig] = long["action"]
		}
	}
	return list
}

// What the compiler made of a program says as much as whoever wrote its mapping by
// hand: of our own program every table, key, action and header field.
func TestOwnProgram(t *testing.T) {
	text, err := os.ReadFile("../mapping/switchbridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	hand, got := parsed(t, string(text)), parsed(t, proposed(t, "switchbridge").YAML())
	tables := func(m map[string]any) map[string]any {
		byName := map[string]any{}
		for _, raw := range m["tables"].([]any) {
			table := raw.(map[string]any)
			byName[table["table"].(string)] = map[string]any{"fields": table["fields"], "actions": called(table["actions"])}
		}
		return byName
	}
	if a, b := tables(hand), tables(got); !reflect.DeepEqual(a, b) {
		t.Errorf("tables:\n%v\nby hand:\n%v", b, a)
	}
	// Its meter is the one thing that no policy shows a use of.
	delete(hand["miss"].(map[string]any), "meter")
	for _, section := range []string{"pipeline", "digest", "packet_in", "packet_out", "miss", "l2", "flood_group", "cpu_port"} {
		if !reflect.DeepEqual(hand[section], got[section]) {
			t.Errorf("%s: %v, by hand %v", section, got[section], hand[section])
		}
	}
}

// The examples' mappings are what is proposed for them, with no line by hand.
func TestExamplesAreProposed(t *testing.T) {
	for _, name := range []string{"campus", "classroom"} {
		want, err := os.ReadFile(programs[name] + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if got := proposed(t, name).YAML(); got != string(want) {
			t.Errorf("%s.yaml is not what is proposed now:\n%s", name, got)
		}
	}
}

// Every proposal fits its program, and says what can be had with it.
func TestProposalsFit(t *testing.T) {
	for name, want := range map[string]struct {
		miss  string
		holds []string
	}{
		"switchbridge": {"punt", []string{"or by digest (miss=digest)", "denies: by address, protocol and port (flow_exact, acl, flow)", "NORMAL by table l2"}},
		"l2acl":        {"punt", []string{"by the default action of table pairs", "denies: not by TCP or UDP port", "NORMAL by table stations"}},
		"campus":       {"punt", []string{"by an entry below all others in table access_list", "denies: by address, protocol and port", "resolved by the gateway"}},
		"classroom":    {"digest", []string{"by digest, by the default action of table flows", "denies: by address, protocol and port (flows, blocked)", "NORMAL by table dmac"}},
		"next":         {"punt", []string{"by packet-in"}},
	} {
		p := proposed(t, name)
		f, err := mapping.Parse(strings.NewReader(p.YAML()), name+".yaml")
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, p.YAML())
			continue
		}
		m, err := f.Bind(load(t, name))
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, p.YAML())
			continue
		}
		if p.Miss() != want.miss {
			t.Errorf("%s: miss %q, want %q", name, p.Miss(), want.miss)
		} else if k, err := mapping.ParseMissKind(p.Miss()); err != nil || !m.Miss.Can(k) {
			t.Errorf("%s: the mapping can't have miss=%s: %v", name, p.Miss(), err)
		}
		for _, s := range want.holds {
			if all := strings.Join(p.Holds(), "\n"); !strings.Contains(all, s) {
				t.Errorf("%s: %q is not said:\n%s", name, s, all)
			}
		}
	}
}

// change edits a program's JSON and proposes a mapping for what comes out.
func change(t *testing.T, name string, edits ...[2]string) *Proposal {
	t.Helper()
	p := load(t, name)
	text := string(p.Device)
	for _, e := range edits {
		changed := strings.ReplaceAll(text, e[0], e[1])
		if changed == text {
			t.Fatalf("%s has no %s", name, e[0])
		}
		text = changed
	}
	p.Device = []byte(text)
	got, err := Propose(p, name)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A proposal follows what a program does, not what its parts are called.
func TestWhatAProgramDoes(t *testing.T) {
	yaml := func(name string, edits ...[2]string) string { return change(t, name, edits...).YAML() }
	for what, c := range map[string]struct {
		text, has, hasNot string
	}{
		// The header called tcp is what the parser takes it for.
		"another protocol": {yaml("classroom", [2]string{`"value" : "0x05000006"`, `"value" : "0x05000084"`}), "meta.dstPort: [udp_dst, sctp_dst]", "tcp_dst"},
		// What is called drop drops nothing.
		"an action that does nothing": {yaml("classroom", [2]string{`"op" : "mark_to_drop"`, `"op" : "count"`}), "table: flows", "drop: drop"},
		"another CPU port":            {yaml("campus", [2]string{"0x00ff", "0x01fe"}), "cpu_port: 510", "cpu_port: 255"},
	} {
		if c.has != "" && !strings.Contains(c.text, c.has) || strings.Contains(c.text, c.hasNot) {
			t.Errorf("%s: want %q and not %q:\n%s", what, c.has, c.hasNot, c.text)
		}
	}
}

// A compiled program that is cut, or has other values than a compiler writes, is
// refused or gives some proposal; it takes neither the process down nor for ever.
func TestBrokenPrograms(t *testing.T) {
	for _, name := range []string{"classroom", "campus"} {
		p := load(t, name)
		var whole any
		if err := json.Unmarshal(p.Device, &whole); err != nil {
			t.Fatal(err)
		}
		var paths []func(any) // each breaks one value
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				for k, old := range v {
					for _, other := range []any{nil, "x", 7.0, []any{}, map[string]any{}} {
						paths = append(paths, func(any) {
							v[k] = other
							b, _ := json.Marshal(whole)
							v[k] = old
							q := *p
							q.Device = b
							_, _ = Propose(&q, name) // no panic
						})
					}
					walk(old)
				}
			case []any:
				for _, x := range v {
					walk(x)
				}
			}
		}
		walk(whole)
		step := max(1, len(paths)/40) // a sample of some thousands
		for i := 0; i < len(paths); i += step {
			func() {
				defer func() {
					if r := recover(); r != nil {
						panic(fmt.Sprint(name, " case ", i, ": ", r))
					}
				}()
				paths[i](nil)
			}()
		}
	}
}

// What a policy relies on is said, and what would undo it: by what a program does
// after a table, before it, and in its parser.
func TestWhatUndoesAPolicy(t *testing.T) {
	has := func(what string, p *Proposal, want, not string) {
		t.Helper()
		all := p.YAML()
		if !strings.Contains(all, want) || not != "" && strings.Contains(all, not) {
			t.Errorf("%s: want %q and not %q:\n%s", what, want, not, all)
		}
	}
	// What `blocked` drops goes on to the table of stations, which floods it, or sends it out again once it has
	// stations.
	undone := [2]string{`"__HIT__" : null`, `"__HIT__" : "MyIngress.dmac"`}
	has("a drop that is undone", change(t, "classroom", undone), "denies: by address, protocol and port (flows).", "table: blocked")
	has("a drop that will be undone", change(t, "classroom", undone, [2]string{`["standard_metadata", "mcast_grp"]`, `["scalars", "nothing"]`}),
		"blocked holds no rules: drop: drop is undone by entries of dmac", "table: blocked")
	// The parser does not look whether the ports are where it takes them from.
	has("options", change(t, "classroom", [2]string{`"value" : ["ipv4", "ihl"]`, `"value" : ["ipv4", "version"]`}),
		"In IPv4 packets with options the program", "later fragments")
	has("fragments", change(t, "classroom", [2]string{`"value" : ["ipv4", "fragOffset"]`, `"value" : ["ipv4", "identification"]`}),
		"In IPv4 packets that are later fragments the program", "with options")
	has("neither", proposed(t, "classroom"), "denies: by address", "In IPv4 packets")
	// It names the header's length and the offset, and a mask takes one of them out again.
	masked := func(what, mask, want, not string) {
		edits := [][2]string{}
		for _, v := range []string{"0x05000006", "0x05000011"} {
			edits = append(edits, [2]string{"\"value\" : \"" + v + "\",\n              \"mask\" : null", "\"value\" : \"" + v + "\", \"mask\" : \"" + mask + "\""})
		}
		has(what, change(t, "next", edits...), want, not)
		has(what, change(t, "next", edits...), "l4_dst: [tcp_dst, udp_dst]", "")
	}
	masked("all masked out", "0x000000ff", "with options, and in those that are later fragments the program", "")
	masked("the length masked out", "0x001fffff", "In IPv4 packets with options the program", "later fragments")
	masked("a bit of the length masked out", "0x071fffff", "In IPv4 packets with options the program", "later fragments")
	masked("the offset masked out", "0x0f0000ff", "In IPv4 packets that are later fragments the program", "with options")
	masked("a bit of the offset masked out", "0x0f0fffff", "In IPv4 packets that are later fragments the program", "with options")
	masked("nothing masked out", "0x0fffffff", "denies: by address, protocol and port", "In IPv4 packets")
	has("another length", change(t, "next", [2]string{"0x05000006", "0x06000006"}), "In IPv4 packets with options the program", "later fragments")
	has("another offset", change(t, "next", [2]string{"0x05000006", "0x05000106"}), "In IPv4 packets that are later fragments the program", "with options")
	// A condition before the tables, which sends other packets than IPv4 elsewhere.
	first := func(next string) *Proposal {
		return change(t, "classroom",
			[2]string{`"init_table" : "MyIngress.blocked"`, `"init_table" : "first"`},
			[2]string{`"conditionals" : []`, `"conditionals" : [{"name": "first", "expression": {"type": "expression", "value": {"op": "d2b", "left": null,
				"right": {"type": "field", "value": ["ipv4", "$valid$"]}}}, "true_next": "MyIngress.blocked", "false_next": ` + next + `}]`})
	}
	has("packets that are forwarded unasked", first(`"MyIngress.dmac"`), "Not governed: the program forwards packets of these kinds without asking: other EtherTypes", "")
	has("a table that no packet comes to", change(t, "classroom", [2]string{`"init_table" : "MyIngress.blocked"`, `"init_table" : null`}),
		"asks: not at all. Table flows could, but no packet comes to it while the tables before it are empty.", "")
	has("packets that are lost", first("null"), "The program drops packets of these kinds before it asks: other EtherTypes", "Not governed")
}

// Arrays of headers are followed as far as they are long. Where packet_in or packet_out is one, nothing can be had by packets, whatever a mapping says.
func TestArraysOfHeaders(t *testing.T) {
	stack := func(name string, id string) [2]string {
		return [2]string{`"header_stacks" : []`, `"header_stacks" : [{"name": "` + name + `", "id": 0, "header_type": "any", "size": 1, "header_ids": [` + id + `]}]`}
	}
	const field, last = "\"type\" : \"field\",\n                  \"value\" : [\"vlan\", \"", "\"type\" : \"stack_field\",\n                  \"value\" : [\"tags\", \""
	tags := change(t, "next", stack("tags", "5"),
		[2]string{"\"type\" : \"regular\",\n                  \"value\" : \"vlan\"", "\"type\" : \"stack\",\n                  \"value\" : \"tags\""},
		[2]string{field + "kind", last + "kind"}, [2]string{field + "id", last + "id"},
		[2]string{"\"type\" : \"field\",\n              \"value\" : [\"vlan\", \"kind\"]", "\"type\" : \"stack_field\",\n              \"value\" : [\"tags\", \"kind\"]"})
	_, want, _ := strings.Cut(proposed(t, "next").YAML(), "\npipeline:")
	if _, got, _ := strings.Cut(tags.YAML(), "\npipeline:"); got != want {
		t.Errorf("with its tag in an array of one the proposal is\n%s\nand without\n%s", got, want)
	}
	for name, id := range map[string]string{"packet_in": "2", "packet_out": "3"} {
		p := change(t, "next", stack("controller", id))
		said := strings.Join(p.Holds(), "\n")
		if p.Miss() != "" || p.Governs() == nil || !strings.Contains(said, "asks: not at all. Table acl could, but "+name+" is an array of headers.") {
			t.Errorf("%s is an array: miss %q, %v\n%s", name, p.Miss(), p.Governs(), said)
		}
		pl := load(t, "next")
		pl.Device = []byte(strings.Replace(string(pl.Device), stack("controller", id)[0], stack("controller", id)[1], 1))
		if list := Cautions(pl, true); len(list) != 1 || !strings.HasPrefix(list[0], name+" is an array of headers.") {
			t.Errorf("%s is an array, and with a mapping of somebody's %q is said", name, list)
		}
	}
}

// What a parser does stays so under any mapping, if that has rules of ports.
func TestCautions(t *testing.T) {
	pl := load(t, "next")
	if list := Cautions(pl, true); list != nil {
		t.Errorf("of a parser that looks: %q", list)
	}
	pl.Device = []byte(strings.ReplaceAll(string(pl.Device), "0x05000006", "0x06000006"))
	if list := Cautions(pl, true); len(list) != 1 || !strings.HasPrefix(list[0], "In IPv4 packets with options the program takes") {
		t.Errorf("%q", list)
	}
	if list := Cautions(pl, false); list != nil {
		t.Errorf("without rules of ports: %q", list)
	}
	pl.Device = []byte("no JSON")
	if list := Cautions(pl, true); len(list) != 1 || !strings.Contains(list[0], "is not known") {
		t.Errorf("of another target's program: %q", list)
	}
}

// The header's length and the offset may be looked at in other ways than by a key of the parser's.
func TestOtherWaysToLook(t *testing.T) {
	said := func(edits ...[2]string) string { return strings.Join(change(t, "next", edits...).loose, ", ") }
	const options, fragments = "with options", "that are later fragments"
	// All in a mask, so that only what is put behind the header's extraction looks.
	masked := [][2]string{}
	for _, v := range []string{"0x05000006", "0x05000011"} {
		masked = append(masked, [2]string{"\"value\" : \"" + v + "\",\n              \"mask\" : null", "\"value\" : \"" + v + "\", \"mask\" : \"0x000000ff\""})
	}
	behind := func(op string) [][2]string {
		const extract = "\"value\" : \"ipv4\"\n                }\n              ],\n              \"op\" : \"extract\"\n            },"
		return append(masked, [2]string{extract, extract + op + ","})
	}
	field := func(name string) string { return `{"type": "field", "value": ["ipv4", "` + name + `"]}` }
	number := func(n string) string { return `{"type": "hexstr", "value": "` + n + `"}` }
	binary := func(op, l, r string) string {
		return `{"type": "expression", "value": {"op": "` + op + `", "left": ` + l + `, "right": ` + r + `}}`
	}
	verify := func(check string) string {
		return `{"op": "verify", "parameters": [` + check + `, ` + number("0x1") + `]}`
	}
	long := binary("*", binary("-", field("ihl"), number("0x5")), number("0x20"))
	for what, c := range map[string]struct{ got, want string }{
		"nothing looks":            {said(masked...), options + ", " + fragments},
		"a check of the length":    {said(behind(verify(binary("==", field("ihl"), number("0x5"))))...), fragments},
		"a check that is too weak": {said(behind(verify(binary(">", field("ihl"), number("0x4"))))...), options + ", " + fragments},
		"a check of the offset":    {said(behind(verify(binary("==", field("offset"), number("0x0"))))...), options},
		"a check of both":          {said(behind(verify(binary("and", binary("==", field("ihl"), number("0x5")), binary("==", field("offset"), number("0x0")))))...), ""},
		"a step over the options":  {said(behind(`{"op": "advance", "parameters": [` + long + `]}`)...), fragments},
		"a header for the options": {said(behind(`{"op": "extract_VL", "parameters": [{"type": "regular", "value": "vlan"}, ` + long + `]}`)...), fragments},
		"a step that is too short": {said(behind(`{"op": "advance", "parameters": [` + binary("*", field("ihl"), number("0x20")) + `]}`)...), options + ", " + fragments},
		"an offset with its flags": {said([2]string{`["flags", 3, false],`, ``}, [2]string{`["offset", 13, false]`, `["offset", 16, false]`}), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: the ports are said to be taken from elsewhere in packets %q, want %q", what, c.got, c.want)
		}
	}
}
