package fastlytest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// memoryOnly is a module with one page of memory and nothing else.
var memoryOnly = []byte("\x00asm\x01\x00\x00\x00" + "\x05\x03\x01\x00\x01" + "\x07\x0a\x01\x06memory\x02\x00")

const pageSize = 1 << 16

// guest is an instance whose calls a test makes itself.
type guest struct {
	t      testing.TB
	module api.Module
	ctx    context.Context
	calls  map[string]hostcall
}

func newGuest(t testing.TB, s *Service, r *Request) *guest {
	t.Helper()
	runtime := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { _ = runtime.Close(context.Background()) })
	module, err := runtime.Instantiate(t.Context(), memoryOnly)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t, module, context.WithValue(t.Context(), instanceKey{}, newInstance(s, r)), make(map[string]hostcall)}
	for _, m := range hostcalls {
		for _, c := range m.calls {
			g.calls[strings.TrimPrefix(m.name, "fastly_")+"."+c.name] = c
		}
	}
	return g
}

func (g *guest) instance() *instance { return g.ctx.Value(instanceKey{}).(*instance) }

func (g *guest) call(name string, params ...uint64) status {
	g.t.Helper()
	c, ok := g.calls[name]
	if !ok || len(params) != len(c.params) {
		g.t.Fatalf("%s takes %q, not %d parameters", name, c.params, len(params))
	}
	stack := append(params, 0)
	c.Call(g.ctx, g.module, stack)
	return status(stack[0])
}

func (g *guest) put(at uint32, v string) { g.module.Memory().WriteString(at, v) }

func (g *guest) uint32(at uint32) uint64 {
	v, _ := g.module.Memory().ReadUint32Le(at)
	return uint64(v)
}

func (g *guest) text(at, size uint64) string {
	b, _ := g.module.Memory().Read(uint32(at), uint32(size))
	return string(b)
}

