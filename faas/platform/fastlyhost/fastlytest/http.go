package fastlytest

import (
	"crypto/md5"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// statusHTTPInvalid says that a header is none.
const statusHTTPInvalid status = 7

var requestCalls = []hostcall{
	{"body_downstream_get", "ii", bodyDownstreamGet},
	{"method_get", "iiii", requestText(func(r *Request) string { return r.Method })},
	{"uri_get", "iiii", requestText(func(r *Request) string { return r.URL })},
	{"version_get", "ii", versionGet},
	{"header_names_get", "iiiiii", headerNamesGet},
	{"header_value_get", "iiiiii", headerValueGet},
	{"header_values_get", "iiiiiiii", headerValuesGet},
}

// The downstream connection is one of TLS 1.3.
var downstreamCalls = []hostcall{
	{"downstream_client_ip_addr", "iii", address(func(r *Request) netip.Addr { return r.Client })},
	{"downstream_server_ip_addr", "iii", address(func(*Request) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, 1}) })},
	{"downstream_tls_protocol", "iiii", requestText(func(*Request) string { return "TLSv1.3" })},
	{"downstream_tls_cipher_openssl_name", "iiii", requestText(func(*Request) string { return "TLS_AES_128_GCM_SHA256" })},
	{"downstream_tls_client_hello", "iiii", requestText(func(*Request) string { return clientHello })},
	{"downstream_tls_client_servername", "iiii", requestText(serverName)},
	{"downstream_tls_ja3_md5", "iii", ja3},
	{"downstream_tls_ja4", "iiii", requestText(func(*Request) string { return "t13d1516h2_8daaf6152771_b186095e22b6" })},
}

// clientHello is the head of one: what is in it matters to nobody here.
const clientHello = "\x01\x00\x00\xb0\x03\x03"

func serverName(r *Request) string {
	if u, err := url.Parse(r.URL); err == nil {
		return u.Hostname()
	}
	return ""
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

func versionGet(i *instance, p params) status {
	if _, ok := opened[*Request](i, p.uint32(0)); !ok {
		return statusBadHandle
	}
	const http2 = 3
	return i.memory.putUint32(p.uint32(1), http2)
}

func headerNamesGet(i *instance, p params) status {
	r, ok := opened[*Request](i, p.uint32(0))
	if !ok {
		return statusBadHandle
	}
	names := slices.Sorted(maps.Keys(r.Header))
	for n := range names { // HTTP/2 has them in lower case
		names[n] = strings.ToLower(names[n])
	}
	return putValues(i, names, p[1:])
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

func headerValuesGet(i *instance, p params) status {
	r, ok := opened[*Request](i, p.uint32(0))
	if !ok {
		return statusBadHandle
	}
	name, s := i.memory.text(p.uint32(1), p.uint32(2))
	if s != statusOK {
		return s
	}
	return putValues(i, r.Header.Values(name), p[3:])
}

// putValues writes values from a cursor on, each with a zero byte behind it, as many as fit. P has the
// buffer, its size, the cursor, and where to put the next cursor (or -1) and the length.
func putValues(i *instance, values []string, p params) status {
	buf, size, at, next, written := p.uint32(0), p.uint32(1), p.uint32(2), p.uint32(3), p.uint32(4)
	if uint64(at) > uint64(len(values)) {
		return statusInval
	}
	var out strings.Builder
	for _, value := range values[at:] {
		if need := out.Len() + len(value) + 1; uint64(need) > uint64(size) {
			break
		}
		out.WriteString(value)
		out.WriteByte(0)
		at++
	}
	ending := int64(at)
	switch {
	case int(at) == len(values):
		ending = -1
	case out.Len() == 0:
		return first(i.memory.putUint32(written, uint32(len(values[at])+1)), statusBufferLength)
	}
	return first(i.memory.putUint64(next, uint64(ending)), i.memory.put(out.String(), buf, size, written))
}

func address(get func(*Request) netip.Addr) func(*instance, params) status {
	return func(i *instance, p params) status {
		r, ok := opened[*Request](i, p.uint32(0))
		if !ok {
			return statusBadHandle
		}
		const size = 16 // the guest's buffer, by contract
		return i.memory.put(string(get(r).AsSlice()), p.uint32(1), size, p.uint32(2))
	}
}

func ja3(i *instance, p params) status {
	if _, ok := opened[*Request](i, p.uint32(0)); !ok {
		return statusBadHandle
	}
	sum := md5.Sum([]byte(clientHello))
	return i.memory.put(string(sum[:]), p.uint32(1), md5.Size, p.uint32(2))
}

var bodyCalls = []hostcall{
	{"new", "i", func(i *instance, p params) status { return i.memory.putUint32(p.uint32(0), i.handle(new(body))) }},
	{"read", "iiii", bodyRead},
	{"write", "iiiii", bodyWrite},
	{"trailer_append", "iiiii", trailerAppend},
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
	switch end := p.uint32(3); end {
	case 0: // at its back
		b.data = append(b.data, data...)
	case 1: // at its front
		b.data = append(slices.Clone(data), b.data...)
	default:
		return statusInval
	}
	return statusOK
}

// trailerAppend checks a trailer and drops it: functions have none.
func trailerAppend(i *instance, p params) status {
	if b, ok := opened[*body](i, p.uint32(0)); !ok || b.closed {
		return statusBadHandle
	}
	name, s1 := i.memory.text(p.uint32(1), p.uint32(2))
	_, s2 := i.memory.bytes(p.uint32(3), p.uint32(4))
	if s := first(s1, s2); s != statusOK {
		return s
	}
	if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidTrailerHeader(http.CanonicalHeaderKey(name)) {
		return statusHTTPInvalid
	}
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
	{"header_values_set", "iiiii", headerValuesSet},
	{"framing_headers_mode_set", "ii", framingModeSet},
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
	value, s := i.memory.text(p.uint32(3), p.uint32(4))
	if s != statusOK {
		return s
	}
	return setHeader(i, p, value)
}

// headerValuesSet sets a header to values of which each has a zero byte behind it.
func headerValuesSet(i *instance, p params) status {
	values, s := i.memory.text(p.uint32(3), p.uint32(4))
	if s != statusOK {
		return s
	}
	return setHeader(i, p, strings.Split(strings.TrimSuffix(values, "\x00"), "\x00")...)
}

func setHeader(i *instance, p params, values ...string) status {
	a, ok := opened[*answer](i, p.uint32(0))
	if !ok {
		return statusBadHandle
	}
	name, s := i.memory.text(p.uint32(1), p.uint32(2))
	if s != statusOK {
		return s
	}
	if !httpguts.ValidHeaderFieldName(name) {
		return statusHTTPInvalid
	}
	a.header.Del(name)
	for _, value := range values {
		if !httpguts.ValidHeaderFieldValue(value) {
			return statusHTTPInvalid
		}
		a.header.Add(name, value)
	}
	return statusOK
}

func framingModeSet(i *instance, p params) status {
	if _, ok := opened[*answer](i, p.uint32(0)); !ok {
		return statusBadHandle
	}
	if mode := p.uint32(1); mode > 1 {
		return statusInval
	}
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
