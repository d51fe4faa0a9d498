package runtimes

import (
	"bytes"
	"context"
	"net/http"
	"os/exec"
	"syscall"
	"testing"

	"switchbridge/faas/function"
	"switchbridge/faas/instance/guest"
	"switchbridge/functiontest"
)

// command runs the function as a WASI command, which a runtime starts anew for every event. What it compiles it may keep below HOME.
func command(args ...string) func(*testing.T, *run) functiontest.Exchange {
	return func(t *testing.T, r *run) functiontest.Exchange {
		r.build(t, "function.wasm", "switchbridge/cmd/function-wasm", []string{"GOOS=wasip1", "GOARCH=wasm"}, "-tags=json")
		cache := t.TempDir()
		var peak int64
		r.peak = func() int64 { return peak }
		return func(ctx context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
			var q guest.Request
			if err := function.ReadRequest(header, body, &q); err != nil {
				return 0, nil, nil, err
			}
			cmd := exec.CommandContext(ctx, r.program, args...)
			cmd.Dir = r.dir
			cmd.Env = []string{"HOME=" + cache}
			cmd.Stdin = bytes.NewReader(q.AppendBinary(nil))
			var decision bytes.Buffer
			cmd.Stdout, cmd.Stderr = &decision, &r.logs
			if err := cmd.Run(); err != nil {
				return 0, nil, nil, err
			}
			peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
			var a guest.Answer
			if err := a.Parse(decision.Bytes()); err != nil {
				return 0, nil, nil, err
			}
			answer := http.Header{}
			written := function.WriteAnswer(answer, &a)
			return int(a.Status), answer, written, nil
		}
	}
}
