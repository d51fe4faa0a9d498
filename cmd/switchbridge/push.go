package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/faas/distribution/push"
	"switchbridge/faas/platform/lambdahost/sigv4"
	"switchbridge/flow"
	"switchbridge/gateway"
	"switchbridge/policy/blob"
	"switchbridge/policy/prove"
)

func pushCommand() *cobra.Command {
	var how pushing
	c := &cobra.Command{
		Use:   "push",
		Short: "Write a policy where a platform's function reads it",
		Long: `Write a policy where a platform's function reads it. The policy is a YAML file, which
is compiled first, or a compiled one. Without --yes nothing is written: the
command prints what it would write, and which policy is there now. It replaces
a policy with a larger serial, or something that it can't read, only with --force.
Then it reads what it has written and compares. With --notify it tells gateways about
the policy, and they ask their functions for it at once. Tokens and keys of platforms
come only from the environment.`,
		Example: `  switchbridge policy push file policy.blob policy.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.Usagef("policy push: %q: want file, fastly, workers or lambda", args[0])
			}
			return cli.Usagef("policy push wants a target: file, fastly, workers or lambda")
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // Args says what is missing
	}
	c.PersistentFlags().BoolVar(&how.yes, "yes", false, "write; without it, only say what would be written")
	c.PersistentFlags().BoolVar(&how.force, "force", false, "replace even a newer policy, or one that can't be read")
	how.notify.register(c.PersistentFlags())
	c.AddCommand(pushFile(&how), pushFastly(&how), pushWorkers(&how), pushLambda(&how))
	return c
}

// pushing is what an operator allows.
type pushing struct {
	yes, force bool
	notify     notifyFlags // who is told
}

func pushFile(how *pushing) *cobra.Command {
	return &cobra.Command{
		Use:   "file PATH POLICY",
		Short: "Replace a policy file in one step",
		Example: `  switchbridge policy push file policy.blob policy.yaml
  switchbridge policy push file policy.blob policy.yaml --notify 127.0.0.1:9653 --admin-token-file token`,
		Args: cli.Exactly(2, "a file to write and a policy file"),
		RunE: func(c *cobra.Command, args []string) error {
			return pushPolicy(c, args[1], how, push.File{Path: args[0]}.Plan)
		},
	}
}

func pushFastly(how *pushing) *cobra.Command {
	var t push.Fastly
	c := &cobra.Command{
		Use:   "fastly POLICY",
		Short: "Write to a Fastly config store, and a KV store for a large policy",
		Long: `Write to a Fastly config store; a policy that is too large for it goes to a KV store.
Parts of older policies are deleted as soon as no edge can need them. The API
token is read from FASTLY_API_TOKEN.`,
		Example: `  switchbridge policy push fastly policy.yaml --config-store ID --kv-store ID --yes`,
	}
	c.Flags().StringVar(&t.ConfigStore, "config-store", "", "identifier of the config store")
	c.Flags().StringVar(&t.KVStore, "kv-store", "", "identifier of the KV store")
	return withToken(c, how, &t.API, "FASTLY_API_TOKEN", func(token string, compiled []byte) (*push.Plan, error) {
		t.Token = token
		return t.Plan(compiled)
	})
}

func pushWorkers(how *pushing) *cobra.Command {
	var t push.Workers
	c := &cobra.Command{
		Use:     "workers POLICY",
		Short:   "Write to a KV namespace of Cloudflare",
		Long:    "Write to a KV namespace of Cloudflare. The API token is read from CLOUDFLARE_API_TOKEN.",
		Example: `  switchbridge policy push workers policy.yaml --account ID --namespace ID --yes`,
	}
	c.Flags().StringVar(&t.Account, "account", "", "identifier of the account")
	c.Flags().StringVar(&t.Namespace, "namespace", "", "identifier of the KV namespace")
	return withToken(c, how, &t.API, "CLOUDFLARE_API_TOKEN", func(token string, compiled []byte) (*push.Plan, error) {
		t.Token = token
		return t.Plan(compiled)
	})
}

// withToken makes c push to a platform that is asked with a token, from the environment.
func withToken(c *cobra.Command, how *pushing, a *push.API, variable string, plan func(token string, compiled []byte) (*push.Plan, error)) *cobra.Command {
	c.Args = cli.Exactly(1, "a policy file")
	c.RunE = func(c *cobra.Command, args []string) error {
		return pushPolicy(c, args[0], how, func(compiled []byte) (*push.Plan, error) { return plan(secret(variable), compiled) })
	}
	endpointFlag(c, a)
	return c
}

func pushLambda(how *pushing) *cobra.Command {
	var t push.Lambda
	c := &cobra.Command{
		Use:   "lambda ssm:/NAME|s3://BUCKET/KEY POLICY",
		Short: "Write a parameter of AWS Systems Manager or an object of S3",
		Long: `Write a parameter of AWS Systems Manager or an object of S3, named as in the
function's SWITCHBRIDGE_POLICY. Credentials are read from AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.`,
		Example: `  switchbridge policy push lambda ssm:/switchbridge/policy policy.yaml --yes
  switchbridge policy push lambda s3://bucket/policy.blob policy.yaml --yes`,
		Args: cli.Exactly(2, "ssm:/NAME or s3://BUCKET/KEY, and a policy file"),
		RunE: func(c *cobra.Command, args []string) error {
			t.Source = args[0]
			t.Credentials = sigv4.Credentials{
				ID: secret("AWS_ACCESS_KEY_ID"), Secret: secret("AWS_SECRET_ACCESS_KEY"), Token: secret("AWS_SESSION_TOKEN"),
				Region: secret("AWS_REGION"),
			}
			return pushPolicy(c, args[1], how, t.Plan)
		},
	}
	endpointFlag(c, &t.API)
	return c
}

