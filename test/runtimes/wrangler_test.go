package runtimes

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"switchbridge/faas/platform/workershost"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest"
	"switchbridge/functiontest/conformance"
	"switchbridge/internal/testlong"
	"switchbridge/policy"
	"switchbridge/policy/blob"
)

// wrangler is Cloudflare's own server for developers, with its KV and Durable Objects.
func wrangler(t *testing.T, r *run) functiontest.Exchange {
	return startWrangler(t, r, conformance.Stateless())
}

// startWrangler starts the Worker with the configuration that we ship, and a policy in KV. It is in a namespace, from where it can't ask anybody whether
// there is a newer one.
func startWrangler(t *testing.T, r *run, p *policy.Policy) functiontest.Exchange {
	t.Helper()
	r.separate(t)
	r.build(t, "cmd/function-workers/dist/function.wasm", "switchbridge/cmd/function-workers", []string{"GOOS=js", "GOARCH=wasm"})
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dist := filepath.Join(r.dir, "cmd", "function-workers", "dist")
	write(t, filepath.Join(dist, "worker.mjs"), read(t, "../../cmd/function-workers/worker.mjs"))
	write(t, filepath.Join(dist, "wasm_exec.js"), read(t, filepath.Join(string(goroot[:len(goroot)-1]), "lib", "wasm", "wasm_exec.js")))
	config := filepath.Join(r.dir, "configs", "workers", "wrangler.jsonc")
	write(t, config, read(t, filepath.Join(configs, "workers", "wrangler.jsonc")))
	write(t, filepath.Join(filepath.Dir(config), ".dev.vars"), []byte(workershost.TokensBinding+"="+token+"\n"))
	compiled, err := blob.Pack(p)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.dir, "policy.blob"), compiled)
	env := []string{"WRANGLER_SEND_METRICS=false", "CLOUDFLARE_CF_FETCH_ENABLED=false", "CI=1"}
	put := r.apart.Command(r.program, "kv", "key", "put", workershost.PolicyKey, "--path", "policy.blob", "--binding", workershost.PolicyBinding, "--local",
		"--persist-to", "kept", "--config", config)
	put.Dir, put.Env = r.dir, append(env, "HOME="+r.dir, "PATH="+os.Getenv("PATH"))
	if out, err := put.CombinedOutput(); err != nil {
		t.Fatalf("wrangler kv key put: %v\n%s", err, out)
	}
	const at = "127.0.0.1:8787"
	w := r.serve(t, at, env, "dev", "--local", "--ip", "127.0.0.1", "--port", "8787", "--persist-to", "kept", "--show-interactive-dev-session=false", "--config", config)
	r.ready(t, w, "http://"+at+"/healthz")
	return functiontest.Posts(r.client(t), "http://"+at+"/", nil)
}

// TestLongWranglerKeepsStates has the states of machines in the Durable Objects of wrangler dev.
func TestLongWranglerKeepsStates(t *testing.T) {
	testlong.Need(t)
	r := prepare(t, find(t, "Workers, wrangler dev"))
	exchange := startWrangler(t, r, conformance.Travelling())
	conformance.Keeps(t, functiontest.Client(openflow.Codec{}, func(ctx context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
		header.Set("Authorization", "Bearer "+token)
		return exchange(ctx, header, body)
	}))
}
