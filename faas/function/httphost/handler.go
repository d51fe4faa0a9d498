package httphost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"switchbridge/faas/function"
	"switchbridge/faas/function/record"
	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/internal/quiet"
)

// Defaults of [Config].
const (
	DefaultMaxConcurrent = flow.DefaultConcurrency
	DefaultTimeout       = flow.DefaultTimeout
)

// Config is what a [Handler] is made of: a Decider and its Codecs, or a Guest, or both.
type Config struct {
	// Decider decides the events whose encoding is one of Codecs; they are decoded here.
	Decider flow.Decider
	Codecs  []contract.Codec

	// Guest is given the bodies in the encodings of Direct as they came, and what it answers goes
	// back as it is: nothing is decoded here. It wins over Codecs.
	Guest  function.Answerer
	Direct []guest.Encoding

	MaxConcurrent int           // events at a time; 0: DefaultMaxConcurrent
	Timeout       time.Duration // for one decision; 0: DefaultTimeout

	Name    string         // in records; a server of one function needs none
	Records *record.Writer // gets the record of each event; nil: none
	Log     *slog.Logger   // for faults of the controller; nil: none
}

// Handler answers events. It is safe for use by several goroutines.
type Handler struct {
	decider flow.Decider
	codecs  map[string]contract.Codec
	guest   function.Answerer
	direct  [guest.EncodingJSON + 1]bool // by encoding
	slots   chan struct{}
	timeout time.Duration
	name    string
	records *record.Writer
	log     *slog.Logger
	calls   sync.Pool // of *call

	reading atomic.Int64 // bytes of bodies that are not complete

	panicked, failed quiet.Line
}

// New checks cfg and returns its handler.
func New(cfg Config) (*Handler, error) {
	switch {
	case cfg.Decider == nil && cfg.Guest == nil:
		return nil, errors.New("httphost: no decider")
	case (cfg.Decider == nil) != (len(cfg.Codecs) == 0):
		return nil, errors.New("httphost: a decider and its codecs go together")
	case (cfg.Guest == nil) != (len(cfg.Direct) == 0):
		return nil, errors.New("httphost: a guest and its encodings go together")
	}
	h := &Handler{
		decider: cfg.Decider,
		guest:   cfg.Guest,
		codecs:  make(map[string]contract.Codec, len(cfg.Codecs)),
		timeout: cfg.Timeout,
		name:    cfg.Name,
		records: cfg.Records,
		log:     cfg.Log,
	}
	for _, c := range cfg.Codecs {
		h.codecs[c.ContentType()] = c
	}
	for _, e := range cfg.Direct {
		if e.String() == "" || int(e) >= len(h.direct) {
			return nil, fmt.Errorf("httphost: encoding %d is none of the contract", e)
		}
		h.direct[e] = true
	}
	n := cfg.MaxConcurrent
	if n <= 0 {
		n = DefaultMaxConcurrent
	}
	h.slots = make(chan struct{}, n)
	if h.timeout <= 0 {
		h.timeout = DefaultTimeout
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.calls.New = func() any { return new(call) }
	return h, nil
}

// call is the memory that one event needs, kept for the next one.
type call struct {
	ev       flow.Event
	d        flow.Decision
	request  guest.Request // of an event that went to the guest as it came,
	reply    guest.Answer  // and its answer
	direct   bool
	body     []byte
	answer   []byte
	started  time.Time
	timings  *contract.Timings // nil: nobody wants to know
	status   int
	encoding string
	err      error
}

// refusal is an error with the status that tells the gateway what it means.
type refusal struct {
	status int
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Errorf(format, args...)}
}

// ServeHTTP answers a POST of an event with its decision, whoever sends it and on whatever path:
// who may call, and which function answers where, a [Mux] knows.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := h.calls.Get().(*call)
	c.reset()
	if !trace.SpanFromContext(r.Context()).IsRecording() { // a span of its own says more
		c.timings = contract.NewTimings(r.Header)
	}
	err := h.serve(c, w, r)
	if err != nil {
		h.fail(c, w, err)
	}
	if span := trace.SpanFromContext(r.Context()); h.records != nil || span.IsRecording() {
		rec := c.record()
		rec.Function, rec.Trace = h.name, record.TraceID(r.Header.Get("Traceparent"))
		h.records.Write(&rec)
		if span.IsRecording() {
			tell(span, &rec)
		}
	}
	if cap(c.body) <= maxKept && cap(c.answer) <= maxKept && cap(c.reply.Body) <= maxKept {
		h.calls.Put(c)
	}
}

