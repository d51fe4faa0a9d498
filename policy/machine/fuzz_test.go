package machine_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/machine"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/wire"
)

// FuzzParse: whatever a file says, it is read or refused; and what is read comes back from a compiled policy as it was.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../../configs/policies/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(transition("{from: a, to: b, quotes: {tcp_dst: 1}, when: {m: {key: 10.0.0.1, state: [a, b]}}}"))
	f.Add(transition("{from: any, to: b, rule_removed: [idle, hard], switch: connected}"))
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "files:") {
			return // of this machine
		}
		p, err := policyfile.Parse(strings.NewReader(text), "p.yaml", t.TempDir())
		if err != nil {
			return
		}
		packed, err := blob.Pack(p)
		if err != nil {
			t.Fatal(err)
		}
		back, err := blob.Unpack(packed)
		if err != nil {
			t.Fatalf("%v, of\n%s", err, text)
		}
		again, err := blob.Pack(back)
		if err != nil || !bytes.Equal(packed, again) {
			t.Fatalf("%x\nbecomes %x, %v, of\n%s", packed, again, err, text)
		}
	})
}

// FuzzRead: whatever bytes a compiled policy has, nothing panics, and what is valid compiles.
func FuzzRead(f *testing.F) {
	for _, e := range (machine.Kind{}).Examples() {
		w := wire.NewWriter(nil)
		e.Entry.Write(w)
		f.Add(w.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := wire.NewReader(b)
		s := machine.Kind{}.Read(r)
		if r.Err() != nil || s.Validate(nil) != nil {
			return
		}
		s.Compile()
		w := wire.NewWriter(nil)
		s.Write(w)
		if back := (machine.Kind{}).Read(wire.NewReader(w.Bytes())); back.Validate([]policy.Source{}) != nil {
			t.Fatalf("%x becomes %x, which is not valid", b, w.Bytes())
		}
		_ = s.Explain()
		_ = s.(*machine.Config).Notes()
	})
}
