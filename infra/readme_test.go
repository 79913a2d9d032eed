package infra_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The README.md of this folder is for whoever runs kmint in an account of AWS, which no
// test has. So its commands are not run, but each is held against the program that it
// is for.

var (
	block      = regexp.MustCompile("(?ms)^ *```([a-z]*)\n(.*?)^ *```$")
	linked     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^(#+) (.+)$`)
	runbookEnd = regexp.MustCompile(`\$\{Runbook\}#([a-z0-9-]+)`)
)

// slug is the anchor that GitHub makes of a heading.
func slug(heading string) string {
	kept := strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' || r == '_' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(heading))
	return strings.ReplaceAll(kept, " ", "-")
}

func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(block.ReplaceAllString(text, ""), -1) {
		found[slug(h[2])] = true
	}
	return found
}

// TestReadmeLinks follows every link to another place of the repository.
func TestReadmeLinks(t *testing.T) {
	if found := deadLinks(t, readFile(t, "README.md")); len(found) > 0 {
		t.Errorf("infra/README.md leads to %q", found)
	}
	if found := deadLinks(t, "# A b\n[x](#a-b) [y](#c) [z](../README.md#deploy) [u](../README.md#none) [v](nowhere.md) [w](https://example.com/)\n"); !slices.Equal(found, []string{"#c", "../README.md#none", "nowhere.md"}) {
		t.Errorf("%q", found)
	}
}

func deadLinks(t *testing.T, text string) (dead []string) {
	t.Helper()
	for _, l := range linked.FindAllStringSubmatch(block.ReplaceAllString(text, ""), -1) {
		path, anchor, _ := strings.Cut(l[1], "#")
		if strings.Contains(path, "://") {
			continue
		}
		there := text
		if path != "" {
			content, err := os.ReadFile(path)
			if err != nil {
				dead = append(dead, l[1])
				continue
			}
			there = string(content)
		}
		if anchor != "" && !anchors(there)[anchor] {
			dead = append(dead, l[1])
		}
	}
	return dead
}

// TestRunbookIsOfTheAlarms holds the sections about alarms to the descriptions of alarms,
// both ways.
func TestRunbookIsOfTheAlarms(t *testing.T) {
	named := map[string]bool{}
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(files, "../template.yaml") {
		text := readFile(t, path)
		for _, end := range runbookEnd.FindAllStringSubmatch(text, -1) {
			named[end[1]] = true
		}
		if alarms, ends := strings.Count(text, "Type: AWS::CloudWatch::Alarm\n"), len(runbookEnd.FindAllString(text, -1)); alarms != ends {
			t.Errorf("%s has %d alarms, of which %d say where to read on", path, alarms, ends)
		}
	}
	sections, empty := runbook(readFile(t, "README.md"))
	if got, want := slices.Sorted(slices.Values(sections)), slices.Sorted(maps.Keys(named)); !slices.Equal(got, want) {
		t.Errorf("infra/README.md has sections about\n%q, alarms are\n%q", got, want)
	}
	if len(empty) > 0 {
		t.Errorf("nothing is said of %q", empty)
	}
	sections, empty = runbook("## When an alarm is raised\n\nx\n\n### A b\n\nWhat it is, what to look at, and what to do about it.\n\n### C\n\n## Else\n\n### D\n\ny\n")
	if !slices.Equal(sections, []string{"a-b", "c"}) || !slices.Equal(empty, []string{"c"}) {
		t.Errorf("%q %q", sections, empty)
	}
}

// runbook lists the sections about alarms, and those of them that say nothing.
func runbook(text string) (sections, empty []string) {
	_, text, _ = strings.Cut("\n"+text, "\n## When an alarm is raised\n")
	text, _, _ = strings.Cut("\n"+text, "\n## ")
	for _, part := range strings.Split(text, "\n### ")[1:] {
		title, says, _ := strings.Cut(part, "\n")
		sections = append(sections, slug(title))
		if len(strings.TrimSpace(says)) < 40 {
			empty = append(empty, slug(title))
		}
	}
	return sections, empty
}

// TestReadmeCommands looks at each command of the blocks for a shell.
func TestReadmeCommands(t *testing.T) {
	k := newKnower(t)
	text := readFile(t, "README.md")
	for _, wrong := range k.wrong(text) {
		t.Errorf("infra/README.md: %s", wrong)
	}
	if k.seen < 30 {
		t.Errorf("%d commands were looked at", k.seen)
	}
	for command, want := range map[string]string{
		"make nothing": "there is no target nothing",
		"go run ./infra/kmint restore --stack k --all":   "flag provided but not defined: -all",
		"go run ./infra/kmint resurrect":                 "usage: kmint import",
		"go run ./infra/nothing":                         "there is no program",
		"aws lambda update-aliases --name live":          "no operation update-aliases",
		"aws lambda update-alias --name live --alias x":  "no option --alias",
		"aws dynamodb wait table-gone --table-name x":    "no waiter table-gone",
		"aws kms schedule-key-deletion":                  "it lacks --key-id",
		"aws kms list-keys --query 'Keys[?'":             "its query cannot be read",
		"infra/tools/nothing.sh kmint":                   "no such file",
		"sam delete --stack kmint":                       "sam delete has no --stack",
		"rm -rf /":                                       "is a program that this test does not know",
		"aws dynamodb delete-table --table-name 'oh, no": "no shell can read it",
	} {
		if found := k.wrong("```console\n" + command + "\n```\n"); len(found) != 1 || !strings.Contains(found[0], want) {
			t.Errorf("%s: %q, want %q", command, found, want)
		}
	}
}

// A knower knows the programs that commands are for.
type knower struct {
	t     *testing.T
	kmint string
	sam   string
	// python has the SAM CLI's botocore.
	python string
	seen   int
}

