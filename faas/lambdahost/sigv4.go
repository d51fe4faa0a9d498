package lambdahost

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

type credentials struct{ id, secret, token, region, service string }

// emptyHash is SHA-256 of nothing: only requests without a body and a query are signed here.
var emptyHash = hex.EncodeToString(sha256.New().Sum(nil))

// sign signs a GET with all the headers that it has, by AWS Signature Version 4.
// docs.aws.amazon.com: "Authenticating Requests: Using the Authorization Header".
func sign(r *http.Request, c credentials, now time.Time) {
	stamp := now.UTC().Format("20060102T150405Z")
	day := stamp[:8]
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Set("X-Amz-Content-Sha256", emptyHash)
	if c.token != "" {
		r.Header.Set("X-Amz-Security-Token", c.token)
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
	canonical += "\n" + signed + "\n" + emptyHash

	scope := day + "/" + c.region + "/" + c.service + "/aws4_request"
	hash := sha256.Sum256([]byte(canonical))
	key := mac(mac(mac(mac([]byte("AWS4"+c.secret), day), c.region), c.service), "aws4_request")
	signature := mac(key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hex.EncodeToString(hash[:]))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.id+"/"+scope+",SignedHeaders="+signed+",Signature="+hex.EncodeToString(signature))
}

func mac(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}
