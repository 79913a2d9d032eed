package web

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"kmint/pkg/oauth"
	"kmint/pkg/words"
)

//go:embed page.css
var stylesheet string

//go:embed page.html
var layout string

// A Page is one hosted page: a title and a body in one quiet card, dark or
// light as the browser asks. It works without a script.
type Page struct {
	Title words.Phrase
	Body  *Markup
	// Data is the struct that Body shows.
	Data any
	// FormTargets are source expressions for where a form's answer may lead,
	// besides our own origin: Chrome applies form-action to all redirects after a
	// POST too.
	FormTargets []string
	// Frames are source expressions for what the page shows in frames.
	Frames []string
	// Script runs when the page has loaded, "" for none. It is a constant, of which the
	// policy lets the hash through, and reads what it needs from Body.
	Script string
	// Framed is the one origin that may show the page in a frame, "" for none.
	Framed string
}

// A Brand is whose pages people see; the zero value for nobody's. It has been checked:
// URLs are https, colours are #rrggbb.
type Brand struct {
	Name string
	// Logo is a picture, and LogoDark one for a dark ground; "" for none.
	Logo, LogoDark URL
	// Accent is the colour of buttons and links, AccentDark that on a dark ground; ""
	// for ours.
	Accent, AccentDark string
}

// colour is what a colour looks like that can stand in a stylesheet.
var colour = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// style is our stylesheet with the brand's colours.
func (b Brand) style() string {
	style := stylesheet
	for _, by := range []struct{ scheme, accent string }{{"light", b.Accent}, {"dark", b.AccentDark}} {
		if colour.MatchString(by.accent) {
			style += "@media (prefers-color-scheme:" + by.scheme + "){:root{--accent:" + by.accent + "}}\n"
		}
	}
	return style
}

// pictures are the origins of the pictures.
func (b Brand) pictures() []string {
	var origins []string
	for _, picture := range []URL{b.Logo, b.LogoDark} {
		if origin := oauth.Origin(string(picture)); picture != "" && !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	return origins
}

//go:embed brand.html
var brandBody string

var brandTemplate = NewMarkup("brand", brandBody)

// WritePage writes the page, in the language that the request w belongs to asks for, and
// in the brand of its edge. An error says that nothing was written.
func WritePage(w http.ResponseWriter, status int, p Page) error {
	brand := brandOf(w)
	body := writing{language: languageOf(w)}
	if err := brandTemplate.render(&body, brand); err != nil {
		return fmt.Errorf("web: page: %w", err)
	}
	if err := p.Body.render(&body, p.Data); err != nil {
		return fmt.Errorf("web: page: %w", err)
	}
	title := body.language.Say(p.Title)
	if brand.Name != "" {
		title += " · " + brand.Name
	}
	style := brand.style()
	script := ""
	if p.Script != "" {
		script = "<script>" + p.Script + "</script>\n"
	}
	// In one pass: what a value holds is not looked at again.
	page := strings.NewReplacer(
		"{{.Language}}", string(body.language), "{{.Title}}", html.EscapeString(title), "{{.Style}}", style, "{{.Body}}", body.text.String(), "{{.Script}}", script,
	).Replace(layout)
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Language", string(body.language))
	header.Add("Vary", "Accept-Language")
	header.Set("Content-Security-Policy", p.policy(style, brand.pictures()))
	if p.Framed == "" { // it cannot name an origin
		header.Set("X-Frame-Options", "DENY")
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(page))
	return nil
}

// policy allows the stylesheet and the page's script by their hashes, the brand's
// pictures, forms to ourselves and to the targets, and nothing else (Content Security
// Policy Level 3).
func (p Page) policy(style string, pictures []string) string {
	directives := []string{
		"default-src 'none'",
		"style-src " + hashOf(style),
		"form-action " + strings.Join(append([]string{"'self'"}, p.FormTargets...), " "),
		"frame-ancestors " + cmp.Or(p.Framed, "'none'"),
		"base-uri 'none'",
	}
	if len(pictures) > 0 {
		directives = append(directives, "img-src "+strings.Join(pictures, " "))
	}
	if len(p.Frames) > 0 {
		directives = append(directives, "frame-src "+strings.Join(p.Frames, " "))
	}
	if p.Script != "" {
		directives = append(directives, "script-src "+hashOf(p.Script))
	}
	return strings.Join(directives, "; ")
}

// hashOf is a source expression for the text.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

//go:embed error.html
var errorBody string

var errorTemplate = NewMarkup("error", errorBody)

// errorView is what error.html shows: what happened as people are told, or else as
// developers are, in English.
type errorView struct {
	Said               words.Phrase
	Description, Error string
}

func writePageError(w http.ResponseWriter, r *http.Request, e *oauth.Error) {
	setErrorHeaders(w, e)
	view := errorView{Description: e.Description, Error: string(e.Body().Error)}
	if said := words.Phrase(e.Description); words.Knows(said) {
		view.Said = said
	}
	if err := WritePage(w, e.Status(), Page{Title: "This did not work", Body: errorTemplate, Data: view}); err != nil {
		writeJSONError(w, r, e)
	}
}
