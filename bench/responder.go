package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"switchbridge/flow"
	"switchbridge/ofproxy/ofp"
)

// Responder is the controller that does nothing: it answers every PACKET_IN
// with one constant FLOW_MOD for its buffer, all those of one read in one write.
// An OpenFlow 1.3 switch gets a table-miss entry (1.3.5, 5.4) before.
// What a controller takes longer than a Responder in the same run is its own.
// The zero value is ready for use.
//
// With a Delay it is the controller whose latency is known beforehand: what a
// measurement of it says beyond Delay is the measurement's error and the two
// sockets' own time.
type Responder struct {
	Delay time.Duration // from reading a PACKET_IN to writing its answer
}

// Serve answers the switches that connect to ln, which it closes when ctx is
// done. It returns nil then, and the listener's error otherwise.
func (r Responder) Serve(ctx context.Context, ln net.Listener) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("responder: %w", err)
		}
		sessions.Go(func() {
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			defer conn.Close()
			_ = respond(conn, r.Delay) // a switch that leaves or misbehaves ends its own session only
		})
	}
}

const wirePacketIn = 10

func respond(conn io.ReadWriter, delay time.Duration) error {
	write := func(b []byte) error {
		_, err := conn.Write(b)
		return err
	}
	if delay > 0 {
		held := make(chan parcel, 4096)
		defer close(held)
		go func() {
			for p := range held {
				WaitUntil(p.due)
				if _, err := conn.Write(p.data); err != nil {
					continue // the reader sees the connection's end too
				}
			}
		}()
		write = func(b []byte) error {
			held <- parcel{time.Now().Add(delay), bytes.Clone(b)}
			return nil
		}
	}
	hello := ofp.AppendHello(nil, 1, flow.OpenFlow10, flow.OpenFlow13)
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	var (
		in        = newStream(conn, streamBytes)
		out       []byte
		flowMod   []byte
		offBuffer int
	)
	for {
		if err := in.fill(); err != nil {
			return err
		}
		for {
			msg, err := in.buffered()
			if err != nil {
				return err
			}
			if msg == nil {
				break
			}
			if msg[1] == wirePacketIn && flowMod != nil && len(msg) >= 12 {
				n := len(out)
				out = append(out, flowMod...)
				copy(out[n+offXID:n+offXID+4], msg[offXID:])
				copy(out[n+offBuffer:n+offBuffer+4], msg[offBufferID:])
				continue
			}
			h, err := ofp.ParseHeader(msg)
			if err != nil {
				return err
			}
			switch h.Type {
			case ofp.TypeHello:
				v, err := commonVersion(msg)
				if err != nil {
					return err
				}
				out = ofp.AppendFeaturesRequest(out, v, 2)
				if v != flow.OpenFlow10 {
					if out, err = ofp.AppendFlowMod(out, v, 3, &flow.Rule{Actions: []flow.Action{flow.OutputTo(flow.PortController)}}, flow.NoBuffer); err != nil {
						return err
					}
				}
				if flowMod, offBuffer, err = constantFlowMod(v); err != nil {
					return err
				}
			case ofp.TypeEchoRequest:
				out = ofp.AppendEchoReply(out, h.Version, h.XID, msg[ofp.HeaderLen:])
			}
		}
		if len(out) > 0 {
			if err := write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
}

// WaitUntil waits until t to within a few microseconds. The runtime's timers are
// up to a millisecond late in a process that is otherwise idle (it waits in
// epoll, which counts milliseconds); the kernel's are late by its slack of 50 µs,
// so the last stretch is spent looking at the clock.
func WaitUntil(t time.Time) {
	const stretch = 150 * time.Microsecond
	if d := time.Until(t) - stretch; d > 0 {
		sleep := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&sleep, nil) // a signal may end it early; the rest is spun
	}
	for time.Until(t) > 0 {
		runtime.Gosched()
	}
}

func commonVersion(hello []byte) (flow.Protocol, error) {
	offered, err := ofp.ParseHello(hello)
	if err != nil {
		return 0, err
	}
	for _, v := range []flow.Protocol{flow.OpenFlow13, flow.OpenFlow10} {
		if offered>>v&1 == 1 {
			return v, nil
		}
	}
	return 0, errors.New("the switch speaks neither OpenFlow 1.0 nor 1.3")
}

// constantFlowMod makes the answer and says where its buffer_id is.
func constantFlowMod(v flow.Protocol) (msg []byte, offBuffer int, err error) {
	const mark = 0x5a5a5a5a
	r := flow.Rule{Priority: 1, Actions: []flow.Action{flow.OutputTo(2)}}
	r.Match.SetInPort(1)
	if msg, err = ofp.AppendFlowMod(nil, v, 0, &r, mark); err != nil {
		return nil, 0, err
	}
	offBuffer = 64 // OpenFlow 1.0.0, 5.3.3
	if v != flow.OpenFlow10 {
		offBuffer = 32 // OpenFlow 1.3.5, 7.3.4.1
	}
	if binary.BigEndian.Uint32(msg[offBuffer:]) != mark {
		return nil, 0, fmt.Errorf("responder: no buffer_id at byte %d of a FLOW_MOD of %v", offBuffer, v)
	}
	return msg, offBuffer, nil
}
