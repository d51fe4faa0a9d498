// Command kvguest uses a KV store as functions with state do, and says what surprised it.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/fastly/compute-sdk-go/kvstore"
)

func main() {
	rounds, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("round %d: good\n", rounds)
}

func run() (rounds int, err error) {
	if _, err := kvstore.Open("absent"); !errors.Is(err, kvstore.ErrStoreNotFound) {
		return 0, fmt.Errorf("a store that isn't: %w", err)
	}
	s, err := kvstore.Open("state")
	if err != nil {
		return 0, err
	}
	add := &kvstore.InsertConfig{Mode: kvstore.InsertModeAdd, Metadata: []byte("counts")}
	entry, err := s.Lookup("counter")
	switch {
	case errors.Is(err, kvstore.ErrKeyNotFound):
		if err := s.InsertWithConfig("counter", strings.NewReader("0"), add); err != nil {
			return 0, fmt.Errorf("add: %w", err)
		}
		if entry, err = s.Lookup("counter"); err != nil {
			return 0, fmt.Errorf("what was added: %w", err)
		}
	case err != nil:
		return 0, err
	}
	if err := s.InsertWithConfig("counter", strings.NewReader("9"), add); !errors.Is(err, kvstore.ErrPreconditionFailed) {
		return 0, fmt.Errorf("add where there is one: %w", err)
	}
	if got := string(entry.Meta()); got != "counts" {
		return 0, fmt.Errorf("metadata %q", got)
	}
	if rounds, err = strconv.Atoi(entry.String()); err != nil {
		return 0, err
	}
	rounds++
	swap := &kvstore.InsertConfig{IfGenerationMatch: entry.Generation()}
	if err := s.InsertWithConfig("counter", strings.NewReader(strconv.Itoa(rounds)), swap); err != nil {
		return 0, fmt.Errorf("swap: %w", err)
	}
	if err := s.InsertWithConfig("counter", strings.NewReader("9"), swap); !errors.Is(err, kvstore.ErrPreconditionFailed) {
		return 0, fmt.Errorf("swap of an older generation: %w", err)
	}
	return rounds, others(s)
}

// others are the calls that a counter doesn't need.
func others(s *kvstore.Store) error {
	for _, key := range []string{"p/1", "p/2", "p/3"} {
		if err := s.InsertWithConfig(key, strings.NewReader("v"), &kvstore.InsertConfig{TTLSec: 60}); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
	}
	var keys []string
	list := s.List(&kvstore.ListConfig{Prefix: "p/", Limit: 2})
	for list.Next() {
		keys = append(keys, list.Page().Data...)
	}
	if got := strings.Join(keys, " "); got != "p/1 p/2 p/3" || list.Err() != nil {
		return fmt.Errorf("list: %q, %w", got, list.Err())
	}
	for _, key := range keys {
		if err := s.Delete(key); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	if err := s.Delete("p/1"); !errors.Is(err, kvstore.ErrKeyNotFound) {
		return fmt.Errorf("delete again: %w", err)
	}
	return nil
}
