package fastlytest

import (
	"context"

	"github.com/tetratelabs/wazero/api"
)

// hostcall is a function that guests import. Its result is a status, 32 bits wide.
type hostcall struct {
	name   string
	params string // a letter each: i for 32 bits, I for 64
	fn     func(*instance, params) status
}

// params are a hostcall's.
type params []uint64

func (p params) uint32(n int) uint32 { return uint32(p[n]) }

// module is a name from which guests import hostcalls.
type module struct {
	name  string
	calls []hostcall
}

var hostcalls = []module{
	{"fastly_abi", []hostcall{{"init", "I", abiInit}}},
	{"fastly_http_req", requestCalls},
	{"fastly_http_body", bodyCalls},
	{"fastly_http_resp", responseCalls},
	{"fastly_config_store", configCalls},
	{"fastly_secret_store", secretCalls},
	{"fastly_kv_store", kvCalls},
	{"fastly_log", logCalls},
}

// abiVersion is the only one that there is.
const abiVersion = 1

func abiInit(_ *instance, p params) status {
	if p[0] != abiVersion {
		return statusUnsupported
	}
	return statusOK
}

// Call implements api.GoModuleFunction.
func (c hostcall) Call(ctx context.Context, m api.Module, stack []uint64) {
	i := ctx.Value(instanceKey{}).(*instance)
	i.memory = memory{m.Memory()}
	stack[0] = uint64(c.fn(i, stack))
}

func (c hostcall) types() []api.ValueType {
	types := make([]api.ValueType, len(c.params))
	for i, letter := range c.params {
		types[i] = api.ValueTypeI32
		if letter == 'I' {
			types[i] = api.ValueTypeI64
		}
	}
	return types
}

// first returns the first status that isn't good.
func first(statuses ...status) status {
	for _, s := range statuses {
		if s != statusOK {
			return s
		}
	}
	return statusOK
}
