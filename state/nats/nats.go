// Package nats keeps states in a key-value bucket of NATS JetStream: versions are its revisions.
package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"switchbridge/state"
	"switchbridge/state/access"
)

// DefaultBucket is what a URL without a path names.
const DefaultBucket = "switchbridge"

// Store is a [state.Store].
type Store struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	name   string
	bucket string
	config jetstream.StreamConfig // of a bucket that is not there yet

	mu     sync.Mutex
	stream jetstream.Stream // nil until the bucket was found
}

// Open makes a client for nats://[user@]host[:port][/bucket], or nats+tls://. The server may be away: it is connected to when it is there. A
// bucket that is not there yet is made, in one place and in files.
func Open(_ context.Context, o access.Options) (state.Store, error) {
	u := *o.URL
	bucket := strings.Trim(u.Path, "/")
	if bucket == "" {
		bucket = DefaultBucket
	}
	if strings.Trim(bucket, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return nil, fmt.Errorf("bucket %q: want letters, digits, - and _", bucket)
	}
	user := u.User.Username()
	u.Path, u.User = "", nil
	s := &Store{name: o.URL.Redacted(), bucket: bucket}
	options := []nats.Option{nats.Name("switchbridge"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond), nats.ReconnectBufSize(-1), nats.Timeout(time.Second),
		nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2)}
	secret, err := o.Password()
	if err != nil {
		return nil, err
	}
	secure := u.Scheme == "nats+tls"
	if u.Scheme = "nats"; secure {
		u.Scheme = "tls"
	}
	switch {
	case strings.Contains(secret, "BEGIN NATS USER JWT"):
		options = append(options, nats.UserCredentials(o.PasswordFile))
	case user != "":
		options = append(options, nats.UserInfo(user, secret))
	case secret != "":
		options = append(options, nats.Token(secret))
	}
	if secret != "" && !secure && !access.Loopback(u.Hostname()) {
		return nil, fmt.Errorf("%s: the secret would be sent unencrypted; use nats+tls://", s.name)
	}
	if secure {
		config, err := o.TLS(u.Hostname())
		if err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(config))
	}
	entries, size := o.Limited()
	s.config = jetstream.StreamConfig{
		Name: "KV_" + bucket, Subjects: []string{s.subject(">")}, Description: "states of switchbridge's machines",
		MaxMsgsPerSubject: 1, MaxMsgs: int64(entries), MaxBytes: size, Discard: jetstream.DiscardNew, MaxMsgSize: state.MaxData + 1024,
		Storage: jetstream.FileStorage, Replicas: 1, AllowRollup: true, DenyDelete: true,
		AllowMsgTTL: true, SubjectDeleteMarkerTTL: markerLife,
		AllowDirect: true, // of the one replica
	}
	if s.conn, err = nats.Connect(u.String(), options...); err != nil {
		return nil, err
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		s.conn.Close()
		return nil, err
	}
	return s, nil
}

