package server_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The house, from the ground up. A package may import those that stand here
// beside it; arrows go down only, and siblings never import siblings.
//
//	floor 6   functions/<name>        infra/local, infra/kmint    + config; dynamo + kms | bolt + localkey
//	               |                       |
//	floor 5     server <-------------------'                      + config; one func per function, no adapter
//	               |
//	floor 4     grant   authorize   logout   checksession   userinfo   discovery   revoke   introspect   preflight    (only these and web write answers)
//	               |
//	floor 3     clientauth  dpop  once  policy  login  session  consent  token    keys  seed    dynamo  bolt
//	               '---------'-----'------.-------'-------'--------'-----'-------'-----'
//	floor 2                             store   fetch   trust     web   gateway    kms   localkey   sqs   codedeploy   verify
//	                                      |                |       |                 |                 |
//	floor 1                             oauth <------------'-------'       jwt <-----'        config   '-> oauth, jwt     words   audit   meter
//
// verify has a door of its own: others' programs and infra/examples use it, and
// nothing in the house does.
var floors = map[string]string{
	"oauth":  "",
	"jwt":    "",
	"config": "",
	"words":  "",
	"audit":  "",
	"meter":  "",

	"store":      "oauth",
	"web":        "oauth words audit meter",
	"gateway":    "",
	"kms":        "oauth jwt meter",
	"sqs":        "",
	"codedeploy": "",
	"localkey":   "oauth jwt",
	"verify":     "oauth jwt",
	"fetch":      "",
	"trust":      "oauth jwt",

	"clientauth": "oauth store jwt trust",
	"dpop":       "oauth store jwt",
	"once":       "oauth audit store",
	"policy":     "oauth store",
	"login":      "oauth audit store",
	"session":    "oauth audit store",
	"consent":    "oauth store words",
	"token":      "oauth store jwt",
	"keys":       "store jwt",
	"seed":       "oauth store jwt",
	"dynamo":     "oauth store meter",
	"bolt":       "oauth store",

	"grant":        "oauth store jwt web audit trust clientauth dpop policy login token once",
	"authorize":    "oauth store jwt web audit words trust policy login session consent token",
	"logout":       "oauth store jwt web audit words policy session token",
	"checksession": "session",
	"userinfo":     "oauth store jwt web dpop policy token once",
	"discovery":    "oauth store jwt web words token",
	"revoke":       "oauth store jwt web audit clientauth token once",
	"preflight":    "oauth store jwt",
	"introspect":   "oauth store jwt web audit clientauth policy token once",

	"server": "oauth store jwt web audit meter words fetch trust clientauth dpop policy login session consent token keys grant authorize logout checksession userinfo discovery revoke introspect preflight",
}

// Packages of tests stand beside what they test.
var testOnly = []string{"store/storetest", "store/storetest/history"}

// Only these see HTTP: those that write answers, and those that pass them on.
var writers = []string{"web", "gateway", "verify", "grant", "authorize", "logout", "checksession", "userinfo", "discovery", "revoke", "introspect", "server"}

func TestArrowsGoDown(t *testing.T) {
	found := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		dir, err := filepath.Rel("..", filepath.Dir(path))
		if err != nil {
			return err
		}
		room := filepath.ToSlash(dir)
		if slices.Contains(testOnly, room) {
			return nil
		}
		allowed, known := floors[room]
		if !known {
			t.Errorf("%s: package %s has no place in the house", path, room)
			return nil
		}
		found[room] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if imported == "net/http" && !slices.Contains(writers, room) && !slices.Contains([]string{"oauth", "kms", "dynamo", "fetch", "config"}, room) {
				t.Errorf("%s sees net/http", path)
			}
			ours, isOurs := strings.CutPrefix(imported, "kmint/pkg/")
			switch {
			case strings.HasPrefix(imported, "kmint/") && !isOurs:
				t.Errorf("%s imports %s, which is above the house", path, imported)
			case isOurs && !slices.Contains(strings.Fields(allowed), ours):
				t.Errorf("%s imports %s: the arrow does not go down", path, ours)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room := range floors {
		if !found[room] {
			t.Errorf("package %s is in the picture and not in the tree", room)
		}
	}
}
