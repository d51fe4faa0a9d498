package conversation

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"switchbridge/bench"
	"switchbridge/controller"
	"switchbridge/faas/function/auth"
	"switchbridge/faas/function/devca"
	"switchbridge/faas/function/httphost"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/jsonenc"
	"switchbridge/flow/contract/openflow"
	"switchbridge/internal/certs"
	"switchbridge/internal/ovs"
	"switchbridge/policy/policyfile"
)

// The hosts at both ends have an address for each conversation, so that each is a first one. The policy looks at both addresses.
const linePolicy = `serial: 1
chain:
  - header:
      rules:
        - {name: arp, match: {eth_type: arp, arp_spa: 10.1.0.0/16, arp_tpa: 10.1.0.0/16}, action: allow}
        - {name: ask, priority: 200, match: {ip_src: 10.1.0.0/17, ip_dst: 10.1.128.0/17}, action: allow%s}
`

const answers = `
        - {name: answer, priority: 200, match: {ip_src: 10.1.128.0/17, ip_dst: 10.1.0.0/17}, action: allow}
`

// lab is a line of bridges, the gateway and the function.
type lab struct {
	bridges int
	replies bool
	sw      *ovs.Switchd
	h1, h2  *ovs.Host
	gateway *exec.Cmd
	ended   chan struct{}
	cancel  context.CancelFunc
	wait    []func()
	rtt     func() (time.Duration, error)

	mu    sync.Mutex
	calls map[int]int64 // about packets of each pair of addresses: hosts look for neighbours again when nobody asks them to
	reuse atomic.Bool
	pairs int // of addresses that were used
}

// newLine starts an Open vSwitch for a line of bridges. The context is done when the lab is closed.
func newLine(ctx context.Context, tb ovs.TB, bridges int) (*lab, context.Context, error) {
	l := &lab{bridges: bridges, sw: ovs.Start(tb, ovs.Options{}), ended: make(chan struct{}), calls: make(map[int]int64)}
	if l.sw.Dummy() {
		return nil, nil, errors.New("hosts need root, for network namespaces")
	}
	ctx, l.cancel = context.WithCancel(ctx)
	return l, ctx, nil
}

// connect makes the bridges and the hosts at both ends. The controller listens at a socket.
func (l *lab) connect(socket string, protocol flow.Protocol) {
	version := "OpenFlow13"
	if protocol == flow.OpenFlow10 {
		version = "OpenFlow10"
	}
	for i := range l.bridges {
		l.sw.AddBridge(name(i), ovs.Bridge{DPID: uint64(1 + i), Protocols: []string{version}, Controllers: []string{"unix:" + socket}})
		if i > 0 {
			l.sw.Join(name(i-1), name(i))
		}
	}
	l.h1, l.h2 = l.sw.AddHost(name(0), "h1"), l.sw.AddHost(name(l.bridges-1), "h2")
}

// newPeerLab is a line under a controller on this machine, which needs no function elsewhere.
func newPeerLab(ctx context.Context, tb ovs.TB, p *bench.Peer, bridges int) (*lab, error) {
	l, ctx, err := newLine(ctx, tb, bridges)
	if err != nil {
		return nil, err
	}
	controller, err := p.Run(ctx)
	if err != nil {
		l.close()
		return nil, err
	}
	l.wait = append(l.wait, controller.Close)
	// The bridges are in a namespace, from which there is no way to a port out here.
	socket := filepath.Join(l.sw.Dir(), "controller.sock")
	near, err := net.Listen("unix", socket)
	if err != nil {
		l.close()
		return nil, err
	}
	var relaying sync.WaitGroup
	relaying.Go(func() { _ = bench.Distance{Target: controller.Addr}.Serve(ctx, near) })
	l.wait = append(l.wait, relaying.Wait)
	l.connect(socket, p.Protocol)
	for i := range bridges {
		l.sw.WaitConnected(name(i))
	}
	return l, nil
}

