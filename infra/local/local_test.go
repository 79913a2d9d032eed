package main

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"kmint/pkg/config"
	"kmint/pkg/oauth"
)

func TestDemoIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := readDemo(dir, "http://localhost:3000/demo/callback")
	if err != nil {
		t.Fatal(err)
	}
	second, err := readDemo(dir, "http://localhost:3000/demo/callback")
	if err != nil || !reflect.DeepEqual(second, first) {
		t.Errorf("read again: %+v, %v", second, err)
	}
	if password := first.Users[0].Password.Reveal(); !regexp.MustCompile(`^([a-z2-7]{4}-){3}[a-z2-7]{4}$`).MatchString(password) {
		t.Errorf("password %q", password)
	}
	// Another issuer, the same secrets.
	moved, err := readDemo(dir, "https://login.example.com/demo/callback")
	if err != nil || moved.Clients[1].RedirectURIs[0] != "https://login.example.com/demo/callback" || moved.Clients[1].Secret != first.Clients[1].Secret {
		t.Errorf("moved: %+v, %v", moved, err)
	}
	other, err := readDemo(t.TempDir(), "http://localhost:3000/demo/callback")
	if err != nil || other.Clients[0].Secret == first.Clients[0].Secret || other.Users[0].Password == first.Users[0].Password {
		t.Errorf("another folder has the same secrets, %v", err)
	}
	path := filepath.Join(dir, "demo.json")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../examples/seed.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range []string{
		``, `{}`, `{"users": 1}`, `{"version": 2, "other": 3}`, string(whole[:len(whole)/2]), string(example),
		strings.Replace(string(whole), demoParty, "the-party-of-another-version", 1),
	} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readDemo(dir, "http://localhost:3000/demo/callback")
		if want := path + " is not a demo that this version of kmint wrote; delete it, and a new one is made: "; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", broken, err)
		}
	}
}

// Whoever is interrupted while the demo is written has the old one: a new file
// takes its place, and only when something has changed.
func TestDemoIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	path, before := filepath.Join(dir, "demo.json"), filepath.Join(dir, "before")
	read := func(redirectURI string) []byte {
		t.Helper()
		if _, err := readDemo(dir, redirectURI); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := read("http://localhost:3000/demo/callback")
	if err := os.Link(path, before); err != nil {
		t.Fatal(err)
	}
	same := func() bool {
		t.Helper()
		now, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		then, err := os.Stat(before)
		if err != nil {
			t.Fatal(err)
		}
		return os.SameFile(now, then)
	}
	if read("http://localhost:3000/demo/callback"); !same() {
		t.Error("it was written again, unchanged")
	}
	second := read("http://localhost:3001/demo/callback")
	if old, err := os.ReadFile(before); err != nil || !bytes.Equal(old, first) || bytes.Equal(second, first) || same() {
		t.Errorf("the old file was written over: %v\n%s", err, old)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// README.md lists every variable.
func TestVariablesAreDocumented(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(readme), "The variables of `make run`:")
	list, _, _ = strings.Cut(list, "\n\n")
	for field := range reflect.TypeFor[config.Local]().Fields() {
		if name := field.Tag.Get("env"); name == "" || !strings.Contains(list, "`"+name+"`") {
			t.Errorf("%s (%q) is not in the list of README.md:\n%s", field.Name, name, list)
		}
	}
}

func TestComplain(t *testing.T) {
	for text, want := range map[string]string{
		"port 3000 is in use":                   "kmint: port 3000 is in use\n",
		"PORT a\nLOG b":                         "kmint: PORT a\nkmint: LOG b\n",
		"x is refused for 2 reasons:\n  a\n  b": "kmint: x is refused for 2 reasons:\n  a\n  b\n",
	} {
		var out bytes.Buffer
		if complain(&out, errors.New(text)); out.String() != want {
			t.Errorf("%q", &out)
		}
	}
}

func TestColours(t *testing.T) {
	const token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
	for _, coloured := range []bool{false, true} {
		var out bytes.Buffer
		p := printer{&out, coloured}
		p.heading("A heading")
		p.token(token)
		if got := strings.Contains(out.String(), "\x1b["); got != coloured {
			t.Errorf("colours: %v\n%q", got, &out)
		}
		plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(out.String(), "")
		if !strings.Contains(plain, token) || !strings.Contains(plain, `"sub": "x"`) {
			t.Errorf("%q", plain)
		}
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if newPrinter(file).Color {
		t.Error("a file is no terminal")
	}
	// Every machine has one character device; it stands for a terminal here.
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	if !newPrinter(device).Color {
		t.Error("a terminal without colours")
	}
	t.Setenv("TERM", "dumb")
	if newPrinter(device).Color {
		t.Error("colours on TERM=dumb")
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	if newPrinter(device).Color {
		t.Error("colours in spite of NO_COLOR")
	}
}

// What comes from outside is text on the page.
func TestPartyEscapes(t *testing.T) {
	p := &party{Issuer: "http://localhost:3000/", Now: time.Now}
	v := p.view(visit{
		Problem: "<script>alert(1)</script>",
		Tokens:  oauth.TokenResponse{AccessToken: "eyJhbGciOiJSUzI1NiJ9.eyJuYW1lIjoiPHNjcmlwdD4ifQ.c2ln", IDToken: "opaque", ExpiresIn: 60},
	})
	if v.Name != "<script>" || len(v.Tokens) != 1 {
		t.Errorf("view = %+v", v)
	}
	var out bytes.Buffer
	if err := partyPage.Execute(&out, v); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "<script>") {
		t.Errorf("the page:\n%s", &out)
	}
}

func TestPartyForgetsTheOldest(t *testing.T) {
	p := &party{Issuer: "http://localhost:3000/", Now: time.Now}
	for range maxVisits + 10 {
		p.save(httptest.NewRecorder(), oauth.NewID(), visit{})
	}
	if len(p.visits) != maxVisits || len(p.order) != maxVisits {
		t.Errorf("%d visits, %d in order", len(p.visits), len(p.order))
	}
}
