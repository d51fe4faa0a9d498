// Package kept has answers of an http.Handler that are kept until they are whole, for platforms that want them as one value.
package kept

import (
	"bytes"
	"net/http"
	"strings"
)

// Answer is an http.ResponseWriter that keeps the answer.
type Answer struct {
	Status int // 200 if the handler sets none
	Body   bytes.Buffer

	header  http.Header
	written bool
}

// New returns an empty answer.
func New() *Answer { return &Answer{Status: http.StatusOK, header: http.Header{}} }

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

// Joined are the headers with one value for each name, in lower case.
func (a *Answer) Joined() map[string]string {
	headers := make(map[string]string, len(a.header))
	for key, values := range a.header {
		headers[strings.ToLower(key)] = strings.Join(values, ", ")
	}
	return headers
}
