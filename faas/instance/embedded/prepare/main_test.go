package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"switchbridge/faas/instance/wasmhost"
)

// A guest with the stamp of what it was prepared from is left as it is; with another one, it is prepared again. Here that fails, since it is no guest.
func TestStampedGuestIsNotPreparedAgain(t *testing.T) {
	dir, policy := t.TempDir(), "../../../../configs/policies/allow-all.yaml"
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	training, err := trained([]string{policy})
	if err != nil {
		t.Fatal(err)
	}
	wasm, whole, lean := []byte("guest"), []byte("whole"), []byte("lean")
	good := stamp([][][]byte{{wasmhost.RewriterKey(), wasm}, training.Policies, training.Requests, training.Packets}, whole, lean)
	for changed, again := range map[string]bool{"": false, "guest.wasm": true, "function.prepared": true, "function.lean": true, "guest.wasm.stamp": true} {
		for name, b := range map[string][]byte{"guest.wasm": wasm, "function.prepared": whole, "function.lean": lean, "guest.wasm.stamp": good} {
			write(name, b)
		}
		if changed != "" {
			write(changed, []byte("another"))
		}
		err := run([]string{filepath.Join(dir, "guest.wasm"), dir, policy})
		if again != errors.Is(err, wasmhost.ErrGuest) || !again && err != nil {
			t.Errorf("%q changed: %v", changed, err)
		}
	}
}
