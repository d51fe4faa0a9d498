package workershost

import (
	"errors"
	"fmt"
	"os"
	"syscall/js"

	"switchbridge/faas/function"
	"switchbridge/state"
)

// calls is the global map from an instance's number, which is its first argument, to
// {request, env, response}. worker.mjs makes an entry and removes it.
const calls = "switchbridgeCalls"

// Main answers the request that this instance was made for.
func Main(codecs function.Codecs) {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "function: one argument wanted, the number of the call")
		os.Exit(2)
	}
	call := js.Global().Get(calls).Call("get", os.Args[1])
	request := call.Get("request")
	url := js.Global().Get("URL").New(request.Get("url"))
	resp := Answer(codecs, &Request{
		Method: request.Get("method").String(),
		Path:   url.Get("pathname").String(),
		Header: headers{request.Get("headers")},
	}, &worker{request: request, env: call.Get("env")})
	call.Set("response", response(resp))
}

// response makes a Response of the Fetch standard.
func response(r *Response) js.Value {
	headers := make(map[string]any, len(r.Header))
	for key, value := range r.Header {
		headers[key] = value
	}
	body := js.Global().Get("Uint8Array").New(len(r.Body))
	js.CopyBytesToJS(body, r.Body)
	return js.Global().Get("Response").New(body, map[string]any{"status": r.Status, "headers": headers})
}

// headers are the Headers of a Request, which are looked up in JavaScript: a Worker gets some
// thirty of them and needs ten.
type headers struct{ js.Value }

// Get implements contract.Header.
func (h headers) Get(key string) string {
	if v := h.Call("get", key); v.Type() == js.TypeString {
		return v.String()
	}
	return ""
}

// Set implements contract.Header.
func (h headers) Set(key, value string) { h.Call("set", key, value) }

// worker is the Platform of a Worker: its request and its bindings.
type worker struct{ request, env js.Value }

func (w *worker) Variable(binding string) string {
	if v := w.env.Get(binding); v.Type() == js.TypeString {
		return v.String()
	}
	return ""
}

func (w *worker) Body(limit int) (body []byte, err error) {
	defer catch(&err)
	stream := w.request.Get("body")
	if stream.IsNull() {
		return nil, nil
	}
	reader := stream.Call("getReader")
	for len(body) <= limit {
		chunk, err := await(reader.Call("read"))
		if err != nil {
			return nil, err
		}
		if chunk.Get("done").Bool() {
			return body, nil
		}
		body = appendBytes(body, chunk.Get("value"), limit+1-len(body))
	}
	_, err = await(reader.Call("cancel"))
	return body, err
}

func (w *worker) Policy() (compiled []byte, err error) {
	defer catch(&err)
	namespace := w.env.Get(PolicyBinding)
	if namespace.Type() != js.TypeObject {
		return nil, errors.New("the namespace is not bound")
	}
	value, err := await(namespace.Call("get", PolicyKey, "arrayBuffer"))
	if err != nil || value.IsNull() {
		return nil, err
	}
	bytes := js.Global().Get("Uint8Array").New(value)
	return appendBytes([]byte{}, bytes, bytes.Length()), nil
}

func (w *worker) States() state.Store { return OpenStates(w.env) }

func (w *worker) Log(line string) {
	var err error // nobody is left to tell
	defer catch(&err)
	js.Global().Get("console").Call("log", line)
}

// appendBytes appends at most limit bytes of a Uint8Array.
func appendBytes(b []byte, array js.Value, limit int) []byte {
	at := len(b)
	b = append(b, make([]byte, min(array.Length(), limit))...)
	js.CopyBytesToGo(b[at:], array)
	return b
}

// await waits for a promise. Meanwhile the isolate serves other requests.
func await(promise js.Value) (js.Value, error) {
	type result struct {
		value js.Value
		err   error
	}
	settled := make(chan result, 1)
	fulfilled := js.FuncOf(func(_ js.Value, args []js.Value) any {
		settled <- result{value: args[0]}
		return nil
	})
	defer fulfilled.Release()
	rejected := js.FuncOf(func(_ js.Value, args []js.Value) any {
		settled <- result{err: js.Error{Value: args[0]}}
		return nil
	})
	defer rejected.Release()
	promise.Call("then", fulfilled, rejected)
	r := <-settled
	return r.value, r.err
}

// catch makes what JavaScript threw, which syscall/js makes a panic, an error.
func catch(err *error) {
	switch v := recover().(type) {
	case nil:
	case js.Error:
		*err = v
	default:
		panic(v)
	}
}
