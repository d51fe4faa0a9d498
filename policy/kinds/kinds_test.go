package kinds_test

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"switchbridge/internal/built"
	"switchbridge/policy"
	"switchbridge/policy/blob"
	"switchbridge/policy/kinds"
	"switchbridge/policy/wire"
)

// A kind is a folder with a README, one line in the list and one in the index, and no other kind has its name or its code.
func TestList(t *testing.T) {
	index, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	names, codes := make(map[string]bool), make(map[byte]string)
	for _, k := range kinds.All {
		name := k.Name()
		if names[name] {
			t.Errorf("two kinds are named %s", name)
		}
		if other, taken := codes[k.Code()]; taken || k.Code() == 0 {
			t.Errorf("%s has the code %d: want one above 0 that no other kind has (%q)", name, k.Code(), other)
		}
		names[name], codes[k.Code()] = true, name
		if kinds.Named(name) != k || kinds.Coded(k.Code()) != k {
			t.Errorf("%s is not found by its name and code", name)
		}
		if _, err := os.Stat(filepath.Join("..", name, "README.md")); err != nil {
			t.Errorf("%s is not described: %v", name, err)
		}
		if !strings.Contains(string(index), "["+name+"]("+name+"/)") {
			t.Errorf("policy/README.md has no line for %s in its table of policies", name)
		}
	}
	readmes, err := filepath.Glob("../*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range readmes {
		if name := filepath.Base(filepath.Dir(path)); !names[name] {
			t.Errorf("policy/%s describes a kind that is not in the list", name)
		}
	}
}

// What a kind gives as examples is valid, says what it does, and comes back from a compiled policy as it was. A damaged one never
// panics.
func TestExamples(t *testing.T) {
	same := []cmp.Option{cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()}
	for _, k := range kinds.All {
		examples := k.Examples()
		if len(examples) == 0 {
			t.Errorf("%s has no example", k.Name())
		}
		for i, e := range examples {
			if e.Entry.Name() != k.Name() {
				t.Errorf("%s: example %d is of %s", k.Name(), i+1, e.Entry.Name())
			}
			if e.Entry.Explain() == "" {
				t.Errorf("%s: example %d does not say what it does", k.Name(), i+1)
			}
			p := &policy.Policy{Serial: 1, Install: policy.DefaultInstall, Chain: []policy.Source{e.Entry}}
			if err := p.Validate(); err != nil {
				t.Errorf("%s: example %d: %v", k.Name(), i+1, err)
			}
			packed, err := blob.Pack(p)
			if err != nil {
				t.Fatalf("%s: example %d: %v", k.Name(), i+1, err)
			}
			got, err := blob.Unpack(packed)
			if err != nil {
				t.Fatalf("%s: example %d: %v", k.Name(), i+1, err)
			}
			if diff := cmp.Diff(p, got, same...); diff != "" {
				t.Errorf("%s: example %d, packed and unpacked: %s", k.Name(), i+1, diff)
			}
			w := wire.NewWriter(nil)
			e.Entry.Write(w)
			for n := range min(len(w.Bytes()), 1000) {
				r := wire.NewReader(w.Bytes()[:n])
				if s := k.Read(r); r.Err() == nil {
					t.Errorf("%s: example %d, cut after %d of %d bytes, reads as %+v", k.Name(), i+1, n, len(w.Bytes()), s)
				}
			}
		}
	}
}

// One list serves those who read files and a guest, which must not have what reads them: the linker leaves out methods that nobody
// calls. See [policy.Kind].
func TestGuestHasNoParser(t *testing.T) {
	wasm := built.Guest(t, "switchbridge/cmd/function-wasm", true)
	for _, k := range kinds.All {
		pkg := "switchbridge/policy/" + k.Name() + "."
		if !bytes.Contains(wasm, []byte(pkg+"Kind.Read")) {
			t.Errorf("the guest can't read %s", k.Name())
		}
		for _, method := range []string{"Kind.Parse", "Kind.Examples", "(*Config).Write", "(*Config).Explain"} {
			if bytes.Contains(wasm, []byte(pkg+method)) {
				t.Errorf("the guest has %s%s, which only reads files or tests: who calls it, or a method of its name and type?", pkg, method)
			}
		}
	}
	if bytes.Contains(wasm, []byte("switchbridge/policy/syntax.(*File)")) {
		t.Error("the guest has what policy files are read with")
	}
}
