package runtimes

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"switchbridge/flow/contract"
	"switchbridge/functiontest"
)

// form is who stands before a function on Lambda: what it sends, in AWS's own types of it, and how it reads the answer.
type form interface {
	payload(header http.Header, body string, encoded bool) any
	answer(raw []byte) (status int, header http.Header, body string, encoded bool, err error)
}

// lambda runs the bootstrap that is deployed under AWS's runtime interface emulator.
func lambda(f form) func(*testing.T, *run) functiontest.Exchange {
	return func(t *testing.T, r *run) functiontest.Exchange {
		r.build(t, "bootstrap", "switchbridge/cmd/function-lambda", nil, "-tags=lambda.norpc")
		at := address(t)
		r.serve(t, at, []string{"SWITCHBRIDGE_TOKENS=" + token, "LAMBDA_TASK_ROOT=" + r.dir},
			"--runtime-interface-emulator-address", at, "--runtime-api-address", address(t), "./bootstrap")
		client := r.client(t)
		return func(ctx context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
			text, encoded := string(body), false
			if header.Get("Content-Type") != contract.TypeJSON {
				text, encoded = base64.StdEncoding.EncodeToString(body), true
			}
			payload, err := json.Marshal(f.payload(header, text, encoded))
			if err != nil {
				return 0, nil, nil, err
			}
			raw, err := post(ctx, client, "http://"+at+"/2015-03-31/functions/function/invocations", payload)
			if err != nil {
				return 0, nil, nil, err
			}
			status, answer, text, encoded, err := f.answer(raw)
			if err != nil || !encoded {
				return status, answer, []byte(text), err
			}
			decoded, err := base64.StdEncoding.DecodeString(text)
			return status, answer, decoded, err
		}
	}
}

// joined are headers with one value for each name.
func joined(h http.Header) map[string]string {
	m := make(map[string]string, len(h))
	for name, values := range h {
		m[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return m
}

func single(m map[string]string) http.Header {
	h := http.Header{}
	for name, value := range m {
		h.Set(name, value)
	}
	return h
}

// urlForm is a function URL's, payload format 2.0.
type urlForm struct{}

func (urlForm) payload(header http.Header, body string, encoded bool) any {
	p := events.LambdaFunctionURLRequest{Version: "2.0", RawPath: "/", Headers: joined(header), Body: body, IsBase64Encoded: encoded}
	p.RequestContext.HTTP.Method = http.MethodPost
	return p
}

func (urlForm) answer(raw []byte) (int, http.Header, string, bool, error) {
	var a events.LambdaFunctionURLResponse
	err := json.Unmarshal(raw, &a)
	return a.StatusCode, single(a.Headers), a.Body, a.IsBase64Encoded, err
}

// firstForm is that of a REST API, or of a load balancer, whose target group has multi-value headers or not.
type firstForm struct{ balancer, multi bool }

func (f firstForm) payload(header http.Header, body string, encoded bool) any {
	if !f.balancer {
		p := events.APIGatewayProxyRequest{Resource: "/", Path: "/", HTTPMethod: http.MethodPost, Headers: joined(header), MultiValueHeaders: header,
			Body: body, IsBase64Encoded: encoded}
		p.RequestContext.Identity.SourceIP = "192.0.2.1"
		return p
	}
	p := events.ALBTargetGroupRequest{HTTPMethod: http.MethodPost, Path: "/", Body: body, IsBase64Encoded: encoded}
	p.RequestContext.ELB.TargetGroupArn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/t/1"
	if f.multi {
		p.MultiValueHeaders = header
	} else {
		p.Headers = joined(header)
	}
	return p
}

func (f firstForm) answer(raw []byte) (int, http.Header, string, bool, error) {
	var a events.ALBTargetGroupResponse // a REST API's is the same without the description
	err := json.Unmarshal(raw, &a)
	if f.multi {
		return a.StatusCode, a.MultiValueHeaders, a.Body, a.IsBase64Encoded, err
	}
	return a.StatusCode, single(a.Headers), a.Body, a.IsBase64Encoded, err
}
