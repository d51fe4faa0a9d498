package wasmhost

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// What a guest finds of WASI (preview 1) is written for guests that have nothing: no arguments,
// environment or files, a clock, random bytes, and two outputs. It keeps nothing from one call to
// the next, so that an instance is its memory and its globals.

const wasiModule = "wasi_snapshot_preview1"

// Errors of WASI.
const (
	wasiSuccess = 0
	wasiBadf    = 8
	wasiFault   = 21
	wasiInval   = 28
	wasiNosys   = 52
)

// wasi is every function of preview 1 with its parameters, i for 32 and I for 64 bits. All but
// proc_exit return an error number.
var wasi = map[string]struct {
	params string
	call   func(ctx *callContext, m guestMemory, p []uint64) uint32 // nil: there is no such thing here
}{
	"args_get":                {"ii", func(*callContext, guestMemory, []uint64) uint32 { return wasiSuccess }},
	"args_sizes_get":          {"ii", noneOf},
	"environ_get":             {"ii", func(*callContext, guestMemory, []uint64) uint32 { return wasiSuccess }},
	"environ_sizes_get":       {"ii", noneOf},
	"clock_res_get":           {"ii", clockResGet},
	"clock_time_get":          {"iIi", clockTimeGet},
	"fd_advise":               {"iIIi", nil},
	"fd_allocate":             {"iII", nil},
	"fd_close":                {"i", func(*callContext, guestMemory, []uint64) uint32 { return wasiSuccess }},
	"fd_datasync":             {"i", nil},
	"fd_fdstat_get":           {"ii", fdStatGet},
	"fd_fdstat_set_flags":     {"ii", func(*callContext, guestMemory, []uint64) uint32 { return wasiSuccess }},
	"fd_fdstat_set_rights":    {"iII", nil},
	"fd_filestat_get":         {"ii", nil},
	"fd_filestat_set_size":    {"iI", nil},
	"fd_filestat_set_times":   {"iIIi", nil},
	"fd_pread":                {"iiiIi", nil},
	"fd_prestat_get":          {"ii", nil},
	"fd_prestat_dir_name":     {"iii", nil},
	"fd_pwrite":               {"iiiIi", nil},
	"fd_read":                 {"iiii", fdRead},
	"fd_readdir":              {"iiiIi", nil},
	"fd_renumber":             {"ii", nil},
	"fd_seek":                 {"iIii", nil},
	"fd_sync":                 {"i", nil},
	"fd_tell":                 {"ii", nil},
	"fd_write":                {"iiii", fdWrite},
	"path_create_directory":   {"iii", nil},
	"path_filestat_get":       {"iiiii", nil},
	"path_filestat_set_times": {"iiiiIIi", nil},
	"path_link":               {"iiiiiii", nil},
	"path_open":               {"iiiiiIIii", nil},
	"path_readlink":           {"iiiiii", nil},
	"path_remove_directory":   {"iii", nil},
	"path_rename":             {"iiiiii", nil},
	"path_symlink":            {"iiiii", nil},
	"path_unlink_file":        {"iii", nil},
	"poll_oneoff":             {"iiii", pollOneoff},
	"proc_raise":              {"i", func(*callContext, guestMemory, []uint64) uint32 { return wasiNosys }},
	"sched_yield":             {"", func(*callContext, guestMemory, []uint64) uint32 { return wasiSuccess }},
	"random_get":              {"ii", randomGet},
	"sock_accept":             {"iii", nil},
	"sock_recv":               {"iiiiii", nil},
	"sock_send":               {"iiiii", nil},
	"sock_shutdown":           {"ii", nil},
}

func instantiateWASI(ctx context.Context, r wazero.Runtime) error {
	builder := r.NewHostModuleBuilder(wasiModule)
	for name, f := range wasi {
		params := make([]api.ValueType, len(f.params))
		for i, p := range f.params {
			if params[i] = api.ValueTypeI32; p == 'I' {
				params[i] = api.ValueTypeI64
			}
		}
		call := func(ctx context.Context, guest api.Module, stack []uint64) {
			for i, kind := range params {
				if kind == api.ValueTypeI32 { // the other half is anything
					stack[i] = uint64(uint32(stack[i]))
				}
			}
			errno := uint32(wasiBadf)
			if c, ok := ctx.(*callContext); ok && f.call != nil {
				errno = f.call(c, guestMemory{guest.Memory()}, stack)
			}
			stack[0] = uint64(errno)
		}
		builder.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(call), params, []api.ValueType{api.ValueTypeI32}).Export(name)
	}
	exit := func(_ context.Context, _ api.Module, stack []uint64) { panic(sys.NewExitError(uint32(stack[0]))) }
	builder.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(exit), []api.ValueType{api.ValueTypeI32}, nil).Export("proc_exit")
	_, err := builder.Instantiate(ctx)
	return err
}

// guestMemory is a guest's memory by the guest's addresses.
type guestMemory struct{ whole api.Memory }

// read returns bytes of memory, which are not to be written to, or false where there are none.
func (m guestMemory) read(address, size uint64) ([]byte, bool) {
	if m.whole == nil || address > 1<<32 || size > 1<<32 || address+size+reserved > 1<<32-1 {
		return nil, false
	}
	return m.whole.Read(uint32(address+reserved), uint32(size))
}

