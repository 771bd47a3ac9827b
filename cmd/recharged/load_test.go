package main

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// loadLine is an event as the fake server reads it.
type loadLine struct {
	ID      string `json:"id"`
	Subject string `json:"subject"`
}

// TestLoadKeepsOrder sends to a server that is busy at every other request, and
// looks for each customer's events in their order, each at least once.
func TestLoadKeepsOrder(t *testing.T) {
	var mu sync.Mutex
	requests := 0
	got := map[string][]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if requests++; err != nil || requests%2 == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		lines := strings.Split(strings.TrimSpace(string(body)), "\n")
		for _, line := range lines {
			var e loadLine
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Error(err)
			}
			subject := strings.TrimPrefix(e.Subject, "+")
			got[subject] = append(got[subject], e.ID)
		}
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"accepted":%d,"rejected":[]}`, len(lines))
	}))
	defer server.Close()
	const events, customers = 5000, 7
	var text strings.Builder
	for i := range events {
		plus := strings.Repeat("+", i%2)
		fmt.Fprintf(&text, `{"data":{"subject":"x"},"id":"%d","subject":"%s21377000000%d"}`+"\n", i, plus, i%customers)
	}
	code, stdout, stderr := runWith(text.String(), "load", "-", "--server", server.URL)
	if code != exitOK || !strings.HasPrefix(stdout, "5000 accepted, 0 rejected") {
		t.Fatalf("exit %d: %s%s", code, stdout, stderr)
	}
	for c := range customers {
		ids := got[fmt.Sprintf("21377000000%d", c)]
		for i, id := range ids {
			if want := fmt.Sprint(c + i*customers); id != want {
				t.Fatalf("customer %d: event %d is %s, want %s", c, i, id, want)
			}
		}
		if len(ids) < events/customers {
			t.Errorf("customer %d: %d events", c, len(ids))
		}
	}
}

func TestLoadReadsCompressedFiles(t *testing.T) {
	const text = "one\n\n  two  \r\nthree"
	dir := t.TempDir()
	write := func(name string, pack func(io.Writer) io.WriteCloser) string {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		w := pack(f)
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	stdin, err := os.Open(write("stdin", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }))
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	for _, name := range []string{
		write("plain", func(w io.Writer) io.WriteCloser { return w.(io.WriteCloser) }),
		write("a.gz", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		write("a.zst", func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		}),
		write("gzip-of-another-name", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		write("zstd.gz", func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		}),
		"-",
	} {
		var got []string
		err := eachLine(stdin, name, nil, func(number int, line []byte) error {
			got = append(got, fmt.Sprint(number, " ", string(line)))
			return nil
		})
		if want := "1 one,3 two,4 three"; err != nil || strings.Join(got, ",") != want {
			t.Errorf("%s: %v, %v; want %s", name, got, err, want)
		}
	}
}

// A file that is packed by its name and is not, or is cut off, is no file
// without events.
func TestLoadRefusesBrokenFiles(t *testing.T) {
	for name, text := range map[string]string{"a.gz": "", "b.gz": "{}", "c.zst": "{}", "d": "\x1f\x8b"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := eachLine(nil, path, nil, func(int, []byte) error { return nil }); err == nil {
			t.Errorf("%s with %q is read", name, text)
		}
	}
}

func TestRouterFindsTheSubject(t *testing.T) {
	r := router{seed: maphash.MakeSeed()}
	for _, test := range []struct{ line, want string }{
		{`{"subject":"213"}`, "213"},
		{`{"data":{"subject":"no"},"x":[1,{"subject":2}],"subject":"213"}`, "213"},
		{`{"\u0073ubject":"2\u0031"}`, "21"},
		{`{"subject":5}`, ""}, {`{}`, ""}, {`[]`, ""}, {`nonsense`, ""}, {`{"subject`, ""}, {``, ""},
	} {
		if got := r.subject([]byte(test.line)); got != test.want {
			t.Errorf("%s: %q, want %q", test.line, got, test.want)
		}
	}
}
