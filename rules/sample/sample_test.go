package sample_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/goccy/go-yaml"

	"recharged/rules/sample"
)

// gsm7 is the alphabet in which an SMS has 160 characters; in any other text it
// has 70.
const gsm7 = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"

// TestTemplatesAreOneSMS fills every text with values as long as the rules give
// and counts: a second part costs as much as the first.
func TestTemplatesAreOneSMS(t *testing.T) {
	var book struct {
		Templates map[string]map[string]string `yaml:"templates"`
	}
	if err := yaml.Unmarshal(sample.Rulebook, &book); err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\{[^}]*\}`)
	for name, texts := range book.Templates {
		for _, language := range []string{"fr", "ar", "en"} {
			text := names.ReplaceAllStringFunc(texts[language], func(slot string) string {
				switch {
				case slot == "{expires}":
					return "27/11/2026 10:00"
				case slot == "{country}":
					return "FR"
				case strings.HasSuffix(slot, ".data}"):
					return "500MB"
				}
				return "1000"
			})
			most := 160
			if strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune(gsm7, r) }) {
				most = 70
			}
			if language != "ar" && most == 70 {
				t.Errorf("%s in %s has a character that halves an SMS: %s", name, language, text)
			}
			if n := len(utf16.Encode([]rune(text))); n == 0 || n > most {
				t.Errorf("%s in %s has %d characters, not 1 to %d: %s", name, language, n, most, text)
			}
		}
	}
}
