package controller_test

import (
	"os/exec"
	"strings"
	"testing"
)

// The controller runs inside a WebAssembly guest, where these would cost a
// megabyte and start-up time, or can't work at all.
func TestImports(t *testing.T) {
	forbidden := map[string]string{
		"net":                 "there is no network in a guest",
		"net/http":            "there is no network in a guest",
		"encoding/json":       "reflection and tables; a host decodes what comes as JSON",
		"go.yaml.in/yaml/v3":  "policies are packed before they reach a guest",
		"log/slog":            "a host writes decision records",
		"os/signal":           "a guest has none",
		"github.com/gopacket": "flow.ParseFrame reads frames",
	}
	out, err := exec.Command("go", "list", "-deps", ".", "../policy", "../policy/blocklist", "../policy/header", "../policy/forward").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	seen := 0
	for pkg := range strings.FieldsSeq(string(out)) {
		seen++
		for f, why := range forbidden {
			if pkg == f || strings.HasPrefix(pkg, f+"/") && f != "net" {
				t.Errorf("%s is imported: %s", pkg, why)
			}
		}
	}
	if seen < 10 {
		t.Errorf("go list names %d packages only", seen)
	}
}
