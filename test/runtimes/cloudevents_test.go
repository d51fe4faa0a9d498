package runtimes

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"

	"switchbridge/functiontest"
	"switchbridge/internal/child"
)

// caller asks `function serve` by a CloudEvents SDK: a program in testdata, whose standard input and output this test has.
func caller(script ...string) func(*testing.T, *run) functiontest.Exchange {
	return func(t *testing.T, r *run) functiontest.Exchange {
		program, cache := r.container(t)
		write(t, filepath.Join(r.dir, "token"), []byte(token))
		at := address(t)
		r.ready(t, r.start(t, at, []string{cache}, program, "function", "serve", "--plain", "--listen", at, "--token-file", "token", "--policy", "policy.blob"),
			"http://"+at+"/readyz")
		cmd := exec.Command(r.program, append(script, "http://"+at+"/")...)
		cmd.Stderr = &r.logs
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(cmd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
		answers := bufio.NewReader(out)
		return func(_ context.Context, header http.Header, body []byte) (int, http.Header, []byte, error) {
			question := struct {
				Header map[string]string `json:"header"`
				Body   []byte            `json:"body"`
			}{map[string]string{}, body}
			for name := range header {
				question.Header[name] = header.Get(name)
			}
			line, err := json.Marshal(question)
			if err != nil {
				return 0, nil, nil, err
			}
			if _, err := in.Write(append(line, '\n')); err != nil {
				return 0, nil, nil, err
			}
			line, err = answers.ReadBytes('\n')
			if err != nil {
				return 0, nil, nil, fmt.Errorf("the caller ended: %w", err)
			}
			var answer struct {
				Status int
				Header http.Header
				Body   []byte
			}
			err = json.Unmarshal(line, &answer)
			return answer.Status, answer.Header, answer.Body, err
		}
	}
}
