// Package sigv4 signs requests to AWS by Signature Version 4, as far as policies are read and written:
// requests without a query, whose body is at hand.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Credentials say who asks which service of which region.
type Credentials struct {
	ID, Secret string
	Token      string // of a session; empty: none
	Region     string // such as eu-central-1
	Service    string // such as s3
}

// Sign signs a request with all the headers that it has. Body is what the request sends. The
// signature is good for some minutes around now.
// docs.aws.amazon.com: "Authenticating Requests: Using the Authorization Header".
func Sign(r *http.Request, body []byte, c Credentials, now time.Time) {
	bodyHash := hash(body)
	stamp := now.UTC().Format("20060102T150405Z")
	day := stamp[:8]
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Set("X-Amz-Content-Sha256", bodyHash)
	if c.Token != "" {
		r.Header.Set("X-Amz-Security-Token", c.Token)
	}
	names := []string{"host"}
	for name := range r.Header {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	signed := strings.Join(names, ";")

	canonical := r.Method + "\n" + r.URL.EscapedPath() + "\n\n"
	for _, name := range names {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.URL.Host
		}
		canonical += name + ":" + strings.TrimSpace(value) + "\n"
	}
	canonical += "\n" + signed + "\n" + bodyHash

	scope := day + "/" + c.Region + "/" + c.Service + "/aws4_request"
	key := mac(mac(mac(mac([]byte("AWS4"+c.Secret), day), c.Region), c.Service), "aws4_request")
	signature := mac(key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hash([]byte(canonical)))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.ID+"/"+scope+",SignedHeaders="+signed+",Signature="+hex.EncodeToString(signature))
}

// EscapePath escapes an object's key for a URL. A signature counts everything but the unreserved
// characters of RFC 3986, section 2.3, as escaped; net/url leaves more of them as they are.
func EscapePath(key string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}
