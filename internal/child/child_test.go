package child

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const variable = "SWITCHBRIDGE_CHILD_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(variable) == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("sleep", "100")
	if err := Start(cmd); err != nil {
		panic(err)
	}
	for range 100 { // threads that the runtime ends are not the program's
		go func() { runtime.LockOSThread() }()
	}
	time.Sleep(100 * time.Millisecond)
	println(cmd.Process.Pid)
	select {}
}

// A killed process runs no cleanup, and what it started ends all the same, but not before it.
func TestEndsWithItsParent(t *testing.T) {
	if _, err := exec.LookPath("sleep"); err != nil {
		t.Skip(err)
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), variable+"=1")
	said, err := parent.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if !alive(pid) {
		t.Error("the child ended before its parent")
	}
	parent.Process.Kill()
	parent.Wait()
	for end := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the child outlives its parent")
		}
	}
}

// alive reports whether a process runs; one that has ended and nobody waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
