package httpclient

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/internal/elapsed"
)

// Other is an encoding that a function could be spoken to in instead.
type Other struct {
	Codec  contract.Codec
	Advice string // what to do to speak it, such as "--encoding json"
}

// otherEncoding remembers whether the function can be spoken to in the other
// encoding.
type otherEncoding struct {
	next atomic.Int64 // when to try it again, as elapsed has it
	can  atomic.Bool
}

// misreadStatus are those by which functions answer what they can't read.
var misreadStatus = []int{http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}

// tryOtherEvery is how often the other encoding is tried.
const tryOtherEvery = time.Minute

// advise adds to an error that the function would take the other encoding, if it
// would. It asks the same once more, so only where that may be repeated.
func (a *asking) advise(ctx context.Context, e *endpoint, f *failure, err error) error {
	other := a.c.cfg.Other
	status, isStatus := f.err.(*StatusError)
	misread := f.kind == flow.Invalid || isStatus && slices.Contains(misreadStatus, status.Code)
	if other == nil || !misread || !a.idempotent {
		return err
	}
	now := elapsed.Now()
	if due := a.c.other.next.Load(); now >= due && a.c.other.next.CompareAndSwap(due, now+int64(tryOtherEvery)) {
		ctx, cancel := context.WithDeadline(ctx, a.deadline)
		defer cancel()
		a.c.other.can.Store(a.tryOther(ctx, e, other.Codec))
	}
	if !a.c.other.can.Load() {
		return err
	}
	return fmt.Errorf("%w; the function answers in %s: %s", err, other.Codec.ContentType(), other.Advice)
}

// tryOther asks once in another encoding and says whether the answer is a decision.
func (a *asking) tryOther(ctx context.Context, e *endpoint, codec contract.Codec) bool {
	body, err := codec.AppendEvent(nil, a.ev)
	if err != nil || len(body) > flow.MaxBody {
		return false
	}
	g := e.acquire()
	defer g.release()
	req := e.request.WithContext(ctx)
	req.Header = a.c.header(a.ev, a.id)
	for _, h := range []string{contract.HeaderState, contract.HeaderTravel, contract.HeaderAccepts, contract.HeaderIncomplete} {
		req.Header.Del(h) // whose place depends on the encoding
	}
	contract.PutMembers(req.Header, codec.ContentType(), a.ev)
	req.Header.Set("Content-Type", codec.ContentType())
	req.ContentLength = int64(len(body))
	req.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := g.transport().RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode/100 != 2 || media != codec.ContentType() {
		return false
	}
	answer, err := readAll(nil, resp.Body)
	var d flow.Decision
	return err == nil && codec.ParseDecision(answer, a.ev, &d) == nil
}
