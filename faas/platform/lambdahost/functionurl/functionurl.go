// Package functionurl is the other side of a Lambda function URL: it makes an invocation of a request, and a response of what the function returns
// (payload format 2.0). Who invokes our function without AWS needs it: benchmarks and tests.
package functionurl

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// Payload returns the invocation of a POST. As AWS does, it lets JSON through as text and has everything else in base64, and joins a header's values.
func Payload(header http.Header, body []byte) ([]byte, error) {
	p := events.LambdaFunctionURLRequest{Version: "2.0", RawPath: "/", Headers: make(map[string]string, len(header)), Body: string(body)}
	p.RequestContext.HTTP.Method, p.RequestContext.HTTP.SourceIP = http.MethodPost, "192.0.2.1"
	for name, values := range header {
		p.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	if header.Get("Content-Type") != "application/json" {
		p.Body, p.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	return json.Marshal(&p)
}

// Response reads what a function has returned. An error says that it is no response.
func Response(raw []byte) (status int, header http.Header, body []byte, err error) {
	var a events.LambdaFunctionURLResponse
	if err := json.Unmarshal(raw, &a); err != nil || a.StatusCode == 0 {
		return 0, nil, nil, fmt.Errorf("an invocation's answer is no response: %.200s", raw)
	}
	if body = []byte(a.Body); a.IsBase64Encoded {
		if body, err = base64.StdEncoding.DecodeString(a.Body); err != nil {
			return 0, nil, nil, fmt.Errorf("the body of an invocation's answer: %w", err)
		}
	}
	header = make(http.Header, len(a.Headers))
	for name, value := range a.Headers {
		header.Set(name, value)
	}
	return a.StatusCode, header, body, nil
}
