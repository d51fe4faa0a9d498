package functiontest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	neturl "net/url"
	"strconv"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// Exchange sends one request of the contract and returns the answer. It follows no redirect. It is called by several goroutines at a
// time.
type Exchange func(ctx context.Context, header http.Header, body []byte) (status int, answer http.Header, answerBody []byte, err error)

// Posts is the Exchange of a function behind a URL; header stands on every request. Of an answer it reads no more than shows that it is too
// large.
func Posts(client *http.Client, url string, header http.Header) Exchange {
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return func(ctx context.Context, h http.Header, body []byte) (int, http.Header, []byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return 0, nil, nil, err
		}
		maps.Copy(h, header)
		r.Header = h
		resp, err := own.Do(r)
		if err != nil {
			if outer, ok := errors.AsType[*neturl.Error](err); ok {
				err = outer.Err // whoever tests this function knows its URL
			}
			return 0, nil, nil, err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(resp.Body, flow.MaxBody+1))
		if err != nil {
			return 0, nil, nil, fmt.Errorf("reading the answer: %w", err)
		}
		return resp.StatusCode, resp.Header, answer, nil
	}
}

// Client is a [flow.Decider] that speaks the contract over any Exchange. It is the least that a gateway does: no repeats, no limits. Like
// a gateway, it refuses an answer that has a member which the event does not accept.
func Client(codec contract.Codec, exchange Exchange) flow.Decider {
	return flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		a := ask(ctx, exchange, codec, ev, nil)
		if err := a.fault(); err != nil {
			return err
		}
		if a.status/100 != 2 {
			return a.refusal()
		}
		if a.header.Get("Content-Type") == "" {
			return errors.New("no content type")
		}
		return a.read(d)
	})
}

// answer is what a function said to one event.
type answer struct {
	name  string // of the event
	ev    *flow.Event
	codec contract.Codec

	status int
	header http.Header
	body   []byte
	took   time.Duration
	err    error // there is no answer

	judged bool
	wrong  error // what fault says
}

// request writes an event as a gateway does.
func request(codec contract.Codec, ev *flow.Event) (http.Header, []byte, error) {
	header := http.Header{}
	contract.PutEvent(header, ev)
	contract.PutMembers(header, codec.ContentType(), ev)
	header.Set("Content-Type", codec.ContentType())
	body, err := codec.AppendEvent(nil, ev)
	return header, body, err
}

// busyTries is how often a function is asked again that says that it is busy.
const busyTries = 4

// ask sends an event, which change may alter on the way. It waits, and asks again, where the function says that it is busy.
func ask(ctx context.Context, exchange Exchange, codec contract.Codec, ev *flow.Event, change func(http.Header, []byte) []byte) *answer {
	a := &answer{ev: ev, codec: codec}
	header, body, err := request(codec, ev)
	if err != nil {
		a.err = err
		return a
	}
	if change != nil {
		body = change(header, body)
	}
	for try := 1; ; try++ {
		start := time.Now()
		a.status, a.header, a.body, a.err = exchange(ctx, header.Clone(), body)
		a.took = time.Since(start)
		if a.err != nil || a.status != http.StatusTooManyRequests || try == busyTries {
			return a
		}
		pause := time.Duration(try) * 100 * time.Millisecond
		if s, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil && s > 0 {
			pause = min(time.Duration(s)*time.Second, 5*time.Second)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return a
		}
	}
}

// refusal is the error of a status that is no decision.
func (a *answer) refusal() error { return fmt.Errorf("status %d: %.200s", a.status, a.body) }

// fault says why the answer is none that a gateway can use: nil for a decision and for a refusal of the event (4xx).
func (a *answer) fault() error {
	if !a.judged {
		a.judged, a.wrong = true, a.judge()
	}
	return a.wrong
}

func (a *answer) judge() error {
	switch s := a.status; {
	case a.err != nil:
		return fmt.Errorf("no answer: %w", a.err)
	case s/100 == 3:
		return fmt.Errorf("status %d: a redirect is never followed", s)
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		return fmt.Errorf("status %d: the function wants a token or a client certificate", s)
	case s == http.StatusTooManyRequests:
		return fmt.Errorf("status 429, %d times: busy", busyTries)
	case s/100 == 4:
		return nil
	case s/100 != 2:
		return a.refusal()
	case len(a.body) > flow.MaxBody:
		return fmt.Errorf("a body of more than %d bytes", flow.MaxBody)
	}
	if e := a.header.Get("Content-Encoding"); e != "" {
		return fmt.Errorf("content encoding %q: bodies are sent as they are", e)
	}
	if got, want := a.header.Get("Content-Type"), a.codec.ContentType(); got != "" || len(a.body) > 0 {
		if media, _, err := mime.ParseMediaType(got); err != nil || media != want {
			return fmt.Errorf("content type %q, want %q as in the request", got, want)
		}
	}
	var d flow.Decision
	return a.read(&d)
}

// decided reports whether the answer is a decision.
func (a *answer) decided() bool { return a.err == nil && a.status/100 == 2 && a.fault() == nil }

// read fills d from the answer. It refuses members that the gateway does not accept.
func (a *answer) read(d *flow.Decision) error {
	if name := unaccepted(a); name != "" {
		return fmt.Errorf("the answer has %s, which its gateway does not accept", name)
	}
	if err := a.codec.ParseDecision(a.body, a.ev, d); err != nil {
		return err
	}
	if err := contract.GetReply(a.header, a.codec, a.ev, d); err != nil {
		return err
	}
	return contract.GetDecision(a.header, d)
}

// decision is a fresh copy of a decided answer's.
func (a *answer) decision() *flow.Decision {
	d := new(flow.Decision)
	if err := a.read(d); err != nil {
		panic("an answer that was read can't be read: " + err.Error())
	}
	return d
}
