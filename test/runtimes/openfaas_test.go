package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"switchbridge/functiontest"
	"switchbridge/internal/testlong"
)

// OpenFaaS mounts secrets there, and has the watchdog's port.
const (
	secretsDir = "/var/openfaas/secrets/"
	watchdogAt = "127.0.0.1:8080"
)

// watchdog is OpenFaaS's of-watchdog, which starts the function as configs/openfaas/stack.yaml says.
func watchdog(t *testing.T, r *run) functiontest.Exchange {
	startWatchdog(t, r)
	return functiontest.Posts(r.client(t), "http://"+watchdogAt+"/", nil)
}

func startWatchdog(t *testing.T, r *run) *process {
	t.Helper()
	r.separate(t)
	program, cache := r.container(t)
	var stack struct {
		Functions map[string]struct {
			FProcess    string `yaml:"fprocess"`
			Environment map[string]string
		}
	}
	if err := yaml.Unmarshal(read(t, filepath.Join(configs, "openfaas", "stack.yaml")), &stack); err != nil {
		t.Fatal(err)
	}
	f := stack.Functions["switchbridge"]
	// The files that a container would have are the test's own.
	write(t, filepath.Join(r.dir, "switchbridge-tokens"), []byte(token))
	write(t, filepath.Join(r.dir, "switchbridge-policy"), read(t, filepath.Join(r.dir, "policy.blob")))
	delete(f.Environment, "CACHE_DIRECTORY")
	process := strings.NewReplacer("/switchbridge function", program+" function", secretsDir, r.dir+string(os.PathSeparator)).Replace(f.FProcess)
	env := []string{"fprocess=" + process, "TMPDIR=" + r.dir, cache}
	for key, value := range f.Environment {
		env = append(env, key+"="+value)
	}
	p := r.serve(t, watchdogAt, env)
	r.ready(t, p, "http://"+watchdogAt+"/_/ready")
	return p
}

// TestLongWatchdogEnds ends the watchdog while events come in: each that it takes is answered by the function.
func TestLongWatchdogEnds(t *testing.T) {
	testlong.Need(t)
	r := prepare(t, find(t, "OpenFaaS's of-watchdog"))
	p := startWatchdog(t, r)
	questions := ask(t)
	exchange := functiontest.Posts(r.client(t), "http://"+watchdogAt+"/", nil)
	var before, after atomic.Int64
	ends := make(chan struct{})
	var callers sync.WaitGroup
	for n := range 8 {
		callers.Go(func() {
			for i := n; ; i++ {
				q := &questions[i%len(questions)]
				status, answer, body, err := exchange(t.Context(), q.authorised(), q.body)
				select {
				case <-ends:
				default:
					if err != nil {
						t.Errorf("before its end: %v", err)
						return
					}
					before.Add(1)
				}
				if err != nil {
					return // its port is closed
				}
				if diff := q.differs(status, answer, body); diff != "" {
					t.Errorf("%s: %s", q.name, diff)
				}
				select {
				case <-ends:
					after.Add(1)
				default:
				}
			}
		})
	}
	r.until(t, p, "1,000 events are answered", func() error {
		if n := before.Load(); n < 1000 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	close(ends)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	callers.Wait()
	<-p.ended
	t.Logf("%d events were answered before SIGTERM, and %d after it, in %.1f s", before.Load(), after.Load(), time.Since(r.began).Seconds())
	if after.Load() == 0 {
		t.Error("nothing was answered after SIGTERM")
	}
}
