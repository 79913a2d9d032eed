package lambda

import (
	"os"
	"strings"
	"testing"
)

// TestSessionToCode: whoever has a session gets a code for two trips, the second of which
// writes it, and beside it the session where it learns of a client. The consent is read
// beside session and person. Nothing is signed.
func TestSessionToCode(t *testing.T) {
	budgets, held := Budgets(), 0
	for _, step := range script {
		name := step[0]
		if !strings.HasPrefix(name, "authorize/") {
			continue
		}
		event := string(readEvent(t, name))
		golden, err := os.ReadFile(goldenPath(name))
		if err != nil {
			t.Fatal(err)
		}
		session := strings.Contains(event, "${session}") || strings.Contains(event, "${silent}")
		token := strings.Contains(string(golden), "${access_token") || strings.Contains(string(golden), "${id_token")
		if !session || token || !strings.Contains(event, `"GET /authorize"`) || !strings.Contains(string(golden), "${code.") {
			continue
		}
		held++
		if c := budgets[name]; c.Trips != 2 || c.Reads > 3 || c.Reads == 3 && !strings.Contains(event, "demo-partner") || c.Writes > 2 || c.Signs > 0 {
			t.Errorf("%s costs %+v", name, c)
		}
	}
	if held < 10 {
		t.Errorf("%d answers with a code", held)
	}
}
