package runtimes

import (
	"path/filepath"
	"testing"

	"switchbridge/faas/instance/embedded"
	"switchbridge/functiontest"
)

// arm64 is `function serve` as it is built for arm64, where wazero writes other code, on QEMU's emulator of that processor.
func arm64(t *testing.T, r *run) functiontest.Exchange {
	if err := embedded.Built(); err != nil {
		t.Skip(err)
	}
	r.build(t, "switchbridge", "switchbridge/cmd/switchbridge", []string{"GOARCH=arm64"})
	write(t, filepath.Join(r.dir, "token"), []byte(token))
	at := address(t)
	p := r.serve(t, at, []string{"CACHE_DIRECTORY=" + r.dir}, filepath.Join(r.dir, "switchbridge"), "function", "serve", "--plain", "--listen", at, "--token-file", "token", "--policy", "policy.blob",
		"--deadline", "30s") // an emulated instruction takes many
	r.ready(t, p, "http://"+at+"/readyz")
	return functiontest.Posts(r.client(t), "http://"+at+"/", nil)
}
