package fastlyhost

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unsafe"

	"switchbridge/flow/contract"
)

// The client's request and the answer to it, by the platform's own calls. The SDK has a package for
// them, fsthttp, but an instance lives for one event, and that package does more before main than the
// controller does in all: net/http, crypto/tls, and regular expressions for images make it 2.6 ms
// instead of 1.2 from start to the answer of a health check, and the program half as large again.

//go:wasmimport fastly_http_req body_downstream_get
//go:noescape
func hostBodyDownstreamGet(request, body *uint32) status

//go:wasmimport fastly_http_req method_get
//go:noescape
func hostMethodGet(request uint32, buf unsafe.Pointer, size uint32, written *uint32) status

//go:wasmimport fastly_http_req uri_get
//go:noescape
func hostURIGet(request uint32, buf unsafe.Pointer, size uint32, written *uint32) status

//go:wasmimport fastly_http_req header_value_get
//go:noescape
func hostHeaderValueGet(request uint32, name string, buf unsafe.Pointer, size uint32, written *uint32) status

//go:wasmimport fastly_http_body new
//go:noescape
func hostBodyNew(body *uint32) status

//go:wasmimport fastly_http_body read
//go:noescape
func hostBodyRead(body uint32, buf unsafe.Pointer, size uint32, read *uint32) status

//go:wasmimport fastly_http_body write
//go:noescape
func hostBodyWrite(body uint32, buf unsafe.Pointer, size, end uint32, written *uint32) status

//go:wasmimport fastly_http_resp new
//go:noescape
func hostResponseNew(response *uint32) status

//go:wasmimport fastly_http_resp status_set
//go:noescape
func hostStatusSet(response, code uint32) status

//go:wasmimport fastly_http_resp header_insert
//go:noescape
func hostHeaderInsert(response uint32, name, value string) status

//go:wasmimport fastly_http_resp send_downstream
//go:noescape
func hostSendDownstream(response, body, streaming uint32) status

// status is what a call came to ($fastly_status).
type status uint32

const (
	statusOK           status = 0
	statusBufferLength status = 4
)

// err is nil for a call that went well.
func (s status) err(call string) error {
	if s == statusOK {
		return nil
	}
	return fmt.Errorf("%s: status %d", call, s)
}

// text reads a text of any length up to maxText: get is asked again with the room that it wants.
func text(get func(buf unsafe.Pointer, size uint32, written *uint32) status) (string, status) {
	buf := make([]byte, 256)
	for {
		var n uint32
		s := get(unsafe.Pointer(unsafe.SliceData(buf)), uint32(len(buf)), &n)
		switch {
		case s == statusOK && n <= uint32(len(buf)):
			return string(buf[:n]), statusOK
		case s == statusBufferLength && n > uint32(len(buf)) && n <= maxText:
			buf = make([]byte, n)
		case s == statusOK:
			return "", statusBufferLength
		default:
			return "", s
		}
	}
}

// maxText is more than the platform lets a header have.
const maxText = 128 << 10

// clientRequest is the request for which this instance was made. It is a contract.Header for
// reading, and its body's reader.
type clientRequest struct{ request, body uint32 }

func newClientRequest() (r clientRequest, err error) {
	return r, hostBodyDownstreamGet(&r.request, &r.body).err("body_downstream_get")
}

func (r clientRequest) method() (string, error) {
	method, s := text(func(buf unsafe.Pointer, size uint32, n *uint32) status { return hostMethodGet(r.request, buf, size, n) })
	return method, s.err("method_get")
}

func (r clientRequest) path() (string, error) {
	uri, s := text(func(buf unsafe.Pointer, size uint32, n *uint32) status { return hostURIGet(r.request, buf, size, n) })
	if _, rest, ok := strings.Cut(uri, "://"); ok { // it is always absolute
		uri = "/"
		if at := strings.IndexAny(rest, "/?"); at >= 0 && rest[at] == '/' {
			uri = rest[at:]
		}
	}
	path, _, _ := strings.Cut(uri, "?")
	return path, s.err("uri_get")
}

// Get implements contract.Header. A header that can't be read counts as absent.
func (r clientRequest) Get(key string) string {
	value, _ := text(func(buf unsafe.Pointer, size uint32, n *uint32) status {
		return hostHeaderValueGet(r.request, key, buf, size, n)
	})
	return value
}

// Set implements contract.Header; requests aren't written to.
func (clientRequest) Set(string, string) {}

var _ contract.Header = clientRequest{}

// Read implements io.Reader for the body.
func (r clientRequest) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	var n uint32
	if err := hostBodyRead(r.body, unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)), &n).err("body read"); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.EOF
	}
	return int(min(n, uint32(len(b)))), nil
}

// send sends an answer, whole. Were its body still open, as one that is streamed, the platform would know no length: it would go out in chunks, the last of
// them a TCP segment of its own, which waits for the client's acknowledgement of the one before.
func send(code int, header map[string]string, content []byte) error {
	var response, body uint32
	if err := errors.Join(hostResponseNew(&response).err("response new"), hostBodyNew(&body).err("body new"),
		hostStatusSet(response, uint32(code)).err("status_set")); err != nil {
		return err
	}
	for name, value := range header {
		if err := hostHeaderInsert(response, name, value).err("header_insert " + name); err != nil {
			return err
		}
	}
	for len(content) > 0 {
		var n uint32
		if err := hostBodyWrite(body, unsafe.Pointer(unsafe.SliceData(content)), uint32(len(content)), 0, &n).err("body write"); err != nil {
			return err
		}
		if n == 0 || n > uint32(len(content)) {
			return fmt.Errorf("body write: %d bytes of %d", n, len(content))
		}
		content = content[n:]
	}
	const streaming = 0
	return hostSendDownstream(response, body, streaming).err("send_downstream")
}
