package wasmhost

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memory is one guest's linear memory: an anonymous mapping of its greatest size, of which the
// first len bytes exist for the guest. It never moves, so pages can be tracked by address.
//
// It implements experimental.LinearMemory. Free only marks it: wazero frees the memory of a guest
// that a deadline ended, and the instance's owner still holds slices of it. Its owner unmaps it.
type memory struct {
	mapping []byte
	size    int
}

// newMemory maps limit bytes, none of which takes memory before it is written.
func newMemory(limit uint64) (*memory, error) {
	mapping, err := unix.Mmap(-1, 0, int(max(limit, pageSize)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of linear memory: %w", limit, err)
	}
	// A huge page would make one written byte look like 2 MiB of them.
	_ = unix.Madvise(mapping, unix.MADV_NOHUGEPAGE)
	return &memory{mapping: mapping}, nil
}

func (m *memory) Reallocate(size uint64) []byte {
	if m == nil || size > uint64(len(m.mapping)) {
		return nil
	}
	m.size = int(size)
	return m.mapping[:size:size]
}

func (m *memory) Free() {}

func (m *memory) bytes() []byte { return m.mapping[:m.size] }

func (m *memory) unmap() {
	if m != nil && m.mapping != nil {
		_ = unix.Munmap(m.mapping)
		m.mapping, m.size = nil, 0
	}
}

// tracker tells which pages of a memory were written, by userfaultfd in its asynchronous
// write-protect mode and the PAGEMAP_SCAN ioctl: Linux 6.7 or later, and a sandbox that allows
// userfaultfd(2). One tracker serves all memories of the process.
type tracker struct {
	uffd    int
	pagemap *os.File
}

const pageSize = 4096

// From linux/userfaultfd.h and linux/fs.h.
const (
	uffdAPI              = 0xaa
	uffdioAPI            = 0xc018aa3f // _IOWR(0xaa, 0x3f, struct uffdio_api)
	uffdioRegister       = 0xc020aa00 // _IOWR(0xaa, 0x00, struct uffdio_register)
	uffdUserModeOnly     = 1
	uffdFeatureWPUnpop   = 1 << 13
	uffdFeatureWPAsync   = 1 << 15
	uffdRegisterModeWP   = 1 << 1
	pagemapScan          = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)
	pmScanWPMatching     = 1 << 0
	pmScanCheckWPAsync   = 1 << 1
	pageIsWritten        = 1 << 1
	maxRegionsInOneScan  = 64
	sizeofPMScanArgument = 96
	sizeofUffdioAPI      = 24
	sizeofUffdioRegister = 32
	sizeofPMPageRegion   = 24
	_                    = uint(sizeofPMScanArgument - unsafe.Sizeof(pmScanArgument{}))
	_                    = uint(sizeofUffdioAPI - unsafe.Sizeof(uffdioAPIArgument{}))
	_                    = uint(sizeofUffdioRegister - unsafe.Sizeof(uffdioRegisterArgument{}))
	_                    = uint(sizeofPMPageRegion - unsafe.Sizeof(region{}))
)

type uffdioAPIArgument struct{ api, features, ioctls uint64 }

type uffdioRegisterArgument struct{ start, length, mode, ioctls uint64 }

// pmScanArgument is struct pm_scan_arg.
type pmScanArgument struct {
	size, flags, start, end, walkEnd uint64
	vec, vecLen, maxPages            uint64
	categoryInverted, categoryMask   uint64
	categoryAnyOfMask, returnMask    uint64
}

// region is struct page_region: a run of pages by address.
type region struct{ start, end, categories uint64 }

// newTracker opens the kernel's page tracking and tries it on a page, because a kernel may know
// the calls and a sandbox still refuse one of them.
func newTracker() (t *tracker, err error) {
	uffd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|uffdUserModeOnly, 0, 0)
	if errno != 0 {
		return nil, fmt.Errorf("userfaultfd: %w", errno)
	}
	t = &tracker{uffd: int(uffd)}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	api := uffdioAPIArgument{api: uffdAPI, features: uffdFeatureWPAsync | uffdFeatureWPUnpop}
	if err := ioctl(t.uffd, uffdioAPI, unsafe.Pointer(&api)); err != nil {
		return nil, fmt.Errorf("userfaultfd with asynchronous write protection: %w", err)
	}
	if t.pagemap, err = os.Open("/proc/self/pagemap"); err != nil {
		return nil, err
	}
	return t, t.probe()
}

func (t *tracker) probe() error {
	m, err := newMemory(4 * pageSize)
	if err != nil {
		return err
	}
	defer m.unmap()
	m.Reallocate(4 * pageSize)
	m.mapping[0] = 1
	if err := t.register(m); err != nil {
		return err
	}
	if err := t.arm(m); err != nil {
		return err
	}
	m.mapping[2*pageSize] = 1
	var buf [maxRegionsInOneScan]region
	got, err := t.written(m, buf[:])
	if err != nil {
		return err
	}
	base := m.address()
	if len(got) != 1 || got[0].start != base+2*pageSize || got[0].end != base+3*pageSize {
		return errors.New("PAGEMAP_SCAN doesn't report the page that was written")
	}
	return nil
}

func (t *tracker) close() {
	_ = unix.Close(t.uffd)
	if t.pagemap != nil {
		_ = t.pagemap.Close()
	}
}

func (m *memory) address() uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m.mapping))))
}

// register makes m's pages trackable; unmapping m undoes it. All of them count as written until
// they are armed.
func (t *tracker) register(m *memory) error {
	r := uffdioRegisterArgument{start: m.address(), length: uint64(len(m.mapping)), mode: uffdRegisterModeWP}
	if err := ioctl(t.uffd, uffdioRegister, unsafe.Pointer(&r)); err != nil {
		return fmt.Errorf("userfaultfd register: %w", err)
	}
	return nil
}

// arm makes every page of m count as not written.
func (t *tracker) arm(m *memory) error {
	_, err := t.scan(m, nil, pmScanWPMatching|pmScanCheckWPAsync)
	return err
}

// written returns the runs of pages that were written since they were armed, in buf. When they
// don't fit it returns all of m as one run.
func (t *tracker) written(m *memory, buf []region) ([]region, error) {
	n, err := t.scan(m, buf, pmScanCheckWPAsync)
	if err != nil {
		return nil, err
	}
	if n == len(buf) {
		buf[0] = region{start: m.address(), end: m.address() + uint64(m.size)}
		n = 1
	}
	return buf[:n], nil
}

func (t *tracker) scan(m *memory, buf []region, flags uint64) (int, error) {
	arg := pmScanArgument{
		size:         sizeofPMScanArgument,
		flags:        flags,
		start:        m.address(),
		end:          m.address() + uint64(m.size),
		vec:          uint64(uintptr(unsafe.Pointer(unsafe.SliceData(buf)))),
		vecLen:       uint64(len(buf)),
		categoryMask: pageIsWritten,
		returnMask:   pageIsWritten,
	}
	// Raw: it never blocks for long, and telling the scheduler costs a tenth of it.
	n, _, errno := unix.RawSyscall(unix.SYS_IOCTL, t.pagemap.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return 0, fmt.Errorf("PAGEMAP_SCAN: %w", errno)
	}
	return int(n), nil
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
