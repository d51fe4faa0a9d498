// Command function-lambda is the controller on AWS Lambda. docs/deploy/lambda.md says how it gets
// there and what its environment variables mean.
//
//	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build -tags lambda.norpc -ldflags='-s -w' -o bootstrap ./cmd/function-lambda
package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"switchbridge/faas/function/auth"
	"switchbridge/faas/function/httphost"
	"switchbridge/faas/function/record"
	"switchbridge/faas/platform/lambdahost"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/state/dynamodb"
	"switchbridge/state/stores"
)

// Environment variables beside lambdahost.EnvPolicy.
const (
	envTokens = "SWITCHBRIDGE_TOKENS"           // one bearer token, or two with a blank between, during a rotation
	envAuth   = "SWITCHBRIDGE_AUTH"             // none: the platform checks who calls (IAM)
	envStream = "SWITCHBRIDGE_STREAM"           // 1: the function URL's InvokeMode is RESPONSE_STREAM
	envState  = "SWITCHBRIDGE_STATE"            // dynamodb://table: where the states of the policy's machines are
	envFails  = "SWITCHBRIDGE_STATE_ON_FAILURE" // deny or start
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	h, err := handler(log)
	if err != nil {
		log.Error("function not started", "err", err)
		os.Exit(1)
	}
	lambda.Start(lambdahost.Handler(h, os.Getenv(envStream) == "1"))
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
	places := stores.Default()
	places.URL, places.OnFailure = os.Getenv(envState), cmp.Or(os.Getenv(envFails), places.OnFailure)
	if err := places.Validate(); err != nil {
		return nil, fmt.Errorf("%s and %s: %w", envState, envFails, err)
	}
	keeper, err := stores.Open(context.Background(), places, stores.Openers{"dynamodb": dynamodb.Open, "travel": stores.OpenTravel}, log)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", envState, err)
	}
	policies, err := lambdahost.OpenPolicies(context.Background(), os.Getenv, log, keeper.Takes)
	if err != nil {
		return nil, err
	}
	kept, err := keeper.Keep("controller", policies, stores.SeveralGateways)
	if err != nil {
		return nil, err
	}
	h, err := httphost.New(httphost.Config{
		Decider: kept.Decider(policies), Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}},
		Records: record.NewWriter(os.Stdout), Log: log,
	})
	if err != nil {
		return nil, err
	}
	mux.Functions = []httphost.Function{{Name: "controller", Handler: h}}
	return httphost.NewMux(mux)
}
