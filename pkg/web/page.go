package web

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
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

// WritePage writes the page, in the language that the request w belongs to asks for. An
// error says that nothing was written.
func WritePage(w http.ResponseWriter, status int, p Page) error {
	body := writing{language: languageOf(w)}
	if err := p.Body.render(&body, p.Data); err != nil {
		return fmt.Errorf("web: page: %w", err)
	}
	script := ""
	if p.Script != "" {
		script = "<script>" + p.Script + "</script>\n"
	}
	// In one pass: what a value holds is not looked at again.
	page := strings.NewReplacer(
		"{{.Language}}", string(body.language), "{{.Title}}", html.EscapeString(body.language.Say(p.Title)), "{{.Style}}", stylesheet, "{{.Body}}", body.String(), "{{.Script}}", script,
	).Replace(layout)
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Language", string(body.language))
	header.Add("Vary", "Accept-Language")
	header.Set("Content-Security-Policy", p.policy())
	if p.Framed == "" { // it cannot name an origin
		header.Set("X-Frame-Options", "DENY")
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(page))
	return nil
}

// policy allows our own stylesheet and the page's script by their hashes, forms to
// ourselves and to the targets, and nothing else (Content Security Policy Level 3).
func (p Page) policy() string {
	directives := []string{
		"default-src 'none'",
		"style-src " + hashOf(stylesheet),
		"form-action " + strings.Join(append([]string{"'self'"}, p.FormTargets...), " "),
		"frame-ancestors " + cmp.Or(p.Framed, "'none'"),
		"base-uri 'none'",
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