func endpointFlag(c *cobra.Command, a *push.API) {
	c.Flags().StringVar(&a.Endpoint, "endpoint", "", "base URL of a compatible service (default the platform's own)")
}

// secret reads the environment. The end of a line that a file brought along is no part of a secret.
func secret(name string) string { return strings.TrimSpace(os.Getenv(name)) }

// pushPolicy says what a policy's plan is and, if told to, carries it out.
func pushPolicy(c *cobra.Command, path string, how *pushing, plan func([]byte) (*push.Plan, error)) error {
	compiled, version, err := compiledPolicy(c, path)
	if err != nil {
		return err
	}
	p, err := plan(compiled)
	if err != nil {
		return err
	}
	gateways, err := how.notify.clients()
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	fmt.Fprintf(out, "%s: version %v, %d bytes compiled, sha256 %x\n", path, version, len(compiled), sha256.Sum256(compiled))
	fmt.Fprintln(out, "to", p.Target)
	if !how.yes {
		fmt.Fprintln(out, "there now:", thereNow(c, p))
		for _, w := range p.Writes {
			fmt.Fprintf(out, "would write %s: %s, %d bytes\n", w.Store, w.Key, w.Size)
		}
		stale, err := p.Outdated(c.Context())
		for _, d := range stale {
			fmt.Fprintf(out, "would delete %s: %s, of an older policy\n", d.Store, d.Key)
		}
		warn(c, err)
		fmt.Fprintln(out, "nothing was written: say --yes to write")
		return nil
	}
	bar, written := cli.NewProgress(c.ErrOrStderr(), "writes"), int64(0)
	err = p.Replace(c.Context(), how.force, func(w push.Write) {
		fmt.Fprintf(out, "wrote %s: %s, %d bytes\n", w.Store, w.Key, w.Size)
		written++
		bar.Set(written, int64(len(p.Writes)), p.Target)
	})
	bar.End()
	switch {
	case errors.Is(err, push.ErrSame):
		fmt.Fprintln(out, "nothing was written: the same policy is there already")
		err = nil
	case errors.Is(err, push.ErrNewer), errors.Is(err, push.ErrUnknown):
		return fmt.Errorf("%w (--force writes it anyway)", err)
	case err == nil:
		fmt.Fprintln(out, "read back: version", version)
	}
	if err != nil {
		return err
	}
	warn(c, notify(c.Context(), gateways, noticeOf(p.Replaced(), compiled, version))) // the policy is out all the same
	warn(c, p.Clean(c.Context(), func(d push.Delete) {
		fmt.Fprintf(out, "deleted %s: %s, of an older policy\n", d.Store, d.Key)
	}))
	return nil
}

// noticeOf is what gateways are told of a policy: what it changes, where that can be said in few words.
func noticeOf(before, compiled []byte, version flow.PolicyVersion) gateway.NoticeAction {
	a := gateway.NoticeAction{Policy: version.String()}
	if before == nil {
		return a
	}
	old, err := blob.Unpack(before)
	if err != nil {
		return a
	}
	next, err := blob.Unpack(compiled)
	if err != nil {
		return a
	}
	delta, err := prove.NewDelta(old, next, 0)
	if err != nil {
		return a
	}
	regions, ok := delta.Regions(gateway.MaxRegions)
	if !ok {
		return a
	}
	a.Before, a.Changes = old.Version().String(), []gateway.PolicyRegion{}
	for i := range regions {
		a.Changes = append(a.Changes, gateway.PolicyRegion{Match: regions[i].Match.String(), Denied: regions[i].Touch == flow.Denied})
	}
	return a
}

// warn tells of what doesn't make a push fail.
func warn(c *cobra.Command, err error) {
	if err != nil {
		fmt.Fprintln(c.ErrOrStderr(), "warning:", err)
	}
}

// thereNow says which policy a plan would replace, as far as that can be found out.
func thereNow(c *cobra.Command, p *push.Plan) string {
	version, err := p.Current(c.Context())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no policy"
	case err != nil:
		return "unknown: " + err.Error()
	}
	return "version " + version.String()
}

// compiledPolicy compiles a policy that is good. One that is compiled already stays as it is.
func compiledPolicy(c *cobra.Command, path string) ([]byte, flow.PolicyVersion, error) {
	fail := func(err error) ([]byte, flow.PolicyVersion, error) { return nil, flow.PolicyVersion{}, err }
	doc, err := goodPolicy(c, path)
	if err != nil {
		return fail(err)
	}
	if doc.Compiled != nil {
		return doc.Compiled, doc.Policy.Version(), nil
	}
	b, err := blob.Pack(doc.Policy)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", path, err))
	}
	return b, doc.Policy.Version(), nil
}
