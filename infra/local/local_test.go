package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

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
	for _, broken := range []string{`{}`, `{"users": 1}`, ``} {
		if err := os.WriteFile(filepath.Join(dir, "demo.json"), []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readDemo(dir, "http://localhost:3000/demo/callback"); err == nil || !strings.Contains(err.Error(), "demo.json") {
			t.Errorf("%q: %v", broken, err)
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
