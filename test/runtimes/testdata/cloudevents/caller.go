// Command caller sends events by the CloudEvents SDK for Go, as a program would that knows nothing of this project. make runtimes builds it in a module of its own.
//
//	caller URL
//
// Each line of standard input is an event as a gateway sends it: {"header": {NAME: VALUE}, "body": BASE64}. Each line of standard output is an answer:
// {"status": N, "header": {NAME: [VALUE]}, "body": BASE64}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

type question struct {
	Header map[string]string `json:"header"`
	Body   []byte            `json:"body"`
}

type answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

func main() {
	p, err := cehttp.New(cehttp.WithTarget(os.Args[1]))
	if err != nil {
		log.Fatal(err)
	}
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var q question
		err := json.Unmarshal(lines.Bytes(), &q)
		var a *answer
		if err == nil {
			a, err = ask(p, &q)
		}
		if err == nil {
			err = out.Encode(a)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}

func ask(p *cehttp.Protocol, q *question) (*answer, error) {
	e, other := event.New(), http.Header{}
	for name, value := range q.Header {
		switch attribute, ours := strings.CutPrefix(strings.ToLower(name), "ce-"); {
		case !ours && name == "Content-Type":
			e.SetDataContentType(value)
		case !ours:
			other.Set(name, value)
		case attribute == "id":
			e.SetID(value)
		case attribute == "type":
			e.SetType(value)
		case attribute == "source":
			e.SetSource(value)
		case attribute == "subject":
			e.SetSubject(value)
		case attribute == "time":
			at, err := time.Parse(time.RFC3339Nano, value)
			if err != nil {
				return nil, err
			}
			e.SetTime(at)
		case attribute != "specversion":
			e.SetExtension(attribute, value)
		}
	}
	if err := e.SetData(e.DataContentType(), q.Body); err != nil {
		return nil, err
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	message, err := p.Request(cehttp.WithCustomHeader(context.Background(), other), binding.ToMessage(&e))
	m, ok := message.(*cehttp.Message)
	if !ok {
		return nil, fmt.Errorf("no answer: %w", err)
	}
	a := &answer{Header: m.Header}
	var result *cehttp.Result
	if protocol.ResultAs(err, &result) {
		a.Status = result.StatusCode
	}
	if m.BodyReader != nil {
		if a.Body, err = io.ReadAll(m.BodyReader); err != nil {
			return nil, err
		}
	}
	return a, m.Finish(nil)
}