// retryAfter is in seconds. A place is free again within a decision's time; HTTP counts in no less.
const retryAfter = "1"

// maxReading bounds the bytes of bodies that are not complete, of all callers.
const maxReading = 64 << 20

// maxKept bounds the buffers that wait for the next event, so that one large
// event does not stay in memory.
const maxKept = 64 << 10

func (c *call) reset() {
	c.d.Reset()
	*c = call{d: c.d, reply: guest.Answer{State: c.reply.State[:0], Change: c.reply.Change[:0], Body: c.reply.Body[:0]},
		body: c.body[:0], answer: c.answer[:0], started: time.Now(), status: http.StatusOK}
}

func (h *Handler) serve(c *call, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return refuse(http.StatusMethodNotAllowed, "method %s: an event is a POST", r.Method)
	}
	if err := checkEnvelope(r.Header); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	var codec contract.Codec
	encoding := guest.ParseEncoding(r.Header.Get("Content-Type"))
	if c.direct = h.direct[encoding]; c.direct {
		c.encoding = encoding.String()
	} else {
		var err error
		if codec, err = h.codec(r); err != nil {
			return err
		}
		c.encoding = codec.ContentType()
	}

	// The body first: who sends it slowly keeps nobody from being decided about.
	var err error
	if c.body, err = h.readBody(c.body, w, r); err != nil {
		return err
	}
	c.timings.Done("body")
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		w.Header().Set("Retry-After", retryAfter)
		return refuse(http.StatusTooManyRequests, "%d events are being decided, the most at a time", cap(h.slots))
	}
	if c.direct {
		return h.ask(c, w, r)
	}
	if err := contract.GetEvent(r.Header, &c.ev); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	if err := codec.ParseEvent(c.body, &c.ev); err != nil {
		return refuse(http.StatusBadRequest, "%s: %w", c.ev.Type, err)
	}
	if err := contract.GetMembers(r.Header, c.encoding, &c.ev); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}

	if err := h.decide(r.Context(), c); err != nil {
		return err
	}
	if c.answer, err = codec.AppendDecision(c.answer, &c.ev, &c.d); err != nil {
		return refuse(http.StatusInternalServerError, "decision can't be written as %s: %w", c.encoding, err)
	}
	if len(c.answer) > flow.MaxBody {
		return refuse(http.StatusInternalServerError, "decision takes %d bytes, more than %d", len(c.answer), flow.MaxBody)
	}

	out := w.Header()
	if err := contract.PutReply(out, codec, &c.ev, &c.d); err != nil {
		return refuse(http.StatusInternalServerError, "decision can't be written as %s: %w", c.encoding, err)
	}
	c.timings.Done("decide")
	c.timings.Put(out)
	out.Set("Content-Type", c.encoding)
	contract.PutDecision(out, c.encoding, &c.ev, &c.d)
	_, err = w.Write(c.answer)
	if err != nil { // the gateway is gone; nobody is left to tell
		c.err = fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// ask has the guest answer. What it refuses an event with is an answer, too.
func (h *Handler) ask(c *call, w http.ResponseWriter, r *http.Request) error {
	if err := function.ReadRequest(r.Header, c.body, &c.request); err != nil {
		return &refusal{function.StatusOf(err), err}
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout)
	defer cancel()
	if err := h.guest.Answer(ctx, &c.request, &c.reply); err != nil {
		return &refusal{function.StatusOf(err), err}
	}
	if len(c.reply.Body) > flow.MaxBody || len(c.reply.State) > flow.MaxState {
		return refuse(http.StatusBadGateway, "the guest answered with a body of %d bytes and a state of %d, the limits are %d and %d",
			len(c.reply.Body), len(c.reply.State), flow.MaxBody, flow.MaxState)
	}
	c.status = int(c.reply.Status)
	c.timings.Done("decide")
	c.timings.Put(w.Header())
	body := function.WriteAnswer(w.Header(), &c.reply)
	if c.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(c.status)
	if _, err := w.Write(body); err != nil {
		c.err = fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// decide runs the controller. A panic of it costs its event alone.
func (h *Handler) decide(ctx context.Context, c *call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			h.panicked.Log(h.log, slog.LevelError, "controller panicked", "event", c.ev.Type.String(), "id", c.ev.ID, "panic", p, "stack", string(debug.Stack()))
			err = refuse(http.StatusInternalServerError, "controller failed")
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	err = h.decider.Decide(ctx, &c.ev, &c.d)
	if err == nil {
		contract.Restrict(&c.ev, &c.d)
		return nil
	}
	switch flow.KindOf(err) {
	case flow.Refused:
		return &refusal{http.StatusUnprocessableEntity, err}
	case flow.Overload:
		return &refusal{http.StatusTooManyRequests, err}
	case flow.Invalid:
		return &refusal{http.StatusInternalServerError, err}
	}
	return &refusal{http.StatusServiceUnavailable, err}
}

// asRefusal takes an error's status along.
func asRefusal(err error) error { return &refusal{function.StatusOf(err), err} }

func (h *Handler) codec(r *http.Request) (contract.Codec, error) {
	v := r.Header.Get("Content-Type")
	if c, ok := h.codecs[v]; ok { // as the gateway writes it
		return c, nil
	}
	if media, _, err := mime.ParseMediaType(v); err == nil {
		if c, ok := h.codecs[media]; ok {
			return c, nil
		}
	}
	return nil, asRefusal(function.NotSpoken(v, h.mediaTypes()...))
}

func (h *Handler) mediaTypes() []string {
	var types []string
	for _, t := range []string{contract.TypeOpenFlow, contract.TypeJSON} {
		if h.codecs[t] != nil || h.direct[guest.ParseEncoding(t)] {
			types = append(types, t)
		}
	}
	return types
}

// readBody appends the body of r to b. It refuses one that is larger than the
// contract allows before reading it where its length is declared.
//
// What all callers have sent of bodies that are not complete is bounded, too; how
// long one may take is the server's to say ([NewServer]).
func (h *Handler) readBody(b []byte, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "" {
		return b, asRefusal(function.Encoded(r.Header.Get("Content-Encoding")))
	}
	if r.ContentLength > flow.MaxBody {
		return b, asRefusal(function.TooLarge())
	}
	body := http.MaxBytesReader(w, r.Body, flow.MaxBody)
	held := int64(0)
	defer func() { h.reading.Add(-held) }()
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		if more := int64(cap(b)) - held; more > 0 {
			held += more
			if h.reading.Add(more) > maxReading {
				w.Header().Set("Retry-After", retryAfter)
				return b, refuse(http.StatusTooManyRequests, "bodies of %d bytes are being read, the most at a time", maxReading)
			}
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return b, asRefusal(function.TooLarge())
		}
		if err != nil {
			return b, refuse(http.StatusBadRequest, "reading the body: %w", err)
		}
	}
}

// fail answers with err's status and, as text, its reason.
func (h *Handler) fail(c *call, w http.ResponseWriter, err error) {
	c.err, c.status = err, http.StatusInternalServerError
	var r *refusal
	if errors.As(err, &r) {
		c.status = r.status
	}
	// What a guest answered is no answer then.
	c.reply = guest.Answer{Status: uint16(c.status), State: c.reply.State[:0], Change: c.reply.Change[:0], Body: c.reply.Body[:0]}
	if c.status == http.StatusInternalServerError || c.status == http.StatusBadGateway {
		event, id := c.ev.Type, c.ev.ID
		if c.direct {
			event, id = c.request.Event, c.request.ID
		}
		h.failed.Log(h.log, slog.LevelError, "event failed", "event", event.String(), "id", id, "err", err)
	}
	http.Error(w, contract.Printable(err.Error()), c.status)
}
