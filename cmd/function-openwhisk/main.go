// Command function-openwhisk is the controller as an action of Apache OpenWhisk. docs/deploy/openwhisk.md says how it gets
// there and what its environment variables mean.
//
//	CGO_ENABLED=0 go build -ldflags='-s -w' -o exec ./cmd/function-openwhisk
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"switchbridge/controller"
	"switchbridge/faas/function/auth"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/function/record"
	"switchbridge/faas/instance/guest"
	"switchbridge/faas/platform/edgehost"
	"switchbridge/faas/platform/openwhiskhost"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/internal/files"
	"switchbridge/policy/blob"
)

const (
	envTokens = "SWITCHBRIDGE_TOKENS"     // one bearer token, or two with a blank between, during a rotation
	envAuth   = "SWITCHBRIDGE_AUTH"       // none: the platform checks who calls (require-whisk-auth)
	envKeys   = "SWITCHBRIDGE_STATE_KEYS" // seal the states of the policy's machines, which travel with events

	policyFile = "policy.blob" // beside the program

	// answers is the descriptor for answers: standard output and error are for logs.
	answers = 3
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	h, err := handler(log)
	if err == nil {
		err = openwhiskhost.Serve(context.Background(), h, os.Stdin, os.NewFile(answers, "answers"), os.Getenv("__OW_WAIT_FOR_ACK") != "")
	}
	if err != nil {
		log.Error("function ended", "err", err)
		os.Exit(1)
	}
}

func handler(log *slog.Logger) (http.Handler, error) {
	mux := httphost.MuxConfig{Log: log}
	if os.Getenv(envAuth) != "none" {
		tokens, err := auth.ParseSecret(os.Getenv(envTokens))
		if err != nil {
			return nil, fmt.Errorf("%s: %w; set one, or %s=none where the platform checks who calls", envTokens, err, envAuth)
		}
		mux.Tokens = tokens
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	compiled, err := files.ReadFile(filepath.Join(filepath.Dir(program), policyFile), guest.MaxPolicy)
	if err != nil {
		return nil, err
	}
	unpacked, err := blob.Unpack(compiled)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", policyFile, err)
	}
	c := controller.New(unpacked)
	var decider flow.Decider = c
	if keys := os.Getenv(envKeys); keys != "" {
		if decider, err = edgehost.Travelling(c, keys, func(line string) { log.Warn(line) }); err != nil {
			return nil, fmt.Errorf("%s: %w", envKeys, err)
		}
	}
	h, err := httphost.New(httphost.Config{
		Decider: decider, Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}, Records: record.NewWriter(os.Stdout), Log: log,
	})
	if err != nil {
		return nil, err
	}
	mux.Functions = []httphost.Function{{Name: "controller", Handler: h}}
	return httphost.NewMux(mux)
}
