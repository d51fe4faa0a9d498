// Package nativehost has what platforms share that start the controller as a native program and call it in a form of their own: a
// [Call] and its [Answer], which the platform's package translates, and [Run], with which the program starts.
package nativehost

import (
	"bytes"
	"context"
	"encoding/base64"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// Call is a request as a platform describes it.
type Call struct {
	Method string // in upper or lower case; empty: POST
	Path   string // with or without the slash before it
	Query  string // without the question mark
	Header http.Header
	Body   []byte // without base64
	From   string // the caller's address, for records; empty: not known
}

// Serve asks h and returns its answer, whole. A method that HTTP doesn't allow is answered with status 400.
func (c *Call) Serve(ctx context.Context, h http.Handler) *Answer {
	r, err := http.NewRequestWithContext(ctx, strings.ToUpper(c.Method), "/", bytes.NewReader(c.Body))
	if err != nil {
		return Refuse(http.StatusBadRequest, err)
	}
	if c.Method == "" {
		r.Method = http.MethodPost
	}
	r.URL = &url.URL{Path: "/" + strings.TrimPrefix(c.Path, "/"), RawQuery: c.Query}
	if c.Header != nil {
		r.Header = c.Header
	}
	r.Host, r.RemoteAddr = r.Header.Get("Host"), c.From
	a := newAnswer()
	h.ServeHTTP(a, r)
	return a
}

// Header returns one value for each name as an http.Header.
func Header(single map[string]string) http.Header {
	h := make(http.Header, len(single))
	for name, value := range single {
		h.Set(name, value)
	}
	return h
}

// Forwarded returns the last address in X-Forwarded-For: the one that the platform has added. Those before it are what the caller claims.
func Forwarded(h http.Header) string {
	list := h.Get("X-Forwarded-For")
	return strings.TrimSpace(list[strings.LastIndex(list, ",")+1:])
}

// Answer is an http.ResponseWriter that keeps the answer, for platforms that want it as one value.
type Answer struct {
	Status int // 200 if the handler sets none
	Body   bytes.Buffer

	header  http.Header
	written bool
}

func newAnswer() *Answer { return &Answer{Status: http.StatusOK, header: http.Header{}} }

// Refuse answers a call that can't be read, and says why.
func Refuse(status int, err error) *Answer {
	a := newAnswer()
	http.Error(a, err.Error(), status)
	return a
}

// Header implements http.ResponseWriter.
func (a *Answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *Answer) WriteHeader(status int) {
	if !a.written {
		a.Status, a.written = status, true
	}
}

// Write implements http.ResponseWriter.
func (a *Answer) Write(b []byte) (int, error) {
	a.written = true
	return a.Body.Write(b)
}

// Joined returns the headers with one value for each name, in lower case.
func (a *Answer) Joined() map[string]string {
	headers := make(map[string]string, len(a.header))
	for key, values := range a.header {
		headers[strings.ToLower(key)] = strings.Join(values, ", ")
	}
	return headers
}

// Text returns the body as platforms take it that write JSON: text and JSON as they are, anything else in base64, which encoded says.
func (a *Answer) Text() (body string, encoded bool) {
	if media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); media == "application/json" || strings.HasPrefix(media, "text/") {
		return a.Body.String(), false
	}
	return base64.StdEncoding.EncodeToString(a.Body.Bytes()), true
}