// open returns the bucket's stream.
func (s *Store) open(ctx context.Context) (jetstream.Stream, error) {
	s.mu.Lock()
	stream := s.stream
	s.mu.Unlock()
	if stream != nil {
		return stream, nil
	}
	stream, err := s.js.Stream(ctx, s.config.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = s.js.CreateStream(ctx, s.config)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody was faster
			stream, err = s.js.Stream(ctx, s.config.Name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", s.bucket, err)
	}
	switch c := stream.CachedInfo().Config; {
	case !c.AllowMsgTTL || c.SubjectDeleteMarkerTTL < s.config.SubjectDeleteMarkerTTL:
		return nil, fmt.Errorf("bucket %s keeps no mark for %v of a key that was removed: make it with --marker-ttl=%v, or let this program make it", s.bucket, markerLife, markerLife)
	case c.AllowDirect && c.Replicas > 1: // any of them would answer
		return nil, fmt.Errorf("bucket %s may be read from a replica that is behind (allow_direct): switch it off", s.bucket)
	case c.Discard != jetstream.DiscardNew && (c.MaxMsgs > 0 || c.MaxBytes > 0):
		return nil, fmt.Errorf("bucket %s drops old states when it is full: want discard: new", s.bucket)
	case c.MaxAge > 0:
		return nil, fmt.Errorf("bucket %s drops every state after %v: want no age", s.bucket, c.MaxAge)
	}
	s.mu.Lock()
	s.stream = stream
	s.mu.Unlock()
	return stream, nil
}

// subject is where a key is. A dot would divide it, and the tools of NATS take no colon.
func (s *Store) subject(key string) string { return "$KV." + s.bucket + "." + escape.Replace(key) }

var escape = strings.NewReplacer("=", "=3D", ".", "=2E", ":", "=3A")

// Get implements [state.Store]. It takes one round trip: where a bucket has one replica all keys are one question, else the leader is
// asked for each beside the others.
func (s *Store) Get(ctx context.Context, keys []string, values []state.Value) error {
	stream, err := s.open(ctx)
	if err != nil {
		return err
	}
	if len(keys) == 1 {
		values[0], err = s.get(ctx, stream, keys[0])
		return err
	}
	if stream.CachedInfo().Config.AllowDirect {
		return s.getAll(ctx, keys, values)
	}
	errs := make([]error, len(keys))
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() { values[i], errs[i] = s.get(ctx, stream, keys[i]) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// markerLife is how long a key that has expired or was deleted leaves a mark with a higher revision: as long as [state.Value.Last] wants it.
const markerLife = 2 * time.Minute

// get reads a key.
func (s *Store) get(ctx context.Context, stream jetstream.Stream, key string) (v state.Value, err error) {
	msg, err := stream.GetLastMsgForSubject(ctx, s.subject(key))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return v, nil
	case err != nil:
		return v, err
	}
	return valueOf(msg.Header, msg.Sequence, msg.Data), nil
}

// getAll reads keys by one question, whose answers come one after the other (NATS ADR-31, multi_last).
func (s *Store) getAll(ctx context.Context, keys []string, values []state.Value) error {
	var asked struct {
		Last []string `json:"multi_last"`
	}
	places := make(map[string][]int, len(keys))
	for i, key := range keys {
		values[i] = state.Value{}
		subject := s.subject(key)
		if places[subject] == nil {
			asked.Last = append(asked.Last, subject)
		}
		places[subject] = append(places[subject], i)
	}
	question, err := json.Marshal(asked)
	if err != nil {
		return err
	}
	answers := make(chan *nats.Msg, len(asked.Last)+1) // the client's own has room for 65,536
	inbox, err := s.conn.ChanSubscribe(s.conn.NewInbox(), answers)
	if err != nil {
		return err
	}
	defer func() { _ = inbox.Unsubscribe() }()
	if err := s.conn.PublishRequest("$JS.API.DIRECT.GET."+s.config.Name, inbox.Subject, question); err != nil {
		return err
	}
	for {
		var msg *nats.Msg
		select {
		case msg = <-answers:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end; none of the keys is there
			return nil
		default:
			return fmt.Errorf("bucket %s: status %s %s", s.bucket, status, msg.Header.Get("Description"))
		}
		sequence, err := strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return fmt.Errorf("%w: a message without a sequence", state.ErrCorrupt)
		}
		for _, i := range places[msg.Header.Get("Nats-Subject")] {
			values[i] = valueOf(msg.Header, sequence, slices.Clone(msg.Data))
		}
	}
}

// valueOf reads a message; of a mark of deletion it is no value.
func valueOf(h nats.Header, sequence uint64, data []byte) state.Value {
	if h.Get(operation) != "" || h.Get(jetstream.MarkerReasonHeader) != "" {
		return state.Value{Last: sequence}
	}
	if data == nil {
		data = []byte{}
	}
	return state.Value{Version: sequence, Data: data}
}

// operation is the header of a message that is no value.
const operation = "KV-Operation"

// CompareAndSwap implements [state.Store].
func (s *Store) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	msg := &nats.Msg{Subject: s.subject(key), Data: data}
	var options []jetstream.PublishOpt
	if ttl > 0 {
		options = append(options, jetstream.WithMsgTTL(max(ttl+time.Second-1, time.Second).Truncate(time.Second)))
	}
	version, err := s.publish(ctx, msg, old, options...)
	if err != state.ErrConflict || old != 0 {
		return version, err
	}
	// There may be a mark of a deletion.
	stream, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	v, err := s.get(ctx, stream, key)
	switch {
	case err != nil:
		return 0, err
	case v.Version != 0 || v.Last == 0:
		return 0, state.ErrConflict
	}
	return s.publish(ctx, msg, v.Last, options...)
}

// Delete implements [state.Store].
func (s *Store) Delete(ctx context.Context, key string, old uint64) error {
	if old == 0 {
		return state.ErrConflict
	}
	msg := &nats.Msg{Subject: s.subject(key), Header: nats.Header{operation: {"PURGE"}, jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}
	_, err := s.publish(ctx, msg, old, jetstream.WithMsgTTL(s.config.SubjectDeleteMarkerTTL))
	return err
}

// publish stores a message if the subject's last revision is old.
func (s *Store) publish(ctx context.Context, msg *nats.Msg, old uint64, options ...jetstream.PublishOpt) (uint64, error) {
	if _, err := s.open(ctx); err != nil {
		return 0, err
	}
	ack, err := s.js.PublishMsg(ctx, msg, append(options, jetstream.WithExpectLastSequencePerSubject(old), jetstream.WithRetryAttempts(0))...)
	if err == nil {
		return ack.Sequence, nil
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return 0, state.ErrConflict
		case storeFailed: // a limit, in the server's words
			if strings.Contains(api.Description, "maximum") {
				return 0, fmt.Errorf("%w: %s", state.ErrFull, api.Description)
			}
		}
	}
	return 0, err
}

// storeFailed is the server's JSStreamStoreFailedF.
const storeFailed = 10077

// Promise implements [state.Store].
func (*Store) Promise() state.Promise {
	return state.Promise{Shared: true, Linearizable: true, Durable: true}
}

func (s *Store) String() string { return s.name }

// Close implements [state.Store].
func (s *Store) Close() error {
	s.conn.Close()
	return nil
}
