package ofproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// messages cuts everything that r gives, as a session does.
func messages(r io.Reader) (list [][]byte, err error) {
	f := framer{r: r}
	for {
		msg, err := f.buffered()
		if err != nil {
			return list, err
		}
		if msg != nil {
			list = append(list, bytes.Clone(msg))
			continue
		}
		if err := f.fill(); err != nil {
			return list, err
		}
		if len(f.buf) > framerMax {
			return list, errors.New("more memory than the bound")
		}
	}
}

func TestFramer(t *testing.T) {
	small := ofp.AppendEchoRequest(nil, flow.OpenFlow13, 1, nil)
	large := ofp.AppendEchoRequest(nil, flow.OpenFlow13, 2, make([]byte, 65527))
	stream := bytes.Join([][]byte{small, large, small, large}, nil)
	for name, r := range map[string]io.Reader{
		"at once":      bytes.NewReader(stream),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":       iotest.HalfReader(bytes.NewReader(stream)),
		"with EOF":     iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			list, err := messages(r)
			if err != io.EOF || len(list) != 4 || !bytes.Equal(bytes.Join(list, nil), stream) {
				t.Errorf("%d messages, %v", len(list), err)
			}
		})
	}
}

func FuzzFramer(f *testing.F) {
	f.Add([]byte{4, 0, 0, 8, 0, 0, 0, 1, 4, 2, 0, 9, 0, 0, 0, 1, 7})
	f.Add([]byte{4, 0, 0, 7, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, stream []byte) {
		list, err := messages(iotest.HalfReader(bytes.NewReader(stream)))
		joined := bytes.Join(list, nil)
		if !bytes.HasPrefix(stream, joined) {
			t.Fatalf("%d messages are not the stream's start", len(list))
		}
		rest := stream[len(joined):]
		switch {
		case errors.Is(err, errFraming):
			if len(rest) < 4 || int(rest[2])<<8|int(rest[3]) >= ofp.HeaderLen {
				t.Fatalf("framing given up at % x", rest[:min(8, len(rest))])
			}
		case err == io.EOF:
			if len(rest) >= ofp.HeaderLen && len(rest) >= int(rest[2])<<8|int(rest[3]) {
				t.Fatalf("a whole message was left: % x", rest[:8])
			}
		default:
			t.Fatal(err)
		}
	})
}

// FuzzSession gives a session any bytes: it must end with the connection and
// nothing must crash.
func FuzzSession(f *testing.F) {
	hello := ofp.AppendHello(nil, 1, flow.OpenFlow13)
	features := ofp.AppendFeaturesReply(nil, flow.OpenFlow13, 2, &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13, NTables: 1})
	ports := ofp.AppendPortDescReply(nil, 3, []flow.Port{{No: 1, Name: "a"}})
	barrier := ofp.AppendBarrierReply(nil, flow.OpenFlow13, 4)
	f.Add(bytes.Join([][]byte{hello, features, ports, barrier}, nil))
	hello10 := ofp.AppendHello(nil, 1, flow.OpenFlow10)
	features10 := ofp.AppendFeaturesReply(nil, flow.OpenFlow10, 2, &flow.Switch{DPID: 1, Protocol: flow.OpenFlow10, Ports: []flow.Port{{No: 1}}})
	packet, err := ofp.AppendPacketIn(nil, flow.OpenFlow10, 0, &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: 60, Match: flow.ParseFrame(make([]byte, 60), 1), Data: make([]byte, 60)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Join([][]byte{hello10, features10, packet}, nil))
	f.Fuzz(func(t *testing.T, stream []byte) {
		b, err := bridge.New(bridge.Config{Decider: local(exactRule), ListTimeout: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		srv, err := NewServer(Config{Bridge: b, HandshakeTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() { srv.ServeConn(ctx, server); close(done) }()
		go io.Copy(io.Discard, client)
		client.Write(stream)
		client.Close()
		<-done
	})
}
