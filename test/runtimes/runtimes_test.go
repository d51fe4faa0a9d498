package runtimes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/instance/embedded"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/functiontest"
	"switchbridge/functiontest/conformance"
	"switchbridge/internal/child"
	"switchbridge/internal/logbuffer"
	"switchbridge/internal/netns"
	"switchbridge/internal/testlong"
	"switchbridge/policy/blob"
)

const (
	token = "0123456789abcdef"

	// asked is how many events every runtime answers.
	asked = 1000

	startTimeout = 5 * time.Minute // for a busy machine that emulates another one: QEMU compiles the guest while it starts

	configs = "../../configs"
)

// runtime is one that runs our function, with conformance.Stateless as its policy.
type runtime struct {
	name    string
	program string // looked for in build/runtimes/bin and on PATH
	from    string // how it is had

	// start starts the program and returns how it is asked.
	start func(t *testing.T, r *run) functiontest.Exchange
}

var table = []runtime{
	{"Lambda, function URL", "aws-lambda-rie", "make runtimes", lambda(urlForm{})},
	{"Lambda, REST API", "aws-lambda-rie", "make runtimes", lambda(firstForm{})},
	{"Lambda, load balancer", "aws-lambda-rie", "make runtimes", lambda(firstForm{balancer: true})},
	{"Lambda, load balancer with multi-value headers", "aws-lambda-rie", "make runtimes", lambda(firstForm{balancer: true, multi: true})},
	{"Fastly, Viceroy", "viceroy", "make runtimes", viceroy},
	{"Apache OpenWhisk", "openwhisk-proxy", "build ./main of github.com/apache/openwhisk-runtime-go as openwhisk-proxy", openWhisk},
	{"Workers, wrangler dev", "wrangler", "make runtimes", wrangler},
	{"Knative's queue-proxy", "queue-proxy", "make runtimes", queueProxy},
	{"OpenFaaS's of-watchdog", "of-watchdog", "build github.com/openfaas/of-watchdog", watchdog},
	{"arm64, QEMU", "qemu-aarch64", "make runtimes", arm64},
	{"CloudEvents SDK for Go, as caller", "cloudevents-caller", "make runtimes", caller()},
	{"CloudEvents SDK for Python, as caller", "cloudevents-python", "make runtimes", caller("testdata/cloudevents/caller.py")},
	{"wazero", "wazero", "make runtimes", command("run", "-cachedir=cache", "-mount=.:/:ro", "function.wasm", "/policy.blob")},
	{"wasmtime", "wasmtime", "make runtimes", command("run", "-C", "cache=y", "--dir", ".::/", "function.wasm", "/policy.blob")},
	{"WasmEdge", "wasmedge", "no registry has it: build github.com/WasmEdge/WasmEdge", command("--dir", "/:.", "function.wasm", "/policy.blob")},
}

// run is a runtime's program while it is tested.
type run struct {
	program string
	dir     string           // the test's own, with policy.blob in it
	apart   *netns.Namespace // where it listens; nil: on this machine's loopback
	logs    logbuffer.Buffer
	began   time.Time    // when its first process was started
	peak    func() int64 // the most memory that it and its descendants have had, in bytes
}

// TestLongRuntimes has every runtime answer what the controller in this process answers, byte for byte. Its figures are printed with -v.
func TestLongRuntimes(t *testing.T) {
	testlong.Need(t)
	questions := ask(t)
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			r := prepare(t, row.find(t))
			exchange := row.start(t, r)
			var first time.Duration
			took := make([]time.Duration, 0, asked)
			equal := 0
			for i := range asked {
				q := &questions[i%len(questions)]
				header, began := q.authorised(), time.Now()
				status, answer, body, err := exchange(t.Context(), header, q.body)
				if i == 0 {
					first = time.Since(began)
				} else {
					took = append(took, time.Since(began))
				}
				if err != nil {
					t.Fatalf("event %d, %s: %v\n%s", i, q.name, err, r.logs.String())
				}
				if diff := q.differs(status, answer, body); diff != "" {
					t.Errorf("event %d, %s: %s", i, q.name, diff)
					continue
				}
				equal++
			}
			// What comes by a pipe may come after the answer.
			records := 0
			for end := time.Now().Add(10 * time.Second); records != asked && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				records = strings.Count(r.logs.String(), `"event":"switchbridge.`)
			}
			if records != asked {
				t.Errorf("%d decision records of %d", records, asked)
			}
			slices.Sort(took)
			t.Logf("%d of %d answers equal; first %.1f ms, p50 %.2f ms, p95 %.2f ms; memory %.1f MB", equal, asked,
				milliseconds(first), milliseconds(took[len(took)/2]), milliseconds(took[len(took)*95/100]), float64(r.peak())/1e6)
		})
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// question is an event as a gateway sends it, and what the native controller answers.
type question struct {
	name   string
	header http.Header
	body   []byte
	want   *httptest.ResponseRecorder
}

