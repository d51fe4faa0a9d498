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

	"switchbridge/faas/platform/lambdahost"
	"switchbridge/faas/platform/nativehost"
	"switchbridge/state/dynamodb"
	"switchbridge/state/stores"
)

// Environment variables beside those of nativehost and lambdahost.EnvPolicy.
const (
	envStream = "SWITCHBRIDGE_STREAM"           // 1: the function URL's InvokeMode is RESPONSE_STREAM
	envState  = "SWITCHBRIDGE_STATE"            // dynamodb://table: where the states of the policy's machines are
	envFails  = "SWITCHBRIDGE_STATE_ON_FAILURE" // deny or start
)

func main() {
	nativehost.Main(handler, func(h http.Handler) error {
		lambda.Start(lambdahost.Handler(h, os.Getenv(envStream) == "1"))
		return nil
	})
}

func handler(log *slog.Logger) (http.Handler, error) {
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
	return nativehost.Handler(kept.Decider(policies), log)
}
