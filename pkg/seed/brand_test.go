package seed_test

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"kmint/pkg/seed"
	"kmint/pkg/store"
)

func TestBrand(t *testing.T) {
	for name, tt := range map[string]struct {
		brand string
		want  store.Brand
		wrong string
	}{
		"a name": {`"name": "Acme"`, store.Brand{Name: "Acme"}, ""},
		"all of it": {
			`"name": "Acme", "logo_uri": "https://cdn.example/a.svg", "logo_dark_uri": "https://cdn.example:8443/b.svg?v=1", "accent_color": "#8a1c5b", "accent_dark_color": "#F5B7D0"`,
			store.Brand{Name: "Acme", Logo: "https://cdn.example/a.svg", LogoDark: "https://cdn.example:8443/b.svg?v=1", Accent: "#8a1c5b", AccentDark: "#F5B7D0"}, "",
		},
		"black on white":           {`"name": "Acme", "accent_color": "#000000", "accent_dark_color": "#ffffff"`, store.Brand{Name: "Acme", Accent: "#000000", AccentDark: "#ffffff"}, ""},
		"just enough":              {`"name": "Acme", "accent_color": "#767676"`, store.Brand{Name: "Acme", Accent: "#767676"}, ""},
		"just too little":          {`"name": "Acme", "accent_color": "#777777"`, store.Brand{}, "server.brand.accent_color: its contrast to #ffffff, on which it is read, is 4.47, and less than 4.5: some people could not read it (WCAG 2.2, 1.4.3)"},
		"white on white":           {`"name": "Acme", "accent_color": "#ffffff"`, store.Brand{}, "server.brand.accent_color: its contrast to #ffffff, on which it is read, is 1.00, and less than 4.5: some people could not read it (WCAG 2.2, 1.4.3)"},
		"dark on dark":             {`"name": "Acme", "accent_dark_color": "#0b57d0"`, store.Brand{}, "server.brand.accent_dark_color: its contrast to #171b21, on which it is read, is 2.70, and less than 4.5: some people could not read it (WCAG 2.2, 1.4.3)"},
		"a colour by its name":     {`"name": "Acme", "accent_color": "navy"`, store.Brand{}, `server.brand.accent_color: "navy" is not a colour as #rrggbb`},
		"a short colour":           {`"name": "Acme", "accent_color": "#000"`, store.Brand{}, `server.brand.accent_color: "#000" is not a colour as #rrggbb`},
		"a stylesheet":             {`"name": "Acme", "accent_color": "#000000}body{display:none"`, store.Brand{}, `server.brand.accent_color: "#000000}body{display:none" is not a colour as #rrggbb`},
		"no name":                  {`"accent_color": "#000000"`, store.Brand{}, "server.brand: it has no name"},
		"a name that fills a page": {`"name": "` + strings.Repeat("x", 101) + `"`, store.Brand{}, "server.brand.name: it is longer than 100 bytes"},
		"a picture by http":        {`"name": "Acme", "logo_uri": "http://cdn.example/a.svg"`, store.Brand{}, "server.brand.logo_uri: it is not an https URL"},
		"a picture in the URL":     {`"name": "Acme", "logo_uri": "data:image/png;base64,x"`, store.Brand{}, "server.brand.logo_uri: it is not an https URL"},
		"a policy for a host":      {`"name": "Acme", "logo_uri": "https://cdn.example;script-src"`, store.Brand{}, "server.brand.logo_uri: its host cannot stand in a Content-Security-Policy"},
		"a host of IPv6":           {`"name": "Acme", "logo_uri": "https://[::1]/a.svg"`, store.Brand{}, "server.brand.logo_uri: its host cannot stand in a Content-Security-Policy"},
		"a picture for the dark":   {`"name": "Acme", "logo_dark_uri": "https://cdn.example/a.svg"`, store.Brand{}, "server.brand.logo_dark_uri: it needs a logo_uri beside it"},
		"another member":           {`"name": "Acme", "font": "Comic Sans"`, store.Brand{}, "server.brand.font: it is not a member that kmint knows"},
		"no object":                {``, store.Brand{}, "server.brand: it is a string, not an object"},
	} {
		t.Run(name, func(t *testing.T) {
			file := `{"server": {"brand": {` + tt.brand + `}}}`
			if tt.brand == "" {
				file = `{"server": {"brand": "Acme"}}`
			}
			s, err := seed.Read(strings.NewReader(file))
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error()+"\n", tt.wrong+"\n") {
					t.Fatalf("%v, want %s", err, tt.wrong)
				}
				return
			}
			if err != nil || s.Settings.Brand != tt.want {
				t.Fatalf("%+v, %v", s.Settings, err)
			}
			text, err := s.RevealJSON()
			if err != nil {
				t.Fatal(err)
			}
			if again, err := seed.Read(bytes.NewReader(text)); err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("read again: %+v, %v", again, err)
			}
		})
	}
}

// What colours are held against is what pages look like.
func TestCards(t *testing.T) {
	css, err := os.ReadFile("../web/page.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, _ := strings.Cut(string(css), "prefers-color-scheme:dark")
	dark, _, _ = strings.Cut(dark, "}}")
	if !strings.Contains(light, "--card:"+seed.LightCard+";") || !strings.Contains(dark, "--card:"+seed.DarkCard+";") {
		t.Error("the card of page.css has other colours")
	}
	if !strings.Contains(string(css), "background:var(--accent);color:var(--card)") {
		t.Error("something else than the card's colour stands on the accent")
	}
}
