// Package sigv4 signs requests to AWS by Signature Version 4, as far as policies are read and written:
// requests without a query, whose body is at hand.
package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Credentials say who asks which service of which region.
type Credentials struct {
	ID, Secret string
	Token      string // of a session; empty: none
	Region     string // such as eu-central-1
	Service    string // such as s3
}

// signer takes paths as EscapePath has made them: S3 signs them once escaped, others here have none.
var signer = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })

// Sign signs a request with all the headers that it has. Body is what the request sends. The
// signature is good for some minutes around now.
func Sign(r *http.Request, body []byte, c Credentials, now time.Time) {
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	r.Header.Set("X-Amz-Content-Sha256", hash)
	// It fails for credentials that are still to be fetched alone.
	_ = signer.SignHTTP(r.Context(), aws.Credentials{AccessKeyID: c.ID, SecretAccessKey: c.Secret, SessionToken: c.Token}, r, hash, c.Service, c.Region, now)
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
