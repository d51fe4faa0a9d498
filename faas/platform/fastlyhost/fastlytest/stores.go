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

// open is the call that gives a handle for a name: of what find has, or none says that there is nothing.
func open(none status, find func(s *Service, name string) (store any, ok bool)) func(*instance, params) status {
	return func(i *instance, p params) status {
		name, s := named(i, p)
		if s != statusOK {
			return s
		}
		store, ok := find(i.service, name)
		if !ok {
			return none
		}
		return i.memory.putUint32(p.uint32(2), i.handle(store))
	}
}

// get is the call that looks a key up in a store, also when the guest comes back with a larger buffer, and answers with what is there.
func get[S ~map[string]string](answer func(i *instance, p params, value string) status) func(*instance, params) status {
	return func(i *instance, p params) status {
		store, ok := opened[S](i, p.uint32(0))
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
		return answer(i, p, value)
	}
}

// What is said of a store that is not linked differs: each is what the platform says.

var configCalls = []hostcall{
	{"open", "iii", open(statusBadHandle, func(s *Service, name string) (any, bool) { store, ok := s.Config[name]; return configStore(store), ok })},
	{"get", "iiiiii", get[configStore](func(i *instance, p params, value string) status {
		return i.memory.put(value, p.uint32(3), p.uint32(4), p.uint32(5))
	})},
}

var secretCalls = []hostcall{
	{"open", "iii", open(statusNone, func(s *Service, name string) (any, bool) { store, ok := s.Secrets[name]; return secretStore(store), ok })},
	{"get", "iiii", get[secretStore](func(i *instance, p params, value string) status {
		return i.memory.putUint32(p.uint32(3), i.handle(secret(value)))
	})},
	{"plaintext", "iiii", secretPlaintext},
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

var openEndpoint = open(statusInval, func(s *Service, name string) (any, bool) {
	if w := s.Logs[name]; w != nil {
		return endpoint{w}, true
	}
	return endpoint{io.Discard}, true
})

func endpointGet(i *instance, p params) status {
	s := openEndpoint(i, p)
	if s == statusNone { // no name
		s = statusInval
	}
	return s
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
