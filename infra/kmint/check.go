package main

import (
	"fmt"
	"io"
	"slices"

	"kmint/infra/files"
	"kmint/pkg/oauth"
)

// parseCheck returns the file that `kmint check` looks at.
func parseCheck(args []string, errs io.Writer) (path string, err error) {
	flags := newFlags("kmint check", errs)
	flags.StringVar(&path, "seed", "", "configuration `file`")
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	switch {
	case flags.NArg() > 0:
		return "", complain(errs, fmt.Sprintf("%q is no flag", flags.Arg(0)))
	case path == "":
		return "", complain(errs, "name the --seed")
	}
	return path, nil
}

// check does what an import into a stack does before it asks anything of AWS, so
// that a deploy need not have happened before a mistake is found.
func check(path string, out io.Writer) error {
	s, err := files.Seed(path)
	if err != nil {
		return err
	}
	if err := published(path, s); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "%s passes every check that needs no AWS\n", path)
	for _, w := range wants(s) {
		if w.keyID == "" {
			_, _ = fmt.Fprintf(out, "%s needs a stack with the parameter %s\n", w.member, w.parameter())
		}
	}
	for n, client := range s.Clients {
		if slices.Contains(client.GrantTypes, oauth.Implicit) {
			_, _ = fmt.Fprintf(out, "clients[%d].grant_types needs a stack with the parameter AuthorizeSigns=yes\n", n)
		}
	}
	return nil
}
