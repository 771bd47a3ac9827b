package main

import (
	"strings"
	"testing"
)

// The configuration that is shipped loads, and says what its comments say.
func TestTheConfigurationThatIsShipped(t *testing.T) {
	code, out, err := runWith("", "config", "--config", "../../deploy/recharged.yaml")
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, err)
	}
	for _, line := range []string{"data: /var/lib/recharged", "rulebook: /etc/recharged/rulebook.yaml", "  format: json"} {
		if !strings.Contains(out, line+"\n") {
			t.Errorf("the effective configuration has no line %q:\n%s", line, out)
		}
	}
}