func newLab(ctx context.Context, tb ovs.TB, program string, bridges int, replies bool, rtt time.Duration) (*lab, error) {
	l, ctx, err := newLine(ctx, tb, bridges)
	if err != nil {
		return nil, err
	}
	l.replies = replies
	dir := l.sw.Dir()
	far, ca, token, err := l.function(ctx, dir, rtt)
	if err != nil {
		l.close()
		return nil, err
	}
	socket := filepath.Join(dir, "gateway.sock")
	admin, err := freePort()
	if err != nil {
		l.close()
		return nil, err
	}
	text := fmt.Sprintf("function: {urls: [\"https://%s\"], ca: %s, token_file: %s, connections: %d}\nopenflow: {listen: [\"unix:%s\"]}\nlog: {decisions: \"off\"}\n", far, ca, token, many, socket)
	config := filepath.Join(dir, "gateway.yaml")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		l.close()
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "gateway.log"))
	if err != nil {
		l.close()
		return nil, err
	}
	defer log.Close()
	l.gateway = exec.Command(program, "run", "--config", config, "--admin", admin)
	l.gateway.Stdout, l.gateway.Stderr = log, log
	l.gateway.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := l.gateway.Start(); err != nil {
		l.gateway = nil
		l.close()
		return nil, err
	}
	go func() {
		_ = l.gateway.Wait()
		close(l.ended)
	}()
	l.connect(socket, flow.OpenFlow13)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK && l.connected(admin) == bridges {
				return l, nil
			}
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(log.Name())
			l.close()
			return nil, fmt.Errorf("the gateway is not ready: %v\n%s", err, said[max(0, len(said)-1000):])
		}
	}
}

func name(i int) string { return fmt.Sprint("s", i+1) }

// connected returns how many switches a gateway has.
func (l *lab) connected(admin string) int {
	resp, err := http.Get("http://" + admin + "/api/v1/switches")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return strings.Count(string(text), `"dpid"`)
}

// function starts the function, and returns where it is, far away, and the files of its authority and token.
func (l *lab) function(ctx context.Context, dir string, rtt time.Duration) (far, caFile, tokenFile string, err error) {
	text := fmt.Sprintf(linePolicy, "") + answers
	if l.replies {
		text = fmt.Sprintf(linePolicy, ", replies: allow")
	}
	p, err := policyfile.Parse(strings.NewReader(text), "policy", ".")
	if err != nil {
		return "", "", "", err
	}
	c := controller.New(p)
	decide := flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
		if ev.Type == flow.EventPacketIn {
			l.count(&ev.PacketIn.Match)
		}
		err := c.Decide(ctx, ev, d)
		if !l.reuse.Load() {
			d.Reuse = flow.Reuse{}
		}
		return err
	})
	near, err := serve(decide, dir)
	if err != nil {
		return "", "", "", err
	}
	l.wait = append(l.wait, near.close)
	far, wait, err := bench.Distance{Target: near.addr, Delay: rtt / 2}.Far(ctx, false)
	if err != nil {
		return "", "", "", err
	}
	l.wait = append(l.wait, wait)
	roots, err := certs.Pool(near.ca)
	if err != nil {
		return "", "", "", err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	l.rtt = func() (time.Duration, error) { return roundTrip(ctx, client, "https://"+far, near.token) }
	return far, near.ca, near.tokenFile, nil
}

// function is one over HTTPS on this machine.
type function struct {
	addr          string
	ca, tokenFile string // files
	token         string
	close         func()
}

// serve starts a function, with its files in a folder.
func serve(decide flow.Decider, dir string) (*function, error) {
	log := slog.New(slog.DiscardHandler)
	h, err := httphost.New(httphost.Config{Decider: decide, Codecs: []contract.Codec{openflow.Codec{}, jsonenc.Codec{}}, Log: log})
	if err != nil {
		return nil, err
	}
	f := &function{token: rand.Text(), tokenFile: filepath.Join(dir, "token")}
	tokens, err := auth.ParseSecret(f.token)
	if err != nil {
		return nil, err
	}
	mux, err := httphost.NewMux(httphost.MuxConfig{Functions: []httphost.Function{{Name: "f", Handler: h}}, Tokens: tokens, Log: log})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(f.tokenFile, []byte(f.token+"\n"), 0o600); err != nil {
		return nil, err
	}
	ca, err := devca.Open(dir)
	if err != nil {
		return nil, err
	}
	cert, err := ca.Issue("127.0.0.1")
	if err != nil {
		return nil, err
	}
	near, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := httphost.NewServer(mux, &tls.Config{Certificates: []tls.Certificate{cert}})
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.ServeTLS(near, "", "") })
	f.addr, f.ca, f.close = near.Addr().String(), ca.Path, func() { srv.Close(); serving.Wait() }
	return f, nil
}

// count counts a call about a packet, by the pair of addresses that it is of.
func (l *lab) count(m *flow.Match) {
	src := m.IPSrc
	if m.Fields&flow.FieldARPSPA != 0 {
		src = m.ARPSPA
	}
	if !src.IsValid() || !src.Addr().Is4() {
		return
	}
	a := src.Addr().As4()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[int(a[2]&0x7f)<<8|int(a[3])]++
}

