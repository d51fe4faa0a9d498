package nativehost

import (
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
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/internal/files"
	"switchbridge/policy/blob"
	"switchbridge/state/travel"
)

// Environment variables that every such program reads.
const (
	EnvTokens = "SWITCHBRIDGE_TOKENS" // one bearer token, or two with a blank between, during a rotation
	EnvAuth   = "SWITCHBRIDGE_AUTH"   // none: the platform checks who calls
)

// policyFile is the compiled policy, beside the program.
const policyFile = "policy.blob"

// Main is the main function of a program: it makes the handler with start, gives it to serve, and ends the program with status 1 and a
// line on standard error if either fails.
func Main(start func(*slog.Logger) (http.Handler, error), serve func(http.Handler) error) {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	h, err := start(log)
	if err == nil {
		err = serve(h)
	}
	if err != nil {
		log.Error("function ended", "err", err)
		os.Exit(1)
	}
}

// Packaged returns the controller by the compiled policy that lies beside the program. States of the policy's machines travel with events,
// sealed with the keys in the environment ([travel.EnvKeys]).
func Packaged(log *slog.Logger) (http.Handler, error) {
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
	if keys := os.Getenv(travel.EnvKeys); keys != "" {
		if decider, err = edgehost.Travelling(c, keys, func(line string) { log.Warn(line) }); err != nil {
			return nil, fmt.Errorf("%s: %w", travel.EnvKeys, err)
		}
	}
	return Handler(decider, log)
}

// Handler serves d by the contract, in both encodings, to callers with a token of the environment. It fails without a token unless
// SWITCHBRIDGE_AUTH is none. Records of decisions are lines on standard output.
func Handler(d flow.Decider, log *slog.Logger) (http.Handler, error) {
	mux := httphost.MuxConfig{Log: log}
	if os.Getenv(EnvAuth) != "none" {
		tokens, err := auth.ParseSecret(os.Getenv(EnvTokens))
		if err != nil {
			return nil, fmt.Errorf("%s: %w; set one, or %s=none where the platform checks who calls", EnvTokens, err, EnvAuth)
		}
		mux.Tokens = tokens
	}
	h, err := httphost.New(httphost.Config{
		Decider: d, Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}, Records: record.NewWriter(os.Stdout), Log: log,
	})
	if err != nil {
		return nil, err
	}
	mux.Functions = []httphost.Function{{Name: "controller", Handler: h}}
	return httphost.NewMux(mux)
}
