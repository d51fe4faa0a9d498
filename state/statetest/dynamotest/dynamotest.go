// Package dynamotest runs DynamoDB Local for tests.
package dynamotest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"switchbridge/internal/child"
)

// Endpoint is where DynamoDB Local answers, in the namespace that Client's connections go to.
const Endpoint = "http://127.0.0.1:8000"

// Start starts DynamoDB Local in a network namespace of its own, since it listens at all addresses, and returns a client that reaches
// it there. It skips the test where that can't be.
func Start(t testing.TB) *http.Client {
	t.Helper()
	jars := os.Getenv("DYNAMODB_LOCAL")
	if jars == "" {
		jars = filepath.Join(root(t), "build", "dynamodb")
	}
	if _, err := os.Stat(filepath.Join(jars, "lib")); err != nil {
		t.Skip("DynamoDB Local is not there: make dynamodb")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: a network namespace can't be made without")
	}
	for _, tool := range []string{"java", "unshare", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	var said bytes.Buffer
	cmd := exec.Command("unshare", "--net", "--", "sh", "-c", `ip link set lo up && exec java -cp 'lib/*' com.amazonaws.services.dynamodbv2.local.main.ServerRunner -inMemory -port 8000 -disableTelemetry`)
	cmd.Dir, cmd.Stdout, cmd.Stderr = jars, &said, &said
	if err := child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dialIn(ctx, fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), network, addr)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 16}}
	t.Cleanup(client.CloseIdleConnections)
	for began := time.Now(); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, Endpoint, nil)
		resp, err := client.Do(r)
		cancel()
		if err == nil {
			resp.Body.Close()
			return client
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("DynamoDB Local ended: %v\n%s", err, said.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(began) > 40*time.Second {
			t.Fatalf("DynamoDB Local does not answer: %v", err)
		}
	}
}

// dialIn connects from inside a namespace.
func dialIn(ctx context.Context, ns, network, addr string) (c net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f, e := os.Open(ns)
		if e != nil {
			err = e
			return
		}
		defer f.Close()
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err == nil {
			c, err = new(net.Dialer).DialContext(ctx, network, addr)
		}
	}()
	<-done
	return c, err
}

// root is the folder of go.mod.
func root(t testing.TB) string {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}
