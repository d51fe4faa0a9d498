package httpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
)

// Outcome sums up a request for metrics.
type Outcome string

// The outcomes of a request.
const (
	OK          Outcome = "ok"
	Refused     Outcome = "refused"      // 4xx but 429
	Busy        Outcome = "busy"         // 429
	ServerError Outcome = "server_error" // 5xx
	Invalid     Outcome = "invalid"      // an answer that breaks the contract; a redirect too
	Timeout     Outcome = "timeout"
	NotSent     Outcome = "not_sent" // no connection
	Broken      Outcome = "broken"   // the connection broke under the request
	GivenUp     Outcome = "given_up" // by the caller, or the other one of a hedge answered
)

// repeatable says whether a failed request may be made again.
type repeatable uint8

const (
	never        repeatable = iota
	ifIdempotent            // it may have reached the function
	always                  // nothing was sent
)

// failure is a request without a usable answer.
type failure struct {
	err        error
	kind       flow.ErrorKind
	outcome    Outcome
	repeat     repeatable
	retryAfter time.Duration // what the function asked for
	fault      bool          // the endpoint's, so that its breaker counts it
}

// answer is a 2xx one. The body is the caller's to release.
type answer struct {
	header http.Header
	body   *[]byte
}

// errEndless is an answer that is larger than the contract allows.
var errEndless = fmt.Errorf("answer has more than %d bytes", flow.MaxBody)

// roundTrip makes one request within ctx, on g's connections.
func (e *endpoint) roundTrip(ctx context.Context, g *generation, h http.Header, p payload) (answer, *failure) {
	watch := newSending()
	req := e.request.WithContext(httptrace.WithClientTrace(ctx, &watch.trace))
	req.Header = h
	req.ContentLength = int64(len(p))
	req.Body = http.NoBody
	if len(p) > 0 {
		req.Body, _ = p.reader()
		// The transport sends again by itself what it could not start to send
		// on a connection that had just been closed.
		req.GetBody = p.reader
	}
	resp, err := g.transport().RoundTrip(req)
	if err != nil {
		return answer{}, e.unanswered(ctx, err, !watch.started.Load())
	}
	defer resp.Body.Close()
	if f := e.checkStatus(ctx, resp); f != nil {
		return answer{}, f
	}
	if f := e.checkHeader(resp); f != nil {
		return answer{}, f
	}
	buf := answers.Get().(*[]byte)
	*buf, err = readAll((*buf)[:0], resp.Body)
	if err == nil {
		// A function that is told of the lapsed deadline may end its half-written
		// answer in good order before the connection is down.
		err = ctx.Err()
	}
	if err != nil {
		releaseAnswer(buf)
		if err == errEndless {
			return answer{}, invalid("%w", err)
		}
		return answer{}, e.unanswered(ctx, fmt.Errorf("reading the answer: %w", err), false)
	}
	return answer{resp.Header, buf}, nil
}

func invalid(format string, args ...any) *failure {
	return &failure{err: fmt.Errorf(format, args...), kind: flow.Invalid, outcome: Invalid}
}

// unanswered sorts the errors of a request that has no whole answer.
func (e *endpoint) unanswered(ctx context.Context, err error, notSent bool) *failure {
	f := &failure{err: err, kind: flow.Unavailable, outcome: Broken, repeat: ifIdempotent, fault: true}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		f.outcome, f.repeat, f.fault = GivenUp, never, false
		return f
	case ctx.Err() != nil:
		f.outcome = Timeout
	case notSent:
		f.outcome = NotSent
	}
	if notSent {
		f.repeat = always
		f.err = fmt.Errorf("no connection: %w", err)
	}
	return f
}

// checkStatus returns the failure that a status other than 2xx stands for.
func (e *endpoint) checkStatus(ctx context.Context, resp *http.Response) *failure {
	code := resp.StatusCode
	if code/100 == 2 {
		return nil
	}
	f := &failure{kind: flow.Unavailable}
	switch {
	case code/100 == 3:
		f.kind, f.outcome = flow.Invalid, Invalid
		f.err = fmt.Errorf("status %d redirects to %q, which is never followed", code, contract.Printable(resp.Header.Get("Location")))
		return f
	case code == http.StatusTooManyRequests: // busy, but well: no fault
		f.outcome, f.repeat = Busy, ifIdempotent
	case code/100 == 4:
		f.kind, f.outcome = flow.Refused, Refused
	default:
		f.outcome, f.repeat, f.fault = ServerError, ifIdempotent, true
	}
	f.retryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	f.err = &StatusError{Code: code, Why: excerpt(resp)}
	return f
}

// StatusError is an answer that is no decision: 429, or another status of 4xx or 5xx.
type StatusError struct {
	Code int
	Why  string // the start of the answer's text, as one line
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("status %d %s", e.Code, http.StatusText(e.Code))
	if e.Why != "" {
		text += ": " + e.Why
	}
	return text
}

// checkHeader refuses a 2xx answer that can't be a decision.
func (e *endpoint) checkHeader(resp *http.Response) *failure {
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return invalid("answer has content encoding %q, which was not asked for", contract.Printable(enc))
	}
	if resp.ContentLength > flow.MaxBody {
		return invalid("%w", errEndless)
	}
	want, got := e.c.cfg.Codec.ContentType(), resp.Header.Get("Content-Type")
	if got == want || got == "" && resp.ContentLength == 0 {
		return nil
	}
	if media, _, err := mime.ParseMediaType(got); err != nil || media != want {
		return invalid("answer has content type %q, want %s", contract.Printable(got), want)
	}
	return nil
}

// readAll appends what r has to b, up to the contract's limit.
func readAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > flow.MaxBody:
			return b, errEndless
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		}
	}
}

const (
	maxExcerpt = 256
	maxExcuse  = 8 << 10 // bytes of an answer without a decision that are read
)

// excerpt returns the start of a text that explains a status, as one line. The
// text is read to its end where that is near: the transport gives up a
// connection with something left on it, and a function that answers 429 to many
// would have to make new ones with as many besides.
func excerpt(resp *http.Response) string {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxExcuse))
	if resp.Header.Get("Content-Encoding") != "" {
		return ""
	}
	return contract.Printable(strings.Join(strings.Fields(string(b[:min(len(b), maxExcerpt)])), " "))
}

// maxRetryAfter keeps a number of seconds from overflowing a duration. It is
// beyond any deadline.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header (RFC 9110, 10.2.3): seconds or a date. What can't
// be read counts as absent.
func retryAfter(v string, now time.Time) time.Duration {
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseUint(v, 10, 32); err == nil {
		return min(time.Duration(s)*time.Second, maxRetryAfter)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(0, t.Sub(now)), maxRetryAfter)
	}
	return 0
}
