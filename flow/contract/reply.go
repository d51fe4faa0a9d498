package contract

import (
	"encoding/base64"
	"fmt"
	"strings"

	"switchbridge/flow"
)

// maxReply is how long the value of [HeaderIfReply] may be; a rule and a PACKET_OUT take some 400 bytes.
const maxReply = 16 << 10

// IfReplyText is the value of [HeaderIfReply] for an answer to ev whose body is in the encoding c: messages of c in base64, and after a
// space the reason. It is empty where there is none, the gateway does not take it, or the body says it.
func IfReplyText(c Codec, ev *flow.Event, d *flow.Decision) (string, error) {
	r := d.IfReply
	if r == nil || ev.PacketIn == nil || ev.Accepts&flow.AcceptsReply == 0 || c.ContentType() == TypeJSON {
		return "", nil
	}
	named, packet := *ev, *ev.PacketIn
	packet.Data = nil // whose packet it is needs no saying
	named.PacketIn = &packet
	body, err := c.AppendDecision(nil, &named, &flow.Decision{Rules: r.Rules, HasPacketOut: r.HasPacketOut, PacketOut: r.PacketOut})
	text := base64.StdEncoding.EncodeToString(body)
	if r.Reason != "" {
		text += " " + Printable(r.Reason)
	}
	if err == nil && len(text) > maxReply {
		err = fmt.Errorf("%d bytes, more than %d", len(text), maxReply)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", HeaderIfReply, err)
	}
	return text, nil
}

// ParseIfReply is IfReplyText's inverse; d keeps what it has where text is empty.
func ParseIfReply(c Codec, ev *flow.Event, text string, d *flow.Decision) error {
	if text == "" {
		return nil
	}
	if len(text) > maxReply {
		return fmt.Errorf("%s: more than %d bytes", HeaderIfReply, maxReply)
	}
	messages, reason, _ := strings.Cut(text, " ")
	body, err := base64.StdEncoding.DecodeString(messages)
	if err != nil {
		return fmt.Errorf("%s: not base64: %w", HeaderIfReply, err)
	}
	var own flow.Decision
	if err := c.ParseDecision(body, ev, &own); err != nil {
		return fmt.Errorf("%s: %w", HeaderIfReply, err)
	}
	d.IfReply = &flow.Reply{Rules: own.Rules, HasPacketOut: own.HasPacketOut, PacketOut: own.PacketOut, Reason: Printable(reason)}
	return nil
}

// PutReply writes the header that says what becomes of a reply, where an answer in the encoding c has one.
func PutReply(h Header, c Codec, ev *flow.Event, d *flow.Decision) error {
	text, err := IfReplyText(c, ev, d)
	if text != "" {
		h.Set(HeaderIfReply, text)
	}
	return err
}

// GetReply reads what PutReply has written. With a JSON body it is the body that says it.
func GetReply(h Header, c Codec, ev *flow.Event, d *flow.Decision) error {
	if c.ContentType() == TypeJSON {
		return nil
	}
	return ParseIfReply(c, ev, h.Get(HeaderIfReply), d)
}
