package httphost_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/faas/function/httphost"
	"switchbridge/flow"
	"switchbridge/internal/quiet"
)

// Callers who send their bodies slowly, ten times as many as events are decided
// at a time, keep nobody from an answer.
func TestSlowBodiesTakeNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 8
		h := newHandler(t, httphost.Config{MaxConcurrent: places})
		var slow sync.WaitGroup
		var senders []*io.PipeWriter
		codes := make(chan int, 10*places)
		for range 10 * places {
			body, sender := io.Pipe()
			senders = append(senders, sender)
			slow.Go(func() {
				r := newRequest("")
				r.Body, r.ContentLength = body, int64(len(event))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				codes <- w.Code
			})
			go io.WriteString(sender, event[:20])
		}
		synctest.Wait()
		for range 3 {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, newRequest(event))
			if w.Code != http.StatusOK {
				t.Fatalf("beside slow callers: status %d %s", w.Code, w.Body)
			}
		}
		for _, s := range senders { // one after the other, so that there is a place for each
			io.WriteString(s, event[20:])
			s.Close()
			synctest.Wait()
		}
		slow.Wait()
		for range senders {
			if code := <-codes; code != http.StatusOK {
				t.Errorf("a slow caller gets status %d", code)
			}
		}
	})
}

// What is held of bodies that are not complete is bounded, and given back.
func TestUnfinishedBodiesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, httphost.Config{})
		const callers = 640 // 640 MB, ten times what is held
		large := event + strings.Repeat(" ", flow.MaxBody-len(event)-1)
		var senders []*io.PipeWriter
		codes := make(chan int, callers)
		for range callers {
			body, sender := io.Pipe()
			senders = append(senders, sender)
			go func() {
				r := newRequest("")
				r.Body, r.ContentLength = body, -1
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				body.Close()
				codes <- w.Code
			}()
			go io.WriteString(sender, large)
		}
		synctest.Wait()
		if held := callers - len(codes); held > 64 || held < 16 {
			t.Errorf("%d bodies of 1 MB are held, want at most 64", held)
		}
		for len(codes) > 0 {
			if code := <-codes; code != http.StatusTooManyRequests {
				t.Errorf("who is too many gets status %d", code)
			}
		}
		for _, s := range senders {
			s.Close()
		}
		synctest.Wait()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, newRequest(event))
		if w.Code != http.StatusOK {
			t.Errorf("afterwards: status %d %s", w.Code, w.Body)
		}
	})
}

// A flood of callers without a token makes a line of log now and then.
func TestRefusedCallersAreLoggedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs syncBuffer
		m, err := httphost.NewMux(httphost.MuxConfig{Tokens: nobody{}, Log: textLog(&logs),
			Functions: []httphost.Function{{Name: "f", Handler: newHandler(t, httphost.Config{})}}})
		if err != nil {
			t.Fatal(err)
		}
		flood(func(int) {
			w := httptest.NewRecorder()
			if m.ServeHTTP(w, newRequest(event)); w.Code != http.StatusUnauthorized {
				t.Fatal(w.Code)
			}
		})
		logs.bounded(t, "caller refused")

		h := newHandler(t, httphost.Config{Log: textLog(&logs), Decider: flow.DeciderFunc(func(_ context.Context, ev *flow.Event, _ *flow.Decision) error {
			if ev.ID == "panic" {
				panic("by request")
			}
			return flow.Errorf(flow.Invalid, "nonsense")
		})})
		for id, about := range map[string]string{"e": "event failed", "panic": "controller panicked"} {
			flood(func(int) {
				r := newRequest(event)
				r.Header.Set("Ce-Id", id)
				h.ServeHTTP(httptest.NewRecorder(), r)
			})
			logs.bounded(t, about)
		}

		e := quiet.ErrorLog(textLog(&logs))
		flood(func(i int) { e.Printf("http: TLS handshake error from 192.0.2.1:%d: EOF", i) })
		logs.bounded(t, "TLS handshake error")
	})
}

type nobody struct{}

func (nobody) Check(string) error { return errors.New("no token") }

// flood does something 20,000 times in a minute.
func flood(f func(i int)) {
	for i := range 20_000 {
		f(i)
		time.Sleep(3 * time.Millisecond)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// bounded wants less than 1 MB a minute, and to be told how much was left out.
func (s *syncBuffer) bounded(t *testing.T, about string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.b.String()
	if len(text) > 1<<20 || !strings.Contains(text, about) || !strings.Contains(text, "also_muted=") {
		t.Errorf("%d bytes of log about %q:\n%.2000s", len(text), about, text)
	}
	s.b.Reset()
}