// roundTrip returns what a policy check takes on a connection that is there: the way to the function, and its work.
func roundTrip(ctx context.Context, client *http.Client, url, token string) (time.Duration, error) {
	var took []time.Duration
	for i := range 12 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
		if err != nil {
			return 0, err
		}
		contract.PutEvent(req.Header, &flow.Event{Type: flow.EventPolicyCheck, ID: fmt.Sprint("rtt-", i), Time: time.Now()})
		req.Header.Set("Content-Type", contract.TypeJSON)
		req.Header.Set("Authorization", "Bearer "+token)
		start := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("a policy check is answered by %s", resp.Status)
		}
		if i > 0 { // the first one dials
			took = append(took, time.Since(start))
		}
	}
	return median(took), nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (l *lab) close() {
	l.cancel()
	if l.gateway != nil {
		_ = l.gateway.Process.Kill()
		<-l.ended
	}
	for _, wait := range l.wait {
		wait()
	}
}

// pair gives both hosts addresses that nobody has asked about, and has each know the other's Ethernet address where arp is false.
func (l *lab) pair(arp bool) (dst netip.Addr, err error) {
	l.pairs++
	src := netip.AddrFrom4([4]byte{10, 1, byte(l.pairs >> 8), byte(l.pairs)})
	dst = netip.AddrFrom4([4]byte{10, 1, 128 | byte(l.pairs>>8), byte(l.pairs)})
	for _, end := range []struct {
		host, peer *ovs.Host
		own, other netip.Addr
	}{{l.h1, l.h2, src, dst}, {l.h2, l.h1, dst, src}} {
		batch := fmt.Sprintf("addr add %s/32 dev eth0\nroute add %s/32 dev eth0 src %s\n", end.own, end.other, end.own)
		if !arp {
			batch += fmt.Sprintf("neigh replace %s lladdr %s dev eth0\n", end.other, end.peer.MAC)
		}
		cmd := end.host.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(batch)
		if out, err := cmd.CombinedOutput(); err != nil {
			return dst, fmt.Errorf("ip: %w: %s", err, out)
		}
	}
	return dst, nil
}

// measure has conversations begin, for each of the lines in turn.
func (l *lab) measure(ctx context.Context, rounds int, lines ...*Line) error {
	echo, err := l.h2.Listen("tcp", "0.0.0.0:80")
	if err != nil {
		return err
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	for round := range rounds + 1 {
		for _, line := range lines {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			into := line
			if round == 0 {
				into = new(Line) // connections are dialled, the gateway learns that there are replies
			}
			l.reuse.Store(line.Reuse)
			if err := l.round(into); err != nil {
				return err
			}
			if into != line {
				line.Failed = append(line.Failed, into.Failed...)
			}
		}
	}
	return nil
}

func (l *lab) round(line *Line) error {
	const patience = 10 * time.Second
	counted := func(f func()) int64 { // of the pair that was made last
		f()
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.calls[l.pairs]
	}
	one := func(arp bool) (took time.Duration, calls int64, err error) {
		dst, err := l.pair(arp)
		if err != nil {
			return 0, 0, err
		}
		calls = counted(func() {
			var e error
			if took, e = l.h1.Ping(dst, patience); e != nil {
				line.Failed = append(line.Failed, e.Error())
			}
		})
		return took, calls, nil
	}
	took, calls, err := one(true)
	if err != nil {
		return err
	}
	line.ARP, line.ARPs = append(line.ARP, took), append(line.ARPs, calls)
	if took, calls, err = one(false); err != nil {
		return err
	}
	line.After, line.Calls = append(line.After, took), append(line.Calls, calls)

	dst, err := l.pair(false)
	if err != nil {
		return err
	}
	line.TCP = append(line.TCP, counted(func() {
		if _, err := l.h1.Connect(dst, 80, patience); err != nil {
			line.Failed = append(line.Failed, err.Error())
		}
	}))

	var list []netip.Addr
	for range many {
		dst, err := l.pair(false)
		if err != nil {
			return err
		}
		list = append(list, dst)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, dst := range list {
		all.Go(func() {
			took, err := l.h1.Ping(dst, patience)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				line.Failed = append(line.Failed, err.Error())
				return
			}
			line.Many = append(line.Many, took)
		})
	}
	all.Wait()
	return nil
}
