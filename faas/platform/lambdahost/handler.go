// Package lambdahost runs a function on AWS Lambda (provided.al2023): behind a function URL or an
// API Gateway HTTP API (payload format 2.0), an API Gateway REST API (format 1.0) or an Application
// Load Balancer, or invoked directly with payload format 2.0.
//
// An invocation becomes a request to an http.Handler, so that Lambda gets the same checks,
// limits and records as a server of one's own.
package lambdahost

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-lambda-go/events"

	"switchbridge/faas/platform/nativehost"
)

// Handler makes h an AWS Lambda handler. With stream it answers payload format 2.0 in the form that a function URL
// with InvokeMode RESPONSE_STREAM wants; the whole answer is still made before it is sent.
func Handler(h http.Handler, stream bool) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var p payload
		var w *nativehost.Answer
		if call, err := p.call(raw); err != nil {
			w = nativehost.Refuse(http.StatusBadRequest, err)
		} else {
			w = call.Serve(ctx, h)
		}
		switch {
		case p.first():
			return p.answer(w), nil
		case stream:
			return &events.LambdaFunctionURLStreamingResponse{StatusCode: w.Status, Headers: w.Joined(), Body: &w.Body}, nil
		}
		return events.LambdaFunctionURLResponse{
			StatusCode: w.Status, Headers: w.Joined(),
			Body: base64.StdEncoding.EncodeToString(w.Body.Bytes()), IsBase64Encoded: true,
		}, nil
	}
}

// payload is what invocations bring, as far as it counts here. Format 2.0 is that of function URLs and HTTP APIs, which agree in
// all of this; who invokes directly may leave the method and the path out. REST APIs and load balancers send the
// first format, in which the method stands outside, and of which only HTTP APIs say the version.
type payload struct {
	Version        string
	RawPath        string
	RawQueryString string
	Headers        map[string]string

	// The first format. A load balancer sends either kind of headers and wants its answer's in the same kind; a REST API sends both.
	HTTPMethod        string
	Path              string
	MultiValueHeaders map[string][]string

	RequestContext struct {
		HTTP     struct{ Method, SourceIP string }
		Identity struct{ SourceIP string }
		ELB      *struct{} // a load balancer's, which gives the caller's address in a header alone
	}

	Body            string
	IsBase64Encoded bool
}

// first says whether the payload is of the first format.
func (p *payload) first() bool { return p.HTTPMethod != "" }

func (p *payload) call(raw []byte) (*nativehost.Call, error) {
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	switch p.Version {
	case "", "2.0":
	case "1.0":
		if !p.first() {
			return nil, errors.New("payload format 1.0 without httpMethod")
		}
	default:
		return nil, fmt.Errorf("payload format %q, want 1.0 or 2.0", p.Version)
	}
	if len(p.Headers)+len(p.MultiValueHeaders) == 0 {
		return nil, errors.New("payload without headers: want that of a function URL, an HTTP or REST API, or a load balancer")
	}
	c := nativehost.Call{Method: p.RequestContext.HTTP.Method, Path: p.RawPath, Query: p.RawQueryString, Body: []byte(p.Body)}
	if p.first() {
		c.Method, c.Path = p.HTTPMethod, p.Path
	}
	if p.IsBase64Encoded {
		var err error
		if c.Body, err = base64.StdEncoding.DecodeString(p.Body); err != nil {
			return nil, fmt.Errorf("payload body: %w", err)
		}
	}
	if len(p.MultiValueHeaders) == 0 {
		c.Header = nativehost.Header(p.Headers)
	} else {
		c.Header = make(http.Header)
		for key, values := range p.MultiValueHeaders {
			for _, value := range values {
				c.Header.Add(key, value)
			}
		}
	}
	c.From = p.RequestContext.HTTP.SourceIP + p.RequestContext.Identity.SourceIP // one of them
	if p.RequestContext.ELB != nil {
		c.From = nativehost.Forwarded(c.Header)
	}
	return &c, nil
}

// firstAnswer is an answer in the first format.
type firstAnswer struct {
	StatusCode        int                 `json:"statusCode"`
	StatusDescription string              `json:"statusDescription,omitempty"`
	Headers           map[string]string   `json:"headers,omitempty"`
	MultiValueHeaders map[string][]string `json:"multiValueHeaders,omitempty"`
	Body              string              `json:"body"`
	IsBase64Encoded   bool                `json:"isBase64Encoded"`
}

func (p *payload) answer(w *nativehost.Answer) firstAnswer {
	a := firstAnswer{StatusCode: w.Status}
	// A REST API takes base64 for the body itself unless its binary media types say otherwise: what is text is sent as text.
	a.Body, a.IsBase64Encoded = w.Text()
	if p.RequestContext.ELB != nil {
		a.StatusDescription = fmt.Sprint(w.Status, " ", http.StatusText(w.Status))
	}
	if len(p.Headers) == 0 {
		a.MultiValueHeaders = w.Header()
	} else {
		a.Headers = w.Joined()
	}
	return a
}
