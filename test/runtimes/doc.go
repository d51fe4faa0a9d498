// Package runtimes holds the function to the platforms' own runtimes: what AWS, Fastly, Knative, OpenFaaS and others let
// developers run on their own machines. A runtime is a row of the table in runtimes_test.go.
package runtimes
