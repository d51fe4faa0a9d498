package wasmhost

import (
	"context"
	"testing"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/internal/built"
)

func adversary(t testing.TB) []byte {
	return built.Guest(t, "switchbridge/faas/instance/wasmhost/testdata/adversary", true)
}

// run starts a host and waits until it is ready.
func run(t testing.TB, config Config) *Host {
	t.Helper()
	if config.Name == "" {
		config.Name = "test"
	}
	if config.CacheDir == "" {
		config.CacheDir = built.CacheDir(t)
	}
	if config.Wasm == nil {
		config.Wasm = adversary(t)
	}
	h := New(config)
	start(t, h)
	return h
}

// start runs a host until the test ends.
func start(t testing.TB, h *Host) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := h.wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// ask sends one event whose body is what, and returns the answer.
func ask(h *Host, id, what string) (answer guest.Answer, err error) {
	request := guest.Request{Event: flow.EventPacketIn, Encoding: guest.EncodingJSON, ID: id, Body: []byte(what)}
	err = h.Call(context.Background(), request.AppendBinary(nil), func(b []byte) error {
		if err := answer.Parse(b); err != nil {
			return err
		}
		answer.Body = append([]byte(nil), answer.Body...)
		return nil
	})
	return answer, err
}

func TestEcho(t *testing.T) {
	h := run(t, Config{})
	for range 3 {
		a, err := ask(h, "1", "echo")
		if err != nil || string(a.Body) != "echo" || a.Status != 200 {
			t.Fatal(a, err)
		}
	}
}

// BenchmarkCall measures one event on one core, by how instances are made pristine. The guest
// answers with the event's body; "reused" is what the same call costs with nothing put back, and
// "native" the same function compiled in.
func BenchmarkCall(b *testing.B) {
	request := guest.Request{
		Event: flow.EventPacketIn, Encoding: guest.EncodingOpenFlow, DPID: 1, ID: "1", Session: "s1", Body: []byte("echo"),
	}
	encoded := request.AppendBinary(nil)
	var answer guest.Answer

	b.Run("native", func(b *testing.B) {
		var r guest.Request
		var out []byte
		for b.Loop() {
			if err := r.Parse(encoded); err != nil {
				b.Fatal(err)
			}
			answer = guest.Answer{Status: 200, Encoding: r.Encoding, Body: r.Body}
			out = answer.AppendBinary(out[:0])
			if err := answer.Parse(out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("reused", func(b *testing.B) {
		h := run(b, Config{})
		in, err := h.current.Load().acquire(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			out, err := in.decide(b.Context(), decide, encoded)
			if err == nil {
				err = answer.Parse(out)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		h.current.Load().release(in, false)
	})
	for _, whole := range []bool{false, true} {
		h := run(b, Config{WholeCopy: whole})
		b.Run("pristine, "+h.Stats().Reset.String(), func(b *testing.B) {
			before := h.Stats()
			for b.Loop() {
				if err := h.Call(b.Context(), encoded, answer.Parse); err != nil {
					b.Fatal(err)
				}
			}
			after := h.Stats()
			b.ReportMetric(float64(after.BytesRestored-before.BytesRestored)/float64(after.Events-before.Events), "B-restored/op")
		})
	}
	b.Run("pristine, new instance", func(b *testing.B) {
		h := run(b, Config{})
		for b.Loop() {
			in, err := h.current.Load().initialised(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := in.decide(b.Context(), decide, encoded); err != nil {
				b.Fatal(err)
			}
			in.close()
		}
	})
}

// BenchmarkThroughput keeps all cores busy.
func BenchmarkThroughput(b *testing.B) {
	h := run(b, Config{})
	encoded := (&guest.Request{Event: flow.EventPacketIn, Encoding: guest.EncodingOpenFlow, Body: []byte("echo")}).AppendBinary(nil)
	b.RunParallel(func(pb *testing.PB) {
		var answer guest.Answer
		for pb.Next() {
			if err := h.Call(context.Background(), encoded, answer.Parse); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkInstance is what the first use of an instance costs: a copy of the image.
func BenchmarkInstance(b *testing.B) {
	h := run(b, Config{})
	img := h.current.Load()
	for b.Loop() {
		in, err := img.another(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		in.close()
	}
}
