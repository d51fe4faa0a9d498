package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The systemd unit is one that systemd takes, and the compiled controller has a
// place to stay from one start to the next: without it every start compiles it anew.
func TestSystemdUnit(t *testing.T) {
	text, err := os.ReadFile("../configs/switchbridge.service")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\nCacheDirectory=switchbridge\n") {
		t.Error("the unit has no CacheDirectory")
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze to verify the unit with")
	}
	unit := filepath.Join(t.TempDir(), "switchbridge.service")
	here := strings.ReplaceAll(string(text), "/usr/bin/switchbridge", "/bin/true") // verify wants a program that is there
	if err := os.WriteFile(unit, []byte(here), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(out), unit) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
