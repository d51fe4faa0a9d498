package vsctl

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"switchbridge/internal/ovs"
)

// What ovs-vsctl says of a real switch is read as it is.
func TestRead(t *testing.T) {
	s := ovs.Start(t, ovs.Options{Dummy: true})
	t.Setenv("OVS_RUNDIR", s.Dir())
	if got, err := Read(t.Context()); err != nil || len(got.Bridges) != 0 || got.Version == "" || got.VLANLimit != 1 {
		t.Fatalf("a switch without bridges: %+v, %v", got, err)
	}
	s.AddBridge("br0", ovs.Bridge{DPID: 0x2a, Protocols: []string{"OpenFlow10", "OpenFlow13"}, Controllers: []string{"unix:" + s.Dir() + "/nobody", "tcp:127.0.0.1:1"}})
	s.AddPort("br0", "p1", 7)
	s.AddBridge("br1", ovs.Bridge{FailMode: "standalone", InBand: true})
	s.Vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=2", "--", "set", "port", "p1", "tag=20")
	got, err := Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Bridge{
		{Name: "br0", DPID: "000000000000002a", Datapath: "dummy", FailMode: "secure", Protocols: []string{"OpenFlow10", "OpenFlow13"},
			Controllers: []Controller{{Target: "tcp:127.0.0.1:1"}, {Target: "unix:" + s.Dir() + "/nobody"}},
			Ports:       []Port{{Name: "p1", Type: "dummy", Number: 7, Tag: 20}}},
		{Name: "br1", Datapath: "dummy", FailMode: "standalone", InBand: true},
	}
	for i := range got.Bridges {
		b := &got.Bridges[i]
		if b.Name == "br1" {
			b.DPID = "" // Open vSwitch chose it
		}
		for k := range b.Controllers {
			b.Controllers[k].LastError = "" // may be there already
		}
	}
	if d := cmp.Diff(want, got.Bridges); d != "" || got.VLANLimit != 2 {
		t.Errorf("VLAN limit %d, want 2; bridges (-want +got):\n%s", got.VLANLimit, d)
	}
	if err := Alive("br0"); err != nil {
		t.Errorf("a bridge that is served: %v", err)
	}
	if Alive("br9") == nil {
		t.Error("no bridge br9 is served")
	}
	s.Stop()
	if Alive("br0") == nil {
		t.Error("ovs-vswitchd was stopped, and br0 counts as served")
	}
	if _, err := Read(t.Context()); err != nil {
		t.Errorf("the database answers without ovs-vswitchd: %v", err)
	}
}

func TestReadErrors(t *testing.T) {
	if _, err := find("ovs-vsctl"); err == nil {
		t.Setenv("OVS_RUNDIR", t.TempDir())
		if _, err := Read(context.Background()); !errors.Is(err, ErrNotRunning) {
			t.Errorf("no database: %v", err)
		}
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "ovs-vsctl")
	t.Setenv("PATH", dir)
	for script, want := range map[string]error{
		"echo 'ovs-vsctl: unix:/x/db.sock: database connection failed (Permission denied)' >&2; exit 1":         ErrForbidden,
		"echo 'ovs-vsctl: unix:/x/db.sock: database connection failed (No such file or directory)' >&2; exit 1": ErrNotRunning,
	} {
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(t.Context()); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", script, err, want)
		}
	}
}
