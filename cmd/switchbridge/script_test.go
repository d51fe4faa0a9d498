package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"switchbridge/internal/built"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	testscript.Main(m, map[string]func(){"switchbridge": main, "switchbridge-wait": waitReady, "switchbridge-listening": waitListening, "switchbridge-says": waitSays})
}

// waitReady waits until the gateway whose admin address is the first argument
// is ready, or until the file of that name exists. Under the race detector the
// embedded function takes half a minute to compile.
func waitReady() {
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(os.Args[1]); err == nil {
			return
		}
		resp, err := http.Get("http://" + os.Args[1] + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	fmt.Fprintln(os.Stderr, os.Args[1], "is not ready after 90 s")
	os.Exit(1)
}

// waitListening waits until somebody listens at the address that is the first
// argument.
func waitListening() {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", os.Args[1]); err == nil {
			conn.Close()
			return
		}
	}
	fmt.Fprintln(os.Stderr, "nobody listens at", os.Args[1], "after 20 s")
	os.Exit(1)
}

// waitSays waits until the file that is the first argument has the second in it.
func waitSays() {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if b, err := os.ReadFile(os.Args[1]); err == nil && strings.Contains(string(b), os.Args[2]) {
			return
		}
	}
	b, _ := os.ReadFile(os.Args[1])
	fmt.Fprintf(os.Stderr, "%s does not say %q after 30 s:\n%s", os.Args[1], os.Args[2], b)
	os.Exit(1)
}

// TestScripts runs the commands as a user does; each script in testdata is one
// story.
func TestScripts(t *testing.T) {
	benchDir := filepath.Dir(built.Bench(t))
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			root, err := filepath.Abs("../..")
			if err != nil {
				return err
			}
			// Each of the two programs is in a folder of its own, so that scripts can leave one out.
			programs, _, _ := strings.Cut(env.Getenv("PATH"), string(os.PathListSeparator))
			env.Setenv("GATEWAY_DIR", programs)
			env.Setenv("BENCH_DIR", benchDir)
			env.Setenv("PATH", benchDir+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("REPO", root)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
			data := os.Getenv("SWITCHBRIDGE_DATA")
			if data == "" {
				data = filepath.Join(root, "..", "shared", "data")
			}
			env.Setenv("DATA", data)
			for _, name := range []string{"PORT1", "PORT2", "PORT3"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				env.Setenv(name, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
				l.Close()
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "long":
				return os.Getenv("SWITCHBRIDGE_LONG") != "", nil
			case "data":
				data := os.Getenv("SWITCHBRIDGE_DATA")
				if data == "" {
					data = "../../../shared/data"
				}
				_, err := os.Stat(data)
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}
