package sigv4

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The examples of AWS's documentation, "Signature Calculations for the Authorization Header": GET Object
// and PUT Object.
func TestSign(t *testing.T) {
	for _, row := range []struct {
		method, url, body string
		header            map[string]string
		signed, signature string
	}{
		{http.MethodGet, "https://examplebucket.s3.amazonaws.com/test.txt", "", map[string]string{"Range": "bytes=0-9"},
			"host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{http.MethodPut, "https://examplebucket.s3.amazonaws.com/" + EscapePath("test$file.text"), "Welcome to Amazon S3.",
			map[string]string{"Date": "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY"},
			"date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
	} {
		r := httptest.NewRequest(row.method, row.url, strings.NewReader(row.body))
		for name, value := range row.header {
			r.Header.Set(name, value)
		}
		r.ContentLength = 0 // the examples don't sign it
		Sign(r, []byte(row.body), Credentials{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", Region: "us-east-1", Service: "s3"},
			time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
		want := "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=" + row.signed + ", Signature=" + row.signature
		if got := r.Header.Get("Authorization"); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", row.method, got, want)
		}
	}
}

func TestEscapePath(t *testing.T) {
	if got, want := EscapePath("a/b c+d=é~.blob"), "a/b%20c%2Bd%3D%C3%A9~.blob"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
