package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium is one headless Chromium for all tests, each of which has a profile of
// its own in it. Start makes sure that it is reached through no name but
// localhost.
var chromium = sync.OnceValues(func() (context.Context, error) {
	path := os.Getenv("CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path == "" {
			path, _ = exec.LookPath(name)
		}
	}
	if path == "" {
		return nil, fmt.Errorf("there is no chromium, chromium-browser or google-chrome; CHROMIUM can name one: %w", exec.ErrNotFound)
	}
	// A fresh profile counts as a private window, in which the frames of other sites
	// would bring no cookies at all.
	profile := filepath.Join(built, "profile")
	if err := errors.Join(os.MkdirAll(filepath.Join(profile, "Default"), 0o700),
		os.WriteFile(filepath.Join(profile, "Default", "Preferences"), []byte(`{"profile": {"cookie_controls_mode": 0}}`), 0o600)); err != nil {
		return nil, err
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.UserDataDir(profile),
		chromedp.IgnoreCertErrors, chromedp.DisableGPU, chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-domain-reliability", true), chromedp.Flag("no-pings", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"),
	)
	if os.Geteuid() == 0 { // whom the sandbox refuses
		options = append(options, chromedp.NoSandbox)
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	endChromium = func() {
		cancel()
		end()
		chromedp.FromContext(ctx).Allocator.Wait()
	}
	return ctx, chromedp.Do(ctx)
})

// endChromium is for TestMain.
var endChromium = func() {}

// needsChromium leaves a test out where there is no Chromium.
func needsChromium(t *testing.T) context.Context {
	t.Helper()
	browser, err := chromium()
	if browser == nil {
		leftOut(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return browser
}

// A tab is one tab in a fresh profile.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// newTab opens a tab. What the browser complains of in it fails the test.
func newTab(t *testing.T) *tab {
	t.Helper()
	browser := needsChromium(t)
	b := &tab{t: t}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.listen))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, cancelTime := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancelTime)
	b.ctx = ctx
	call(b, log.Enable, cdp.Empty{})
	call(b, audits.Enable, cdp.Empty{})
	call(b, network.Enable, network.EnableParams{})
	// One of several tabs would otherwise not have the focus.
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	b.size(1024, 768)
	t.Cleanup(func() {
		if complaints := b.complained(); len(complaints) > 0 {
			t.Errorf("Chromium complains:\n%s", strings.Join(complaints, "\n"))
		}
	})
	return b
}

// listen keeps what a developer would see in the console: broken policies,
// exceptions, issues.
func (b *tab) listen(event any) {
	var complaint string
	switch event := event.(type) {
	case *log.EventEntryAdded:
		if event.Entry.Source == log.EntrySourceNetwork { // a status of 400 is none
			return
		}
		if strings.HasPrefix(event.Entry.Text, "Autofocus processing was blocked") { // a test was quicker
			return
		}
		complaint = fmt.Sprintf("%s: %s %s", event.Entry.Source, event.Entry.Text, event.Entry.URL)
	case *audits.EventIssueAdded:
		if event.Issue.Code == audits.InspectorIssueCodePerformanceIssue {
			return
		}
		// A page that leads on by itself is passed over by the back button, as it should.
		if d := event.Issue.Details.GenericIssueDetails; d != nil && d.ErrorType == audits.GenericIssueErrorTypeNavigationEntryMarkedSkippable {
			return
		}
		complaint = "issue: " + string(event.Issue.Code)
		if d := event.Issue.Details.ContentSecurityPolicyIssueDetails; d != nil {
			complaint += fmt.Sprintf(" %s %s", d.ViolatedDirective, d.BlockedURL)
		}
	case *runtime.EventExceptionThrown:
		complaint = "exception: " + event.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		complaint = "console: " + string(event.Type)
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, complaint)
}

// complained returns the complaints so far, and forgets them.
func (b *tab) complained() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	complaints := b.complaints
	b.complaints = nil
	return complaints
}

