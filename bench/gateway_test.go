package bench_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"switchbridge/bench"
	"switchbridge/bridge"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/ofproxy"
	"switchbridge/policy/forward"
)

// Controllers that are measured in processes of their own are this test binary,
// started again with the controller's name in childVar. A child prints its
// address and ends when its standard input does, unless listenVar says where it
// listens.
const (
	childVar  = "SWITCHBRIDGE_BENCH_CHILD"
	listenVar = "SWITCHBRIDGE_BENCH_LISTEN"
)

func TestMain(m *testing.M) {
	name := os.Getenv(childVar)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := child(name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(name string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	addr := os.Getenv(listenVar)
	if addr == "" {
		addr = "127.0.0.1:0"
		go func() {
			io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	if name == "ends" {
		return errors.New("no configuration")
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	if name == "responder" {
		return bench.Responder{}.Serve(ctx, ln)
	}
	b, err := bridge.New(bridge.Config{Decider: controller.New(forward.Default())})
	if err != nil {
		return err
	}
	server, err := ofproxy.NewServer(ofproxy.Config{Bridge: b})
	if err != nil {
		return err
	}
	return server.Serve(ctx, ln, false)
}

// start runs a child until the benchmark ends.
func start(b *testing.B, name string) (addr string, pid int) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+name)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("%s: %v", name, err)
		}
	})
	addr, err = bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return strings.TrimSpace(addr), cmd.Process.Pid
}

// The gateway with the controller in process beside the controller that does
// nothing: runs of both, in turn. The figures are medians.
func BenchmarkGateway(b *testing.B) {
	names := []string{"native", "responder"}
	for _, mode := range []string{bench.Latency, bench.Flood} {
		for _, v := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
			b.Run(mode+"/"+v.String(), func(b *testing.B) {
				addr := map[string]string{}
				for _, name := range names {
					addr[name], _ = start(b, name)
				}
				sum := map[string]float64{}
				n := 0.0
				for b.Loop() {
					n++
					for _, name := range names {
						res, err := bench.Controller(b.Context(), bench.ControllerConfig{
							Target: addr[name], Mode: mode, Protocol: v, Runs: 5, Duration: 200 * time.Millisecond, WarmUp: 300 * time.Millisecond,
						})
						if err != nil {
							b.Fatal(err)
						}
						sum[name] += res.PerSecond.Median
					}
				}
				for _, name := range names {
					b.ReportMetric(sum[name]/n, name+"/s")
				}
				b.ReportMetric(sum["native"]/sum["responder"], "ratio")
			})
		}
	}
}

// 1,000 switches: memory of each, and the latency of one alone, among idle ones
// and beside one that floods.
func BenchmarkSessions(b *testing.B) {
	for b.Loop() {
		addr, pid := start(b, "native")
		res, err := bench.Sessions(b.Context(), bench.SessionsConfig{Target: addr, PID: pid, Duration: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
		b.ReportMetric(res.BytesPerSession/1024, "KiB/session")
		b.ReportMetric(us(res.Alone.P50), "µs-alone")
		b.ReportMetric(us(res.OthersIdle.P50), "µs-999-idle")
		b.ReportMetric(us(res.OneFloods.P50), "µs-one-floods")
		b.ReportMetric(us(res.OneFloods.P99), "µs-one-floods-p99")
	}
}
