package wasmhost

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"switchbridge/faas/instance/guest"
)

const (
	wasiPages = 2
	wasiEnd   = wasiPages * wasmPage
)

// wasiCaller is a guest whose f calls one function of WASI with its own parameters.
func wasiCaller(name, params, results string) []byte {
	function := []byte{0x60, byte(len(params))}
	body := []byte{0}
	for i, p := range params {
		function = append(function, map[rune]byte{'i': valueI32, 'I': valueI64}[p])
		body = append(body, get(i)...)
	}
	function = append(function, byte(len(results)))
	for range results {
		function = append(function, valueI32)
	}
	body = append(body, opCall, 0, opEnd)
	data := make([]byte, 256)
	for i := range data {
		data[i] = byte(i) + 1
	}
	return slices.Concat([]byte(wasmHeader),
		section(sectionType, function),
		section(sectionImport, slices.Concat(appendName(appendName(nil, wasiModule), name), []byte{0, 0})),
		section(sectionFunction, []byte{0}),
		section(sectionMemory, []byte{0, wasiPages}),
		section(sectionExport, append(appendName(nil, "f"), 0, 1)),
		section(sectionCode, slices.Concat(leb(len(body)), body)),
		section(sectionData, code(0, i32Const(0), opEnd, leb(len(data)), data)))
}

// wasiGuest is an instance of one.
type wasiGuest struct {
	function api.Function
	memory   *memory
	image    []byte
	output   tail
}

// wasiGuests are the guests for all functions by their names.
func wasiGuests(t testing.TB) map[string]*wasiGuest {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { _ = r.Close(ctx) })
	if err := errors.Join(instantiateWASI(ctx, r), instantiateRefuel(ctx, r)); err != nil {
		t.Fatal(err)
	}
	guests := make(map[string]*wasiGuest)
	add := func(name, params, results string) {
		m, err := prepareModule(wasiCaller(name, params, results))
		if err != nil {
			t.Fatal(err)
		}
		w := &wasiGuest{}
		if w.memory, err = newMemory(wasiEnd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.memory.unmap)
		allocate := experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return w.memory })
		module, err := r.InstantiateWithConfig(experimental.WithMemoryAllocator(ctx, allocate), m.binary, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			t.Fatal(err)
		}
		w.function = module.ExportedFunction("f")
		w.memory.clearMarks()
		w.image = slices.Clone(w.memory.bytes())
		guests[name] = w
	}
	for name, f := range wasi {
		add(name, f.params, "i")
	}
	add("proc_exit", "i", "")
	return guests
}

// set writes to the guest's memory before it runs.
func (w *wasiGuest) set(at uint32, b []byte) {
	w.memory.write(at, b)
}

// call returns the error number and what memory was afterwards, and puts it back, which it checks.
func (w *wasiGuest) call(limit time.Duration, params ...uint64) (errno uint32, after []byte, err error) {
	w.output = tail{}
	results, err := w.function.Call(&callContext{Context: context.Background(), limit: limit, output: &w.output}, params...)
	if len(results) == 1 {
		errno = uint32(results[0])
	}
	after = slices.Clone(w.memory.bytes())
	w.memory.restore(w.image)
	if at := difference(w.memory.bytes(), w.image); at >= 0 {
		return errno, after, fmt.Errorf("what is written to %#x is not put back", at)
	}
	if at := bytes.IndexByte(w.memory.mapping[:reserved], 1); at >= 0 {
		return errno, after, fmt.Errorf("the mark %d stays", at)
	}
	return errno, after, err
}

