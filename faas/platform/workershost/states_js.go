package workershost

import (
	"context"
	"fmt"
	"syscall/js"
	"time"

	"switchbridge/state"
	"switchbridge/state/durableobject"
)

// OpenStates returns the store of states in the objects that env has as StatesBinding; nil where it has none.
func OpenStates(env js.Value) state.Store {
	namespace := env.Get(StatesBinding)
	if namespace.Type() != js.TypeObject {
		return nil
	}
	return objects{namespace: namespace}
}

// objects is a state.Store of one Durable Object for each key: State of worker.mjs.
type objects struct {
	durableobject.Promised
	namespace js.Value
}

// object returns the object of a key.
func (o objects) object(key string) js.Value {
	return o.namespace.Call("get", o.namespace.Call("idFromName", key))
}

// Get implements state.Store. All objects are asked at the same time.
func (o objects) Get(ctx context.Context, keys []string, values []state.Value) (err error) {
	defer catch(&err)
	if err := ctx.Err(); err != nil {
		return err
	}
	asked := make([]any, len(keys))
	for i, key := range keys {
		asked[i] = o.object(key).Call("read")
	}
	answers, err := within(ctx, js.Global().Get("Promise").Call("all", asked))
	if err != nil {
		return err
	}
	for i, key := range keys {
		v, err := value(answers.Index(i))
		if err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
		values[i] = v
	}
	return nil
}

// value reads what State.read returns.
func value(answer js.Value) (v state.Value, err error) {
	number, data := answer.Get("version"), answer.Get("data")
	if number.Type() != js.TypeNumber || !(number.Float() >= 0 && number.Float() < 1<<53) {
		return v, state.ErrCorrupt
	}
	version := uint64(number.Float())
	switch {
	case data.IsUndefined():
		return state.Value{Last: version}, nil
	case version == 0 || !data.InstanceOf(js.Global().Get("Uint8Array")) || data.Length() > state.MaxData:
		return v, state.ErrCorrupt
	}
	return state.Value{Version: version, Data: appendBytes([]byte{}, data, data.Length())}, nil
}

// CompareAndSwap implements state.Store.
func (o objects) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	array := js.Global().Get("Uint8Array").New(len(data))
	js.CopyBytesToJS(array, data)
	// A state that lives for less than a millisecond is not one that lives for ever.
	return o.swap(ctx, key, old, array, (ttl+time.Millisecond-1)/time.Millisecond)
}

// Delete implements state.Store.
func (o objects) Delete(ctx context.Context, key string, old uint64) error {
	if old == 0 {
		return state.ErrConflict
	}
	_, err := o.swap(ctx, key, old, js.Undefined(), 0)
	return err
}

func (o objects) swap(ctx context.Context, key string, old uint64, data js.Value, ms time.Duration) (version uint64, err error) {
	defer catch(&err)
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	answer, err := within(ctx, o.object(key).Call("swap", old, data, int64(ms)))
	switch {
	case err != nil:
		return 0, err
	case answer.Type() != js.TypeNumber || !(answer.Float() >= 0 && answer.Float() < 1<<53):
		return 0, state.ErrCorrupt
	case answer.Float() == 0:
		return 0, state.ErrConflict
	}
	return uint64(answer.Float()), nil
}

// within waits for a promise of something until ctx ends. The promise itself goes on, and nobody hears of it.
func within(ctx context.Context, promise js.Value) (js.Value, error) {
	if deadline, ok := ctx.Deadline(); ok {
		pause := js.Global().Get("scheduler").Call("wait", max(time.Until(deadline).Milliseconds(), 0)) // it becomes undefined
		promise = js.Global().Get("Promise").Call("race", []any{promise, pause})
	}
	v, err := await(promise)
	if err == nil && v.IsUndefined() {
		err = context.DeadlineExceeded
	}
	return v, err
}
