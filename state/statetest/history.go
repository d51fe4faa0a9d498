package statetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"switchbridge/state"
)

const clients = 8

// leastConflicts is the share of swaps that must lose a race: a history without races shows nothing.
const leastConflicts = 0.2

// linearizable has eight clients read and change a few keys at the same time, and checks what they saw: of a store whose reads may be stale, that no
// change was lost.
func linearizable(ctx context.Context, t *Store) error {
	stores := make([]state.Store, clients)
	for i := range stores {
		s, err := t.open(ctx)
		if err != nil {
			return err
		}
		defer s.Close()
		stores[i] = s.Store
	}
	h := Record(ctx, stores, t.Prefix+"history:", t.Operations)
	if h.Err != nil {
		return h.Err
	}
	if share := h.Conflicts(); share < leastConflicts {
		return fmt.Errorf("%.0f %% of the swaps lost a race, want %.0f: this history shows too little", 100*share, 100*leastConflicts)
	}
	if !stores[0].Promise().Linearizable {
		return h.CheckSwaps()
	}
	return h.Check()
}

// History is what the clients of stores asked and were told.
type History struct {
	Operations []porcupine.Operation
	Swaps      int // and deletions
	Conflicted int // of them, that lost a race
	Err        error
}

// Conflicts is the share of swaps and deletions that lost a race.
func (h *History) Conflicts() float64 { return float64(h.Conflicted) / float64(max(h.Swaps, 1)) }

type kind uint8

const (
	get kind = iota
	cas
	remove
)

type input struct {
	kind kind
	key  string
	old  uint64
	data string
}

type output struct {
	conflict bool
	version  uint64
	data     string
}

// Record has each of the stores' clients do n things with a few keys, 150 where n is 0.
func Record(ctx context.Context, stores []state.Store, prefix string, n int) *History {
	if n == 0 {
		n = 150
	}
	var mu sync.Mutex
	h := new(History)
	began := time.Now()
	note := func(client int, in input, call time.Duration, out output, err error) {
		returned := int64(time.Since(began))
		mu.Lock()
		defer mu.Unlock()
		out.conflict = errors.Is(err, state.ErrConflict)
		if err != nil && !out.conflict {
			h.Err = cmp.Or(h.Err, fmt.Errorf("%+v: %w", in, err))
			return
		}
		if in.kind != get {
			h.Swaps++
			if out.conflict {
				h.Conflicted++
			}
		}
		h.Operations = append(h.Operations, porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Output: out, Return: returned})
	}
	keys := []string{prefix + "a", prefix + "b"}
	var wg sync.WaitGroup
	for client, s := range stores {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 1))
			known := make([]uint64, len(keys)) // versions as this client saw them
			values := make([]state.Value, len(keys))
			for i := range n {
				k := random.IntN(len(keys))
				call := time.Since(began)
				switch p := random.IntN(100); {
				case p < 25: // all keys at once
					err := s.Get(ctx, keys, values)
					for j, v := range values {
						note(client, input{kind: get, key: keys[j]}, call, output{version: v.Version, data: string(v.Data)}, err)
						known[j] = v.Version
					}
				case p < 35 && known[k] != 0:
					err := s.Delete(ctx, keys[k], known[k])
					note(client, input{kind: remove, key: keys[k], old: known[k]}, call, output{}, err)
					known[k] = 0
				default:
					data := fmt.Sprintf("%d.%d", client, i)
					v, err := s.CompareAndSwap(ctx, keys[k], known[k], []byte(data), 0)
					note(client, input{cas, keys[k], known[k], data}, call, output{version: v}, err)
					if known[k] = v; err != nil && s.Get(ctx, keys[k:k+1], values[:1]) == nil { // not noted
						known[k] = values[0].Version
					}
				}
				runtime.Gosched() // so that clients of a fast store race
			}
		})
	}
	wg.Wait()
	return h
}

// register is what the model knows of a key.
type register struct {
	version uint64
	data    string
	highest uint64 // of all versions that there were
}

// model is a key whose values are swapped by version.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(input).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init:  func() any { return register{} },
	Equal: func(a, b any) bool { return a == b },
	Step: func(s, i, o any) (bool, any) {
		was, in, out := s.(register), i.(input), o.(output)
		right := in.old == was.version
		switch {
		case in.kind == get:
			return out.version == was.version && out.data == was.data, was
		case out.conflict:
			return !right, was
		case in.kind == remove:
			return right && was.version != 0, register{highest: was.highest}
		}
		return right && out.version > was.highest, register{out.version, in.data, out.version}
	},
	DescribeOperation: func(i, o any) string { return fmt.Sprintf("%+v: %+v", i, o) },
}

// Check says whether there is an order of the operations in which each of them is right.
func (h *History) Check() error { return check(h.Operations) }

// CheckSwaps says whether there is an order of the swaps and deletions that were made in which each of them is right, whatever was read and refused.
func (h *History) CheckSwaps() error {
	var made []porcupine.Operation
	for _, op := range h.Operations {
		if op.Input.(input).kind != get && !op.Output.(output).conflict {
			made = append(made, op)
		}
	}
	return check(made)
}

func check(list []porcupine.Operation) error {
	switch porcupine.CheckOperationsTimeout(model, list, 30*time.Second) {
	case porcupine.Illegal:
		return fmt.Errorf("%d operations are not linearizable", len(list))
	case porcupine.Unknown:
		return fmt.Errorf("%d operations could not be checked in 30 s", len(list))
	}
	return nil
}
