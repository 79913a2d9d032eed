package conformance_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// A browser keeps cookies, and somebody sits at it who knows the password and
// logs in wherever a page asks for it.
type browser struct {
	*testing.T
	house    house
	cookies  map[string]string
	username string
	password string
}

// An arrival is where the browser ends up: at the client's redirect URI, or on a
// page of the server.
type arrival struct {
	// at is the address without query and fragment, "" for a page.
	at string
	// method and contentType are those of the request to at.
	method, contentType     string
	query, fragment, posted url.Values
	// page is what is shown, with its status.
	page response
	// frames are the addresses of other sites that a page on the way has in frames.
	frames []string
	// logins counts the login pages on the way.
	logins int
}

func (b *browser) send(method, target string, form url.Values) response {
	var pairs []string
	for name, value := range b.cookies {
		pairs = append(pairs, name+"="+value)
	}
	header := http.Header{}
	if len(pairs) > 0 {
		header.Set("Cookie", strings.Join(pairs, "; "))
	}
	r := b.house.send(method, target, header, form)
	for _, c := range (&http.Response{Header: r.header}).Cookies() {
		if c.MaxAge < 0 || c.Value == "" {
			delete(b.cookies, c.Name)
			continue
		}
		if b.cookies == nil {
			b.cookies = map[string]string{}
		}
		b.cookies[c.Name] = c.Value
	}
	return r
}

var (
	aForm  = regexp.MustCompile(`(?s)<form[^>]*\saction="([^"]*)".*?</form>`)
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	aFrame = regexp.MustCompile(`<iframe[^>]*\ssrc="([^"]*)"`)
)

// visit opens an address of the server and goes where that leads. A form of the
// server is filled and sent, one for another site is sent as it is.
func (b *browser) visit(method, target string, form url.Values) arrival {
	b.Helper()
	var frames []string
	r := b.send(method, target, form)
	for logins := 0; logins < 3; {
		for _, frame := range aFrame.FindAllStringSubmatch(r.body, -1) {
			frames = append(frames, html.UnescapeString(frame[1]))
		}
		location := r.header.Get("Location")
		if _, after, refreshed := strings.Cut(r.header.Get("Refresh"), "url="); refreshed {
			location = after
		}
		if location != "" {
			u, err := url.Parse(location)
			if err != nil {
				b.Fatalf("redirected to %q: %v", location, err)
			}
			if strings.HasPrefix(location, issuer) || u.Host == "" {
				r = b.send(http.MethodGet, location, nil)
				continue
			}
			query, errQuery := url.ParseQuery(u.RawQuery)
			fragment, errFragment := url.ParseQuery(u.EscapedFragment())
			if errQuery != nil || errFragment != nil {
				b.Fatalf("redirected to %q: %v %v", location, errQuery, errFragment)
			}
			u.RawQuery, u.Fragment, u.RawFragment = "", "", ""
			return arrival{at: u.String(), method: http.MethodGet, query: query, fragment: fragment, frames: frames, logins: logins}
		}
		found := aForm.FindStringSubmatch(r.body)
		if found == nil {
			return arrival{page: r, frames: frames, logins: logins}
		}
		fields := url.Values{}
		for _, field := range hidden.FindAllStringSubmatch(found[0], -1) {
			fields.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
		}
		action := html.UnescapeString(found[1])
		if u, err := url.Parse(action); err == nil && u.IsAbs() && !strings.HasPrefix(action, issuer) {
			query := u.Query()
			u.RawQuery = ""
			return arrival{
				at: u.String(), method: http.MethodPost, contentType: "application/x-www-form-urlencoded",
				query: query, posted: fields, logins: logins,
			}
		}
		if !strings.Contains(found[0], `name="password"`) {
			return arrival{page: r, frames: frames, logins: logins}
		}
		fields.Set("username", b.username)
		fields.Set("password", b.password)
		logins++
		r = b.send(http.MethodPost, "/"+strings.TrimPrefix(action, "/"), fields)
	}
	b.Fatalf("the login page comes again and again: %d %s", r.status, r.body)
	return arrival{}
}

// press sends the form of the page as it is.
func (b *browser) press(a arrival) arrival {
	b.Helper()
	found := aForm.FindStringSubmatch(a.page.body)
	if found == nil {
		b.Fatalf("there is no form: %s", a.page.body)
	}
	fields := url.Values{}
	for _, field := range hidden.FindAllStringSubmatch(found[0], -1) {
		fields.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	return b.visit(http.MethodPost, "/"+strings.TrimPrefix(html.UnescapeString(found[1]), "/"), fields)
}
