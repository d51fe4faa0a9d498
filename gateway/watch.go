package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"switchbridge/faas/distribution/policyhost"
	"switchbridge/internal/adminside"
	"switchbridge/internal/files"
	"switchbridge/policy/policyfile"
)

// What is told as it happens.
const (
	maxStreams    = 16
	streamEvery   = 500 * time.Millisecond
	streamBatch   = 20               // decisions in each; more would be read by nobody
	streamPatient = 10 * time.Second // for a reader that does not read
)

var errNoDecision = errors.New("this decision is not among those that are kept: it is older, or was one of too many in its second. The log or the file of records (log.records) may have it")

// filterOf reads a filter from a URL's query.
func filterOf(r *http.Request) filter {
	q := r.URL.Query()
	return filter{host: strings.ToLower(strings.TrimSpace(q.Get("host"))), port: strings.TrimSpace(q.Get("port")), dpid: q.Get("dpid"), verdict: q.Get("verdict")}
}

// decisions is GET /api/v1/decisions: the latest that the filter selects.
func (g *Gateway) decisions(w http.ResponseWriter, r *http.Request) {
	q := filterOf(r)
	list, _, _ := g.recorder.feed.since(0, &q, feedKept)
	adminside.WriteJSON(w, http.StatusOK, list)
}

// decision is GET /api/v1/decisions/{number}.
func (g *Gateway) decision(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.ParseUint(r.PathValue("number"), 10, 32)
	if err != nil {
		adminside.WriteError(w, http.StatusBadRequest, fmt.Errorf("decision %q: want a number", r.PathValue("number")))
		return
	}
	d, ok := g.recorder.feed.decision(uint32(number))
	if !ok {
		adminside.WriteError(w, http.StatusNotFound, errNoDecision)
		return
	}
	adminside.WriteJSON(w, http.StatusOK, d)
}

// Batch is one message of GET /api/v1/decisions/stream.
type Batch struct {
	Decisions []ShownDecision `json:"decisions"` // newest first
	LeftOut   int             `json:"left_out"`  // that the filter selects and that are not in Decisions
	Totals    Totals          `json:"totals"`
}

// streamDecisions is GET /api/v1/decisions/stream: server-sent events, twice a
// second, with what the filter selects of the decisions since the one before. A
// reader that is slow gets fewer and larger steps; nothing is kept for it.
func (g *Gateway) streamDecisions(w http.ResponseWriter, r *http.Request) {
	if g.streams.Add(1) > maxStreams {
		g.streams.Add(-1)
		adminside.WriteError(w, http.StatusServiceUnavailable, fmt.Errorf("%d readers follow the decisions already", maxStreams))
		return
	}
	defer g.streams.Add(-1)
	q := filterOf(r)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	out := http.NewResponseController(w)
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	for seq := uint64(0); ; {
		b := Batch{}
		b.Decisions, b.LeftOut, seq = g.recorder.feed.since(seq, &q, streamBatch)
		b.Totals = g.recorder.feed.totals()
		text, err := json.Marshal(&b)
		if err != nil {
			return
		}
		_ = out.SetWriteDeadline(time.Now().Add(streamPatient)) // every connection of a server has one
		if _, err := fmt.Fprintf(w, "data: %s\n\n", text); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// maxShownPolicy bounds the text of a policy that is shown.
const maxShownPolicy = 256 << 10

// PolicyText is GET /api/v1/policy: the policy of this process as its file says
// it, for whoever follows a decision's reason.
type PolicyText struct {
	Policy  string        `json:"policy"`
	File    string        `json:"file"`
	Entries []PolicyEntry `json:"entries"`
	Text    string        `json:"text"`          // the file; empty where Why says why
	Why     string        `json:"why,omitempty"` // it is not shown
}

// PolicyEntry is one entry of a policy's chain.
type PolicyEntry struct {
	Kind string `json:"kind"` // what reasons begin with
	Line int    `json:"line"` // from 1; 0 where there are no lines
	Says string `json:"says"`
}

// shownPolicy is what was made of a document.
type shownPolicy struct {
	doc  *policyfile.Document
	text PolicyText
}

// policyText serves the policy that decides in this process.
func (g *Gateway) policyText(w http.ResponseWriter, r *http.Request) {
	file := g.now().functions.policy
	switch {
	case file == nil:
		adminside.WriteError(w, http.StatusNotFound, errors.New("the policy is with the function, elsewhere: the reasons of decisions name its entries"))
		return
	case file.Value == nil:
		adminside.WriteError(w, http.StatusNotFound, errors.New("there is no policy file: every packet is allowed"))
		return
	}
	doc := file.Last()
	if s := g.shownPolicy.Load(); s == nil || s.doc != doc {
		g.shownPolicy.Store(&shownPolicy{doc, textOf(file.Path(), doc)})
	}
	adminside.WriteJSON(w, http.StatusOK, &g.shownPolicy.Load().text)
}

// textOf reads the text of a document again, if the file still says the same.
func textOf(path string, doc *policyfile.Document) PolicyText {
	p := PolicyText{Policy: doc.Policy.Version().String(), File: filepath.Base(path)}
	for i, s := range doc.Policy.Chain {
		p.Entries = append(p.Entries, PolicyEntry{s.Name(), doc.Line(i, -1), s.Explain()})
	}
	text, err := files.ReadFile(path, maxShownPolicy)
	var again *policyfile.Document
	if doc.Compiled == nil && err == nil {
		again, err = policyhost.Read(path)
	}
	switch {
	case doc.Compiled != nil:
		p.Why = "the file is a compiled policy"
	case errors.Is(err, os.ErrNotExist):
		p.Why = "the file is gone"
	case err != nil:
		p.Why = fmt.Sprintf("the file can't be used any more, or has more than %d bytes", maxShownPolicy)
	case again.Policy.Version() != doc.Policy.Version():
		p.Why = "the file has changed and does not say what decides"
	default:
		p.Text = string(text)
	}
	return p
}

// watching is what follows the gateway from outside.
type watching struct {
	streams     atomic.Int32
	shownPolicy atomic.Pointer[shownPolicy]
}
