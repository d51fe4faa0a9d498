package pipeline_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/p4lang/p4runtime/go/p4/config/v1"

	"switchbridge/p4bridge/pipeline"
	"switchbridge/p4src"
)

// text returns our program's P4Info after a change.
func text(t testing.TB, change func(*configv1.P4Info)) []byte {
	t.Helper()
	info := proto.CloneOf(p4src.Switchbridge().Info)
	if change != nil {
		change(info)
	}
	b, err := prototext.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLoadRefuses(t *testing.T) {
	device := p4src.Switchbridge().Device
	for name, c := range map[string]struct {
		info   []byte
		device []byte
		want   string
	}{
		"another program's JSON": {text(t, nil), p4src.L2ACL().Device, "table switch_ingress.acl is in P4Info only"},
		"no JSON":                {text(t, nil), []byte("x"), "not BMv2 JSON"},
		"garbage":                {[]byte("\xff\xff"), device, "neither text nor binary"},
		"a key less":             {text(t, func(i *configv1.P4Info) { i.Tables[1].MatchFields = i.Tables[1].MatchFields[1:] }), device, "flow_exact has 9 keys in P4Info and 10"},
		"another match type": {text(t, func(i *configv1.P4Info) {
			i.Tables[1].MatchFields[0].Match = &configv1.MatchField_MatchType_{MatchType: configv1.MatchField_LPM}
		}), device, "in_port is lpm in P4Info and exact"},
		"an action that is nowhere": {text(t, func(i *configv1.P4Info) { i.Actions = i.Actions[1:] }), device, "is not described"},
		"two tables of one id":      {text(t, func(i *configv1.P4Info) { i.Tables[0].Preamble.Id = i.Tables[1].Preamble.Id }), device, "two tables have the id"},
		"a digest without a layout": {text(t, func(i *configv1.P4Info) { i.TypeInfo = nil }), device, `struct "miss_t" is not described`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pipeline.Load(c.info, c.device)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}

func TestCookieTellsProgramsApart(t *testing.T) {
	a, err := pipeline.Load(text(t, nil), p4src.Switchbridge().Device)
	if err != nil {
		t.Fatal(err)
	}
	if a.Cookie != p4src.Switchbridge().Cookie {
		t.Error("the same program has two cookies")
	}
	b, err := pipeline.Load(text(t, func(i *configv1.P4Info) { i.Tables[0].Size++ }), p4src.Switchbridge().Device)
	if err != nil {
		t.Fatal(err)
	}
	if a.Cookie == b.Cookie || b.Cookie == 0 {
		t.Errorf("cookies %#x and %#x of two programs", a.Cookie, b.Cookie)
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		in    []byte
		width int
		want  []byte // nil: refused
	}{
		{[]byte{0}, 9, []byte{0, 0}},
		{[]byte{1, 0xff}, 9, []byte{1, 0xff}},
		{[]byte{2, 0}, 9, nil},
		{[]byte{0, 0, 0, 1, 0xff}, 9, []byte{1, 0xff}},
		{[]byte{}, 9, nil},
		{[]byte{1}, 48, []byte{0, 0, 0, 0, 0, 1}},
		{[]byte{1}, 1, []byte{1}},
		{[]byte{2}, 1, nil},
	} {
		got, err := pipeline.Pad(c.in, c.width)
		if (err != nil) != (c.want == nil) || !bytes.Equal(got, c.want) {
			t.Errorf("Pad(%x, %d) = %x, %v; want %x", c.in, c.width, got, err, c.want)
		}
	}
	if _, err := pipeline.Uint(512, 9); err == nil {
		t.Error("512 fits in 9 bits")
	}
	if got := pipeline.Ones(13); !bytes.Equal(got, []byte{0x1f, 0xff}) {
		t.Errorf("Ones(13) = %x", got)
	}
}

// FuzzPad: what is padded has the width, and its canonical form is the input's.
func FuzzPad(f *testing.F) {
	f.Add([]byte{0, 1}, 9)
	f.Add([]byte{0xff}, 8)
	f.Fuzz(func(t *testing.T, b []byte, width int) {
		if width < 1 || width > 2048 {
			return
		}
		out, err := pipeline.Pad(b, width)
		if err != nil {
			return
		}
		if len(out) != (width+7)/8 || !bytes.Equal(pipeline.Canonical(out), pipeline.Canonical(b)) {
			t.Errorf("Pad(%x, %d) = %x", b, width, out)
		}
	})
}

// FuzzLoad: no P4Info, however odd, gets more than an error.
func FuzzLoad(f *testing.F) {
	b, _ := proto.Marshal(p4src.Switchbridge().Info)
	f.Add(b)
	b, _ = proto.Marshal(p4src.L2ACL().Info)
	f.Add(b)
	f.Fuzz(func(t *testing.T, info []byte) {
		if p, err := pipeline.Load(info, nil); err == nil && p.Cookie == 0 {
			t.Error("a cookie of 0 means no program")
		}
	})
}

// A device configuration that is none is refused in its own words.
func TestDeviceConfigurationThatIsNone(t *testing.T) {
	for device, want := range map[string]string{
		`{"pipelines": 3}`:                       "pipelines is of JSON's type number",
		`{"pipelines": [{"tables": "x"}]}`:       "pipelines.tables is of JSON's type string",
		`[]`:                                     "all of it is of JSON's type array",
		`{"pipelines": [{"conditionals": [1]}]}`: "pipelines.conditionals is of JSON's type number",
		`{`:                                      "unexpected EOF",
	} {
		_, err := pipeline.Load(text(t, nil), []byte(device))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Go ") || strings.Contains(err.Error(), "struct") {
			t.Errorf("%s: error %v, want one that says %q", device, err, want)
		}
	}
}

// What can't be read or written is a problem of who uses it, and of nobody else.
func TestProblemsOfSingleValues(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*configv1.P4Info)
		want   string
	}{
		"a width of zero":         {func(i *configv1.P4Info) { i.Tables[0].MatchFields[0].Bitwidth = 0 }, "in_port: it is 0 bits wide, want 1 to 2048"},
		"a width of four billion": {func(i *configv1.P4Info) { i.Tables[0].MatchFields[0].Bitwidth = -1 }, "in_port: it is -1 bits wide, want 1 to 2048"},
		"a kind of the target's own": {func(i *configv1.P4Info) {
			i.Tables[0].MatchFields[0].Match = &configv1.MatchField_OtherMatchType{OtherMatchType: "selector"}
		}, "in_port: its match type selector is not supported"},
	} {
		p, err := pipeline.Load(text(t, c.change), p4src.Switchbridge().Device)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := p.Tables[0].Fields[0].Usable(); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