func newKnower(t *testing.T) *knower {
	t.Helper()
	k := &knower{t: t, kmint: filepath.Join(t.TempDir(), "kmint"), python: "../.tmp/venv-sam/bin/python", sam: "../.tmp/venv-sam/bin/sam"}
	if _, err := os.Stat(k.python); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("needs the SAM CLI: make sam-check installs it")
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", k.kmint, "./kmint").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return k
}

// wrong lists what is wrong with the commands of a text.
func (k *knower) wrong(text string) (found []string) {
	var cli []string
	for _, b := range block.FindAllStringSubmatch(text, -1) {
		if b[1] != "console" && b[1] != "sh" {
			continue
		}
		for line := range strings.Lines(b[2]) {
			command := strings.TrimSpace(line)
			if command == "" {
				continue
			}
			k.seen++
			if err := exec.CommandContext(k.t.Context(), "sh", "-n", "-c", command).Run(); err != nil {
				found = append(found, command+": no shell can read it")
				continue
			}
			if strings.HasPrefix(command, "aws ") {
				cli = append(cli, command)
				continue
			}
			if why := k.look(k.words(command)); why != "" {
				found = append(found, command+": "+why)
			}
		}
	}
	if len(cli) > 0 {
		command := exec.CommandContext(k.t.Context(), k.python, "tools/commands.py")
		command.Stdin = strings.NewReader(strings.Join(cli, "\n") + "\n")
		if out, err := command.CombinedOutput(); err != nil {
			found = append(found, strings.Split(strings.TrimSpace(string(out)), "\n")...)
		}
	}
	return found
}

// words splits a command as a shell does, which is told to run nothing.
func (k *knower) words(command string) []string {
	if strings.ContainsAny(command, "$`;&|<>()") {
		return strings.Fields(command)
	}
	out, err := exec.CommandContext(k.t.Context(), "sh", "-c", `printf '%s\n' `+command).Output()
	if err != nil {
		k.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func (k *knower) look(words []string) string {
	run := func(name string, args ...string) (string, error) {
		out, err := exec.CommandContext(k.t.Context(), name, args...).CombinedOutput()
		return string(out), err
	}
	switch {
	case words[0] == "make":
		if out, err := run("make", "-C", "..", "-n", words[1], "SEED="); err != nil && !strings.Contains(out, "deployable") {
			return "there is no target " + words[1]
		}
	case len(words) > 2 && words[0] == "go" && words[1] == "run" && words[2] == "./infra/kmint":
		// The last flag asks for help, which is given once all before it are understood.
		if out, err := run(k.kmint, append(slices.Clone(words[3:]), "-h")...); err != nil {
			return strings.TrimSpace(out)
		}
	case len(words) > 2 && words[0] == "go" && words[1] == "run":
		if _, err := os.Stat(filepath.Join("..", words[2], "main.go")); err != nil {
			return "there is no program"
		}
	case words[0] == "sam":
		out, err := run(k.sam, words[1], "--help")
		if err != nil {
			return out
		}
		for _, word := range words[2:] {
			if strings.HasPrefix(word, "--") && !slices.Contains(strings.Fields(strings.ReplaceAll(out, ",", " ")), word) {
				return fmt.Sprintf("sam %s has no %s", words[1], word)
			}
		}
	case strings.HasPrefix(words[0], "infra/tools/"):
		info, err := os.Stat(filepath.Join("..", words[0]))
		if err != nil {
			return err.Error()
		}
		if info.Mode()&0o100 == 0 {
			return "it is no program"
		}
	case slices.Equal(words[:min(2, len(words))], []string{"git", "checkout"}), words[0] == "sha256sum":
	default:
		return words[0] + " is a program that this test does not know"
	}
	return ""
}

// What is pruned are the versions that no alias names, but for the newest three, and
// never what a canary sends requests to.
func TestPruneVersions(t *testing.T) {
	dir := t.TempDir()
	// An aws that has two functions: one with a canary from 3 to 12, one without alias.
	fake := `#!/bin/sh
echo "$*" >> ` + dir + `/asked
case "$2 $4" in
"list-stack-resources kmint") printf 'kmint-Token\tkmint-Rotate\n' ;;
"list-aliases kmint-Token") printf '12\n3\n' ;;
"list-aliases kmint-Rotate") ;;
"list-versions-by-function kmint-Token") printf '$LATEST\t12\t11\t10\t9\t3\t2\n' ;;
"list-versions-by-function kmint-Rotate") printf '$LATEST\n' ;;
"delete-function kmint-Token") ;;
*) echo "asked $*" >&2; exit 1 ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "aws"), []byte(fake), 0o700); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "tools/prune-versions.sh", "kmint")
	command.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := command.CombinedOutput()
	if err != nil || string(out) != "deleted kmint-Token 2\ndeleted kmint-Token 9\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "tools/prune-versions.sh").CombinedOutput(); err == nil {
		t.Errorf("without a stack: %s", out)
	}
	// And AWS has what it asks for.
	k := newKnower(t)
	asked := "```sh\n" + strings.ReplaceAll(readFile(t, filepath.Join(dir, "asked")), "`", "")
	var lines []string
	for line := range strings.Lines(asked) {
		words := strings.Fields(line)
		if len(words) > 3 {
			// Queries are no shell's words any more.
			query := strings.Index(line, " --query")
			if query > 0 {
				line = line[:query]
			}
			lines = append(lines, "aws "+strings.TrimSpace(line))
		}
	}
	if found := k.wrong("```sh\n" + strings.Join(lines, "\n") + "\n```\n"); len(found) > 0 || len(lines) < 6 {
		t.Errorf("%q of %d", found, len(lines))
	}
}
