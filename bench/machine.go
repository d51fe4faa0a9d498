package bench

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Machine describes where figures were measured.
type Machine struct {
	CPU    string    `json:"cpu"`
	Cores  int       `json:"cores"`
	Memory int64     `json:"memory_bytes"`
	Kernel string    `json:"kernel"`
	OS     string    `json:"os"`
	Go     string    `json:"go"`
	Time   time.Time `json:"time"`
}

// ThisMachine describes this one; what it does not tell is "unknown" or 0.
func ThisMachine() Machine {
	m := Machine{CPU: "unknown", Cores: runtime.NumCPU(), Kernel: "unknown", OS: runtime.GOOS, Go: runtime.Version(), Time: time.Now().UTC()}
	if v := fileValue("/proc/cpuinfo", "model name", ":"); v != "" {
		m.CPU = v
	}
	if v := fileValue("/etc/os-release", "PRETTY_NAME", "="); v != "" {
		m.OS = strings.Trim(v, `"`)
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	return m
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.1f GB, %s, Linux %s, %s", m.CPU, m.Cores, float64(m.Memory)/1e9, m.OS, m.Kernel, m.Go)
}

// fileValue is the value of the first line of a file that has the key.
func fileValue(path, key, sep string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if k, v, ok := strings.Cut(sc.Text(), sep); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
