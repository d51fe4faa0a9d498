package paper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"switchbridge/bench"
	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/faas/platform/lambdahost/functionurl"
	"switchbridge/flow"
	"switchbridge/policy/blob"
	"switchbridge/policy/policyfile"
)

// Platform is a platform's own server on this machine, on which our function runs as it does there.
type Platform struct {
	Name     string     // as [Location].On has it
	Server   bench.Peer // in whose command {function} is our function, as it is built for the platform
	Function string     // its file; without a folder it is looked for where make platforms leaves it
	// Files are what the server reads in its folder: the compiled policy, who may call.
	Files func(compiled []byte, token string) (map[string]string, error)
	// Invoke is set where the server is one instance, which takes one event at a time. Then a front like the platform's has a server for
	// each event that is under way. It hands a request over.
	Invoke func(ctx context.Context, client *http.Client, p *bench.Process, header http.Header, body []byte) (*http.Response, error)
}

// Names of platforms.
const (
	onFastly = "fastly"
	onLambda = "lambda"
	onOwn    = "" // our own program
)

// DefaultPlatforms are those whose own servers can be had.
func DefaultPlatforms() []Platform {
	near := func(program string) []string {
		return []string{filepath.Join("..", "build", "runtimes", "bin", program)} // as make platforms leaves it
	}
	return []Platform{
		{
			Name: onFastly, Function: "fastly.wasm", Files: fastlyFiles,
			Server: bench.Peer{
				Name: "Viceroy", Command: []string{"viceroy", "--config", "{dir}/fastly.toml", "--addr", "127.0.0.1:{port}", "{function}"}, Near: near("viceroy"),
				Install: "make platforms, and cargo install viceroy --locked --version 0.22.0",
			},
		},
		{
			Name: onLambda, Function: "bootstrap", Files: lambdaFiles, Invoke: invokeLambda,
			Server: bench.Peer{
				Name:    "AWS's runtime interface emulator",
				Command: []string{"aws-lambda-rie", "--runtime-interface-emulator-address", "127.0.0.1:{port}", "--runtime-api-address", "127.0.0.1:{other}", "{function}"},
				Env:     map[string]string{"LAMBDA_TASK_ROOT": "{dir}", "SWITCHBRIDGE_AUTH": "none"}, Near: near("aws-lambda-rie"), Install: "make platforms",
			},
		},
	}
}

// ownInstances are our own program's processes, with one event at a time in each.
var ownInstances = Platform{
	Files: lambdaFiles, Invoke: invokeOwn,
	Server: bench.Peer{
		Name: "our own program, a process for each event at a time",
		Command: []string{"{self}", "function", "serve", "--plain", "--listen", "127.0.0.1:{port}", "--policy", "{dir}/policy.blob", "--concurrency", "1",
			"--records", "off", "--log-level", "error"},
	},
}

func fastlyFiles(compiled []byte, token string) (map[string]string, error) {
	manifest, err := fastlyhost.LocalServer(compiled, token)
	return map[string]string{"fastly.toml": manifest, tokenFile: token}, err
}

func lambdaFiles(compiled []byte, _ string) (map[string]string, error) {
	return map[string]string{"policy.blob": string(compiled)}, nil
}

const (
	tokenFile = "token"
	token     = "0123456789abcdef" // of servers that only this machine reaches
)

// host is where a function of a table runs.
type host struct {
	*Function
	title string
	front *front // nil: the host has an instance for each event itself, and counts none
	stop  func()
}

// on starts our function on a platform's own server, to decide by a policy file's text. Its error wraps [bench.ErrNotInstalled] where the
// server or our function for it is missing.
func (e *evaluation) on(ctx context.Context, p *Platform, policy string) (*host, error) {
	if e.cfg.At == nil {
		return nil, errors.New("nothing that asks it was given")
	}
	server := p.Server
	if _, err := server.Find(); err != nil {
		return nil, err
	}
	function, err := built(p.Function)
	if err != nil {
		return nil, err
	}
	server.Command = slices.Clone(server.Command)
	for i := range server.Command {
		server.Command[i] = strings.ReplaceAll(server.Command[i], "{function}", function)
	}
	parsed, err := policyfile.Parse(strings.NewReader(policy), "policy.yaml", ".")
	if err != nil {
		return nil, err
	}
	compiled, err := blob.Pack(parsed)
	if err != nil {
		return nil, err
	}
	if server.Files, err = p.Files(compiled, token); err != nil {
		return nil, err
	}
	h := &host{title: server.Name}
	launch := func(ctx context.Context) (*bench.Process, error) { return server.Launch(ctx, connects) }
	var url, secret string
	if p.Invoke != nil {
		f, err := openFront(launch, p.Invoke)
		if err != nil {
			return nil, err
		}
		h.front, h.stop, url = f, f.close, "http://"+f.addr
	} else {
		proc, err := launch(ctx)
		if err != nil {
			return nil, err
		}
		h.stop, url = proc.Close, "http://"+proc.Addr
		if _, ok := server.Files[tokenFile]; ok {
			secret = filepath.Join(proc.Dir, tokenFile)
		}
	}
	if h.Function, err = e.cfg.At(h.title, url, secret); err != nil {
		h.stop()
		return nil, err
	}
	return h, nil
}

