// Package openwhiskhost runs a function on Apache OpenWhisk, as a native program in its Go or action loop runtime, called as a raw web action.
//
// An activation becomes a request to an http.Handler, so that OpenWhisk gets the same checks, limits and records as a server of one's own.
package openwhiskhost

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"switchbridge/faas/platform/nativehost"
	"switchbridge/flow"
)

// Serve answers activations until in ends. Each is a line of JSON, and so is its answer: the action loop protocol (openwhisk-runtime-go,
// docs/ACTION.md), which has one activation at a time. With acknowledge it says first that it is there, as the environment
// variable __OW_WAIT_FOR_ACK asks.
func Serve(ctx context.Context, h http.Handler, in io.Reader, out io.Writer, acknowledge bool) error {
	if acknowledge {
		if _, err := io.WriteString(out, `{"ok":true}`+"\n"); err != nil {
			return err
		}
	}
	lines := bufio.NewReaderSize(in, readAtOnce)
	for {
		line, err := readLine(lines)
		var a answer
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errTooLong):
			a = answerOf(nativehost.Refuse(http.StatusRequestEntityTooLarge, err))
		case err != nil:
			return fmt.Errorf("activations: %w", err)
		default:
			a = activate(ctx, h, line)
		}
		text, err := json.Marshal(a)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(text, '\n')); err != nil {
			return err
		}
	}
}

// readLine returns a line without its end, or errTooLong after it has read to the end of one that is too long: the next activation is another's, and
// its answer waits for no new container.
func readLine(r *bufio.Reader) (line []byte, err error) {
	tooLong := false
	for {
		part, err := r.ReadSlice('\n')
		if tooLong = tooLong || len(line)+len(part) > maxActivation; tooLong {
			line = nil
		} else {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || len(line) == 0 && !tooLong):
			return nil, err
		case tooLong:
			return nil, errTooLong
		}
		return bytes.TrimSuffix(line, []byte("\n")), nil // the last one may have no end
	}
}

var errTooLong = fmt.Errorf("activation of more than %d bytes", maxActivation)

// readAtOnce is how many bytes of activations are read at a time.
const readAtOnce = 64 << 10

// maxActivation bounds a line in bytes. It has room for the largest body that the handler takes, of which JSON may write six bytes for one.
const maxActivation = 8 * flow.MaxBody

// activation is what an activation brings, as far as it counts here. Value is what a raw web action is called with (OpenWhisk, docs/webactions.md).
type activation struct {
	Value struct {
		Method  string            `json:"__ow_method"` // in lower case
		Headers map[string]string `json:"__ow_headers"`
		Path    string            `json:"__ow_path"`
		Query   string            `json:"__ow_query"`
		Body    string            `json:"__ow_body"` // base64 unless its type is text
	} `json:"value"`
	Deadline deadline `json:"deadline"`
}

// deadline is a time in milliseconds since 1970, which OpenWhisk writes as a string.
type deadline struct{ time.Time }

func (d *deadline) UnmarshalJSON(b []byte) error {
	var n json.Number
	if err := json.Unmarshal(bytes.Trim(b, `"`), &n); err != nil {
		return err
	}
	ms, err := n.Int64()
	d.Time = time.UnixMilli(ms)
	return err
}

// answer is what a web action returns.
type answer struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"` // base64 unless its type is text or JSON
}

func activate(ctx context.Context, h http.Handler, line []byte) answer {
	a, err := parse(line)
	if err != nil {
		return answerOf(nativehost.Refuse(http.StatusBadRequest, err))
	}
	if !a.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, a.Deadline.Time)
		defer cancel()
	}
	v := &a.Value
	// JSON comes as base64 from some versions and as it is from others. An object is no base64.
	body, err := base64.StdEncoding.DecodeString(v.Body)
	if err != nil {
		body = []byte(v.Body)
	}
	header := nativehost.Header(v.Headers)
	call := nativehost.Call{Method: v.Method, Path: v.Path, Query: v.Query, Header: header, Body: body, From: nativehost.Forwarded(header)}
	return answerOf(call.Serve(ctx, h))
}

func parse(line []byte) (a activation, err error) {
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("activation: %w", err)
	}
	if a.Value.Method == "" {
		return a, errors.New("no __ow_method: want a web action (wsk action create --web raw)")
	}
	return a, nil
}

func answerOf(kept *nativehost.Answer) answer {
	body, _ := kept.Text()
	return answer{StatusCode: kept.Status, Headers: kept.Joined(), Body: body}
}
