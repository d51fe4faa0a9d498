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
	if ev.Accepts&flow.AcceptsReply == 0 {
		return "", nil
	}
	return replyText(HeaderIfReply, c, ev, d.IfReply)
}

// replyText is the value of a header that says what becomes of a reply.
func replyText(header string, c Codec, ev *flow.Event, r *flow.Reply) (string, error) {
	if r == nil || ev.PacketIn == nil || c.ContentType() == TypeJSON {
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
		return "", fmt.Errorf("%s: %w", header, err)
	}
	return text, nil
}

// ParseIfReply is IfReplyText's inverse; d keeps what it has where text is empty.
func ParseIfReply(c Codec, ev *flow.Event, text string, d *flow.Decision) error {
	return parseReply(HeaderIfReply, c, ev, text, &d.IfReply)
}

// parseReply is replyText's inverse.
func parseReply(header string, c Codec, ev *flow.Event, text string, r **flow.Reply) error {
	if text == "" {
		return nil
	}
	if len(text) > maxReply {
		return fmt.Errorf("%s: more than %d bytes", header, maxReply)
	}
	messages, reason, _ := strings.Cut(text, " ")
	body, err := base64.StdEncoding.DecodeString(messages)
	if err != nil {
		return fmt.Errorf("%s: not base64: %w", header, err)
	}
	var own flow.Decision
	if err := c.ParseDecision(body, ev, &own); err != nil {
		return fmt.Errorf("%s: %w", header, err)
	}
	*r = &flow.Reply{Rules: own.Rules, HasPacketOut: own.HasPacketOut, PacketOut: own.PacketOut, Reason: Printable(reason)}
	return nil
}

// PutReply writes the headers that say what becomes of a reply, and for which other packets the answer holds, where an answer in the
// encoding c has them.
func PutReply(h Header, c Codec, ev *flow.Event, d *flow.Decision) error {
	text, err := IfReplyText(c, ev, d)
	if text != "" {
		h.Set(HeaderIfReply, text)
	}
	if err != nil {
		return err
	}
	reuse, reply, err := ReuseText(c, ev, d)
	if reuse != "" {
		h.Set(HeaderReuse, reuse)
	}
	if reply != "" {
		h.Set(HeaderReply, reply)
	}
	return err
}

// GetReply reads what PutReply has written. With a JSON body it is the body that says it.
func GetReply(h Header, c Codec, ev *flow.Event, d *flow.Decision) error {
	if c.ContentType() == TypeJSON {
		return nil
	}
	if err := ParseIfReply(c, ev, h.Get(HeaderIfReply), d); err != nil {
		return err
	}
	return ParseReuse(c, ev, h.Get(HeaderReuse), h.Get(HeaderReply), d)
}
