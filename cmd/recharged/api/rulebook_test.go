package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestRulebook(t *testing.T) {
	d := openDoor(t, nil)
	got := d.do("GET", "/v1/rulebook", "").want(t, http.StatusOK)
	if got.body != testBook || got.header.Get("ETag") != `"1"` || got.header.Get("Content-Type") != typeYAML {
		t.Errorf("rulebook: %v %s", got.header, got.body)
	}
	d.do("GET", "/v1/rulebook", "", "If-None-Match", `"1"`).want(t, http.StatusNotModified)
	asJSON := d.do("GET", "/v1/rulebook", "", "Accept", typeJSON).want(t, http.StatusOK)
	if !json.Valid([]byte(asJSON.body)) || !strings.Contains(asJSON.body, `"voice":{"price":4.00,"per":"60s"}`) {
		t.Errorf("rulebook as JSON: %s", asJSON.body)
	}

	better := strings.Replace(testBook, "percent: 100", "percent: 50", 1)
	put := func(body string, header ...string) answer {
		return d.do("PUT", "/v1/rulebook", body, append([]string{"Content-Type", typeYAML}, header...)...)
	}
	put(better, "If-Match", `"7"`).want(t, http.StatusPreconditionFailed)
	for _, none := range []string{`nonsense`, `W/"1"`, `"7", W/"1"`, `""`} {
		put(better, "If-Match", none).want(t, http.StatusPreconditionFailed)
	}
	d.do("GET", "/v1/rulebook", "", "If-None-Match", `"7", W/"1"`).want(t, http.StatusNotModified)
	var published Published
	got = put(better, "If-Match", `"7", "1" , "3"`, "X-Author", "amel").want(t, http.StatusOK)
	got.decode(t, &published)
	if published.Version != 2 || got.header.Get("ETag") != `"2"` || len(published.Changes) != 1 {
		t.Errorf("published: %+v", published)
	}
	// The JSON form can be published again, also with tabs and escapes in it.
	indented := strings.ReplaceAll(asJSON.body, `,"`, ",\n\t\"")
	d.do("PUT", "/v1/rulebook", indented, "Content-Type", typeJSON).want(t, http.StatusOK)
	d.do("PUT", "/v1/rulebook", "{", "Content-Type", typeJSON).want(t, http.StatusUnprocessableEntity)
	d.do("PUT", "/v1/rulebook", better, "Content-Type", "image/png").want(t, http.StatusUnsupportedMediaType)
	put(testBook+"#"+strings.Repeat(" ", rulebookBytesMax)).want(t, http.StatusRequestEntityTooLarge)

	wrong := put("version: 1\ncurency: DZD\n").want(t, http.StatusUnprocessableEntity)
	for _, part := range []string{`"location":"rulebook:2:1"`, `unknown key`, `did you mean`} {
		if !strings.Contains(wrong.body, part) || wrong.header.Get("Content-Type") != problemType {
			t.Errorf("answer to a broken rulebook lacks %s: %s", part, wrong.body)
		}
	}
	d.do("POST", "/v1/rulebook/check", "version: 1\ncurency: DZD\n", "Content-Type", "text/yaml").want(t, http.StatusOK).contains(t, `{"ok":false,"problems":[{"file":"rulebook","line":`)
	d.do("POST", "/v1/rulebook/check", testBook, "Content-Type", "text/plain").want(t, http.StatusOK).contains(t, `{"ok":true,"problems":[{"file":"rulebook",`)

	// Somebody holds a bonus: its balance must stay.
	d.send("r", "recharge", `{"amount":350}`)
	without := `{version: 1, currency: DZD, timezone: UTC, balances: {main: {unit: DZD}}}`
	put(testBook).want(t, http.StatusOK)
	d.send("r2", "recharge", `{"amount":350}`)
	put(without).want(t, http.StatusConflict).contains(t, "bonus")
	checked := d.do("POST", "/v1/rulebook/check", without, "Content-Type", typeYAML).want(t, http.StatusOK)
	checked.contains(t, `{"ok":true,`)
	checked.contains(t, `"severity":"warning","message":"it cannot be published now: `)
	checked.contains(t, `1 customers hold balance \"bonus\"`)
	if kept := d.do("POST", "/v1/rulebook/check", testBook, "Content-Type", typeYAML); strings.Contains(kept.body, "cannot be published") {
		t.Errorf("check of the book in force: %s", kept.body)
	}

	var page struct {
		Versions []Version `json:"versions"`
		Next     string    `json:"next"`
	}
	d.do("GET", "/v1/rulebook/versions?limit=2", "").want(t, http.StatusOK).decode(t, &page)
	if len(page.Versions) != 2 || page.Versions[0].Version != 4 || page.Next != "3" {
		t.Errorf("versions: %+v", page)
	}
	d.do("GET", "/v1/rulebook/versions?before="+page.Next, "").want(t, http.StatusOK).decode(t, &page)
	if len(page.Versions) != 2 || page.Next != "" || page.Versions[0].Author != "amel" || len(page.Versions[0].Changes) != 1 ||
		!strings.HasPrefix(page.Versions[0].Digest, "sha256:") || page.Versions[0].At == "" {
		t.Errorf("second page of versions: %+v", page)
	}
	if got := d.do("GET", "/v1/rulebook/versions/2", "").want(t, http.StatusOK); got.body != better {
		t.Errorf("version 2: %s", got.body)
	}
	d.do("GET", "/v1/rulebook/versions/99", "").want(t, http.StatusNotFound)
}

func TestAccept(t *testing.T) {
	for _, test := range []struct {
		header string
		json   bool
	}{
		{"", false}, {"*/*", false}, {"application/*", false}, {"text/html, */*;q=0.8", false}, {"nonsense", false},
		{"application/json", true}, {"application/json;q=0.1", true}, {"application/json;q=0", false},
		{"application/json, application/yaml", true}, {"application/yaml, application/json", false},
		{"application/json, text/plain, */*", true}, {"application/json;q=0.5, */*", false},
		{"application/json;q=0.5, application/yaml;q=0.9", false}, {"text/yaml;q=0.5,application/json ; q=0.9", true},
	} {
		if got := wantsJSON(test.header); got != test.json {
			t.Errorf("Accept %q: JSON %t", test.header, got)
		}
	}
}

func (a answer) contains(t *testing.T, part string) {
	t.Helper()
	if !strings.Contains(a.body, part) {
		t.Errorf("answer lacks %s: %s", part, a.body)
	}
}

func TestYAMLToJSON(t *testing.T) {
	tests := []struct{ yaml, json string }{
		{"a: 4.00\nb: 300.10", `{"a":4.00,"b":300.10}`},
		{"a: 0x10\nb: 5_000", `{"a":"0x10","b":"5_000"}`},
		{"a: [1, true, null, \"é\\n\"]", `{"a":[1,true,null,"é\n"]}`},
		{"only: {x: 'y'}", `{"only":{"x":"y"}}`},
		{"text: |\n  one\n  two\n", `{"text":"one\ntwo\n"}`},
		{"when: amount > 300 && channel in [\"app\"]", `{"when":"amount > 300 && channel in [\"app\"]"}`},
		{"# nothing\n", `{}`},
	}
	for _, test := range tests {
		got, err := yamlToJSON([]byte(test.yaml))
		if err != nil || string(got) != test.json {
			t.Errorf("%q: %s, %v; want %s", test.yaml, got, err, test.json)
		}
	}
}