func service() *Service {
	return &Service{
		Config:  map[string]map[string]string{"c": {"k": "value"}},
		Secrets: map[string]map[string]string{"s": {"k": "secret"}},
		KV:      map[string]*KVStore{"kv": {}},
		Logs:    map[string]io.Writer{"full": failing{}},
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

// Handles, in the order in which open opens them.
const (
	hRequest = iota
	hRequestBody
	hConfig
	hSecrets
	hSecret
	hKV
	hLog
	hFailingLog
	hAnswer
	hBody
	handles
)

const names = 1024 // where open puts them

// open opens a handle of every kind.
func (g *guest) open() {
	g.t.Helper()
	g.put(names, "cskvfullA")
	for _, row := range []struct {
		handle uint64
		name   string
		params []uint64
	}{
		{hRequest, "http_req.body_downstream_get", []uint64{0, 4}},
		{hConfig, "config_store.open", []uint64{names, 1, 0}},
		{hSecrets, "secret_store.open", []uint64{names + 1, 1, 0}},
		{hSecret, "secret_store.get", []uint64{hSecrets, names + 2, 1, 0}},
		{hKV, "kv_store.open", []uint64{names + 2, 2, 0}},
		{hLog, "log.endpoint_get", []uint64{names, 1, 0}},
		{hFailingLog, "log.endpoint_get", []uint64{names + 4, 4, 0}},
		{hAnswer, "http_resp.new", []uint64{0}},
		{hBody, "http_body.new", []uint64{0}},
	} {
		if s := g.call(row.name, row.params...); s != statusOK || g.uint32(0) != row.handle {
			g.t.Fatalf("%s: status %d, handle %d, want %d", row.name, s, g.uint32(0), row.handle)
		}
	}
}

func TestWhatGuestsGetWrong(t *testing.T) {
	const out, end, odd, none = 64, pageSize - 2, 65, 99
	for _, row := range []struct {
		name   string
		params []uint64
		want   status
	}{
		{"abi.init", []uint64{1}, statusOK},
		{"abi.init", []uint64{2}, statusUnsupported},
		{"http_req.body_downstream_get", []uint64{odd, out}, statusBadAlign},
		{"http_req.body_downstream_get", []uint64{pageSize, out}, statusInval},
		{"http_req.method_get", []uint64{none, out, 8, 0}, statusBadHandle},
		{"http_req.method_get", []uint64{hConfig, out, 8, 0}, statusBadHandle},
		{"http_req.method_get", []uint64{hRequest, out, 8, 0}, statusOK},
		{"http_req.method_get", []uint64{hRequest, out, 3, 0}, statusBufferLength},
		{"http_req.method_get", []uint64{hRequest, end, 8, 0}, statusInval},
		{"http_req.method_get", []uint64{hRequest, out, 1 << 31, 0}, statusInval},
		{"http_req.method_get", []uint64{hRequest, out, 8, 2}, statusBadAlign},
		{"http_req.uri_get", []uint64{hRequest, out, 8, 0}, statusBufferLength},
		{"http_req.header_value_get", []uint64{hRequest, names, 1, out, 8, 0}, statusInval},
		{"http_req.header_value_get", []uint64{hRequest, names + 8, 1, out, 1, 0}, statusOK},
		{"http_req.header_value_get", []uint64{hRequest, names + 8, 1, out, 0, 0}, statusBufferLength},
		{"http_body.read", []uint64{hRequestBody, end, 8, 0}, statusInval},
		{"http_body.read", []uint64{hRequest, out, 8, 0}, statusBadHandle},
		{"http_body.write", []uint64{hBody, out, 8, 1, 0}, statusInval},
		{"http_body.write", []uint64{hBody, out, 8, 2, 0}, statusInval},
		{"http_body.write", []uint64{hBody, out, 1 << 31, 0, 0}, statusInval},
		{"http_body.close", []uint64{none}, statusBadHandle},
		{"http_resp.status_set", []uint64{hAnswer, 99}, statusInval},
		{"http_resp.status_set", []uint64{hBody, 200}, statusBadHandle},
		{"http_resp.header_insert", []uint64{hAnswer, names, 1, out, 1 << 20}, statusInval},
		{"http_resp.header_insert", []uint64{hAnswer, names, 1, names, 1}, statusOK},
		{"http_resp.header_insert", []uint64{hAnswer, names, 1, out, 1}, statusHTTPInvalid}, // a zero byte
		{"http_resp.send_downstream", []uint64{hAnswer, hAnswer, 0}, statusBadHandle},
		{"http_resp.send_downstream", []uint64{hBody, hBody, 0}, statusBadHandle},
		{"config_store.open", []uint64{names, 0, 0}, statusNone},
		{"config_store.open", []uint64{names + 1, 1, 0}, statusBadHandle},
		{"config_store.open", []uint64{out, 5000, 0}, statusInval},
		{"config_store.get", []uint64{hConfig, names + 2, 1, out, 5, 0}, statusOK},
		{"config_store.get", []uint64{hConfig, names + 2, 1, out, 4, 0}, statusBufferLength},
		{"config_store.get", []uint64{hConfig, names, 1, out, 5, 0}, statusNone},
		{"config_store.get", []uint64{hConfig, names, 0, out, 5, 0}, statusNone},
		{"config_store.get", []uint64{hSecrets, names + 2, 1, out, 5, 0}, statusBadHandle},
		{"secret_store.open", []uint64{names, 1, 0}, statusNone},
		{"secret_store.get", []uint64{hSecrets, names, 1, 0}, statusNone},
		{"secret_store.get", []uint64{hSecrets, names + 2, 1, end}, statusBadAlign},
		{"secret_store.plaintext", []uint64{hSecret, out, 6, 0}, statusOK},
		{"secret_store.plaintext", []uint64{hSecret, out, 5, 0}, statusBufferLength},
		{"secret_store.plaintext", []uint64{hSecrets, out, 6, 0}, statusBadHandle},
		{"kv_store.open", []uint64{names, 1, 0}, statusInval},
		{"kv_store.lookup", []uint64{hKV, names, 0, 0, 0, 0}, statusInval},
		{"kv_store.lookup", []uint64{hKV, names, 1, 0, odd, 0}, statusBadAlign},
		{"kv_store.lookup", []uint64{hKV, names, 1, 0, pageSize, 0}, statusInval},
		{"kv_store.lookup_wait_v2", []uint64{hKV, 0, out, 8, 0, 0, 0}, statusBadHandle},
		{"kv_store.insert", []uint64{hKV, names, 1, hBody, 0, pageSize - 24, 0}, statusInval},
		{"kv_store.insert", []uint64{hKV, names, 1, hBody, 0, out + 4, 0}, statusBadAlign},
		{"kv_store.insert", []uint64{hKV, names, 1, hKV, 0, out, 0}, statusBadHandle},
		{"kv_store.insert_wait", []uint64{none, 0}, statusBadHandle},
		{"log.endpoint_get", []uint64{names, 0, 0}, statusInval},
		{"log.write", []uint64{hLog, pageSize, 1, 0}, statusInval},
		{"log.write", []uint64{hFailingLog, names, 1, 0}, statusError},
		{"log.write", []uint64{hKV, names, 1, 0}, statusBadHandle},
	} {
		t.Run(fmt.Sprintf("%s%v", row.name, row.params), func(t *testing.T) {
			g := newGuest(t, service(), &Request{Header: http.Header{"A": {"b"}, "Content-Type": {"text/plain"}}, Body: []byte("body")})
			g.open()
			if got := g.call(row.name, row.params...); got != row.want {
				t.Errorf("status %d, want %d", got, row.want)
			}
		})
	}
}

func TestExchange(t *testing.T) {
	g := newGuest(t, service(), &Request{Body: []byte("body")})
	g.open()
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	ok := func(s status) {
		t.Helper()
		if s != statusOK {
			t.Fatalf("status %d", s)
		}
	}
	// A body is read to its end.
	ok(g.call("http_body.read", hRequestBody, 2048, 3, 0))
	want(g.text(2048, g.uint32(0)), "bod")
	ok(g.call("http_body.read", hRequestBody, 2048, 3, 0))
	want(g.text(2048, g.uint32(0)), "y")
	ok(g.call("http_body.read", hRequestBody, 2048, 3, 0))
	want(g.text(2048, g.uint32(0)), "")
	g.put(names, "helloworld")
	ok(g.call("http_body.write", hBody, names, 5, 0, 0))
	ok(g.call("http_body.write", hBody, names+5, 5, 0, 0))

	g.put(names, "Content-Typea")
	ok(g.call("http_resp.header_insert", hAnswer, names, 12, names+12, 1))
	ok(g.call("http_resp.status_set", hAnswer, 422))
	ok(g.call("http_resp.send_downstream", hAnswer, hBody, 1))
	if g.instance().finished() {
		t.Error("finished before the body is closed")
	}
	if s := g.call("http_resp.status_set", hAnswer, 200); s != statusBadHandle {
		t.Errorf("an answer that was sent: status %d", s)
	}
	ok(g.call("http_resp.new", 0))
	if s := g.call("http_resp.send_downstream", g.uint32(0), hBody, 1); s != statusError {
		t.Errorf("a second answer: status %d", s)
	}
	ok(g.call("http_body.close", hBody))
	if s := g.call("http_body.write", hBody, names, 1, 0, 0); s != statusBadHandle {
		t.Errorf("a closed body: status %d", s)
	}
	r := g.instance().response()
	if !g.instance().finished() || r.Status != 422 || string(r.Body) != "helloworld" || r.Header.Get("Content-Type") != "a" {
		t.Errorf("%+v", r)
	}
}

func TestLookupsAreLimited(t *testing.T) {
	s := service()
	s.MaxLookups = 4
	g := newGuest(t, s, &Request{})
	g.open() // one
	for n, want := range []status{statusBufferLength, statusNone, statusOK, statusLimitExceeded} {
		call := [][]uint64{{hConfig, names + 2, 1, 64, 0, 0}, {hConfig, names, 1, 64, 9, 0}, {hConfig, names + 2, 1, 64, 9, 0}, {hConfig, names + 2, 1, 64, 9, 0}}[n]
		if got := g.call("config_store.get", call...); got != want {
			t.Errorf("look-up %d: status %d, want %d", n+2, got, want)
		}
	}
	if s := g.call("secret_store.get", hSecrets, names+2, 1, 0); s != statusLimitExceeded {
		t.Errorf("a secret: status %d", s)
	}
	if s := g.call("kv_store.lookup", hKV, names, 1, 0, 64, 0); s != statusLimitExceeded {
		t.Errorf("a KV store: status %d", s)
	}
	if n := g.instance().response().Lookups; n != 7 {
		t.Errorf("%d look-ups", n)
	}
}

// A guest may give any numbers to any call, in any order.
func FuzzHostcalls(f *testing.F) {
	seed := func(calls ...[]uint32) {
		var b []byte
		for _, call := range calls {
			for _, v := range call {
				b = binary.LittleEndian.AppendUint32(b, v)
			}
		}
		f.Add(b)
	}
	for n := range uint32(32) {
		seed([]uint32{n, hRequest, 64, 8, 0, 0, 0, 0, 0}, []uint32{n, hKV, names, 1, hBody, 8, 64, 0, 0})
		seed([]uint32{n, pageSize - 1, 1 << 31, 0xffffffff, 7, 0xfffffff8, 3, 1, 2})
	}
	var all []string
	for _, m := range hostcalls {
		for _, c := range m.calls {
			all = append(all, strings.TrimPrefix(m.name, "fastly_")+"."+c.name)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g := newGuest(t, service(), &Request{Header: http.Header{"A": {"b", ""}}, Body: []byte("body")})
		g.open()
		for len(data) >= 4*9 {
			name := all[binary.LittleEndian.Uint32(data)%uint32(len(all))]
			params := make([]uint64, len(g.calls[name].params))
			for n := range params {
				params[n] = uint64(binary.LittleEndian.Uint32(data[4+4*n:]))
			}
			if s := g.call(name, params...); s > statusLimitExceeded {
				t.Fatalf("%s: status %d", name, s)
			}
			data = data[4*9:]
		}
	})
}
