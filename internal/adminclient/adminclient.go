// Package adminclient calls a gateway's operator's side.
package adminclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/certs"
	"switchbridge/internal/files"
)

// Config says where the operator's side is, and what it is shown.
type Config struct {
	URL       string // http://HOST:PORT or https://HOST:PORT; a bare HOST:PORT is http
	TokenFile string // for actions
	CA        string // PEM of the authority that signed its certificate; empty: the system's
	Cert, Key string // client certificate
}

// Client calls one operator's side.
type Client struct {
	base string
	cfg  Config
	http *http.Client
}

// timeout bounds one call; a reload may compile policies.
const timeout = time.Minute

// New reads the files that cfg names.
func New(cfg Config) (*Client, error) {
	c := &Client{base: strings.TrimSuffix(cfg.URL, "/"), cfg: cfg}
	if !strings.Contains(c.base, "://") {
		c.base = "http://" + c.base
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if cfg.CA != "" {
		pool, err := certs.Pool(cfg.CA)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if cfg.Cert != "" || cfg.Key != "" {
		pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	// A redirect would take the token elsewhere.
	c.http = &http.Client{Transport: t, Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if _, err := http.NewRequest(http.MethodGet, c.base, nil); err != nil {
		return nil, fmt.Errorf("%q is no address of a gateway: want HOST:PORT or a URL: %w", cfg.URL, err)
	}
	return c, nil
}

const (
	maxFile = 1 << 20
	maxBody = 64 << 20 // rules of a large switch
)

// Get reads what is at a path into v.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	return c.do(ctx, http.MethodGet, path, nil, v)
}

// Post asks for an action and reads its answer into v; nil: it is not wanted.
func (c *Client) Post(ctx context.Context, path string, body, v any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, path, b, v)
}

// Notice tells the gateway that a policy is out.
func (c *Client) Notice(ctx context.Context, v flow.PolicyVersion) error {
	return c.Post(ctx, noticePath, map[string]string{"policy": v.String()}, nil)
}

// NoticeOf is Notice with what else there is to say of the policy; notice is gateway.NoticeAction.
func (c *Client) NoticeOf(ctx context.Context, notice any) error {
	return c.Post(ctx, noticePath, notice, nil)
}

const noticePath = "/api/v1/policy/notice"

// String is where the client calls.
func (c *Client) String() string { return c.base }

func (c *Client) do(ctx context.Context, method, path string, body []byte, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
		if c.cfg.TokenFile != "" {
			text, err := files.ReadFile(c.cfg.TokenFile, maxFile)
			if err != nil {
				return err
			}
			token, ok := firstToken(string(text))
			if !ok {
				return fmt.Errorf("%s holds no token", c.cfg.TokenFile)
			}
			req.Header.Set("Authorization", "Bearer "+token)
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var call *url.Error
		if errors.As(err, &call) { // whose text repeats the address
			err = call.Err
		}
		return fmt.Errorf("no gateway answers at %s: %w", c.base, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("%s%s: %w", c.base, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		var problem struct{ Error string }
		if json.Unmarshal(answer, &problem) == nil && problem.Error != "" {
			return errors.New(problem.Error)
		}
		return fmt.Errorf("%s%s: %s", c.base, path, resp.Status)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("%s%s: %w", c.base, path, err)
	}
	return nil
}

// firstToken is the first of a token file's, as the gateway reads it.
func firstToken(text string) (string, bool) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line, true
		}
	}
	return "", false
}
