package push

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/faas/platform/lambdahost/sigv4"
)

// What a parameter of Systems Manager holds, in characters of its tiers.
const (
	maxStandard  = 4 << 10
	maxParameter = 8 << 10
)

// Lambda is a parameter of Systems Manager or an object of S3.
type Lambda struct {
	API
	Source string // ssm:/name or s3://bucket/key, as the function's lambdahost.EnvPolicy has it

	// Credentials of who may write it: the region always, the rest is wanted by Plan.Do.
	// The service is the source's.
	Credentials sigv4.Credentials
}

// Plan returns what would be written. An S3 endpoint is the bucket's address, as for the function.
func (l Lambda) Plan(blob []byte) (*Plan, error) {
	if err := checkSize(blob); err != nil {
		return nil, err
	}
	var target string
	var w Write
	var r, get request
	var value func([]byte) ([]byte, error) // of the answer to get
	kind := parameterString
	var err error
	if name, ok := strings.CutPrefix(l.Source, "ssm:"); ok && name != "" {
		l.Credentials.Service = "ssm"
		target, w, r, err = l.parameter(name, blob)
		get, value = l.getParameter(name, r), func(answer []byte) (v []byte, err error) {
			v, kind, err = parameterValue(answer)
			return v, err
		}
	} else if name, ok := strings.CutPrefix(l.Source, "s3://"); ok {
		l.Credentials.Service = "s3"
		target, w, r, err = l.object(name, blob)
		get, value = getObject(r), func(b []byte) ([]byte, error) { return b, nil }
	} else {
		err = fmt.Errorf("lambda: %q: want ssm:/name or s3://bucket/key", l.Source)
	}
	if err == nil {
		err = missing("the region (AWS_REGION)", l.Credentials.Region)
	}
	if err != nil {
		return nil, err
	}
	for _, r := range []*request{&r, &get} {
		r.secrets = []string{l.Credentials.Secret, l.Credentials.Token}
		r.sign = func(req *http.Request) { sigv4.Sign(req, r.body, l.Credentials, time.Now()) }
	}
	w.do = func(ctx context.Context) error {
		if kind != parameterString { // one that was seen to be encrypted stays so
			r.body = parameterBody(strings.TrimPrefix(l.Source, "ssm:"), blob, kind)
		}
		return l.do(ctx, r)
	}
	read := func(ctx context.Context) ([]byte, error) {
		answer, err := l.get(ctx, get)
		if err != nil {
			return nil, err
		}
		return value(answer)
	}
	return &Plan{Target: "lambda at " + target, blob: blob, read: read, again: l.pauses, Writes: []Write{w}, ready: func() error {
		return missing("the key's identifier (AWS_ACCESS_KEY_ID)", l.Credentials.ID, "the key (AWS_SECRET_ACCESS_KEY)", l.Credentials.Secret)
	}}, nil
}

// parameter is PutParameter of Systems Manager's API.
func (l Lambda) parameter(name string, blob []byte) (string, Write, request, error) {
	w := Write{Store: "Systems Manager in " + l.Credentials.Region, Key: name, Size: base64.StdEncoding.EncodedLen(len(blob))}
	base, err := l.endpoint("https://ssm." + l.Credentials.Region + ".amazonaws.com")
	if err == nil {
		err = atMost("lambda: parameter "+name+": value in base64", w.Size, maxParameter)
	}
	return base, w, request{
		method: http.MethodPost, url: base + "/", body: parameterBody(name, blob, parameterString), busy: throttled,
		header: map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.PutParameter"},
	}, err
}

// Types of parameters that hold one text. The latter is encrypted.
const (
	parameterString = "String"
	parameterSecure = "SecureString"
)

func parameterBody(name string, blob []byte, kind string) []byte {
	put := struct {
		Name, Value, Type string
		Overwrite         bool
		Tier              string `json:",omitempty"`
	}{Name: name, Value: base64.StdEncoding.EncodeToString(blob), Type: kind, Overwrite: true}
	if len(put.Value) > maxStandard {
		put.Tier = "Advanced" // a smaller value leaves the tier as it is: Advanced can't be taken back
	}
	body, _ := json.Marshal(put) // of strings: can't fail
	return body
}

// getParameter is GetParameter, asked where put writes.
func (l Lambda) getParameter(name string, put request) request {
	put.body, _ = json.Marshal(map[string]any{"Name": name, "WithDecryption": true}) // of strings: can't fail
	put.header = map[string]string{"Content-Type": put.header["Content-Type"], "X-Amz-Target": "AmazonSSM.GetParameter"}
	put.limit = maxParameter + maxAnswer
	put.absent = func(status int, answer []byte) bool {
		return status == http.StatusBadRequest && bytes.Contains(answer, []byte("ParameterNotFound"))
	}
	return put
}

func parameterValue(answer []byte) (value []byte, kind string, err error) {
	var got struct{ Parameter struct{ Value, Type string } }
	if err := json.Unmarshal(answer, &got); err != nil {
		return nil, "", fmt.Errorf("answer: %w", err)
	}
	if kind = parameterString; got.Parameter.Type == parameterSecure {
		kind = parameterSecure
	}
	value, err = base64.StdEncoding.DecodeString(strings.TrimSpace(got.Parameter.Value))
	return value, kind, err
}

// throttled says whether Systems Manager asks for patience, which it does by the status 400.
func throttled(status int, answer []byte) bool {
	return status == http.StatusBadRequest && (bytes.Contains(answer, []byte("ThrottlingException")) || bytes.Contains(answer, []byte("TooManyUpdates")))
}

// object is PutObject of S3's API.
func (l Lambda) object(name string, blob []byte) (string, Write, request, error) {
	bucket, key, _ := strings.Cut(name, "/")
	if bucket == "" || key == "" {
		return "", Write{}, request{}, fmt.Errorf("lambda: %q: want s3://bucket/key", l.Source)
	}
	base, err := l.endpoint("https://" + bucket + ".s3." + l.Credentials.Region + ".amazonaws.com")
	return base, Write{Store: "bucket " + bucket, Key: key, Size: len(blob)}, request{
		method: http.MethodPut, url: base + "/" + sigv4.EscapePath(key), body: blob,
		header: map[string]string{"Content-Type": "application/octet-stream"},
	}, err
}

// getObject is GetObject, asked where put writes.
func getObject(put request) request {
	put.method, put.body, put.limit = http.MethodGet, nil, guest.MaxPolicy
	put.absent = func(status int, answer []byte) bool {
		return status == http.StatusNotFound && !bytes.Contains(answer, []byte("NoSuchBucket"))
	}
	return put
}
