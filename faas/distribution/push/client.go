package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	tryTimeout  = 10 * time.Second
	maxTries    = 4
	firstPause  = 500 * time.Millisecond
	maxPause    = 30 * time.Second // also where a platform asks for more
	maxAnswer   = 4 << 10          // bytes of an answer that are looked at
	shownAnswer = 300              // bytes of an answer that an error shows
)

// API is how a platform is asked.
type API struct {
	Endpoint string        // its base URL; empty: the platform's own
	Pause    time.Duration // before the second try; 0: half a second
	Timeout  time.Duration // of a try; 0: 10 s
}

// request is a write or a read: all that its tries have in common.
type request struct {
	method, url string
	body        []byte
	header      map[string]string
	secrets     []string                             // are taken out of what an answer says
	sign        func(*http.Request)                  // nil: the header says all; called for every try, because a signature ages
	busy        func(status int, answer []byte) bool // nil: 429 and 5xx only

	absent func(status int, answer []byte) bool // of a read: there is no such key
	limit  int                                  // of a read: bytes that a good answer may have
}

// client follows no redirect: it would carry the secrets along.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// endpoint returns the base URL without a slash at its end. Secrets are sent there, so that it has
// to be HTTPS wherever the way leads over a network.
func (a API) endpoint(platform string) (string, error) {
	if a.Endpoint == "" {
		return platform, nil
	}
	u, err := url.Parse(a.Endpoint)
	switch {
	case err != nil:
		return "", fmt.Errorf("endpoint: %w", err)
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("endpoint %s: want https://HOST[:PORT][/PATH]", u.Redacted())
	case u.Scheme == "https":
	case u.Scheme != "http" || !loopback(u.Hostname()):
		return "", fmt.Errorf("endpoint %s: want https (http only to this machine's loopback)", a.Endpoint)
	}
	return strings.TrimRight(a.Endpoint, "/"), nil
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// do sends r until it is answered by 2xx, refused for good, or tried maxTries times.
func (a API) do(ctx context.Context, r request) error {
	_, err := a.get(ctx, r)
	return err
}

// pauses is the waits between tries.
func (a API) pauses() backoff.BackOff {
	pause := a.Pause
	if pause == 0 {
		pause = firstPause
	}
	return backoff.WithMaxRetries(backoff.NewExponentialBackOff(backoff.WithInitialInterval(pause),
		backoff.WithMaxInterval(maxPause), backoff.WithMaxElapsedTime(0)), maxTries-1)
}

// get is do for who wants the answer: up to r.limit bytes of it, or [fs.ErrNotExist].
func (a API) get(ctx context.Context, r request) (answer []byte, err error) {
	timeout := a.Timeout
	if timeout == 0 {
		timeout = tryTimeout
	}
	wait := &atLeast{BackOff: a.pauses()}
	tries := 0
	err = backoff.Retry(func() (err error) {
		tries++
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		answer, err = r.try(ctx, wait)
		return err
	}, backoff.WithContext(wait, ctx))
	if err != nil && tries > 1 {
		err = fmt.Errorf("%w (after %d tries)", err, tries)
	}
	return answer, err
}

func (r *request) try(ctx context.Context, wait *atLeast) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if r.sign != nil {
		r.sign(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	status := resp.StatusCode
	if status >= 200 && status < 300 {
		return r.readAnswer(resp.Body)
	}
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // only explains the status
	if r.absent != nil && r.absent(status, answer) {
		return nil, backoff.Permanent(fs.ErrNotExist)
	}
	err = errors.New(resp.Status)
	if text := r.redact(answer); text != "" {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	if status == http.StatusTooManyRequests || status >= 500 || r.busy != nil && r.busy(status, answer) {
		if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
			wait.least = min(time.Duration(s)*time.Second, maxPause)
		}
		return nil, err
	}
	return nil, backoff.Permanent(err)
}

// readAnswer reads what was asked for; of a write's answer, the status says all.
func (r *request) readAnswer(body io.Reader) ([]byte, error) {
	if r.limit == 0 {
		return nil, nil
	}
	answer, err := io.ReadAll(io.LimitReader(body, int64(r.limit)+1))
	if err == nil && len(answer) > r.limit {
		err = backoff.Permanent(fmt.Errorf("answer of more than %d bytes", r.limit))
	}
	return answer, err
}

// redact returns the beginning of an answer, on one line. Some platforms quote what they were sent.
func (r *request) redact(answer []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(answer), "?")), " ")
	for _, s := range r.secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[secret]")
		}
	}
	return text[:min(len(text), shownAnswer)]
}

// atLeast is a backoff whose next pause is as long as the platform asked for.
type atLeast struct {
	backoff.BackOff
	least time.Duration
}

func (a *atLeast) NextBackOff() time.Duration {
	next := a.BackOff.NextBackOff()
	if next != backoff.Stop {
		next = max(next, a.least)
	}
	a.least = 0
	return next
}
