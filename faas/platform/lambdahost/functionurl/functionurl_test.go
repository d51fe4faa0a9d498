package functionurl

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestPayload(t *testing.T) {
	header := http.Header{"Content-Type": {"application/openflow"}, "X-Two": {"a", "b"}}
	got, err := Payload(header, []byte{0, 0xff})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"version":"2.0"`, `"content-type":"application/openflow"`, `"x-two":"a, b"`, `"body":"AP8="`, `"isBase64Encoded":true`, `"method":"POST"`} {
		if !strings.Contains(string(got), part) {
			t.Errorf("no %s in %s", part, got)
		}
	}
	header.Set("Content-Type", "application/json")
	if got, err = Payload(header, []byte(`{"a":1}`)); err != nil || !strings.Contains(string(got), `"body":"{\"a\":1}"`) || !strings.Contains(string(got), `"isBase64Encoded":false`) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestResponse(t *testing.T) {
	status, header, body, err := Response([]byte(`{"statusCode": 201, "headers": {"x-a": "1"}, "body": "AP8=", "isBase64Encoded": true}`))
	if status != 201 || header.Get("X-A") != "1" || !slices.Equal(body, []byte{0, 0xff}) || err != nil {
		t.Errorf("%d %v %v %v", status, header, body, err)
	}
	if _, _, body, err := Response([]byte(`{"statusCode": 200, "body": "text"}`)); string(body) != "text" || err != nil {
		t.Errorf("%s, %v", body, err)
	}
	for _, bad := range []string{``, `{}`, `{"errorMessage": "x"}`, `{"statusCode": 200, "body": "!", "isBase64Encoded": true}`} {
		if status, _, _, err := Response([]byte(bad)); err == nil {
			t.Errorf("%s: %d", bad, status)
		}
	}
}
