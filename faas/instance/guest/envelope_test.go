package guest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"switchbridge/flow"
)

var requests = []struct {
	name string
	r    Request
	hex  string
}{
	{"empty", Request{}, "01"},
	{"policy check", Request{Event: flow.EventPolicyCheck, ID: "7"}, "01 01 00000001 06 05 00000001 37"},
	{"packet in", Request{
		Event: flow.EventPacketIn, Encoding: EncodingOpenFlow, DPID: 0x0102030405060708, Time: -1,
		ID: "a-1", Session: "s", TraceParent: "00", Accepts: "x,y", Incomplete: "z", State: []byte{9},
		States: []byte{0, 0, 0, 0}, Body: []byte{4, 10, 0, 8},
	}, "01 01 00000001 01 02 00000001 01 03 00000008 0102030405060708 04 00000008 ffffffffffffffff" +
		"05 00000003 612d31 06 00000001 73 07 00000002 3030 08 00000001 09 0a 00000003 782c79 0b 00000001 7a 0c 00000004 00000000 0f 00000004 040a0008"},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRequest(t *testing.T) {
	for _, row := range requests {
		t.Run(row.name, func(t *testing.T) {
			want := unhex(t, row.hex)
			if got := row.r.AppendBinary(nil); !bytes.Equal(got, want) {
				t.Fatalf("encoded %x, want %x", got, want)
			}
			var r Request
			if err := r.Parse(want); err != nil || !reflect.DeepEqual(r, row.r) {
				t.Fatalf("parsed %+v, %v; want %+v", r, err, row.r)
			}
			whole := 0
			for n := range want { // a cut between two fields is a shorter request, any other an error
				if err := r.Parse(want[:n]); err == nil {
					whole++
				} else if !errors.Is(err, ErrEnvelope) {
					t.Fatalf("cut at %d: %v", n, err)
				}
			}
			fields := 0
			_ = parse(want, func(byte, []byte) error { fields++; return nil })
			if whole != fields {
				t.Fatalf("%d cuts of %d fields parse", whole, fields)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	a := Answer{Status: 200, Encoding: EncodingJSON, Policy: "3-ab", Reason: "r", Verdict: "deny", StateKey: "src", CoversIncomplete: true, State: []byte{1}, IfReply: "YQ== r", Change: []byte{2}, Reuse: "5 eth_src", Reply: "Yg== s", Body: []byte("{}")}
	b := a.AppendBinary(nil)
	want := unhex(t, "01 01 00000002 00c8 02 00000001 02 03 00000004 332d6162 04 00000001 72 05 00000004 64656e79"+
		"06 00000003 737263 07 00000001 01 08 00000001 01 09 00000006 59513d3d2072 0a 00000001 02 0b 00000009 35206574685f737263 0c 00000006 59673d3d2073 0f 00000002 7b7d")
	if !bytes.Equal(b, want) {
		t.Fatalf("encoded %x, want %x", b, want)
	}
	var got Answer
	if err := got.Parse(b); err != nil || !reflect.DeepEqual(got, a) {
		t.Fatalf("parsed %+v, %v", got, err)
	}
}

func TestMalformed(t *testing.T) {
	for _, row := range []struct{ name, hex, want string }{
		{"nothing", "", "empty"},
		{"other version", "02", "version 2, want 1"},
		{"stray bytes", "01 01 0000", "3 stray bytes at offset 1"},
		{"length past the end", "01 05 00000009 61", "field 5 of 9 bytes at offset 6, 1 left"},
		{"huge length", "01 05 ffffffff 61", "field 5 of 4294967295 bytes"},
		{"twice", "01 05 00000000 05 00000000", "field 5 after field 5"},
		{"descending", "01 05 00000000 03 00000008 0000000000000001", "field 3 after field 5"},
		{"short number", "01 03 00000002 0001", "field 3: 2 bytes, want 8"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var r Request
			err := r.Parse(unhex(t, row.hex))
			if !errors.Is(err, ErrEnvelope) || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
		})
	}
	var a Answer
	if err := a.Parse([]byte{1}); err == nil || !strings.Contains(err.Error(), "status 0") {
		t.Fatalf("an answer without a status: %v", err)
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	var r Request
	if err := r.Parse(unhex(t, "01 0e 00000002 ffff 0f 00000001 07 f0 00000000")); err != nil || !bytes.Equal(r.Body, []byte{7}) {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestNames(t *testing.T) {
	// docs/guest-abi.md promises these numbers.
	for i, name := range []string{"packet_in", "switch_connected", "flow_removed", "port_status", "error", "policy_check", "handshake"} {
		if got := flow.EventType(i + 1).String(); got != "switchbridge."+name+".v1" {
			t.Errorf("event %d is %s", i+1, got)
		}
	}
	if Encoding(9).String() != "" || ParseEncoding("text/plain") != EncodingNone || ParseEncoding("application/json; charset=utf-8") != EncodingJSON {
		t.Error("encodings")
	}
	for _, e := range []Encoding{EncodingOpenFlow, EncodingJSON} {
		if ParseEncoding(e.String()) != e {
			t.Errorf("%v", e)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, row := range requests {
		f.Add(unhex(f, row.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, again Request
		if r.Parse(b) != nil {
			return
		}
		if len(r.State) == 0 {
			r.State = nil
		}
		if len(r.States) == 0 {
			r.States = nil
		}
		if len(r.Body) == 0 {
			r.Body = nil
		}
		if err := again.Parse(r.AppendBinary(nil)); err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add((&Answer{Status: 200, Policy: "1-a", Body: []byte{1}}).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a, again Answer
		if a.Parse(b) != nil {
			return
		}
		encoded := a.AppendBinary(nil)
		if err := again.Parse(encoded); err != nil || !bytes.Equal(again.AppendBinary(nil), encoded) {
			t.Fatalf("%+v became %+v, %v", a, again, err)
		}
	})
}

// The examples of docs/guest-abi.md are what this package writes.
func TestDocumentedExamples(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/guest-abi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, examples, found := strings.Cut(string(doc), "For example,")
	lines := strings.SplitN(examples, "\n", 6)
	if !found || len(lines) < 6 {
		t.Fatal("no examples")
	}
	r := Request{Event: flow.EventPolicyCheck, Encoding: EncodingJSON, ID: "7"}
	if want := unhex(t, strings.TrimSpace(lines[3])); !bytes.Equal(r.AppendBinary(nil), want) {
		t.Errorf("request %x, documented %x", r.AppendBinary(nil), want)
	}
	a := Answer{Status: 200, Policy: "3-000000ab"}
	if want := unhex(t, strings.TrimSpace(lines[4])); !bytes.Equal(a.AppendBinary(nil), want) {
		t.Errorf("answer %x, documented %x", a.AppendBinary(nil), want)
	}
}
