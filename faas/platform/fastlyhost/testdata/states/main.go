// Command states answers a question to the store of states, which is the entry "question" of a config store, on its standard output.
package main

import (
	"fmt"
	"os"

	"github.com/fastly/compute-sdk-go/configstore"

	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/state/statetest/remote"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	config, err := configstore.Open("test")
	if err != nil {
		return err
	}
	question, err := config.GetBytes("question")
	if err != nil {
		return err
	}
	store, err := fastlyhost.OpenStates(fastlyhost.StateStore)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(remote.Serve(store, question))
	return err
}
