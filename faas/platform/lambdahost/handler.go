// Package lambdahost runs a function on AWS Lambda (provided.al2023): behind a function URL or an
// API Gateway HTTP API, both with payload format 2.0, or invoked directly with the same payload.
//
// An invocation becomes a request to an http.Handler, so that Lambda gets the same checks,
// limits and records as a server of one's own.
package lambdahost

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// Handler makes h an AWS Lambda handler. With stream it answers in the form that a function URL
// with InvokeMode RESPONSE_STREAM wants; the whole answer is still made before it is sent.
func Handler(h http.Handler, stream bool) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, payload json.RawMessage) (any, error) {
		r, err := request(ctx, payload)
		w := &response{header: http.Header{}, status: http.StatusOK}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		} else {
			h.ServeHTTP(w, r)
		}
		headers := make(map[string]string, len(w.header))
		for key, values := range w.header {
			headers[strings.ToLower(key)] = strings.Join(values, ", ")
		}
		if stream {
			return &events.LambdaFunctionURLStreamingResponse{StatusCode: w.status, Headers: headers, Body: &w.body}, nil
		}
		return events.LambdaFunctionURLResponse{
			StatusCode: w.status, Headers: headers,
			Body: base64.StdEncoding.EncodeToString(w.body.Bytes()), IsBase64Encoded: true,
		}, nil
	}
}

// request reads payload format 2.0. API Gateway's and the function URL's agree in all that
// counts here; who invokes directly may leave the method and the path out.
func request(ctx context.Context, payload []byte) (*http.Request, error) {
	var p events.LambdaFunctionURLRequest
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if p.Version != "" && p.Version != "2.0" {
		return nil, fmt.Errorf("payload format %q, want 2.0", p.Version)
	}
	if len(p.Headers) == 0 {
		return nil, errors.New("payload without headers: want format 2.0 of a function URL or an HTTP API")
	}
	body := []byte(p.Body)
	if p.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(p.Body); err != nil {
			return nil, fmt.Errorf("payload body: %w", err)
		}
	}
	method := p.RequestContext.HTTP.Method
	if method == "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, "/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.URL = &url.URL{Path: "/" + strings.TrimPrefix(p.RawPath, "/"), RawQuery: p.RawQueryString}
	r.RemoteAddr = p.RequestContext.HTTP.SourceIP
	for key, value := range p.Headers {
		r.Header.Set(key, value)
	}
	r.Host = r.Header.Get("Host")
	return r, nil
}

// response is an http.ResponseWriter that keeps the answer.
type response struct {
	header  http.Header
	status  int
	written bool
	body    bytes.Buffer
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if !w.written {
		w.status, w.written = status, true
	}
}

func (w *response) Write(b []byte) (int, error) {
	w.written = true
	return w.body.Write(b)
}