// vectors are what fd_write takes.
func vectors(of ...uint32) (b []byte) {
	for _, v := range of {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// clock is a subscription to a clock; others have a tag other than 0.
func clock(user uint64, tag byte, id uint32, timeout uint64, flags uint16) []byte {
	b := make([]byte, 48)
	binary.LittleEndian.PutUint64(b, user)
	b[8] = tag
	binary.LittleEndian.PutUint32(b[16:], id)
	binary.LittleEndian.PutUint64(b[24:], timeout)
	binary.LittleEndian.PutUint16(b[40:], flags)
	return b
}

func TestWASI(t *testing.T) {
	const minus1 = math.MaxUint32
	const far = 0x10000 // a place in the second page
	guests := wasiGuests(t)
	zeros := func(n int) []byte { return make([]byte, n) }
	for _, row := range []struct {
		function string
		params   []uint64
		before   []byte // at far
		errno    uint32
		at       int    // where
		written  []byte // nil: nothing is; what is random or the time is checked to be something by an empty one
		output   string
	}{
		{"args_sizes_get", []uint64{511, far}, nil, 0, 511, zeros(4), ""},
		{"args_sizes_get", []uint64{wasiEnd - 4, wasiEnd - 4}, nil, 0, wasiEnd - 4, zeros(4), ""},
		{"args_sizes_get", []uint64{wasiEnd - 3, 0}, nil, wasiFault, 0, nil, ""},
		{"args_sizes_get", []uint64{minus1, 0}, nil, wasiFault, 0, nil, ""},
		{"args_sizes_get", []uint64{1<<32 - reserved, 0}, nil, wasiFault, 0, nil, ""},
		{"args_sizes_get", []uint64{1<<32 - reserved - 4, 0}, nil, wasiFault, 0, nil, ""},
		{"environ_sizes_get", []uint64{0, 4}, nil, 0, 0, zeros(8), ""},
		{"environ_sizes_get", []uint64{0, wasiEnd}, nil, wasiFault, 0, zeros(4), ""},
		{"args_get", []uint64{minus1, minus1}, nil, 0, 0, nil, ""},
		{"clock_res_get", []uint64{0, 100}, nil, 0, 100, code(1, zeros(7)), ""},
		{"clock_res_get", []uint64{0, wasiEnd - 7}, nil, wasiFault, 0, nil, ""},
		{"clock_time_get", []uint64{0, math.MaxUint64, 508}, nil, 0, 508, []byte{}, ""},
		{"clock_time_get", []uint64{1, 0, wasiEnd - 8}, nil, 0, wasiEnd - 8, []byte{}, ""},
		{"clock_time_get", []uint64{1, 0, wasiEnd - 7}, nil, wasiFault, 0, nil, ""},
		{"clock_time_get", []uint64{1, 0, minus1}, nil, wasiFault, 0, nil, ""},
		{"clock_time_get", []uint64{2, 0, 0}, nil, wasiInval, 0, nil, ""},
		{"random_get", []uint64{500, 20}, nil, 0, 500, []byte{}, ""},
		{"random_get", []uint64{0, wasiEnd}, nil, 0, 0, []byte{}, ""},
		{"random_get", []uint64{1, wasiEnd}, nil, wasiFault, 0, nil, ""},
		{"random_get", []uint64{wasiEnd, 0}, nil, 0, 0, nil, ""},
		{"random_get", []uint64{wasiEnd + 1, 0}, nil, wasiFault, 0, nil, ""},
		{"random_get", []uint64{0, minus1}, nil, wasiFault, 0, nil, ""},
		{"random_get", []uint64{minus1, minus1}, nil, wasiFault, 0, nil, ""},
		{"random_get", []uint64{1<<32 - reserved, reserved}, nil, wasiFault, 0, nil, ""},
		{"fd_fdstat_get", []uint64{2, far}, nil, 0, far, code(2, zeros(7), bytes.Repeat([]byte{0xff}, 16)), ""},
		{"fd_fdstat_get", []uint64{0, wasiEnd - 24}, nil, 0, wasiEnd - 24, code(2, zeros(7), bytes.Repeat([]byte{0xff}, 16)), ""},
		{"fd_fdstat_get", []uint64{0, wasiEnd - 23}, nil, wasiFault, 0, nil, ""},
		{"fd_fdstat_get", []uint64{3, far}, nil, wasiBadf, 0, nil, ""},
		{"fd_read", []uint64{0, minus1, minus1, 100}, nil, 0, 100, zeros(4), ""},
		{"fd_read", []uint64{0, 0, 0, wasiEnd - 3}, nil, wasiFault, 0, nil, ""},
		{"fd_read", []uint64{1, 0, 0, 100}, nil, wasiBadf, 0, nil, ""},
		{"fd_write", []uint64{1, far, 2, 0}, vectors(20, 3, 10, 2), 0, 0, []byte{5, 0, 0, 0}, "\x15\x16\x17\x0b\x0c"},
		{"fd_write", []uint64{2, far, 1, far}, vectors(20, 3), 0, far, []byte{3, 0, 0, 0}, "\x15\x16\x17"}, // over the vectors
		{"fd_write", []uint64{1, far, 2, 0}, vectors(20, 3, wasiEnd-1, 2), wasiFault, 0, nil, "\x15\x16\x17"},
		{"fd_write", []uint64{1, far, 1, 0}, vectors(minus1, minus1), wasiFault, 0, nil, ""},
		{"fd_write", []uint64{1, far, 1, wasiEnd}, vectors(0, 1), wasiFault, 0, nil, "\x01"},
		{"fd_write", []uint64{1, far, 0, 0}, nil, 0, 0, zeros(4), ""},
		{"fd_write", []uint64{1, 0, minus1, 0}, nil, wasiFault, 0, nil, ""},
		{"fd_write", []uint64{1, 0, 1 << 29, 0}, nil, wasiFault, 0, nil, ""},
		{"fd_write", []uint64{1, minus1, 1, 0}, nil, wasiFault, 0, nil, ""},
		{"fd_write", []uint64{1, wasiEnd - 7, 1, 0}, nil, wasiFault, 0, nil, ""},
		{"fd_write", []uint64{0, far, 0, 0}, nil, wasiBadf, 0, nil, ""},
		{"fd_write", []uint64{1, far, 1, 0}, vectors(0, wasiEnd), 0, 0, []byte{0, 0, 2, 0}, string(guests["fd_write"].image[:512])},
		{"poll_oneoff", []uint64{far, 200, 1, 300}, clock(7, 0, 1, 1000, 0), 0, 200, code(7, zeros(31)), ""},
		{"poll_oneoff", []uint64{far, 200, 2, 300}, code(clock(7, 0, 1, 1<<60, 0), clock(9, 0, 1, 1000, 0)), 0, 200, code(9, zeros(31)), ""},
		{"poll_oneoff", []uint64{far, 200, 2, 300}, code(clock(7, 0, 1, 1<<60, 0), clock(9, 1, 0, 0, 0)), 0, 200, code(9, zeros(7), wasiBadf, 0, 1, zeros(21)), ""},
		{"poll_oneoff", []uint64{far, 200, 1, 300}, clock(7, 0, 0, 1000, 1), 0, 200, code(7, zeros(31)), ""}, // long ago
		{"poll_oneoff", []uint64{far, 200, 1, 300}, clock(7, 0, 1, 1, 1), 0, 200, code(7, zeros(31)), ""},
		{"poll_oneoff", []uint64{far, far + 8, 1, far + 8}, clock(7, 0, 1, 0, 0), 0, far + 8, code(1, 0, 0, 0), ""}, // one over the other
		{"poll_oneoff", []uint64{far, 200, 0, 300}, nil, wasiInval, 0, nil, ""},
		{"poll_oneoff", []uint64{0, 200, 1025, 300}, nil, wasiInval, 0, nil, ""},
		{"poll_oneoff", []uint64{0, 200, minus1, 300}, nil, wasiInval, 0, nil, ""},
		{"poll_oneoff", []uint64{wasiEnd - 47, 200, 1, 300}, nil, wasiFault, 0, nil, ""},
		{"poll_oneoff", []uint64{minus1, 200, 1024, 300}, nil, wasiFault, 0, nil, ""},
		{"poll_oneoff", []uint64{far, wasiEnd - 31, 1, 300}, clock(7, 0, 1, 0, 0), wasiFault, 0, nil, ""},
		{"poll_oneoff", []uint64{far, 200, 1, minus1}, clock(7, 0, 1, 0, 0), wasiFault, 200, code(7, zeros(31)), ""},
		{"fd_close", []uint64{1}, nil, 0, 0, nil, ""},
		{"fd_fdstat_set_flags", []uint64{1, 4}, nil, 0, 0, nil, ""},
		{"sched_yield", nil, nil, 0, 0, nil, ""},
		{"proc_raise", []uint64{9}, nil, wasiNosys, 0, nil, ""},
		{"fd_prestat_get", []uint64{3, 0}, nil, wasiBadf, 0, nil, ""}, // which ends the search for directories
		{"path_open", []uint64{3, 0, 0, 1, 0, math.MaxUint64, math.MaxUint64, 0, 0}, nil, wasiBadf, 0, nil, ""},
	} {
		t.Run(fmt.Sprint(row.function, row.params), func(t *testing.T) {
			w := guests[row.function]
			w.set(far, row.before)
			want := slices.Clone(w.memory.bytes())
			errno, after, err := w.call(time.Second, row.params...)
			if err != nil || errno != row.errno || string(w.output.buf[:w.output.n]) != row.output {
				t.Fatalf("error number %d, %v, printed %q; want %d, %q", errno, err, w.output.buf[:w.output.n], row.errno, row.output)
			}
			switch {
			case row.written == nil:
			case len(row.written) == 0:
				if bytes.Equal(after, want) {
					t.Error("nothing was written")
				}
				copy(want[row.at:], after[row.at:min(len(after), row.at+wasiEnd)])
				if row.function == "clock_time_get" {
					if binary.LittleEndian.Uint64(after[row.at:]) == 0 {
						t.Error("the time is 0")
					}
				}
			default:
				copy(want[row.at:], row.written)
				if row.function == "poll_oneoff" && row.errno == 0 {
					binary.LittleEndian.PutUint32(want[row.params[3]:], 1)
				}
				if row.function == "poll_oneoff" && row.at > far {
					copy(want[row.at+4:], make([]byte, 28))
					want[far+8] = 1
				}
			}
			if at := difference(after, want); at >= 0 {
				t.Errorf("%#x has %x, want %x", at, after[at:min(len(after), at+32)], want[at:min(len(want), at+32)])
			}
		})
	}
}

// TestWASIRandomIsRandom also fills all of memory but a byte at each end.
func TestWASIRandomIsRandom(t *testing.T) {
	w := wasiGuests(t)["random_get"]
	_, first, err := w.call(time.Second, 1, wasiEnd-2)
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := w.call(time.Second, 1, wasiEnd-2)
	if err != nil {
		t.Fatal(err)
	}
	if first[0] != w.image[0] || first[wasiEnd-1] != w.image[wasiEnd-1] {
		t.Error("a byte beside is written")
	}
	same := 0
	for i := range first {
		if first[i] == second[i] {
			same++
		}
	}
	if same > wasiEnd/128 {
		t.Errorf("%d bytes of %d are the same twice", same, wasiEnd)
	}
}

func TestWASIExit(t *testing.T) {
	w := wasiGuests(t)["proc_exit"]
	for _, status := range []uint64{0, 3, math.MaxUint32} {
		_, _, err := w.call(time.Second, status)
		var exit *sys.ExitError
		if !errors.As(err, &exit) || uint64(exit.ExitCode()) != status {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// TestWASISleepEndsWithTheEvent subscribes to what is a century off.
func TestWASISleepEndsWithTheEvent(t *testing.T) {
	w := wasiGuests(t)["poll_oneoff"]
	for _, timeout := range []uint64{1 << 61, math.MaxUint64} {
		w.set(0, clock(1, 0, 1, timeout, 0))
		began := time.Now()
		if errno, _, err := w.call(20*time.Millisecond, 0, 200, 1, 300); errno != 0 || err != nil {
			t.Error(errno, err)
		}
		if took := time.Since(began); took < 15*time.Millisecond || took > 5*time.Second {
			t.Errorf("slept %v", took)
		}
	}
}

// TestWASITakesTime has guests make the host work for them in a loop, whose turns cost no fuel to
// speak of.
func TestWASITakesTime(t *testing.T) {
	const size = 1 << 20
	for name, call := range map[string][]byte{
		"random_get": code(i32Const(0), i32Const(size), opCall, 0),
		"fd_write":   code(i32Const(1), i32Const(0), i32Const(size/8), i32Const(0), opCall, 0), // vectors that are empty
	} {
		t.Run(name, func(t *testing.T) {
			h := run(t, Config{Wasm: forever(name, wasi[name].params, call), Deadline: 50 * time.Millisecond, WarmUp: [][]byte{}})
			began := time.Now()
			_, err := ask(h, "1", "")
			if took := time.Since(began); !errors.Is(err, ErrDeadline) || took > 10*time.Second {
				t.Errorf("%v after %v", err, took)
			}
		})
	}
}

// forever is a guest that imports a function of WASI and decides by calling it for ever.
func forever(name, params string, call []byte) []byte {
	function := []byte{0x60, byte(len(params))}
	for range params {
		function = append(function, valueI32)
	}
	body := func(instructions []byte) []byte {
		b := slices.Concat([]byte{0}, instructions, []byte{opEnd})
		return append(leb(len(b)), b...)
	}
	export := func(name string, kind, index byte) []byte { return append(appendName(nil, name), kind, index) }
	return slices.Concat([]byte(wasmHeader),
		section(sectionType, append(function, 1, valueI32), []byte{0x60, 0, 1, valueI32},
			[]byte{0x60, 1, valueI32, 1, valueI32}, []byte{0x60, 2, valueI32, valueI32, 1, valueI64}),
		section(sectionImport, slices.Concat(appendName(appendName(nil, wasiModule), name), []byte{0, 0})),
		section(sectionFunction, []byte{1}, []byte{2}, []byte{3}, []byte{3}),
		section(sectionMemory, []byte{0, 32}),
		section(sectionExport, export(exportMemory, 2, 0), export(exportABIVersion, 0, 1), export(exportBuffer, 0, 2),
			export(exportConfigure, 0, 3), export(exportDecide, 0, 4)),
		section(sectionCode, body(i32Const(guest.ABIVersion)), body(i32Const(1<<20)), body(i64Const(0)),
			body(code(opLoop, blockEmpty, call, 0x1a, opBr, 0, opEnd, opUnreachable))))
}

// FuzzWASI calls functions of WASI with any arguments: none harms the host, and whatever is written
// is put back.
func FuzzWASI(f *testing.F) {
	names := slices.Sorted(maps.Keys(wasi))
	names = append(names, "proc_exit")
	for i := range names {
		f.Add(byte(i), uint64(0), uint64(wasiEnd-4), uint64(1), uint64(math.MaxUint32), uint64(1)<<32|8, clock(1, 0, 1, 5, 1))
		f.Add(byte(i), uint64(1), uint64(0x10000), uint64(2), uint64(511), uint64(508), vectors(0, 600, math.MaxUint32, 2))
		f.Add(byte(i), uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(math.MaxUint64), []byte{})
	}
	guests := wasiGuests(f)
	f.Fuzz(func(t *testing.T, which byte, a, b, c, d, e uint64, before []byte) {
		name := names[int(which)%len(names)]
		w := guests[name]
		w.set(0x10000, before[:min(len(before), 4096)])
		params := []uint64{a, b, c, d, e, a, b, c, d}
		if name == "proc_exit" {
			params = params[:1]
		} else {
			params = params[:len(wasi[name].params)]
		}
		for i := range params { // what is of 32 bits
			if name == "proc_exit" || wasi[name].params[i] == 'i' {
				params[i] = uint64(uint32(params[i]))
			}
		}
		errno, _, err := w.call(time.Millisecond, params...)
		var exit *sys.ExitError
		if err != nil && !(name == "proc_exit" && errors.As(err, &exit)) || strings.Contains(fmt.Sprint(err), "recovered by wazero") {
			t.Fatalf("%s%v: %v", name, params, err)
		}
		switch errno {
		case wasiSuccess, wasiBadf, wasiFault, wasiInval, wasiNosys:
		default:
			t.Fatalf("%s%v: error number %d", name, params, errno)
		}
	})
}