// call calls the browser's protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// run runs an action in the tab.
func run[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// evaluate runs a script, as a developer's console does, though pages may run none.
func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	return run(b, chromedp.Evaluate[T](expression))
}

// follow does what leads to another page, and returns the status of that.
func (b *tab) follow(steps ...chromedp.Action[chromedp.Void]) int {
	b.t.Helper()
	response, err := chromedp.RunResponse(b.ctx, steps...)
	// Somebody else's container came or went.
	if err != nil && strings.Contains(err.Error(), "net::ERR_NETWORK_CHANGED") {
		response, err = chromedp.RunResponse(b.ctx, chromedp.Reload())
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return int(response.Status)
}

func (b *tab) open(address string) int {
	b.t.Helper()
	return b.follow(chromedp.Navigate(address))
}

// at is the address of the page.
func (b *tab) at() string {
	b.t.Helper()
	return run(b, chromedp.Location())
}

// says is the text of the page.
func (b *tab) says() string {
	b.t.Helper()
	return strings.Join(strings.Fields(run(b, chromedp.Text("body"))), " ")
}

// login types into the fields of the login page, by their names, and sends it.
func (b *tab) login(username, password string) int {
	b.t.Helper()
	run(b, chromedp.WaitReady("input:focus")) // a person is slower than that
	run(b, chromedp.Steps(chromedp.Clear("input[name=username]"), chromedp.SendKeys("input[name=username]", username),
		chromedp.SendKeys("input[name=password]", password)))
	return b.follow(chromedp.Click("button[type=submit]"))
}

// has says whether the page has an element.
func (b *tab) has(selector string) bool {
	b.t.Helper()
	return len(run(b, chromedp.Nodes(selector, chromedp.AtLeast(0)))) > 0
}

// focused waits until an element has the focus, by its name or else its type: a
// page may give it later than it has loaded.
func (b *tab) focused(want string) {
	b.t.Helper()
	at := ""
	for range 200 {
		if at = evaluate[string](b, `document.activeElement.name || document.activeElement.type || document.activeElement.tagName`); at == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.t.Errorf("the focus is on %s, want %s", at, want)
}

func (b *tab) cookies() map[string]*network.Cookie {
	b.t.Helper()
	found := map[string]*network.Cookie{}
	for _, cookie := range call(b, network.GetCookies, network.GetCookiesParams{}).Cookies {
		found[cookie.Name] = cookie
	}
	return found
}

func (b *tab) scripts(on bool) {
	b.t.Helper()
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

func (b *tab) colours(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

func (b *tab) size(width, height int64) {
	b.t.Helper()
	run(b, chromedp.EmulateViewport(width, height))
}

// named lists role and accessible name of what a screen reader would meet.
func (b *tab) named() []string {
	b.t.Helper()
	var found []string
	for _, node := range call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		role, name := plain(node.Role), plain(node.Name)
		if slices.Contains([]string{"RootWebArea", "main", "heading", "textbox", "button", "link", "alert"}, role) {
			found = append(found, strings.TrimSpace(role+" "+name))
		}
	}
	return found
}

func plain(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var text string
	if err := json.Unmarshal(v.Value, &text); err != nil {
		return string(v.Value)
	}
	return text
}

// picture keeps a picture of the page in the folder that PICTURES names, for
// people to look at.
func (b *tab) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("PICTURES")
	if dir == "" {
		return
	}
	for _, look := range []struct {
		name, colours string
		width, height int64
	}{{"light", "light", 1024, 768}, {"dark", "dark", 1024, 768}, {"phone", "light", 390, 844}} {
		b.colours(look.colours)
		b.size(look.width, look.height)
		image := run(b, chromedp.CaptureScreenshot())
		if err := os.WriteFile(filepath.Join(dir, name+"-"+look.name+".png"), image, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	b.colours("light")
	b.size(1024, 768)
}
