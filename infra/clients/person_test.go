package clients

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// The user of the example.
const (
	username = "demo"
	password = "correct horse battery staple"
)

// A person logs in with a browser that has no screen: it keeps cookies, fills
// the form of a page, follows redirects and stops where kmint ends.
type person struct {
	t       *testing.T
	issuer  string
	name    string
	browser *http.Client
}

func newPerson(t *testing.T, issuer string) person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	home, err := url.Parse(issuer)
	if err != nil {
		t.Fatal(err)
	}
	return person{t, issuer, username, &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host != home.Host {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// open opens an address. The answer has a page, or leads out of kmint.
func (p person) open(address string) (page *html.Node, at, out *url.URL, status int) {
	p.t.Helper()
	return p.read(p.browser.Get(address))
}

// submit fills and sends the form of a page.
func (p person) submit(page *html.Node, at *url.URL, fill map[string]string) (next *html.Node, nextAt, out *url.URL, status int) {
	p.t.Helper()
	forms := elements(page, "form")
	if len(forms) != 1 {
		p.t.Fatalf("the page at %s has %d forms", at, len(forms))
	}
	values := url.Values{}
	for _, input := range elements(forms[0], "input") {
		values.Set(attribute(input, "name"), attribute(input, "value"))
	}
	for name, value := range fill {
		if !values.Has(name) {
			p.t.Fatalf("the form at %s has no %s", at, name)
		}
		values.Set(name, value)
	}
	action, err := at.Parse(attribute(forms[0], "action"))
	if err != nil {
		p.t.Fatal(err)
	}
	return p.read(p.browser.PostForm(action.String(), values))
}

// login opens an authorization request, logs in if a page asks for it, and
// returns the query with which kmint sends the browser back to the client.
func (p person) login(address string) url.Values {
	p.t.Helper()
	return p.back(address).Query()
}

// back is like login, and returns the whole address.
func (p person) back(address string) *url.URL {
	p.t.Helper()
	page, at, out, status := p.open(address)
	if out == nil {
		if status != http.StatusOK {
			p.t.Fatalf("%s: %d", address, status)
		}
		_, at, out, status = p.submit(page, at, map[string]string{"username": p.name, "password": password})
	}
	if out == nil {
		p.t.Fatalf("after the login, at %s: %d", at, status)
	}
	return out
}

// session is the cookie of the login session, "" for none.
func (p person) session() string {
	home, err := url.Parse(p.issuer)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, cookie := range p.browser.Jar.Cookies(home) {
		if strings.HasSuffix(cookie.Name, "kmint_session") {
			return cookie.Value
		}
	}
	return ""
}

func (p person) read(response *http.Response, err error) (*html.Node, *url.URL, *url.URL, int) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	if location, err := response.Location(); err == nil {
		return nil, response.Request.URL, location, response.StatusCode
	}
	page, err := html.Parse(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return page, response.Request.URL, p.posts(page), response.StatusCode
}

// posts is where a page that leads on by itself posts to, with what it posts as the
// fragment; nil for a page that does not leave kmint.
func (p person) posts(page *html.Node) *url.URL {
	p.t.Helper()
	for _, form := range elements(page, "form") {
		action := attribute(form, "action")
		if !strings.Contains(action, "://") || strings.HasPrefix(action, p.issuer) {
			continue
		}
		values := url.Values{}
		for _, input := range elements(form, "input") {
			values.Add(attribute(input, "name"), attribute(input, "value"))
		}
		out, err := url.Parse(action + "#" + values.Encode())
		if err != nil {
			p.t.Fatal(err)
		}
		return out
	}
	return nil
}

// elements are those of a name, in the page's order.
func elements(in *html.Node, name string) []*html.Node {
	var found []*html.Node
	for node := range in.Descendants() {
		if node.Type == html.ElementNode && node.Data == name {
			found = append(found, node)
		}
	}
	return found
}

func attribute(of *html.Node, name string) string {
	for _, a := range of.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text is what a page says.
func text(in *html.Node) string {
	var b strings.Builder
	for node := range in.Descendants() {
		if node.Type == html.TextNode && node.Parent.Data != "style" {
			b.WriteString(node.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
