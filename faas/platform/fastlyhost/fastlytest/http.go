package fastlytest

import (
	"net/http"

	"golang.org/x/net/http/httpguts"
)

// statusHTTPInvalid says that a header is none.
const statusHTTPInvalid status = 7

var requestCalls = []hostcall{
	{"body_downstream_get", "ii", bodyDownstreamGet},
	{"method_get", "iiii", requestText(func(r *Request) string { return r.Method })},
	{"uri_get", "iiii", requestText(func(r *Request) string { return r.URL })},
	{"header_value_get", "iiiiii", headerValueGet},
}

func bodyDownstreamGet(i *instance, p params) status {
	return first(
		i.memory.putUint32(p.uint32(0), i.handle(i.request)),
		i.memory.putUint32(p.uint32(1), i.handle(&body{data: i.request.Body})))
}

// requestText has the parameters: request, buffer, its size, where to put the length.
func requestText(get func(*Request) string) func(*instance, params) status {
	return func(i *instance, p params) status {
		r, ok := opened[*Request](i, p.uint32(0))
		if !ok {
			return statusBadHandle
		}
		return i.memory.put(get(r), p.uint32(1), p.uint32(2), p.uint32(3))
	}
}

// headerValueGet gives the first value of a header.
func headerValueGet(i *instance, p params) status {
	r, ok := opened[*Request](i, p.uint32(0))
	if !ok {
		return statusBadHandle
	}
	name, s := i.memory.text(p.uint32(1), p.uint32(2))
	if s != statusOK {
		return s
	}
	values := r.Header.Values(name)
	if len(values) == 0 {
		return statusInval // so the platform says that there is none
	}
	return i.memory.put(values[0], p.uint32(3), p.uint32(4), p.uint32(5))
}

var bodyCalls = []hostcall{
	{"new", "i", func(i *instance, p params) status { return i.memory.putUint32(p.uint32(0), i.handle(new(body))) }},
	{"read", "iiii", bodyRead},
	{"write", "iiiii", bodyWrite},
	{"close", "i", bodyClose},
}

// maxBody bounds what a guest may write into one body.
const maxBody = 64 << 20

func bodyRead(i *instance, p params) status {
	b, ok := opened[*body](i, p.uint32(0))
	if !ok || b.closed {
		return statusBadHandle
	}
	buf, s := i.memory.bytes(p.uint32(1), p.uint32(2))
	if s != statusOK {
		return s
	}
	n := copy(buf, b.data[b.read:])
	if s := i.memory.putUint32(p.uint32(3), uint32(n)); s != statusOK {
		return s
	}
	b.read += n
	return statusOK
}

func bodyWrite(i *instance, p params) status {
	b, ok := opened[*body](i, p.uint32(0))
	if !ok || b.closed {
		return statusBadHandle
	}
	data, s := i.memory.bytes(p.uint32(1), p.uint32(2))
	if s != statusOK {
		return s
	}
	if len(b.data)+len(data) > maxBody {
		return statusLimitExceeded
	}
	if s := i.memory.putUint32(p.uint32(4), uint32(len(data))); s != statusOK {
		return s
	}
	if p.uint32(3) != 0 { // nobody writes at a body's front
		return statusInval
	}
	b.data = append(b.data, data...)
	return statusOK
}

func bodyClose(i *instance, p params) status {
	b, ok := opened[*body](i, p.uint32(0))
	if !ok || b.closed {
		return statusBadHandle
	}
	b.closed = true
	return statusOK
}

var responseCalls = []hostcall{
	{"new", "i", func(i *instance, p params) status {
		return i.memory.putUint32(p.uint32(0), i.handle(&answer{status: http.StatusOK, header: http.Header{}}))
	}},
	{"status_set", "ii", statusSet},
	{"header_insert", "iiiii", headerInsert},
	{"send_downstream", "iii", sendDownstream},
}

func statusSet(i *instance, p params) status {
	a, ok := opened[*answer](i, p.uint32(0))
	if !ok {
		return statusBadHandle
	}
	if code := p.uint32(1); code < 100 || code > 999 {
		return statusInval
	}
	a.status = int(p.uint32(1))
	return statusOK
}

// headerInsert sets a header to one value.
func headerInsert(i *instance, p params) status {
	a, ok := opened[*answer](i, p.uint32(0))
	if !ok {
		return statusBadHandle
	}
	name, s1 := i.memory.text(p.uint32(1), p.uint32(2))
	value, s2 := i.memory.text(p.uint32(3), p.uint32(4))
	if s := first(s1, s2); s != statusOK {
		return s
	}
	if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return statusHTTPInvalid
	}
	a.header.Set(name, value)
	return statusOK
}

// sendDownstream sends the answer's head; its body goes on until it is closed where it streams.
func sendDownstream(i *instance, p params) status {
	a, ok1 := opened[*answer](i, p.uint32(0))
	b, ok2 := opened[*body](i, p.uint32(1))
	switch {
	case !ok1 || !ok2 || b.closed:
		return statusBadHandle
	case i.sent != nil:
		return statusError
	case a.status < http.StatusOK: // a guest gets no further than a final answer
		return statusInval
	}
	i.handles[p.uint32(0)] = nil
	i.sent, i.sentBody = a, b
	i.streamed = p.uint32(2) != 0
	b.closed = !i.streamed
	return statusOK
}
