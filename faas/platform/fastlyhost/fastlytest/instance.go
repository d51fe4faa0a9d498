package fastlytest

import (
	"cmp"
	"net/http"
)

// status is a hostcall's result ($fastly_status).
type status uint32

const (
	statusOK            status = 0
	statusError         status = 1
	statusInval         status = 2 // a pointer, length, enumeration or name that can't be
	statusBadHandle     status = 3
	statusBufferLength  status = 4 // the guest's buffer is too small; it is told what is needed
	statusUnsupported   status = 5
	statusBadAlign      status = 6
	statusNone          status = 10
	statusLimitExceeded status = 13
)

// instance is one execution. It is used by the goroutine that runs it alone.
type instance struct {
	service *Service
	request *Request
	memory  memory

	handles []any // by handle; nil: closed
	lookups int

	sent     *answer // what was sent downstream
	sentBody *body
	streamed bool
}

type instanceKey struct{}

// answer is a response that the guest makes.
type answer struct {
	status int
	header http.Header
}

// body is what is read, or written to its end by close.
type body struct {
	data   []byte
	read   int
	closed bool
}

func newInstance(s *Service, r *Request) *instance {
	request := *r
	request.Method = cmp.Or(r.Method, http.MethodPost)
	request.URL = cmp.Or(r.URL, "https://function.example/")
	return &instance{service: s, request: &request}
}

// handle opens v.
func (i *instance) handle(v any) uint32 {
	i.handles = append(i.handles, v)
	return uint32(len(i.handles) - 1)
}

// opened returns what a handle stands for, where it stands for a T.
func opened[T any](i *instance, handle uint32) (v T, ok bool) {
	if uint64(handle) < uint64(len(i.handles)) {
		v, ok = i.handles[handle].(T)
	}
	return v, ok
}

// lookup counts a look-up and says whether it may be made.
func (i *instance) lookup() bool {
	i.lookups++
	return i.lookups <= cmp.Or(i.service.MaxLookups, DefaultMaxLookups)
}

func (i *instance) finished() bool { return i.sent != nil && i.sentBody.closed }

func (i *instance) response() *Response {
	r := &Response{Lookups: i.lookups}
	if i.sent != nil {
		r.Status, r.Header, r.Body, r.Streamed = i.sent.status, i.sent.header, i.sentBody.data, i.streamed
	}
	return r
}
