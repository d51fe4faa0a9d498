package runtimes

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/functiontest"
)

// viceroy is Fastly's own local server, with the stores of the service: the compiled policy's entries and the token.
func viceroy(t *testing.T, r *run) functiontest.Exchange {
	r.build(t, "main.wasm", "switchbridge/cmd/function-fastly", []string{"GOOS=wasip1", "GOARCH=wasm"})
	compiled, err := os.ReadFile(filepath.Join(r.dir, "policy.blob"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := fastlyhost.LocalServer(compiled, token)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.dir, "fastly.toml"), []byte(manifest))
	at := address(t)
	r.serve(t, at, nil, "--config", "fastly.toml", "--addr", at, "main.wasm")
	posts := functiontest.Posts(r.client(t), "http://"+at+"/", nil)
	return func(ctx context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
		status, answer, text, err := posts(ctx, header, body)
		if err == nil && answer.Get("Content-Length") != strconv.Itoa(len(text)) {
			err = fmt.Errorf("Content-Length %q of %d bytes: the answer was streamed", answer.Get("Content-Length"), len(text))
		}
		return status, answer, text, err
	}
}
