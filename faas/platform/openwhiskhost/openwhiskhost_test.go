package openwhiskhost

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/functiontest"
	"switchbridge/functiontest/conformance"
)

// loop serves h, and returns what sends a line and reads its answer.
func loop(t *testing.T, h http.Handler, acknowledge bool) (tell func(line string) string, answers *bufio.Reader) {
	t.Helper()
	in, lines := io.Pipe()
	out, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Serve(context.Background(), h, in, w, acknowledge) }()
	t.Cleanup(func() {
		lines.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	answers = bufio.NewReader(out)
	var one sync.Mutex // OpenWhisk's runtime sends one activation at a time
	return func(line string) string {
		one.Lock()
		defer one.Unlock()
		if _, err := io.WriteString(lines, line+"\n"); err != nil {
			t.Error(err)
			return ""
		}
		answer, err := answers.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		return answer
	}, answers
}

// exchange asks as OpenWhisk's controller does. JSON comes as base64 where encoded says so.
func exchange(tell func(string) string, encoded bool) functiontest.Exchange {
	return func(_ context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
		if header.Get("Authorization") == "" {
			header.Set("Authorization", "Bearer "+conformance.Token)
		}
		headers := make(map[string]string)
		for name, values := range header {
			headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		text := string(body)
		if encoded || header.Get("Content-Type") != contract.TypeJSON {
			text = base64.StdEncoding.EncodeToString(body)
		}
		line, err := json.Marshal(map[string]any{"deadline": "4102444800000", "value": map[string]any{
			"__ow_method": "post", "__ow_path": "", "__ow_query": "", "__ow_headers": headers, "__ow_body": text}})
		if err != nil {
			return 0, nil, nil, err
		}
		var a answer
		if err := json.Unmarshal([]byte(tell(string(line))), &a); err != nil {
			return 0, nil, nil, err
		}
		got := http.Header{}
		for name, value := range a.Headers {
			got.Set(name, value)
		}
		if media := got.Get("Content-Type"); media == contract.TypeJSON || strings.HasPrefix(media, "text/") {
			return a.StatusCode, got, []byte(a.Body), nil
		}
		decoded, err := base64.StdEncoding.DecodeString(a.Body)
		return a.StatusCode, got, decoded, err
	}
}

func TestConformance(t *testing.T) {
	tell, _ := loop(t, conformance.Native(t), false)
	conformance.Host(t, exchange(tell, false))
	codec := jsonenc.Codec{}
	conformance.RunBy(t, conformance.Stateless(), functiontest.Client(codec, exchange(tell, true)), codec)
}

func TestActivations(t *testing.T) {
	var seen *http.Request
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		w.Header().Set("Content-Type", "text/plain")
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	tell, _ := loop(t, h, false)
	for _, row := range []struct{ name, line, want string }{
		{"what is no JSON", `{`, `"statusCode":400`},
		{"no web action", `{"value":{"name":"x"}}`, "want a web action"},
		{"a method that is none", `{"value":{"__ow_method":"a b"}}`, `"statusCode":400`},
		{"a deadline that is none", `{"deadline":"soon","value":{"__ow_method":"post"}}`, `"statusCode":400`},
		{"more than there is room for", `{"value":{"__ow_method":"post","__ow_body":"` + strings.Repeat("a", maxActivation) + `"}}`, `"statusCode":413`},
		{"no body", `{"value":{"__ow_method":"post","__ow_body":""}}`, `"body":""`},
		{"text", `{"value":{"__ow_method":"post","__ow_body":"{\"a\": 1}"}}`, `"body":"{\"a\": 1}"`},
		{"base64", `{"value":{"__ow_method":"post","__ow_body":"eyJhIjogMX0="}}`, `"body":"{\"a\": 1}"`},
		{"a deadline in numbers", `{"deadline":4102444800000,"value":{"__ow_method":"get","__ow_path":"/healthz","__ow_query":"a=b",` +
			`"__ow_headers":{"host":"f","x-forwarded-for":"192.0.2.9, 192.0.2.1"}}}`, `"statusCode":200`},
	} {
		if got := tell(row.line); !strings.Contains(got, row.want) {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	if seen.Method != "GET" || seen.URL.String() != "/healthz?a=b" || seen.Host != "f" || seen.RemoteAddr != "192.0.2.1" {
		t.Errorf("%s %s of %s from %s", seen.Method, seen.URL, seen.Host, seen.RemoteAddr)
	}
	if end, ok := seen.Context().Deadline(); !ok || !end.Equal(time.UnixMilli(4102444800000)) {
		t.Errorf("deadline %v, %v", end, ok)
	}
}

func TestAcknowledge(t *testing.T) {
	var out strings.Builder
	if err := Serve(t.Context(), http.NotFoundHandler(), strings.NewReader(""), &out, true); err != nil || out.String() != "{\"ok\":true}\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// A line without an end costs a bounded amount of memory.
func TestLineIsBounded(t *testing.T) {
	var out strings.Builder
	r := bufio.NewReaderSize(io.LimitReader(endless{}, 10*maxActivation), readAtOnce)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := readLine(r)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, errTooLong) || took > 8*maxActivation {
		t.Errorf("%v, with %d bytes of memory", err, took)
	}
	// It is answered, and so is what comes after another.
	in := io.MultiReader(io.LimitReader(endless{}, maxActivation), strings.NewReader("\n{}\n{}"))
	if err := Serve(t.Context(), http.NotFoundHandler(), in, &out, false); err != nil {
		t.Error(err)
	}
	if got := out.String(); strings.Count(got, "\n") != 3 || strings.Count(got, `"statusCode":413`) != 1 || strings.Count(got, `"statusCode":400`) != 2 {
		t.Error(got)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}