// write returns bytes of memory that may be written to, and marks them.
func (m guestMemory) write(address, size uint64) ([]byte, bool) {
	b, ok := m.read(address, size)
	for block := address >> blockBits; ok && block <= (address+size)>>blockBits; block++ {
		ok = m.whole.WriteByte(uint32(block), 1)
	}
	return b, ok
}

func (m guestMemory) put32(address uint64, v uint32) bool {
	b, ok := m.write(address, 4)
	if ok {
		binary.LittleEndian.PutUint32(b, v)
	}
	return ok
}

func (m guestMemory) put64(address, v uint64) bool {
	b, ok := m.write(address, 8)
	if ok {
		binary.LittleEndian.PutUint64(b, v)
	}
	return ok
}

func fault(ok bool) uint32 {
	if ok {
		return wasiSuccess
	}
	return wasiFault
}

// noneOf is (count, bytes): there are no arguments and no environment.
func noneOf(_ *callContext, m guestMemory, p []uint64) uint32 {
	return fault(m.put32(p[0], 0) && m.put32(p[1], 0))
}

func clockResGet(_ *callContext, m guestMemory, p []uint64) uint32 { return fault(m.put64(p[1], 1)) }

var began = time.Now()

// clockTimeGet is (clock, precision, time): nanoseconds of the wall clock, or of one that is never set
// back, from what the wall clock showed when the program began: a guest may have read it in an image
// that an earlier program took.
func clockTimeGet(_ *callContext, m guestMemory, p []uint64) uint32 {
	switch p[0] {
	case 0:
		return fault(m.put64(p[2], uint64(time.Now().UnixNano())))
	case 1:
		return fault(m.put64(p[2], uint64(began.UnixNano())+uint64(time.Since(began))))
	}
	return wasiInval
}

func randomGet(ctx *callContext, m guestMemory, p []uint64) uint32 {
	b, ok := m.write(p[0], p[1])
	for part := range slices.Chunk(b, workStep) {
		_, _ = rand.Read(part) // it never fails
		ctx.work(len(part))
	}
	return fault(ok)
}

// fdStatGet is (fd, stat): the three streams are character devices.
func fdStatGet(_ *callContext, m guestMemory, p []uint64) uint32 {
	if p[0] > 2 {
		return wasiBadf
	}
	b, ok := m.write(p[1], 24)
	if ok {
		clear(b)
		b[0] = 2
		for i := range b[8:] {
			b[8+i] = 0xff // rights
		}
	}
	return fault(ok)
}

// fdRead is (fd, vectors, count, read): standard input is at its end.
func fdRead(_ *callContext, m guestMemory, p []uint64) uint32 {
	if p[0] != 0 {
		return wasiBadf
	}
	return fault(m.put32(p[3], 0))
}

// fdWrite is (fd, vectors, count, written).
func fdWrite(ctx *callContext, m guestMemory, p []uint64) uint32 {
	if p[0] != 1 && p[0] != 2 {
		return wasiBadf
	}
	const vector = 8
	vectors, ok := m.read(p[1], vector*p[2])
	written := uint32(0)
	for ; ok && len(vectors) > 0; vectors = vectors[vector:] {
		var b []byte
		b, ok = m.read(uint64(binary.LittleEndian.Uint32(vectors)), uint64(binary.LittleEndian.Uint32(vectors[4:])))
		ctx.output.Write(b)
		ctx.work(vector)
		written += uint32(len(b))
	}
	return fault(ok && m.put32(p[3], written))
}

// pollOneoff is (subscriptions, events, count, happened). A guest may wait for a clock; whatever
// else it subscribes to isn't there, and says so at once.
func pollOneoff(ctx *callContext, m guestMemory, p []uint64) uint32 {
	const subscription, event, most = 48, 32, 1024
	const clockTag, absolute = 0, 1
	if p[2] == 0 || p[2] > most {
		return wasiInval
	}
	in, ok := m.read(p[0], p[2]*subscription)
	if !ok {
		return wasiFault
	}
	le := binary.LittleEndian
	first, wait := -1, time.Duration(0)
	for i := range int(p[2]) {
		s := in[i*subscription:]
		if s[8] != clockTag {
			first, wait = i, 0
			break
		}
		until := time.Duration(min(le.Uint64(s[24:]), 1<<62))
		if le.Uint16(s[40:])&absolute != 0 {
			if le.Uint32(s[16:]) == 0 {
				until -= time.Duration(time.Now().UnixNano())
			} else {
				until -= time.Since(began)
			}
		}
		if first < 0 || until < wait {
			first, wait = i, until
		}
	}
	s := in[first*subscription:]
	var e [event]byte
	copy(e[:], s[:8])
	if e[10] = s[8]; s[8] != clockTag {
		le.PutUint16(e[8:], wasiBadf)
	}
	ctx.sleep(wait)
	out, ok := m.write(p[1], event)
	copy(out, e[:])
	return fault(ok && m.put32(p[3], 1))
}
