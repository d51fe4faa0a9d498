package runtimes

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/flow/contract"
	"switchbridge/functiontest"
)

// openWhisk is Apache OpenWhisk's runtime for Go and other native programs. OpenWhisk's controller, which makes activations of requests, is played by this test.
func openWhisk(t *testing.T, r *run) functiontest.Exchange {
	r.separate(t)
	r.build(t, "exec", "switchbridge/cmd/function-openwhisk", nil)
	var action bytes.Buffer
	z := zip.NewWriter(&action)
	for _, name := range []string{"exec", "policy.blob"} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(read(t, filepath.Join(r.dir, name)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	const at = "127.0.0.1:8080"
	p := r.serve(t, at, []string{"OW_WAIT_FOR_ACK=1"})
	client := r.client(t)
	initialise, err := json.Marshal(map[string]any{"value": map[string]any{"binary": true, "main": "main",
		"code": base64.StdEncoding.EncodeToString(action.Bytes()), "env": map[string]string{"SWITCHBRIDGE_TOKENS": token}}})
	if err != nil {
		t.Fatal(err)
	}
	r.until(t, p, "it is initialised", func() error {
		_, err := post(t.Context(), client, "http://"+at+"/init", initialise)
		if err != nil {
			t.Fatalf("%v\n%s", err, r.logs.String())
		}
		return nil
	})
	return func(ctx context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
		// A raw web action's argument: docs/webactions.md of apache/openwhisk.
		text := string(body)
		if header.Get("Content-Type") != contract.TypeJSON {
			text = base64.StdEncoding.EncodeToString(body)
		}
		activation, err := json.Marshal(map[string]any{"activation_id": "c21e3bb3fd4b4c3e9e3bb3fd4b9c3e6e", "deadline": "4102444800000", "value": map[string]any{
			"__ow_method": "post", "__ow_path": "", "__ow_query": "", "__ow_headers": joined(header), "__ow_body": text}})
		if err != nil {
			return 0, nil, nil, err
		}
		raw, err := post(ctx, client, "http://"+at+"/run", activation)
		if err != nil {
			return 0, nil, nil, err
		}
		var a struct {
			StatusCode int
			Headers    map[string]string
			Body       string
		}
		if err := json.Unmarshal(raw, &a); err != nil {
			return 0, nil, nil, fmt.Errorf("%w: %.200s", err, raw)
		}
		answer := single(a.Headers)
		if media := answer.Get("Content-Type"); strings.HasPrefix(media, "text/") || media == contract.TypeJSON {
			return a.StatusCode, answer, []byte(a.Body), nil
		}
		decoded, err := base64.StdEncoding.DecodeString(a.Body)
		return a.StatusCode, answer, decoded, err
	}
}
