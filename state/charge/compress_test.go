package charge

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCompressRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := bytes.Repeat(rapid.SliceOf(rapid.Byte()).Draw(t, "part"), rapid.IntRange(0, 5000).Draw(t, "times"))
		data := AppendCompressed([]byte("before"), text)
		if !bytes.HasPrefix(data, []byte("before")) || !bytes.Equal(data, AppendCompressed([]byte("before"), text)) {
			t.Fatal("what stood before is gone, or one text has two encodings")
		}
		got, err := Decompress(data[len("before"):], len(text))
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%d bytes became %d, %v", len(text), len(got), err)
		}
		if len(text) == 0 {
			return
		}
		if _, err := Decompress(data[len("before"):], len(text)-1); err == nil {
			t.Fatal("a text of more than the most was returned")
		}
	})
}

func TestDecompressRefuses(t *testing.T) {
	text := []byte(strings.Repeat("double on Fridays\n", 100))
	whole := AppendCompressed(nil, text)
	for n := range whole {
		if _, err := Decompress(whole[:n], len(text)); err == nil {
			t.Errorf("%d of %d bytes were accepted", n, len(whole))
		}
	}
	for i := range whole {
		broken := bytes.Clone(whole)
		broken[i] ^= 0x10
		if got, err := Decompress(broken, 1<<20); err == nil && !bytes.Equal(got, text) {
			t.Errorf("with byte %d changed it is another text", i)
		}
	}
	_, n := binary.Uvarint(whole)
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"more than it says", append(binary.AppendUvarint(nil, uint64(len(text)-1)), whole[n:]...)},
		{"less than it says", append(binary.AppendUvarint(nil, uint64(len(text)+1)), whole[n:]...)},
		{"twice", append(bytes.Clone(whole), whole[n:]...)},
		{"trailing", append(bytes.Clone(whole), 0)},
		{"beyond any memory", append(binary.AppendUvarint(nil, 1<<63), whole[n:]...)},
		{"plain", []byte("version: 1\n")},
	} {
		if got, err := Decompress(c.data, 1<<20); err == nil {
			t.Errorf("%s: became %d bytes", c.name, len(got))
		}
	}
}

// A bomb is refused before it takes memory, whatever length it gives.
func TestDecompressIsBounded(t *testing.T) {
	bomb := AppendCompressed(nil, make([]byte, 64<<20))
	_, n := binary.Uvarint(bomb)
	hidden := append([]byte{100}, bomb[n:]...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, data := range [][]byte{bomb, hidden} {
		if _, err := Decompress(data, 1<<20); err == nil {
			t.Error("a bomb was accepted")
		}
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("two bombs took %d bytes", took)
	}
}

func FuzzDecompress(f *testing.F) {
	f.Add(AppendCompressed(nil, nil))
	f.Add(AppendCompressed(nil, []byte("double on Fridays")))
	f.Add(AppendCompressed(nil, bytes.Repeat([]byte("double on Fridays\n"), 100)))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := Decompress(data, 1<<16)
		if err != nil {
			return
		}
		again, err := Decompress(AppendCompressed(nil, text), 1<<16)
		if err != nil || len(text) > 1<<16 || !bytes.Equal(again, text) {
			t.Errorf("%d bytes became %d, %v", len(text), len(again), err)
		}
	})
}