// built finds our function for a platform. None is none.
func built(name string) (string, error) {
	if name == "" || filepath.IsAbs(name) {
		return name, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), "..", "build", "platforms", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("our function for it is %w: %w", bench.ErrNotInstalled, err)
	}
	return path, nil
}

// front is what stands before a function on a platform whose instances take one event at a time: an event goes to an instance that is idle,
// or else to a new one.
type front struct {
	addr   string
	launch func(context.Context) (*bench.Process, error)
	invoke func(context.Context, *http.Client, *bench.Process, http.Header, []byte) (*http.Response, error)
	client http.Client
	server http.Server
	served sync.WaitGroup

	mu   sync.Mutex
	idle []*bench.Process // the last is the next: as platforms do, so that what nobody needs may end
	all  []*bench.Process
	busy int
	seen frontCounts
}

// frontCounts is what a front has seen.
type frontCounts struct {
	began []int           // began[n]: events that began while n others were with an instance
	cold  []time.Duration // from an instance's start until it listens
}

func openFront(launch func(context.Context) (*bench.Process, error),
	invoke func(context.Context, *http.Client, *bench.Process, http.Header, []byte) (*http.Response, error)) (*front, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &front{addr: ln.Addr().String(), launch: launch, invoke: invoke}
	f.client.Transport = &http.Transport{MaxIdleConnsPerHost: 4}
	f.server.Handler = f
	f.served.Go(func() { _ = f.server.Serve(ln) })
	return f, nil
}

func (f *front) close() {
	_ = f.server.Close()
	f.served.Wait()
	f.client.CloseIdleConnections()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.all {
		p.Close()
	}
}

// counts returns what was seen since it was called last.
func (f *front) counts() frontCounts {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen
	f.seen = frontCounts{}
	return seen
}

// take counts an event that begins, and finds an instance for it.
func (f *front) take(ctx context.Context) (*bench.Process, error) {
	f.mu.Lock()
	for len(f.seen.began) <= f.busy {
		f.seen.began = append(f.seen.began, 0)
	}
	f.seen.began[f.busy]++
	f.busy++
	if n := len(f.idle); n > 0 {
		p := f.idle[n-1]
		f.idle = f.idle[:n-1]
		f.mu.Unlock()
		return p, nil
	}
	f.mu.Unlock()
	p, err := f.launch(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.busy--
		return nil, err
	}
	f.all = append(f.all, p)
	f.seen.cold = append(f.seen.cold, p.Took)
	return p, nil
}

// warm has so many instances at least that are idle.
func (f *front) warm(ctx context.Context, n int) error {
	f.mu.Lock()
	n -= len(f.idle)
	f.mu.Unlock()
	for ; n > 0; n-- {
		p, err := f.launch(ctx)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.all, f.idle = append(f.all, p), append(f.idle, p)
		f.mu.Unlock()
	}
	return nil
}

func (f *front) give(p *bench.Process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy--
	f.idle = append(f.idle, p)
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, flow.MaxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p, err := f.take(context.WithoutCancel(r.Context())) // an instance outlives the event that it was made for
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer f.give(p)
	answer, err := f.invoke(r.Context(), &f.client, p, r.Header, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

func invokeOwn(ctx context.Context, client *http.Client, p *bench.Process, header http.Header, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header = header
	return client.Do(r)
}

// invokeLambda does what a function URL does.
func invokeLambda(ctx context.Context, client *http.Client, p *bench.Process, header http.Header, body []byte) (*http.Response, error) {
	payload, err := functionurl.Payload(header, body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr+"/2015-03-31/functions/function/invocations", bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %.200s", resp.Status, raw)
	}
	answer := new(http.Response)
	answer.StatusCode, answer.Header, raw, err = functionurl.Response(raw)
	answer.Body = io.NopCloser(bytes.NewReader(raw))
	return answer, err
}