// ask asks the native controller every case of the conformance suite in every encoding.
func ask(t *testing.T) (questions []question) {
	t.Helper()
	native, err := httphost.New(httphost.Config{Decider: controller.New(conformance.Stateless()), Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, codec := range []contract.Codec{openflow.Codec{}, openflow.Codec{Full: true}, jsonenc.Codec{}} {
		for _, c := range conformance.Cases() {
			q := question{name: codec.ContentType() + " " + c.Name, want: httptest.NewRecorder()}
			client := functiontest.Client(codec, func(_ context.Context, h http.Header, body []byte) (int, http.Header, []byte, error) {
				q.header, q.body = h.Clone(), bytes.Clone(body)
				r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
				r.Header = h
				native.ServeHTTP(q.want, r)
				return q.want.Code, q.want.Header(), q.want.Body.Bytes(), nil
			})
			if err := client.Decide(t.Context(), c.Event, new(flow.Decision)); err != nil {
				t.Fatalf("%s: %v", q.name, err)
			}
			questions = append(questions, q)
		}
	}
	return questions
}

// authorised are the question's headers with the token.
func (q *question) authorised() http.Header {
	header := q.header.Clone()
	header.Set("Authorization", "Bearer "+token)
	return header
}

// differs says how an answer is not the native one: in its status, in a header of the contract, or in its body.
func (q *question) differs(status int, header http.Header, body []byte) string {
	if status != q.want.Code {
		return fmt.Sprintf("status %d %.200s, want %d", status, body, q.want.Code)
	}
	ours := func(h http.Header) http.Header {
		h = h.Clone()
		maps.DeleteFunc(h, func(name string, _ []string) bool {
			return name != "Content-Type" && !strings.HasPrefix(name, "Switchbridge-")
		})
		return h
	}
	if got, want := ours(header), ours(q.want.Header()); !maps.EqualFunc(got, want, slices.Equal) {
		return fmt.Sprintf("headers %v, want %v", got, want)
	}
	if !bytes.Equal(body, q.want.Body.Bytes()) {
		return fmt.Sprintf("body %.200q, want %.200q", body, q.want.Body.Bytes())
	}
	return ""
}

// prepare makes a folder for a runtime's test, with the compiled policy in it.
func prepare(t *testing.T, program string) *run {
	t.Helper()
	r := &run{program: program, dir: t.TempDir()}
	compiled, err := blob.Pack(conformance.Stateless())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.dir, "policy.blob"), compiled)
	return r
}

// find returns the program of the table's row of that name, or skips the test.
func find(t *testing.T, name string) string {
	t.Helper()
	for i := range table {
		if table[i].name == name {
			return table[i].find(t)
		}
	}
	t.Fatalf("no row %s", name)
	return ""
}

