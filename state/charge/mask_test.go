package charge

import "testing"

func TestMasked(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"12345":                       "12345",
		"213770123456":                "213*******56",
		"ussd-213770123456-7":         "ussd-213*******56-7",
		"213770123456,213770123457!":  "213*******56,213*******57!",
		"a 123456 b 12345 ٣٤٥ 654321": "a 123*56 b 12345 ٣٤٥ 654*21",
	} {
		if got := Mask(text); got != want {
			t.Errorf("Mask(%q) = %q, want %q", text, got, want)
		}
	}
}
