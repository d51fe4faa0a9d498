package fastlytest

import "io"

// maxKey is how long a key of a store may be, in bytes.
const maxKey = 1024

// Stores as handles.
type (
	configStore map[string]string
	secretStore map[string]string
	secret      string
)

var configCalls = []hostcall{
	{"open", "iii", configOpen},
	{"get", "iiiiii", configGet},
}

// named reads a name from its two first parameters.
func named(i *instance, p params) (string, status) {
	name, s := i.memory.text(p.uint32(0), p.uint32(1))
	switch {
	case s != statusOK:
		return "", s
	case name == "":
		return "", statusNone
	case len(name) > maxKey:
		return "", statusInval
	}
	return name, statusOK
}

func configOpen(i *instance, p params) status {
	name, s := named(i, p)
	if s != statusOK {
		return s
	}
	store, ok := i.service.Config[name]
	if !ok {
		return statusBadHandle // so the platform says that there is none
	}
	return i.memory.putUint32(p.uint32(2), i.handle(configStore(store)))
}

// configGet is a look-up each time, also when the guest comes back with a larger buffer.
func configGet(i *instance, p params) status {
	store, ok := opened[configStore](i, p.uint32(0))
	if !ok {
		return statusBadHandle
	}
	key, s := named(i, p[1:])
	if s != statusOK {
		return s
	}
	if !i.lookup() {
		return statusLimitExceeded
	}
	value, ok := store[key]
	if !ok {
		return statusNone
	}
	return i.memory.put(value, p.uint32(3), p.uint32(4), p.uint32(5))
}

var secretCalls = []hostcall{
	{"open", "iii", secretOpen},
	{"get", "iiii", secretGet},
	{"plaintext", "iiii", secretPlaintext},
}

func secretOpen(i *instance, p params) status {
	name, s := named(i, p)
	if s != statusOK {
		return s
	}
	store, ok := i.service.Secrets[name]
	if !ok {
		return statusNone
	}
	return i.memory.putUint32(p.uint32(2), i.handle(secretStore(store)))
}

func secretGet(i *instance, p params) status {
	store, ok := opened[secretStore](i, p.uint32(0))
	if !ok {
		return statusBadHandle
	}
	key, s := named(i, p[1:])
	if s != statusOK {
		return s
	}
	if !i.lookup() {
		return statusLimitExceeded
	}
	value, ok := store[key]
	if !ok {
		return statusNone
	}
	return i.memory.putUint32(p.uint32(3), i.handle(secret(value)))
}

func secretPlaintext(i *instance, p params) status {
	value, ok := opened[secret](i, p.uint32(0))
	if !ok {
		return statusBadHandle
	}
	return i.memory.put(string(value), p.uint32(1), p.uint32(2), p.uint32(3))
}

var logCalls = []hostcall{
	{"endpoint_get", "iii", endpointGet},
	{"write", "iiii", logWrite},
}

// endpoint is a log by its name.
type endpoint struct{ w io.Writer }

func endpointGet(i *instance, p params) status {
	name, s := named(i, p)
	if s == statusNone {
		s = statusInval
	}
	if s != statusOK {
		return s
	}
	w := i.service.Logs[name]
	if w == nil {
		w = io.Discard
	}
	return i.memory.putUint32(p.uint32(2), i.handle(endpoint{w}))
}

func logWrite(i *instance, p params) status {
	e, ok := opened[endpoint](i, p.uint32(0))
	if !ok {
		return statusBadHandle
	}
	line, s := i.memory.text(p.uint32(1), p.uint32(2))
	if s != statusOK {
		return s
	}
	n, err := e.w.Write([]byte(line))
	if err != nil {
		return statusError
	}
	return i.memory.putUint32(p.uint32(3), uint32(n))
}