// find returns the runtime's program, or skips the test.
func (row *runtime) find(t *testing.T) string {
	t.Helper()
	installed, err := filepath.Abs(filepath.Join("..", "..", "build", "runtimes", "bin", row.program))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{installed, row.program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing := fmt.Sprintf("no %s in build/runtimes/bin or on PATH; to have it: %s", row.program, row.from)
	if testlong.Installed() && row.from == "make runtimes" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// separate gives what is tested a network namespace of its own, for programs that listen on all addresses or at ports that can't be chosen.
func (r *run) separate(t *testing.T) {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Skipf("it listens on all addresses, and no network namespace can be made here: %v", err)
	}
	t.Cleanup(ns.Close)
	r.apart = ns
}

// client asks where the runtime listens.
func (r *run) client(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DialContext: r.dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (r *run) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if r.apart != nil {
		return r.apart.Dial(ctx, network, address)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// process is a program that was started. It ends with the test.
type process struct {
	*exec.Cmd
	ended chan struct{}
}

// serve starts the runtime, and waits until its address takes connections.
func (r *run) serve(t *testing.T, address string, env []string, args ...string) *process {
	t.Helper()
	return r.start(t, address, env, r.program, args...)
}

// start starts a program that listens, and waits until its address takes connections.
func (r *run) start(t *testing.T, address string, env []string, program string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(program, args...)
	if r.apart != nil {
		cmd = r.apart.Command(program, args...)
	}
	cmd.Dir = r.dir
	cmd.Env = append([]string{"HOME=" + r.dir, "PATH=" + os.Getenv("PATH")}, env...)
	cmd.Stdout, cmd.Stderr = &r.logs, &r.logs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	if r.began.IsZero() {
		r.began = time.Now()
	}
	if err := child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.ended) }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	})
	others := r.peak
	r.peak = func() int64 {
		peak := peakOfFamily(cmd.Process.Pid)
		if others != nil {
			peak += others()
		}
		return peak
	}
	r.until(t, p, "it listens", func() error {
		conn, err := r.dial(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return p
}

// ready waits until a health path answers 200.
func (r *run) ready(t *testing.T, p *process, url string) {
	t.Helper()
	client := r.client(t)
	r.until(t, p, "it is ready", func() error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// until asks again and again until a process is as it should be, and says how long that took from the start.
func (r *run) until(t *testing.T, p *process, what string, ask func() error) {
	t.Helper()
	for end := time.Now().Add(startTimeout); ; {
		err := ask()
		if err == nil {
			t.Logf("%s after %.0f ms", what, milliseconds(time.Since(r.began)))
			return
		}
		select {
		case <-p.ended:
			t.Fatalf("it ended\n%s", r.logs.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatalf("not so: %s: %v\n%s", what, err, r.logs.String())
		}
	}
}

// peakOfFamily adds up the most memory that a process and each of its descendants has had at a time. The runtimes for developers start ours in a
// process group of its own.
func peakOfFamily(root int) (bytes int64) {
	type process struct {
		parent int
		peak   int64
	}
	all := make(map[int]process)
	names, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		var pid int
		var p process
		for line := range strings.Lines(string(text)) {
			_, _ = fmt.Sscanf(line, "Pid: %d", &pid)
			_, _ = fmt.Sscanf(line, "PPid: %d", &p.parent)
			_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &p.peak)
		}
		all[pid] = p
	}
	for pid, p := range all {
		for at := pid; at > 1; at = all[at].parent {
			if at == root {
				bytes += p.peak << 10
			}
		}
	}
	return bytes
}

// address is one of loopback where nobody listens.
func address(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// build compiles a program of ours.
func (r *run) build(t *testing.T, name, pkg string, env []string, flags ...string) {
	t.Helper()
	args := append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(r.dir, name)}, append(flags, pkg)...)
	build := exec.Command("go", args...)
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

// container builds the program that our image has, with its compiled guest, as configs/container/Containerfile does. It returns the program, and
// where its guest lies as an environment variable.
func (r *run) container(t *testing.T) (program, cache string) {
	t.Helper()
	if err := embedded.Built(); err != nil {
		t.Skip(err)
	}
	r.build(t, "switchbridge", "switchbridge/cmd/switchbridge", nil)
	program, cache = filepath.Join(r.dir, "switchbridge"), filepath.Join(r.dir, "cache")
	if out, err := exec.Command(program, "function", "serve", "--check", "--cache", cache).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program, "CACHE_DIRECTORY=" + cache
}

// post sends a request that is no one of the contract, and returns the body of the answer.
func post(ctx context.Context, client *http.Client, url string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", resp.Status, text)
	}
	return text, err
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
