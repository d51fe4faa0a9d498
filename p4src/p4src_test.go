package p4src

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	configv1 "github.com/p4lang/p4runtime/go/p4/config/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

var sources = []string{"switchbridge.p4", "example/l2acl.p4", "example/campus.p4", "example/classroom.p4", "../p4bridge/testdata/next.p4", "../p4bridge/testdata/kinds.p4"}

// The compiled programs belong to the sources beside them.
func TestCompiledFromThisSource(t *testing.T) {
	for _, src := range sources {
		text, err := os.ReadFile(src)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.TrimSuffix(src, ".p4") + ".sha256")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x\n", sha256.Sum256(text)); got != string(want) {
			t.Errorf("%s changed since it was compiled: run go generate in p4src", src)
		}
	}
}

// Where the compiler is present, it gives what is committed.
func TestRecompile(t *testing.T) {
	p4c, err := exec.LookPath("p4c-bm2-ss")
	if err != nil {
		t.Skip("p4c-bm2-ss is not on PATH")
	}
	for _, src := range sources {
		dir, base := t.TempDir(), strings.TrimSuffix(filepath.Base(src), ".p4")
		cmd := exec.Command(p4c, "--p4v", "16", "-o", filepath.Join(dir, "json"), "--p4runtime-files", filepath.Join(dir, "info.txtpb"), base+".p4")
		cmd.Dir = filepath.Dir(src)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", src, err, out)
		} else if len(out) > 0 && !bytes.Contains(out, []byte("due to action profiles")) { // BMv2 has no default action there; p4c says so of any
			t.Errorf("%s compiles with warnings:\n%s", src, out)
		}
		read := func(path string) []byte {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		committed := strings.TrimSuffix(src, ".p4")
		var got, want configv1.P4Info
		if err := prototext.Unmarshal(read(filepath.Join(dir, "info.txtpb")), &got); err != nil {
			t.Fatal(err)
		}
		if err := prototext.Unmarshal(read(committed+".p4info.txtpb"), &want); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, &want) {
			t.Errorf("%s: P4Info differs from the committed one", src)
		}
		// The compiler's name and version are the only lines that may differ.
		if !bytes.Equal(withoutMeta(read(filepath.Join(dir, "json"))), withoutMeta(read(committed+".json"))) {
			t.Errorf("%s: JSON differs from the committed one", src)
		}
	}
}

func withoutMeta(b []byte) []byte {
	var out []byte
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte(`"compiler"`)) && !bytes.Contains(line, []byte(`"program"`)) {
			out = append(out, line...)
		}
	}
	return out
}

// Ids that mappings and running switches rely on stay what they are.
func TestStableIDs(t *testing.T) {
	p := Switchbridge()
	for name, id := range map[string]uint32{"acl": 0x02000001, "flow_exact": 0x02000002, "flow": 0x02000003, "l2": 0x02000004, "miss": 0x02000005} {
		if tab := p.Table(name); tab == nil || tab.ID != id {
			t.Errorf("table %s: %+v, want id %#x", name, tab, id)
		}
	}
	for _, name := range []string{"acl", "flow_exact", "flow"} {
		tab := p.Table(name)
		if len(tab.Fields) != 10 || !tab.IdleTimeout || !tab.DirectCounter {
			t.Errorf("table %s: %d keys, idle timeout %v, counter %v", name, len(tab.Fields), tab.IdleTimeout, tab.DirectCounter)
		}
		for i, a := range []string{"output", "flood", "drop", "punt", "next"} {
			if act := tab.Action(a); act == nil || act.ID != 0x01000001+uint32(i) {
				t.Errorf("table %s: action %s: %+v", name, a, act)
			}
		}
	}
	d := p.Digest("miss_t")
	if d == nil || len(d.Members) != 10 {
		t.Fatalf("digest miss_t: %+v", d)
	}
	if p.Table("miss").ConstMiss != nil {
		t.Error("the miss action is constant")
	}
}
