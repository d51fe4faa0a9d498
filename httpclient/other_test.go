package httpclient

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
)

// A function that is spoken to in an encoding that it can't read is told from
// one that is broken: the error says what to set, and the question is not
// doubled for every event.
func TestOtherEncoding(t *testing.T) {
	const advice = "say --encoding json"
	for _, row := range []struct {
		name   string
		wrong  http.HandlerFunc // what it answers to OpenFlow
		json   bool             // it answers JSON
		advise bool
	}{
		{"415", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "what is this?", http.StatusUnsupportedMediaType)
		}, true, true},
		{"400", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no JSON", 400) }, true, true},
		{"JSON all the same", func(w http.ResponseWriter, r *http.Request) { answerWith(w, "{}") }, true, true},
		{"neither", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "what is this?", http.StatusUnsupportedMediaType)
		}, false, false},
		{"no such path", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "nothing here", 404) }, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var asked atomic.Int32
			s := httptest.NewServer(eventsOnly(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Content-Type") != contract.TypeJSON {
					io.Copy(io.Discard, r.Body)
					row.wrong(w, r)
					return
				}
				asked.Add(1)
				if r.Header.Get(contract.HeaderAccepts) != "" {
					t.Error("the headers are those of the other encoding")
				}
				if !row.json {
					http.Error(w, "no", http.StatusUnsupportedMediaType)
					return
				}
				answerWith(w, decision)
			}))
			defer s.Close()
			c := newClient(t, Config{Endpoints: []string{s.URL}, Codec: openflow.Codec{}, Other: &Other{Codec: jsonenc.Codec{}, Advice: advice},
				Timeout: 10 * time.Second, TryTimeout: 5 * time.Second})
			for range 3 {
				var d flow.Decision
				err := c.Decide(t.Context(), packetIn(), &d)
				if err == nil || strings.Contains(err.Error(), advice) != row.advise || row.advise && !strings.Contains(err.Error(), contract.TypeJSON) {
					t.Errorf("%v; advice: want %v", err, row.advise)
				}
			}
			if n := asked.Load(); n > 1 {
				t.Errorf("the function was asked %d times in the other encoding, want once a minute at most", n)
			}
		})
	}
}
