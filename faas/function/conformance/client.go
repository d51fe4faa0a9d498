package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// Exchange sends one request of the contract and returns the answer.
type Exchange func(ctx context.Context, header http.Header, body []byte) (status int, answer http.Header, answerBody []byte, err error)

// Client is a flow.Decider that speaks the contract over any Exchange. It is the least that a
// gateway does: no repeats, no limits. An event that says nothing of what is accepted is an older
// gateway's, which refuses what it doesn't know.
func Client(codec contract.Codec, exchange Exchange) flow.Decider {
	return flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		header := http.Header{}
		contract.PutEvent(header, ev)
		contract.PutMembers(header, codec.ContentType(), ev)
		header.Set("Content-Type", codec.ContentType())
		body, err := codec.AppendEvent(nil, ev)
		if err != nil {
			return err
		}
		status, answer, answerBody, err := exchange(ctx, header, body)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("status %d: %.200s", status, answerBody)
		}
		if got := answer.Get("Content-Type"); got != codec.ContentType() {
			return fmt.Errorf("content type %q", got)
		}
		if ev.Accepts == 0 && (answer.Get(contract.HeaderCoversIncomplete)+answer.Get(contract.HeaderIfReply)+answer.Get(contract.HeaderReuse) != "" ||
			bytes.Contains(answerBody, []byte("covers_incomplete")) || bytes.Contains(answerBody, []byte("if_reply")) || bytes.Contains(answerBody, []byte(`"reuse"`))) {
			return fmt.Errorf("a gateway that accepts no new member is sent one: %v %s", answer, answerBody)
		}
		if err := codec.ParseDecision(answerBody, ev, d); err != nil {
			return err
		}
		if err := contract.GetReply(answer, codec, ev, d); err != nil {
			return err
		}
		return contract.GetDecision(answer, d)
	})
}
