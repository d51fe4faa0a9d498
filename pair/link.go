package pair

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"switchbridge/flow"
)

// Bounds of the link.
const (
	maxMessage = 1 << 20 // bytes of a body
	maxPassed  = 4096    // packets that wait to go to the peer; more are dropped
	passWithin = 2 * time.Second
	passAgain  = 10 * time.Millisecond
)

// claimBody asks the peer to take the lead from the holder of a generation.
type claimBody struct {
	Generation uint64 `json:"generation"`
}

// switchesBody is how many switches a gateway may lead.
type switchesBody struct {
	Switches int `json:"switches"`
}

// passed is a packet that one gateway has received from a switch and that the other one decides.
type passed struct {
	DPID     flow.DPID   `json:"dpid"`
	InPort   flow.PortNo `json:"in_port"`
	Reason   flow.Reason `json:"reason"`
	Table    uint8       `json:"table"`
	Cookie   uint64      `json:"cookie,string"`
	TotalLen int         `json:"total_len"`
	Data     []byte      `json:"data"`
	since    time.Time
}

func newClient(cfg *tls.Config, timeout time.Duration) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, MaxIdleConnsPerHost: 2, TLSHandshakeTimeout: timeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (m *Member) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pair/v1/state", func(w http.ResponseWriter, _ *http.Request) {
		m.mu.Lock()
		st := m.state()
		m.mu.Unlock()
		answer(w, &st)
	})
	mux.HandleFunc("GET /pair/v1/switches", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, &switchesBody{len(m.cfg.switches())})
	})
	mux.HandleFunc("POST /pair/v1/claim", func(w http.ResponseWriter, r *http.Request) {
		var b claimBody
		if !read(w, r, &b) {
			return
		}
		if !plausible(b.Generation, time.Now()) {
			http.Error(w, "generation: it is of a time that is yet to come", http.StatusBadRequest)
			return
		}
		m.mu.Lock()
		m.gen = max(m.gen, b.Generation)
		m.claim(time.Now(), "the other gateway has handed the lead over")
		st := m.state()
		m.mu.Unlock()
		answer(w, &st)
	})
	mux.HandleFunc("POST /pair/v1/packet", func(w http.ResponseWriter, r *http.Request) {
		var p passed
		if !read(w, r, &p) {
			return
		}
		if m.cfg.Receive == nil {
			http.Error(w, "no packets are taken here", http.StatusNotFound)
			return
		}
		in := flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: p.TotalLen, Reason: p.Reason, TableID: p.Table, Cookie: p.Cookie, Data: p.Data}
		in.Match.SetInPort(p.InPort)
		if err := m.cfg.Receive(p.DPID, &in); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func read(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessage))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who asked has gone, then
}

// call sends a request to the peer and reads its answer into v, which may be nil.
func (m *Member) call(ctx context.Context, method, path string, body, v any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+m.cfg.Peer+path, &b)
	if err != nil {
		return err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the other gateway answers %s: %.200s", resp.Status, bytes.TrimSpace(text))
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(text, v)
}

// ask asks the peer for its state.
func (m *Member) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout/2)
	defer cancel()
	begun := time.Now()
	var st State
	err := m.call(ctx, http.MethodGet, "/pair/v1/state", nil, &st)
	if err == nil && st.Member == m.cfg.Member {
		m.log.Error("both gateways of the pair are the same member: give one of them the other pair.member", "member", st.Member)
		return
	}
	if err == nil && !plausible(st.Generation, begun) {
		err = fmt.Errorf("generation %d is from the future: set the clocks of both machines", st.Generation)
	}
	if err != nil {
		m.log.Debug("the other gateway does not answer", "peer", m.cfg.Peer, "err", err)
		return
	}
	m.mu.Lock()
	if begun.Before(m.decided) { // it may be from before what was decided here, with the peer's help
		m.mu.Unlock()
		return
	}
	m.hear(begun, st)
	mine := m.cfg.Serial()
	m.mu.Unlock()
	if st.Serial > mine && m.cfg.Newer != nil {
		m.cfg.Newer()
	}
}

// tellClaim asks the peer to claim, above a generation.
func (m *Member) tellClaim(ctx context.Context, generation uint64) (st State, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err = m.call(ctx, http.MethodPost, "/pair/v1/claim", &claimBody{generation}, &st)
	if err == nil && (!st.Leads || st.Generation <= generation) {
		err = errors.New("the other gateway did not take the lead")
	}
	return st, err
}

// PassOn implements [bridge.Pair].
func (m *Member) PassOn(dpid flow.DPID, p *flow.PacketIn) bool {
	one := passed{DPID: dpid, InPort: p.Match.InPort, Reason: p.Reason, Table: p.TableID, Cookie: p.Cookie, TotalLen: p.TotalLen,
		Data: append([]byte(nil), p.Data...), since: time.Now()}
	select {
	case m.waiting <- one:
		return true
	default:
		m.cfg.Metrics.lost.Inc()
		return false
	}
}

// sendPassed sends packets to the peer, in the order in which they came, until ctx is done.
func (m *Member) sendPassed(ctx context.Context) {
	for {
		var p passed
		select {
		case <-ctx.Done():
			return
		case p = <-m.waiting:
		}
		for {
			within, cancel := context.WithTimeout(ctx, passWithin)
			err := m.call(within, http.MethodPost, "/pair/v1/packet", &p, nil)
			cancel()
			if err == nil {
				m.cfg.Metrics.passed.Inc()
				break
			}
			if time.Since(p.since) > passWithin || ctx.Err() != nil {
				m.cfg.Metrics.lost.Inc()
				break
			}
			time.Sleep(passAgain)
		}
	}
}
