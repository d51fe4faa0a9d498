package nats

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"testing"
	"time"

	"switchbridge/internal/child"
	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/statetest"
	"switchbridge/state/statetest/natstest"
)

func opener(t testing.TB, server string, o access.Options) func(context.Context) (state.Store, error) {
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	o.URL = u
	return func(ctx context.Context) (state.Store, error) {
		s, err := Open(ctx, o)
		if o.Entries != 0 && err == nil { // a test of a bucket that is full does not wait for two minutes
			s.(*Store).config.SubjectDeleteMarkerTTL = time.Second
		}
		return s, err
	}
}

func suite(t *testing.T, url string) {
	statetest.Run(t, &statetest.Store{
		Open:   opener(t, url, access.Options{}),
		Full:   opener(t, url+"/full", access.Options{Entries: 3}),
		Expire: func(ttl time.Duration) { time.Sleep(ttl + 1500*time.Millisecond) }, // whole seconds, and the server looks at times
	})
}

func TestStore(t *testing.T) { suite(t, natstest.Start(t).URL) }

// A server that ends and comes back is used again within a second, with what it had.
func TestRestart(t *testing.T) {
	server := natstest.Start(t)
	s, err := opener(t, server.URL, access.Options{})(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	version, err := s.CompareAndSwap(t.Context(), "key", 0, []byte("data"), 0)
	if err != nil {
		t.Fatal(err)
	}
	get := func() (state.Value, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		values := make([]state.Value, 1)
		err := s.Get(ctx, []string{"key"}, values)
		return values[0], err
	}
	server.Stop()
	if _, err := get(); err == nil {
		t.Error("a server that has ended answers")
	}
	server.Restart()
	for returned := time.Now(); ; {
		v, err := get()
		if err == nil {
			if v.Version != version {
				t.Errorf("version %d after the restart, %d before", v.Version, version)
			}
			break
		}
		if took := time.Since(returned); took > time.Second {
			t.Fatalf("no answer %v after the server's return: %v", took, err)
		}
	}
}

// TestProcess is TestStore with a server of its own, where there is one to start.
func TestProcess(t *testing.T) {
	path, err := exec.LookPath("nats-server")
	if err != nil {
		t.Skip("nats-server is not on PATH")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr)
	l.Close()
	var said bytes.Buffer
	cmd := exec.Command(path, "-a", "127.0.0.1", "-p", fmt.Sprint(address.Port), "-js", "-sd", t.TempDir())
	cmd.Stderr = &said
	if err := child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	suite(t, "nats://"+address.String())
}

func BenchmarkDecision(b *testing.B) {
	url := natstest.Start(b).URL
	s, err := opener(b, url, access.Options{})(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	// The bare client's round trips are what an event's are: one read and one write.
	js, stream, reads := s.(*Store).js, "KV_"+DefaultBucket, true
	if err := s.Get(b.Context(), []string{"none"}, make([]state.Value, 1)); err != nil {
		b.Fatal(err)
	}
	bare, err := js.Stream(b.Context(), stream)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := js.Publish(b.Context(), "$KV.switchbridge.bare", make([]byte, 64)); err != nil {
		b.Fatal(err)
	}
	statetest.Bench(b, s, func(ctx context.Context) error {
		reads = !reads
		if reads {
			_, err := bare.GetLastMsgForSubject(ctx, "$KV.switchbridge.bare")
			return err
		}
		_, err := js.Publish(ctx, "$KV.switchbridge.bare", make([]byte, 64))
		return err
	})
}
