package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/controller"
	"switchbridge/policy/eval"
	"switchbridge/policy/policytest"
)

func testCommand() *cobra.Command {
	format := "text"
	c := &cobra.Command{
		Use:   "test POLICY...",
		Short: "Test policy files: try the packets and verdicts that they expect",
		Long: `Try the expectations of policy files: lines "# expect: PACKET => VERDICT (REASON)".
A file beside the policy, with the same name but .expect instead of .yaml, may have more
of them; there they begin without "# expect:". The reason may be left out.

The exit status is 1 if a packet gets another verdict or reason, or if a policy has no
expectations.`,
		Example: `  switchbridge policy test policy.yaml
  switchbridge policy test --format junit policy.yaml next.yaml > report.xml`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Usagef("policy test wants at least one policy file")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var suites testSuites
			for _, path := range args {
				s, err := testPolicy(c, path)
				if err != nil {
					return err
				}
				suites.Suites = append(suites.Suites, s)
			}
			var err error
			switch format {
			case "text":
				err = suites.text(c.OutOrStdout())
			case "junit":
				err = suites.junit(c.OutOrStdout())
			default:
				return cli.Usagef("--format %q: want text or junit", format)
			}
			failed := 0
			for _, s := range suites.Suites {
				failed += s.Failures
			}
			if err == nil && failed > 0 {
				err = fmt.Errorf("%d expectations are not met", failed)
			}
			return err
		},
	}
	c.Flags().StringVar(&format, "format", format, "text, or junit: JUnit's XML")
	return c
}

// testSuites are results as JUnit's XML has them.
type testSuites struct {
	XMLName xml.Name    `xml:"testsuites"`
	Suites  []testSuite `xml:"testsuite"`
}

type testSuite struct {
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	File    string   `xml:"file,attr"`
	Line    int      `xml:"line,attr"`
	Failure *failure `xml:"failure"`
}

type failure struct {
	Message string `xml:"message,attr"`
}

func testPolicy(c *cobra.Command, path string) (s testSuite, err error) {
	doc, err := readPolicy(c, path)
	if err != nil {
		return s, err
	}
	list, err := expectations(path)
	if err != nil {
		return s, err
	}
	if len(list) == 0 {
		return s, fmt.Errorf("%s: no expectations: want lines such as # expect: tcp 10.0.0.1:40000 > 10.0.0.2:22 => allow", path)
	}
	s.Name = path
	trial := eval.NewTrial(controller.New(doc.Policy))
	for i := range list {
		e := &list[i]
		got, met, err := trial.Try(c.Context(), e)
		if err != nil {
			return s, at(e.File, e.Line, err.Error())
		}
		one := testCase{Class: path, Name: e.Packet, File: e.File, Line: e.Line}
		if !met {
			one.Failure = &failure{fmt.Sprintf("got %s, want %s", got, e.Want)}
			s.Failures++
		}
		s.Cases = append(s.Cases, one)
	}
	s.Tests = len(s.Cases)
	return s, nil
}

// expectations reads those in a policy file and those beside it.
func expectations(path string) (list []policytest.Expectation, err error) {
	base := strings.TrimSuffix(strings.TrimSuffix(path, ".yaml"), ".yml")
	for _, f := range []struct {
		name       string
		inComments bool
	}{{path, true}, {base + ".expect", false}} {
		body, err := os.ReadFile(f.name)
		if errors.Is(err, os.ErrNotExist) && f.name != path {
			continue
		}
		if err != nil {
			return nil, err
		}
		some, err := policytest.ReadExpectations(string(body), f.name, f.inComments)
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}

func (s *testSuites) text(w io.Writer) error {
	for _, suite := range s.Suites {
		for _, c := range suite.Cases {
			if c.Failure != nil {
				fmt.Fprintf(w, "%s:%d: %s: %s\n", c.File, c.Line, c.Name, c.Failure.Message)
			}
		}
		if _, err := fmt.Fprintf(w, "%s: %d of %d expectations are met\n", suite.Name, suite.Tests-suite.Failures, suite.Tests); err != nil {
			return err
		}
	}
	return nil
}

func (s *testSuites) junit(w io.Writer) error {
	b, err := xml.MarshalIndent(s, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, b)
	}
	return err
}
