package p4bridge

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"switchbridge/bridge"
	"switchbridge/internal/logbuffer"
)

// What a switch says on its stream, however long and however often, has the gateway
// keep so much and log so much.
func TestStreamIsBounded(t *testing.T) {
	message := func(m *p4v1.StreamMessageResponse) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	packet := func(bytes int) []byte {
		return message(&p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_Packet{Packet: &p4v1.PacketIn{
			Payload: append(udp(1, 2, 3), make([]byte, bytes)...), Metadata: []*p4v1.PacketMetadata{{MetadataId: 1, Value: []byte{1}}}}}})
	}
	entries := make([]*p4v1.TableEntry, 20_000)
	for i := range entries {
		entries[i] = &p4v1.TableEntry{TableId: 1}
	}
	text := strings.Repeat("no ", 1<<20)
	for name, row := range map[string]struct {
		message []byte
		ends    bool // the stream
		kept    func(c *client) int
		most    int
	}{
		"small packets":    {packet(0), false, func(c *client) int { return c.events.len() }, 1024},
		"large packets":    {packet(60_000), false, func(c *client) int { return c.events.bytes }, bridge.QueueBytes},
		"packets too long": {packet(70_000), false, func(c *client) int { return c.events.len() }, 0},
		"idle entries": {message(&p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_IdleTimeoutNotification{
			IdleTimeoutNotification: &p4v1.IdleTimeoutNotification{TableEntry: entries}}}), false, func(c *client) int { return len(c.idle) }, 16},
		"arbitration": {message(&p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_Arbitration{
			Arbitration: &p4v1.MasterArbitrationUpdate{Status: &status.Status{Code: 6, Message: text[:1<<20]}}}}), false, func(c *client) int { return len(c.arbitration) }, 16},
		"errors":             {message(&p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_Error{Error: &p4v1.StreamError{Message: text[:1<<20]}}}), false, nil, 0},
		"a message too long": {message(&p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_Error{Error: &p4v1.StreamError{Message: text + text}}}), true, nil, 0},
		"no message":         {[]byte{0xff, 0xff, 0xff}, true, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var logs logbuffer.Buffer
			cfg := Config{Bridge: bridgeOf(t, local{toPort(2)}, nil), Mapping: binding(), Device: 1, Addr: "192.0.2.1:1", Pipeline: program()}
			cfg, err := cfg.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			faults := bridge.Mute{Log: slog.New(slog.NewTextHandler(&logs, nil))}
			c := &client{cfg: &cfg, faults: &faults, events: newInbox(cfg.Bridge.QueuePerSwitch),
				arbitration: make(chan *p4v1.MasterArbitrationUpdate, 16), idle: make(chan *p4v1.IdleTimeoutNotification, 16)}
			most, ended := 0, false
			times := 100
			if len(row.message) < 1000 {
				times = 2000
			}
			for range times {
				if ended = c.received(row.message) != nil; ended {
					break
				}
				if row.kept != nil {
					most = max(most, row.kept(c))
				}
			}
			if ended != row.ends || most > row.most || row.most > 0 && most < row.most*9/10 {
				t.Errorf("the stream ended: %v, want %v; kept %d, want %d", ended, row.ends, most, row.most)
			}
			if n := len(logs.String()); n > 2000 {
				t.Errorf("%d bytes of log", n)
			}
		})
	}
}

// A packet that there is no room for is not looked into: to decode it costs more than to drop it.
func TestPacketWithoutRoomIsSteppedOver(t *testing.T) {
	// Neither a packet nor what is longer than its bytes.
	broken := protowire.AppendBytes(protowire.AppendTag(nil, packetField, protowire.BytesType), []byte{0xff})
	cut := protowire.AppendVarint(protowire.AppendTag(nil, packetField, protowire.BytesType), 9)
	for _, row := range []struct {
		room    int
		message []byte
		ends    bool
	}{{1, broken, true}, {0, broken, false}, {0, cut, true}} {
		b := bridgeOf(t, local{toPort(2)}, nil)
		c := &client{cfg: &Config{Bridge: b, Mapping: binding()}, faults: &bridge.Mute{Log: slog.New(slog.DiscardHandler)}, events: newInbox(func() int { return row.room })}
		if err := c.received(row.message); (err != nil) != row.ends {
			t.Errorf("room for %d, %x: %v", row.room, row.message, err)
		}
	}
}

// endless answers a read without end.
type endless struct {
	p4v1.P4RuntimeClient
	p4v1.P4Runtime_ReadClient
	answer *p4v1.ReadResponse
	given  int
}

func (e *endless) Read(context.Context, *p4v1.ReadRequest, ...grpc.CallOption) (p4v1.P4Runtime_ReadClient, error) {
	return e, nil
}

func (e *endless) Recv() (*p4v1.ReadResponse, error) {
	e.given++
	return e.answer, nil
}

func TestReadIsBounded(t *testing.T) {
	entity := &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: &p4v1.TableEntry{Metadata: make([]byte, 8<<20)}}}
	e := &endless{answer: &p4v1.ReadResponse{Entities: []*p4v1.Entity{entity}}}
	c := &client{cfg: &Config{CallTimeout: time.Minute}, rpc: e}
	if got, err := c.read(t.Context()); err == nil || got != nil || e.given > 40 {
		t.Errorf("%d entities of %d messages, %v", len(got), e.given, err)
	}
}
