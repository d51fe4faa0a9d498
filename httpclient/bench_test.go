package httpclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/internal/certs/certstest"
	"switchbridge/internal/frames"
)

// BenchmarkDecide sets Decide beside a bare http.Client that sends and reads
// the same bytes with the same headers, over TLS on loopback, one at a time and
// with several under way.
func BenchmarkDecide(b *testing.B) {
	ca := certstest.New(b)
	ev := benchmarkEvent()
	for _, codec := range []contract.Codec{openflow.Codec{}, jsonenc.Codec{}} {
		answer, err := codec.AppendDecision(nil, ev, &flow.Decision{Rules: []flow.Rule{{Priority: 7, BufferID: flow.NoBuffer,
			IdleTimeout: 30 * time.Second, Match: ev.PacketIn.Match, Actions: []flow.Action{flow.OutputTo(2)}}}})
		if err != nil {
			b.Fatal(err)
		}
		s := server(b, ca, time.Now().Add(time.Hour), func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header()["Content-Type"] = []string{codec.ContentType()}
			w.Header()["Switchbridge-Policy"] = []string{"3-0000beef"}
			w.Write(answer)
		}, nil)
		c, err := New(Config{Endpoints: []string{s.URL}, Codec: codec, CAFile: ca.File(b)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		bare := newBare(b, c, ca, s.URL, ev)
		decide := func(b *testing.B, d *flow.Decision) {
			d.Reset()
			if err := c.Decide(context.Background(), ev, d); err != nil || len(d.Rules) != 1 {
				b.Error(len(d.Rules), err)
			}
		}
		name := codec.ContentType()[len("application/"):]
		b.Run(name+"/bare", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bare(b)
			}
		})
		b.Run(name+"/Decide", func(b *testing.B) {
			b.ReportAllocs()
			var d flow.Decision
			for b.Loop() {
				decide(b, &d)
			}
		})
		b.Run(name+"/bare-parallel", func(b *testing.B) {
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					bare(b)
				}
			})
		})
		b.Run(name+"/Decide-parallel", func(b *testing.B) {
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				var d flow.Decision
				for pb.Next() {
					decide(b, &d)
				}
			})
		})
	}
}

// benchmarkEvent is a TCP packet of 98 bytes.
func benchmarkEvent() *flow.Event {
	data := frames.TCP(frames.Host(1).At(40000), frames.Host(2).At(22), frames.ACK, make([]byte, 44))
	return &flow.Event{Type: flow.EventPacketIn, ID: "event-1", Session: "session-1", Time: time.Now(), XID: 42,
		Switch:   &flow.Switch{DPID: 0xaa, Protocol: flow.OpenFlow13, NTables: 254},
		PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(data), Data: data, Match: flow.ParseFrame(data, 1)}}
}

// newBare returns the call that c is measured against.
func newBare(b *testing.B, c *Client, ca *certstest.Authority, url string, ev *flow.Event) func(*testing.B) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, MaxIdleConnsPerHost: 256, DisableCompression: true}}
	b.Cleanup(client.CloseIdleConnections)
	body, err := c.cfg.Codec.AppendEvent(nil, ev)
	if err != nil {
		b.Fatal(err)
	}
	header := c.header(ev, ev.ID)
	return func(b *testing.B) {
		req, err := http.NewRequest("POST", url, bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header = header
		resp, err := client.Do(req)
		if err != nil {
			b.Error(err)
			return
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			b.Error(err)
		}
		resp.Body.Close()
	}
}
